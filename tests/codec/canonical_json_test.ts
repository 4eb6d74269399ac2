import { canonicalJson, json } from "../../src/codec/mod.ts";
import { utf8 } from "./_bytes.ts";
import { assertRefused } from "./_refusal.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

describe("RFC 8785", () => {
  test("canonicalJson() writes the sample of section 3.2.2", () => {
    const sample = {
      numbers: [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      string: "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"/",
      literals: [null, true, false],
    };
    const canonical = '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
      '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}';
    assert.equal(canonicalJson(sample), canonical);
  });

  test("canonicalJson() sorts the names of section 3.2.3 by UTF-16 code units", () => {
    const sample = {
      "\u20ac": "Euro Sign",
      "\r": "Carriage Return",
      "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face",
      "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis",
    };
    const names = [...canonicalJson(sample).matchAll(/:"([^"]+)"/g)].map(([, name]) => name);
    assert.deepEqual(names, [
      "Carriage Return",
      "One",
      "Control",
      "Latin Small Letter O With Diaeresis",
      "Euro Sign",
      "Emoji: Grinning Face",
      "Hebrew Letter Dalet With Dagesh",
    ]);
  });

  // Appendix B, table 1: the bits of a double and its text.
  const numbers: readonly [bits: bigint, text: string][] = [
    [0x0000000000000000n, "0"],
    [0x8000000000000000n, "0"],
    [0x0000000000000001n, "5e-324"],
    [0x8000000000000001n, "-5e-324"],
    [0x7fefffffffffffffn, "1.7976931348623157e+308"],
    [0xffefffffffffffffn, "-1.7976931348623157e+308"],
    [0x4340000000000000n, "9007199254740992"],
    [0xc340000000000000n, "-9007199254740992"],
    [0x4430000000000000n, "295147905179352830000"],
    [0x44b52d02c7e14af5n, "9.999999999999997e+22"],
    [0x44b52d02c7e14af6n, "1e+23"],
    [0x44b52d02c7e14af7n, "1.0000000000000001e+23"],
    [0x444b1ae4d6e2ef4en, "999999999999999700000"],
    [0x444b1ae4d6e2ef4fn, "999999999999999900000"],
    [0x444b1ae4d6e2ef50n, "1e+21"],
    [0x3eb0c6f7a0b5ed8cn, "9.999999999999997e-7"],
    [0x3eb0c6f7a0b5ed8dn, "0.000001"],
    [0x41b3de4355555553n, "333333333.3333332"],
    [0x41b3de4355555554n, "333333333.33333325"],
    [0x41b3de4355555555n, "333333333.3333333"],
    [0x41b3de4355555556n, "333333333.3333334"],
    [0x41b3de4355555557n, "333333333.33333343"],
    [0xbecbf647612f3696n, "-0.0000033333333333333333"],
    [0x43143ff3c1cb0959n, "1424953923781206.2"],
  ];
  for (const [bits, text] of numbers) {
    test(`canonicalJson() writes the double 0x${bits.toString(16).padStart(16, "0")} as ${text}`, () => {
      const view = new DataView(new ArrayBuffer(8));
      view.setBigUint64(0, bits);
      assert.equal(canonicalJson(view.getFloat64(0)), text);
    });
  }
});

const cycle: unknown[] = [];
cycle.push(cycle);
const refused: readonly [title: string, value: unknown, found: string][] = [
  ["NaN", NaN, "a value is not finite"],
  ["Infinity", [Infinity], "a value is not finite"],
  ["undefined", undefined, "of type undefined"],
  ["a member that is undefined", { a: undefined }, "of type undefined"],
  ["a hole in an array", new Array(1), "of type undefined"],
  ["a bigint", { a: 1n }, "of type bigint"],
  ["a function", () => 1, "of type function"],
  ["a symbol", Symbol("a"), "of type symbol"],
  ["a lone surrogate", "\ud800", "a string holds a lone surrogate"],
  ["a lone surrogate in a name", { "\ud800": 1 }, "a string holds a lone surrogate"],
  ["a Date", new Date(0), "an object is an instance of a class"],
  ["a subclass of Array", new (class A extends Array {})(), "an object is an instance of a class"],
  [
    "a getter that throws",
    Object.defineProperty({}, "a", { enumerable: true, get: () => assert.fail("boom") }),
    "threw",
  ],
  ["a toJSON method", { toJSON: () => 1 }, "of type function"],
];
for (const [title, value, found] of refused) {
  test(`canonicalJson() refuses ${title}`, () => assertRefused(() => canonicalJson(value), "unsupported", found));
}

test("canonicalJson() refuses an array that holds itself", () => {
  assertRefused(() => canonicalJson(cycle), "limit", "1000 levels");
});

test("canonicalJson() writes one text whatever the order of the members", () => {
  fc.assert(fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true }), (value) => {
    const reversed = Object.fromEntries(Object.entries(value).reverse());
    assert.equal(canonicalJson(reversed), canonicalJson(value));
    assert.deepEqual(JSON.parse(canonicalJson(value)), JSON.parse(JSON.stringify(value)));
  }));
});

test("canonicalJson() writes what json() reads, for safe integers", () => {
  const value = { b: [1, -0.5, "é"], a: { "\n": null } };
  assert.deepEqual(json().decode(utf8(canonicalJson(value))), value);
});
