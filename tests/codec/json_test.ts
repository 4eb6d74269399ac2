import { json } from "../../src/codec/mod.ts";
import { utf8 } from "./_bytes.ts";
import { assertRefused } from "./_refusal.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const codec = json();
const decode = (text: string) => codec.decode(utf8(text));

test("json() is named for its media type", () => assert.equal(codec.name, "json"));

describe("json() decode", () => {
  const accepted: readonly [title: string, text: string, value: unknown][] = [
    ["a scalar", "null", null],
    ["white space around every token", ' \t\r\n{ "a" : [ 1 , { } , [ ] ] } ', { a: [1, {}, []] }],
    ["structural characters inside strings", '{"[{,:}]":"]},{[\\"\\\\"}', { "[{,:}]": ']},{["\\' }],
    ["a string that ends in an escaped backslash", '["a\\\\",[1]]', ["a\\", [1]]],
    ["an escaped pair of surrogates", '"\\ud83d\\uDE00"', "\u{1f600}"],
    ["a backslash followed by the letters of a surrogate", '"\\\\ud800"', "\\ud800"],
    ["a byte order mark inside a string", '"\ufeff"', "\ufeff"],
    ["the greatest and least safe integers", "[9007199254740991,-9007199254740991]", [2 ** 53 - 1, 1 - 2 ** 53]],
    ["a number with an exponent beyond the safe integers", "[1e300,-1E+17,9.0e15]", [1e300, -1e17, 9e15]],
    ["a number with a fraction beyond the safe integers", "9007199254740993.0", 2 ** 53],
    ["more digits than a double holds after the point", "[1e17,0.12345678901234567890]", [1e17, 0.12345678901234568]],
    ["many digits in an exponent beside a large number", "[1e17,0e9999999999999999,1E-9999999999999999]", [1e17, 0, 0]],
    ["many digits before an exponent", "[9007199254740993e0,9007199254740993E0]", [2 ** 53, 2 ** 53]],
    [
      "digits of an unsafe integer in a string beside a large number",
      '["9007199254740993",1e17,"\\"9007199254740993"]',
      [
        "9007199254740993",
        1e17,
        '"9007199254740993',
      ],
    ],
    ["minus zero", "-0", -0],
    ["names of Object.prototype", '{"constructor":1,"toString":2}', { constructor: 1, toString: 2 }],
    ["the name __proto__ as a value", '["__proto__"]', ["__proto__"]],
    ["one name in two objects", '{"a":{"a":1},"b":{"a":2}}', { a: { a: 1 }, b: { a: 2 } }],
    ["a toJSON member that is data", '{"toJSON":1}', { toJSON: 1 }],
  ];
  for (const [title, text, value] of accepted) {
    test(`json() reads ${title}`, () => assert.deepEqual(decode(text), value));
  }

  const twice = "an object has two members of one name";
  const proto = 'a member is named "__proto__"';
  const lone = "a string holds a lone surrogate";
  const unsafe = "an integer is beyond the safe ones";
  const notJson = "it is not JSON in UTF-8";
  const refused: readonly [title: string, text: string, found: string][] = [
    ["a byte order mark", "\ufeff{}", notJson],
    ["an empty message", "", notJson],
    ["bytes after the value", "{} {}", notJson],
    ["NUL after the value", "{}\0", notJson],
    ["a comment", "[1/**/]", notJson],
    ["a trailing comma", "[1,]", notJson],
    ["NaN", "[NaN]", notJson],
    ["a name written twice", '{"a":1,"a":2}', twice],
    ["a name written twice with one value", '{"a":1,"a":1}', twice],
    ["a name written twice in two spellings", '{"a":1,"\\u0061":2}', twice],
    ["a name written twice deep inside", '[[{"x":[{"a":1,"b":2,"a":[]}]}]]', twice],
    ["an empty name written twice", '{"":1,"":2}', twice],
    ["an index written twice", '{"1":1,"1":2}', twice],
    ["a member named __proto__", '{"__proto__":{"admin":true}}', proto],
    ["an escaped member named __proto__", '{"\\u005f_proto__":1}', proto],
    ["a deep member named __proto__", '[{"a":{"__proto__":null}}]', proto],
    ["a lone leading surrogate", '"\\ud800"', lone],
    ["a lone trailing surrogate", '["\\uDFFF"]', lone],
    ["two surrogates in the wrong order", '"\\ude00\\ud83d"', lone],
    ["a lone surrogate before a raw pair", '"\\ud83d\u{1f600}"', lone],
    ["a lone surrogate in a name", '{"\\uD83d":1}', lone],
    ["2^53", "9007199254740992", unsafe],
    ["-2^53", "[-9007199254740992]", unsafe],
    ["2^53 + 1, which would be read as 2^53", '{"id":9007199254740993}', unsafe],
    ["an integer of 30 digits", "[1,100000000000000000000000000000]", unsafe],
    ["an unsafe integer after a large number", "[1e300,1e+16,9007199254740993,1]", unsafe],
    ["an unsafe integer between strings", '["\\"",9007199254740993,"\\\\"]', unsafe],
    ["a number that no double holds", "1e999", "a number is not finite"],
    ["a negative number that no double holds", "[-1E+999]", "a number is not finite"],
    ["400 digits", "9".repeat(400), "a number is not finite"],
  ];
  for (const [title, text, found] of refused) {
    test(`json() refuses ${title}`, () => assertRefused(() => decode(text), "syntax", found));
  }

  const invalid: readonly [title: string, bytes: readonly number[]][] = [
    ["a lone continuation byte", [0x22, 0x80, 0x22]],
    ["an overlong slash", [0x22, 0xc0, 0xaf, 0x22]],
    ["a surrogate in UTF-8", [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ["a code point beyond the last", [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22]],
    ["a truncated character", [0x22, 0xe2, 0x82, 0x22]],
    ["UTF-16 with a byte order mark", [0xff, 0xfe, 0x31, 0x00]],
  ];
  for (const [title, bytes] of invalid) {
    test(`json() refuses ${title}, and reads the next message`, () => {
      assertRefused(() => codec.decode(Uint8Array.from(bytes)), "syntax", notJson);
      assert.equal(decode('"é"'), "é");
    });
  }

  test("json() names neither a received value nor a key when it refuses", () => {
    for (const text of ['{"s3cret":1,"s3cret":"s3cret"}', '["s3cret"', '{"s3cret":"\\ud800"}', '{"s3cret":1e999}']) {
      assert.throws(() => decode(text), (error: Error) => !/s3cret/.test(error.message) && error.cause === undefined);
    }
  });

  test("json() gives objects whose prototype is Object.prototype", () => {
    const value = decode('{"a":{}}') as { a: object };
    assert.equal(Object.getPrototypeOf(value.a), Object.prototype);
  });

  test("json() reads a view into a larger buffer", () => {
    assert.deepEqual(codec.decode(utf8("xx[1]xx").subarray(2, 5)), [1]);
  });
});

describe("json() limits", () => {
  const nested = (depth: number, inner = "") => "[".repeat(depth) + inner + "]".repeat(depth);

  test("json() reads 32 levels and refuses 33", () => {
    assert.ok(decode(nested(32)));
    assertRefused(() => decode(nested(33)), "limit", "it is over the limit of 32 levels");
    assertRefused(() => decode('{"a":'.repeat(33)), "limit", "levels");
  });

  test("json() counts depth, not brackets", () => {
    assert.ok(decode(`[${Array(100).fill(nested(31)).join()}]`));
  });

  test("json() reads as deep as maxDepth says", () => {
    assert.deepEqual(json({ maxDepth: 1 }).decode(utf8("[1]")), [1]);
    assertRefused(() => json({ maxDepth: 1 }).decode(utf8("[[]]")), "limit", "1 levels");
    assert.ok(json({ maxDepth: 1000 }).decode(utf8(nested(1000))));
  });

  test("json() refuses 500 000 open brackets before they reach a parser", () => {
    assertRefused(() => decode("[".repeat(500_000)), "limit", "levels");
  });

  test("json() reads 10 000 members and items and refuses one more", () => {
    const members = (count: number) => `{${Array.from({ length: count }, (_, at) => `"${at}":0`).join()}}`;
    assert.equal(Object.keys(decode(members(10_000)) as object).length, 10_000);
    assertRefused(() => decode(members(10_001)), "limit", "it is over the limit of 10000 members and items");
    assertRefused(() => decode(`[${"0,".repeat(10_000)}0]`), "limit", "members and items");
  });

  test("json() refuses 10 001 items before they reach a parser", () => {
    assertRefused(() => decode("[" + "0,".repeat(10_001)), "limit", "members and items");
  });

  test("json() counts members and items in all, however they are nested and spaced", () => {
    const three = json({ maxItems: 3 });
    for (const text of ['{"a":[1,2]}', "[[],{},[ ]]", "[ [ 1 ] , [\n] ]", "[[[ [ ] ]]]", "[1,2,3]"]) {
      assert.ok(three.decode(utf8(text)), text);
    }
    for (const text of ['{"a":[1,2,3]}', "[[],{},[ 1 ]]", "[[[[[]]]]]", "[1,2,3,4]"]) {
      assertRefused(() => three.decode(utf8(text)), "limit", "3 members and items");
    }
  });

  test("json() counts bytes, not characters", () => {
    const five = json({ maxBytes: 5 });
    assert.equal(five.decode(utf8('"abc"')), "abc");
    assert.equal(five.encode("abc"), '"abc"');
    assert.equal(five.encode("é1"), '"é1"');
    assertRefused(() => five.decode(utf8('"abcd"')), "limit", "it is over the limit of 5 bytes");
    assertRefused(() => five.encode("abcd"), "limit", "it is over the limit of 5 bytes");
    assertRefused(() => five.encode("é12"), "limit", "5 bytes");
    assertRefused(() => five.encode("é水"), "limit", "5 bytes");
  });

  test("json() writes nothing over its limits", () => {
    const small = json({ maxDepth: 2, maxItems: 3 });
    assert.equal(small.encode([[1, 2]]), "[[1,2]]");
    assertRefused(() => small.encode([[[]]]), "limit", "2 levels");
    assertRefused(() => small.encode([[1, 2], 3]), "limit", "3 members and items");
    assertRefused(() => small.encode({ a: 1, b: 2, c: 3, d: 4 }), "limit", "3 members and items");
    assert.equal(small.encode({ a: 1, b: 2, c: 3, d: undefined }), '{"a":1,"b":2,"c":3}');
  });

  test("json() refuses the length of a sparse array before it visits the items", () => {
    assertRefused(() => codec.encode(new Array(2 ** 32 - 1)), "limit", "members and items");
  });
});

describe("json() encode", () => {
  test("json() leaves out members that are undefined", () => {
    assert.equal(codec.encode({ a: undefined, b: 1, ["__proto__"]: undefined }), '{"b":1}');
  });

  test("json() writes -0 as 0", () => assert.equal(codec.encode(-0), "0"));

  test("json() writes an object without a prototype", () => {
    assert.equal(codec.encode(Object.assign(Object.create(null), { a: 1 })), '{"a":1}');
  });

  test("json() writes a toJSON member that is data", () => {
    assert.equal(codec.encode({ toJSON: "a" }), '{"toJSON":"a"}');
  });

  const cycle: unknown[] = [];
  cycle.push(cycle);
  const loop: { self?: unknown } = {};
  loop.self = { loop };
  for (const [title, value] of [["an array", cycle], ["an object", loop]] as const) {
    test(`json() refuses ${title} that holds itself`, () => {
      assertRefused(() => codec.encode(value), "limit", "32 levels");
    });
  }

  const instance = "an object is an instance of a class or has a toJSON method";
  const refused: readonly [title: string, value: unknown, found: string][] = [
    ["undefined", undefined, "a value is of type undefined"],
    ["undefined in an array", [undefined], "a value is of type undefined"],
    ["a hole in an array", new Array(1), "a value is of type undefined"],
    ["a function", { a: () => 1 }, "a value is of type function"],
    ["a symbol", [Symbol("a")], "a value is of type symbol"],
    ["a bigint", 1n, "a value is of type bigint"],
    ["NaN", { a: NaN }, "a number is not finite"],
    ["Infinity", Infinity, "a number is not finite"],
    ["-Infinity", [-Infinity], "a number is not finite"],
    ["2^53", 2 ** 53, "an integer is beyond the safe ones"],
    ["-2^53", [-(2 ** 53)], "an integer is beyond the safe ones"],
    ["1e17, whose text has no exponent", { a: 1e17 }, "an integer is beyond the safe ones"],
    ["a lone surrogate", "\ud800", "a string holds a lone surrogate"],
    ["a lone surrogate in a name", { "a\udfff": 1 }, "a string holds a lone surrogate"],
    ["a member named __proto__", JSON.parse('{"__proto__":1}'), 'a member is named "__proto__"'],
    ["a Date", new Date(0), instance],
    ["a Map", new Map(), instance],
    ["bytes", new Uint8Array(1), instance],
    ["a boxed string", Object("a"), instance],
    ["an instance of a class", new (class A {})(), instance],
    ["an instance of a subclass of Array", new (class A extends Array {})(), instance],
    ["an array without the prototype of arrays", Object.setPrototypeOf([], null), instance],
    ["an array disguised as an object", Object.setPrototypeOf([1], Object.prototype), instance],
    ["an object disguised as an array", Object.create(Array.prototype), instance],
    ["an error", new Error("a"), instance],
    ["an array with a toJSON method", Object.assign([], { toJSON: () => 1 }), instance],
    [
      "a hidden toJSON method",
      Object.defineProperty({}, "toJSON", { value: () => assert.fail("toJSON was called"), enumerable: false }),
      instance,
    ],
  ];
  for (const [title, value, found] of refused) {
    test(`json() refuses to write ${title}`, () => assertRefused(() => codec.encode(value), "unsupported", found));
  }

  const throwing: readonly [title: string, value: unknown][] = [
    ["a getter that throws", Object.defineProperty({}, "a", { enumerable: true, get: () => assert.fail("boom") })],
    ["a proxy that throws", new Proxy({}, { ownKeys: () => assert.fail("boom") })],
    ["a revoked proxy", revoked()],
  ];
  for (const [title, value] of throwing) {
    test(`json() refuses to write ${title}`, () => {
      assertRefused(() => codec.encode(value), "unsupported", "reading the value threw an error");
    });
  }

  test("json() keeps the error of a getter as the cause", () => {
    const cause = new Error("boom");
    const value = {
      get a() {
        throw cause;
      },
    };
    assert.throws(() => codec.encode(value), { code: "unsupported", cause });
  });

  test("json() writes numbers from 1e21 on with their exponent", () => {
    assert.equal(codec.encode([1e21, -1e300]), "[1e+21,-1e+300]");
    assert.deepEqual(decode("[1e+21,-1e+300]"), [1e21, -1e300]);
  });
});

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

describe("json() properties", () => {
  const key = fc.string({ unit: "binary" }).filter((name) => name.isWellFormed() && name !== "__proto__");
  const leaf = fc.oneof(
    fc.string({ unit: "binary" }).filter((text) => text.isWellFormed()),
    fc.maxSafeInteger().map((integer) => integer + 0),
    fc.double({ noNaN: true, noDefaultInfinity: true, noInteger: true }),
    fc.boolean(),
    fc.constant(null),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 6 },
      leaf,
      fc.array(tie("value")),
      fc.dictionary(key, tie("value"), { noNullPrototype: true }),
    ),
  }));

  test("json() reads back what it writes", () => {
    fc.assert(fc.property(value, (message) => {
      assert.deepEqual(decode(codec.encode(message) as string), message);
    }));
  });

  test("json() writes what JSON.stringify writes", () => {
    fc.assert(fc.property(value, (message) => codec.encode(message) === JSON.stringify(message)));
  });

  test("json() reads what JSON.parse reads, with any white space", () => {
    fc.assert(fc.property(value, fc.constantFrom(0, 1, "\t", " \n"), (message, space) => {
      const text = JSON.stringify(message, null, space);
      assert.deepEqual(decode(text), JSON.parse(text));
    }));
  });

  test("json() refuses a member written twice anywhere", () => {
    fc.assert(fc.property(value, key, value, (inner, name, other) => {
      const member = (member: unknown) => `${JSON.stringify(name)}:${JSON.stringify(member)}`;
      assertRefused(() => decode(`[{${member(inner)},${member(other)}}]`), "syntax", "two members of one name");
    }));
  });
});
