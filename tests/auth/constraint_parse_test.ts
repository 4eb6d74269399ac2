import { CONSTRAINT_TYPES } from "../../src/auth/constraint.ts";
import { ConstraintError } from "../../src/auth/constraint_error.ts";
import { parseToolMap } from "../../src/auth/tool_map.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const parse = (entry: unknown) => parseToolMap({ t: { a: entry } });
const of = (constraint_type: string, members = {}) => ({ constraint_type, ...members });
const path = (prefix: unknown) => of(CONSTRAINT_TYPES.pathPrefix, { prefix });
const leaf = of("wildcard");
const nested = (depth: number): unknown => depth === 1 ? leaf : of("all", { constraints: [nested(depth - 1)] });
const sparse = (length: number) => new Array(length);

describe("parseToolMap() of one constraint", () => {
  const kept: readonly [title: string, entry: unknown][] = [
    ["every scalar", of("one_of", { values: ["", "a", 0, -1.5, true, false, null] })],
    ["the largest safe integer", of("exact", { value: Number.MAX_SAFE_INTEGER })],
    ["a range of one number", of("range", { min: 1, max: 1 })],
    [
      "a range with everything",
      of("range", { min: 1, max: 2, min_inclusive: false, max_inclusive: true, optional: true }),
    ],
    ["a subset of nothing", of("subset", { allowed: [] })],
    ["8 levels", nested(8)],
    ["128 constraints", of("any", { constraints: Array(127).fill(leaf) })],
    ["512 values", of("any", { constraints: [0, 1].map(() => of("one_of", { values: Array(256).fill(1) })) })],
    ["an optional composite", of("any", { constraints: [leaf], optional: true })],
    ["the path of the root", path("/")],
    ["a relative path", path("a/b")],
    ["a path of 4096 characters", path("/" + "a".repeat(4095))],
  ];
  for (const [title, entry] of kept) {
    test(`parseToolMap() takes ${title}`, () => assert.deepEqual(parse(entry), { t: { a: entry } }));
  }

  const refused: readonly [title: string, entry: unknown, place?: string][] = [
    ["null", null],
    ["text", "wildcard"],
    ["a list", [leaf]],
    ["an instance of a class", Object.assign(new Date(), leaf)],
    ["no type", { value: 1 }],
    ["an unknown type", of("regex", { pattern: ".*" })],
    ["the draft's not_one_of", of("not_one_of", { excluded: ["a"] })],
    ["the draft's contains", of("contains", { required: ["a"] })],
    ["the type of another spelling", of("Exact", { value: 1 })],
    ["the type __proto__", of("__proto__")],
    ["the type toString", of("toString")],
    ["a type that is no text", { constraint_type: ["wildcard"] }],
    ["a type that is only inherited", Object.create(leaf)],
    ["an unknown member", of("exact", { value: 1, comment: "x" })],
    ["an unknown member of a wildcard", of("wildcard", { value: 1 })],
    ["a member of another type", of("exact", { value: 1, values: [1] })],
    ["a member __proto__", JSON.parse('{"constraint_type":"wildcard","__proto__":{}}')],
    ["optional that is text", of("wildcard", { optional: "true" }), ".optional"],
    ["optional that is 1", of("wildcard", { optional: 1 }), ".optional"],
    ["optional that is null", of("wildcard", { optional: null }), ".optional"],
    ["exact without a value", of("exact"), ".value"],
    ["exact of a list", of("exact", { value: [] }), ".value"],
    ["exact of an object", of("exact", { value: {} }), ".value"],
    ["exact of NaN", of("exact", { value: NaN }), ".value"],
    ["exact of infinity", of("exact", { value: Infinity }), ".value"],
    ["exact of an unsafe integer", of("exact", { value: 2 ** 53 }), ".value"],
    ["exact of a bigint", of("exact", { value: 1n }), ".value"],
    ["exact of text that is not well-formed", of("exact", { value: "\ud800" }), ".value"],
    ["one_of without values", of("one_of"), ".values"],
    ["one_of of no values", of("one_of", { values: [] }), ".values"],
    ["one_of of text", of("one_of", { values: "ab" }), ".values"],
    ["one_of of an object", of("one_of", { values: { 0: "a", length: 1 } }), ".values"],
    ["one_of with an object", of("one_of", { values: ["a", {}] }), ".values[1]"],
    ["one_of with holes", of("one_of", { values: sparse(1) }), ".values[0]"],
    ["one_of with an unsafe integer", of("one_of", { values: [-(2 ** 53)] }), ".values[0]"],
    ["subset without allowed", of("subset"), ".allowed"],
    ["subset of an object", of("subset", { allowed: {} }), ".allowed"],
    ["subset with a list", of("subset", { allowed: [[]] }), ".allowed[0]"],
    ["subset with holes", of("subset", { allowed: sparse(1) }), ".allowed[0]"],
    ["513 values in one list", of("one_of", { values: Array(513).fill(1) }), ".values"],
    [
      "513 values in two lists",
      of("all", {
        constraints: [of("one_of", { values: Array(512).fill(1) }), of("subset", { allowed: [1] })],
      }),
      ".constraints[1].allowed",
    ],
    ["range without bounds", of("range")],
    ["range with inclusivity only", of("range", { min_inclusive: true }), ".min_inclusive"],
    ["range with text", of("range", { min: "1" }), ".min"],
    ["range with null", of("range", { max: null }), ".max"],
    ["range with undefined", of("range", { min: 1, max: undefined }), ".max"],
    ["range with NaN", of("range", { min: NaN }), ".min"],
    ["range with infinity", of("range", { max: Infinity }), ".max"],
    ["range with an unsafe min", of("range", { min: -(2 ** 53) }), ".min"],
    ["range with an unsafe max", of("range", { max: 1e20 }), ".max"],
    ["range with min over max", of("range", { min: 2, max: 1 })],
    ["range with min_inclusive as text", of("range", { min: 2, min_inclusive: "false" }), ".min_inclusive"],
    ["range with max_inclusive as number", of("range", { max: 2, max_inclusive: 0 }), ".max_inclusive"],
    ["range with min_inclusive but no min", of("range", { max: 2, min_inclusive: false }), ".min_inclusive"],
    ["range with max_inclusive but no max", of("range", { min: 2, max_inclusive: false }), ".max_inclusive"],
    ["path_prefix without a prefix", of(CONSTRAINT_TYPES.pathPrefix), ".prefix"],
    ["path_prefix by its short name", of("path_prefix", { prefix: "/a" })],
    ["path_prefix of a number", path(1), ".prefix"],
    ["path_prefix of nothing", path(""), ".prefix"],
    ["path_prefix with a slash at its end", path("/a/"), ".prefix"],
    ["path_prefix with two slashes", path("//"), ".prefix"],
    ["path_prefix with an empty segment", path("/a//b"), ".prefix"],
    ["path_prefix with a dot", path("/a/./b"), ".prefix"],
    ["path_prefix of a dot", path("."), ".prefix"],
    ["path_prefix with two dots", path("/a/../b"), ".prefix"],
    ["path_prefix with a backslash", path("/a\\b"), ".prefix"],
    ["path_prefix with a percent sign", path("/a%2fb"), ".prefix"],
    ["path_prefix with a control character", path("/a\x1fb"), ".prefix"],
    ["path_prefix that is not well-formed", path("/a\udfff"), ".prefix"],
    ["path_prefix of 4097 characters", path("/" + "a".repeat(4096)), ".prefix"],
    ["all without constraints", of("all"), ".constraints"],
    ["all of no constraints", of("all", { constraints: [] }), ".constraints"],
    ["any of no constraints", of("any", { constraints: [] }), ".constraints"],
    ["all of an object", of("all", { constraints: { 0: leaf } }), ".constraints"],
    ["any of a value", of("any", { constraints: [leaf, 5] }), ".constraints[1]"],
    ["any with holes", of("any", { constraints: sparse(1) }), ".constraints[0]"],
    ["any of an unknown type", of("any", { constraints: [of("x")] }), ".constraints[0]"],
    ["an optional clause", of("all", { constraints: [of("wildcard", { optional: true })] }), ".constraints[0]"],
    ["a clause said not to be optional", of("all", { constraints: [{ ...leaf, optional: false }] }), ".constraints[0]"],
    [
      "an unknown member of a clause of a clause",
      of("any", { constraints: [leaf, of("all", { constraints: [of("exact", { value: 1, x: 1 })] })] }),
      ".constraints[1].constraints[0]",
    ],
    ["9 levels", nested(9), ".constraints[0]".repeat(8)],
    ["129 constraints", of("any", { constraints: Array(128).fill(leaf) }), ".constraints[127]"],
  ];
  for (const [title, entry, place = ""] of refused) {
    test(`parseToolMap() refuses ${title}`, () => {
      assert.throws(() => parse(entry), (error) => {
        assert.ok(error instanceof ConstraintError);
        assert.equal(error.place, "tools.t.a" + place);
        return true;
      });
    });
  }

  test("parseToolMap() names the place and never a value", () => {
    const secret = "hunter2";
    const wrong = [
      of("exact", { value: [secret] }),
      of("exact", { value: 1, [secret]: 1 }),
      of(secret),
      of("one_of", { values: [{ secret }] }),
      of("range", { min: secret }),
      path("/" + secret + "/"),
      secret,
    ];
    for (const entry of wrong) {
      assert.throws(() => parseToolMap({ "payments.v1/charge": { amount: entry } }), (error) => {
        assert.ok(error instanceof ConstraintError);
        assert.ok(error.message.includes('tools["payments.v1/charge"].amount'), error.message);
        assert.ok(!error.message.includes(secret), error.message);
        return true;
      });
    }
  });

  test("parseToolMap() reads each member once", () => {
    let reads = 0;
    const entry = { constraint_type: "exact", value: 1 };
    Object.defineProperty(entry, "value", { get: () => ++reads, enumerable: true });
    assert.deepEqual(parse(entry), { t: { a: { constraint_type: "exact", value: 1 } } });
    assert.equal(reads, 1);
  });
});
