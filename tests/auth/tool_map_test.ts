import type { ConstraintEntry } from "../../src/auth/constraint.ts";
import { exact, oneOf, optional, range, wildcard } from "../../src/auth/constraint_builders.ts";
import { ConstraintError } from "../../src/auth/constraint_error.ts";
import { narrower, parseToolMap, permits } from "../../src/auth/tool_map.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const TOOL = "payments.v1/charge";
type Entries = Readonly<Record<string, ConstraintEntry>>;

const one = (map: unknown) => parseToolMap({ [TOOL]: map });
const allows = (map: Entries, args: unknown) => permits(one(map), TOOL, args as Record<string, unknown>);
const isNarrower = (child: Entries, parent: Entries) => narrower(one(child), one(parent));
/** An object with a member that a literal would not make. */
const owning = (name: string, value: unknown) => JSON.parse(`{${JSON.stringify(name)}:${JSON.stringify(value)}}`);

describe("parseToolMap()", () => {
  test("parseToolMap() reads the draft's example as it is", () => {
    const tools = {
      "https://tools.example.com/fs/read_text_file": {
        path: { constraint_type: "exact", value: "/srv/api/README.md" },
        head: { constraint_type: "range", max: 200, optional: true },
        tail: { constraint_type: "range", max: 200, optional: false },
        "*": { constraint_type: "wildcard" },
      },
      search: {},
    };
    assert.deepEqual(parseToolMap(tools), tools);
  });

  test("parseToolMap() reads no tools at all", () => assert.deepEqual(parseToolMap({}), {}));

  test("parseToolMap() reads objects without a prototype", () => {
    const map = Object.assign(Object.create(null), { [TOOL]: Object.create(null) });
    assert.deepEqual(parseToolMap(map), { [TOOL]: {} });
  });

  test("parseToolMap() freezes a copy", () => {
    const wire = { [TOOL]: { amount: { constraint_type: "exact", value: 1, optional: true } } };
    const tools = parseToolMap(wire);
    wire[TOOL].amount.value = 2;
    assert.deepEqual(tools, { [TOOL]: { amount: { constraint_type: "exact", value: 1, optional: true } } });
    assert.ok(Object.isFrozen(tools) && Object.isFrozen(tools[TOOL]) && Object.isFrozen(tools[TOOL].amount));
  });

  const names = (count: number) => Array.from({ length: count }, (_, index) => "n" + index);
  const tools = (count: number) => Object.fromEntries(names(count).map((name) => [name, {}]));
  const entries = (count: number) => Object.fromEntries(names(count).map((name) => [name, wildcard()]));

  const kept: readonly [title: string, tools: unknown][] = [
    ["64 tools", tools(64)],
    ["64 arguments", { [TOOL]: entries(64) }],
    ["128 constraints", { a: entries(64), b: entries(64) }],
    ["a name of an argument of 128 characters", { [TOOL]: { ["n".repeat(128)]: wildcard() } }],
    ["the longest name that a contract can give a tool", { ["s".repeat(128) + "/" + "m".repeat(64)]: {} }],
  ];
  for (const [title, value] of kept) {
    test(`parseToolMap() takes ${title}`, () => assert.deepEqual(parseToolMap(value), value));
  }

  const at = `tools["${TOOL}"]`;
  const refused: readonly [title: string, tools: unknown, place: string][] = [
    ["null", null, "tools"],
    ["a list", [], "tools"],
    ["text", "{}", "tools"],
    ["nothing", undefined, "tools"],
    ["an instance of a class", new Map([[TOOL, {}]]), "tools"],
    ["a tool without a map", { [TOOL]: null }, at],
    ["a tool with a list", { [TOOL]: [] }, at],
    ["a tool whose map is true", { [TOOL]: true }, at],
    ["65 tools", tools(65), "tools"],
    ["65 arguments", { [TOOL]: entries(65) }, at],
    ["129 constraints", { a: entries(64), b: entries(64), c: { d: wildcard() } }, "tools.c.d"],
    ["a tool without a name", { "": {} }, "tools"],
    ["a tool's name that is too long", { ["n".repeat(194)]: {} }, "tools"],
    ["a tool's name with a line break", { "a\nb": {} }, "tools"],
    ["a tool's name that is not well-formed", { "\ud800": {} }, "tools"],
    ["an argument without a name", { [TOOL]: { "": wildcard() } }, at],
    ["an argument's name that is too long", { [TOOL]: { ["n".repeat(129)]: wildcard() } }, at],
    ["an argument's name with a control character", { [TOOL]: { "a\0": wildcard() } }, at],
    ['"*" that is no wildcard', { [TOOL]: { "*": exact(1) } }, `${at}["*"]`],
    ['"*" that is optional', { [TOOL]: { "*": optional(wildcard()) } }, `${at}["*"]`],
    ['"*" that says it is not optional', { [TOOL]: { "*": { ...wildcard(), optional: false } } }, `${at}["*"]`],
    ["an argument called __proto__ that is no constraint", { [TOOL]: owning("__proto__", {}) }, `${at}.__proto__`],
    ["a tool called __proto__ whose map is none", owning("__proto__", 5), "tools.__proto__"],
  ];
  for (const [title, value, place] of refused) {
    test(`parseToolMap() refuses ${title}`, () => {
      assert.throws(() => parseToolMap(value), (error) => {
        assert.ok(error instanceof ConstraintError);
        assert.equal(error.place, place);
        assert.ok(error.message.startsWith(`Cannot use the constraint at ${place}: `));
        return true;
      });
    });
  }
});

describe("permits()", () => {
  const map = { amount: range({ max: 500 }), account: exact("acc-7"), note: optional(oneOf("a", "b")) };

  const rows: readonly [title: string, map: Entries, args: unknown, expected: boolean][] = [
    ["every named argument inside", map, { amount: 1, account: "acc-7", note: "a" }, true],
    ["an optional argument left out", map, { amount: 1, account: "acc-7" }, true],
    ["an optional argument outside", map, { amount: 1, account: "acc-7", note: "c" }, false],
    ["an optional argument that is undefined", map, { amount: 1, account: "acc-7", note: undefined }, false],
    ["an optional argument that is null", map, { amount: 1, account: "acc-7", note: null }, false],
    ["one argument outside", map, { amount: 501, account: "acc-7" }, false],
    ["a required argument left out", map, { amount: 1 }, false],
    ["an argument that is only inherited", { a: exact(1) }, Object.create({ a: 1 }), false],
    ["an argument nobody named", map, { amount: 1, account: "acc-7", currency: "EUR" }, false],
    ["no arguments where all are optional", { a: optional(exact(1)) }, {}, true],
    ["a wildcard that is left out", { a: wildcard() }, {}, false],
    ["a wildcard that is undefined", { a: wildcard() }, { a: undefined }, false],
    ["a wildcard that is null", { a: wildcard() }, { a: null }, true],
    ["an argument marked as not optional left out", { a: { ...exact(1), optional: false } }, {}, false],
    ["any arguments under the empty map", {}, { a: 1, b: [2] }, true],
    ["an argument called constructor under the empty map", {}, { constructor: 1 }, true],
    ["no arguments under the empty map", {}, {}, true],
    ['unnamed arguments under "*"', { a: exact(1), "*": wildcard() }, { a: 1, b: 2 }, true],
    ['named arguments under "*" all the same', { a: exact(1), "*": wildcard() }, { a: 2, b: 2 }, false],
    ['required arguments under "*" all the same', { a: exact(1), "*": wildcard() }, { b: 2 }, false],
    ['an argument called "*" without "*"', { a: exact(1) }, { a: 1, "*": 1 }, false],
    ['an argument called "*" with "*"', { a: exact(1), "*": wildcard() }, { a: 1, "*": 1 }, true],
    ['no argument called "*" with "*"', { "*": wildcard() }, {}, true],
    ["an unnamed argument that is undefined", {}, { a: undefined }, false],
    ["an unnamed __proto__", { a: exact(1) }, JSON.parse('{"a":1,"__proto__":{}}'), false],
    ["a named __proto__", owning("__proto__", exact(1)), owning("__proto__", 1), true],
    ["a named __proto__ outside", owning("__proto__", exact(1)), owning("__proto__", 2), false],
    ["a named __proto__ left out", owning("__proto__", wildcard()), {}, false],
    ["an unnamed constructor", { a: exact(1) }, { a: 1, constructor: 1 }, false],
    ["a named constructor", { constructor: exact(1) }, { constructor: 1 }, true],
    ["a named constructor left out", { constructor: wildcard() }, {}, false],
    ["a named toString left out", { toString: wildcard() } as Entries, {}, false],
    ["an unnamed hasOwnProperty", { a: exact(1) }, { a: 1, hasOwnProperty: true }, false],
    ["arguments without a prototype", { a: exact(1) }, Object.assign(Object.create(null), { a: 1 }), true],
    ["a symbol", { a: exact(1), "*": wildcard() }, { a: 1, [Symbol.iterator]: 1 }, false],
    ["what is not enumerable", { a: exact(1) }, Object.defineProperty({ a: 1 }, "b", { value: 1 }), false],
    ["null for arguments", {}, null, false],
    ["undefined for arguments", {}, undefined, false],
    ["a list for arguments", {}, [], false],
    ["text for arguments", {}, "", false],
    ["a function for arguments", {}, () => 1, false],
    ["a function made to look like an object", {}, Object.setPrototypeOf(() => 1, Object.prototype), false],
    ["a map for arguments", {}, new Map(), false],
    ["bytes for arguments", {}, new Uint8Array(), false],
  ];
  for (const [title, constraints, args, expected] of rows) {
    test(`permits() says ${expected ? "yes" : "no"} to ${title}`, () => {
      assert.equal(allows(constraints, args), expected);
    });
  }

  test("permits() says no to every tool that is not named as it is", () => {
    const tools = one({});
    for (const tool of ["payments.v1/refund", "PAYMENTS.v1/charge", TOOL + "/", "", "*", "__proto__", "toString"]) {
      assert.equal(permits(tools, tool, {}), false, tool);
    }
    assert.equal(permits(parseToolMap({}), TOOL, {}), false);
    assert.equal(permits(parseToolMap({ "*": {}, "payments.v1/*": {} }), TOOL, {}), false);
  });

  test("permits() takes a tool called __proto__ for what it is", () => {
    const tools = parseToolMap(owning("__proto__", { a: exact(1) }));
    assert.equal(permits(tools, "__proto__", { a: 1 }), true);
    assert.equal(permits(tools, "__proto__", { a: 2 }), false);
    assert.equal(permits(tools, "a", {}), false);
  });

  test("permits() says no where looking at the arguments throws", () => {
    const failing = () => {
      throw new Error("no");
    };
    const trap = Object.defineProperty({}, "a", { get: failing, enumerable: true });
    assert.equal(allows({ a: wildcard() }, trap), false);
    assert.equal(allows({}, new Proxy({}, { ownKeys: failing })), false);
    assert.equal(allows({}, new Proxy({}, { getPrototypeOf: failing })), false);
  });
});

describe("narrower()", () => {
  const a = exact(1);
  const rows: readonly [title: string, child: Entries, parent: Entries, expected: boolean][] = [
    ["the same map", { a, b: optional(a), "*": wildcard() }, { a, b: optional(a), "*": wildcard() }, true],
    ["the same closed map", { a }, { a }, true],
    ["a narrower constraint", { a }, { a: range({ min: 1 }) }, true],
    ["a wider constraint", { a: range({ min: 1 }) }, { a }, false],
    ["a wider constraint beside a narrower one", { a, b: wildcard() }, { a: wildcard(), b: a }, false],
    ["an argument the parent forbids", { a, b: a }, { a }, false],
    ['an argument the parent has under "*"', { a, b: a }, { a, "*": wildcard() }, true],
    ['an optional argument the parent has under "*"', { b: optional(a) }, { "*": wildcard() }, true],
    ["a map under the empty one", { a }, {}, true],
    ["the empty map under a closed one", {}, { a }, false],
    ["the empty map under one of optional arguments", {}, { a: optional(a) }, false],
    ["the empty map under itself", {}, {}, true],
    ['the empty map under "*"', {}, { "*": wildcard() }, true],
    ['"*" under the empty map', { "*": wildcard() }, {}, true],
    ['"*" added', { a, "*": wildcard() }, { a }, false],
    ['"*" dropped', { a }, { a, "*": wildcard() }, true],
    ['the empty map under "*" and a named argument', {}, { a, "*": wildcard() }, false],
    ["a required argument made optional", { a: optional(a) }, { a }, false],
    ["an optional argument made required", { a }, { a: optional(a) }, true],
    ["an argument not optional in other words", { a: { ...a, optional: false } }, { a }, true],
    ["a required argument under one not optional", { a: optional(a) }, { a: { ...a, optional: false } }, false],
    ["a required argument dropped", { b: a }, { a, b: a }, false],
    ["an optional argument dropped", { b: a }, { a: optional(a), b: a }, true],
    [
      'an optional argument dropped with "*" kept',
      { b: a, "*": wildcard() },
      { a: optional(a), b: a, "*": wildcard() },
      false,
    ],
    ["a required constructor dropped", { b: a }, { constructor: a, b: a }, false],
    ["an argument the parent has by inheritance only", { constructor: a }, { a: optional(a) }, false],
    [
      "a __proto__ the parent forbids",
      JSON.parse('{"a":{"constraint_type":"exact","value":1},"__proto__":{"constraint_type":"exact","value":1}}'),
      { a },
      false,
    ],
  ];
  for (const [title, child, parent, expected] of rows) {
    test(`narrower() says ${expected ? "yes" : "no"} to ${title}`, () => {
      assert.equal(isNarrower(child, parent), expected);
    });
  }

  test("narrower() compares tools by name", () => {
    const both = parseToolMap({ a: {}, b: {} });
    const first = parseToolMap({ a: {} });
    assert.equal(narrower(first, both), true);
    assert.equal(narrower(both, first), false);
    assert.equal(narrower(parseToolMap({}), first), true);
    assert.equal(narrower(parseToolMap({}), parseToolMap({})), true);
    assert.equal(narrower(first, parseToolMap({})), false);
    assert.equal(narrower(parseToolMap({ toString: {} }), first), false);
  });

  test("narrower() wants every tool narrower", () => {
    const parent = parseToolMap({ a: { x: a }, b: { x: a } });
    assert.equal(narrower(parseToolMap({ a: { x: a }, b: { x: a } }), parent), true);
    assert.equal(narrower(parseToolMap({ a: { x: a }, b: { x: wildcard() } }), parent), false);
  });
});
