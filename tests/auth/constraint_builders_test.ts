import { type Constraint, CONSTRAINT_TYPES } from "../../src/auth/constraint.ts";
import {
  allOf,
  anyOf,
  exact,
  oneOf,
  optional,
  pathPrefix,
  range,
  subset,
  wildcard,
} from "../../src/auth/constraint_builders.ts";
import { ConstraintError } from "../../src/auth/constraint_error.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

describe("constraint builders", () => {
  const five: Constraint = { constraint_type: "exact", value: 5 };
  const built: readonly [name: string, constraint: Constraint, wire: unknown][] = [
    ["exact", exact(5), { constraint_type: "exact", value: 5 }],
    ["exact", exact(null), { constraint_type: "exact", value: null }],
    ["oneOf", oneOf("a", 1, true, null), { constraint_type: "one_of", values: ["a", 1, true, null] }],
    ["range", range({ min: 1 }), { constraint_type: "range", min: 1 }],
    ["range", range({ max: 2.5, maxInclusive: false }), { constraint_type: "range", max: 2.5, max_inclusive: false }],
    [
      "range",
      range({ min: 0, max: 1, minInclusive: true, maxInclusive: undefined }),
      { constraint_type: "range", min: 0, max: 1, min_inclusive: true },
    ],
    ["subset", subset("a"), { constraint_type: "subset", allowed: ["a"] }],
    ["subset", subset(), { constraint_type: "subset", allowed: [] }],
    ["pathPrefix", pathPrefix("/a/b"), { constraint_type: CONSTRAINT_TYPES.pathPrefix, prefix: "/a/b" }],
    ["allOf", allOf(exact(5), wildcard()), {
      constraint_type: "all",
      constraints: [five, { constraint_type: "wildcard" }],
    }],
    ["anyOf", anyOf(exact(5)), { constraint_type: "any", constraints: [five] }],
    ["wildcard", wildcard(), { constraint_type: "wildcard" }],
    ["optional", optional(exact(5)), { ...five, optional: true }],
  ];
  for (const [name, constraint, wire] of built) {
    test(`${name}() makes ${JSON.stringify(wire)}`, () => assert.deepEqual(constraint, wire));
  }

  test("allOf() freezes everything it holds", () => {
    const parts = (value: unknown): unknown[] =>
      typeof value === "object" && value !== null ? [value, ...Object.values(value).flatMap(parts)] : [];
    const found = parts(allOf(oneOf("a"), subset("b")));
    assert.equal(found.length, 6);
    assert.ok(found.every((part) => Object.isFrozen(part)));
    assert.ok(Object.isFrozen(optional(exact(1))));
  });

  test("anyOf() keeps nothing that its caller could still change", () => {
    const changing = { constraint_type: "exact" as const, value: 1 };
    const constraint = anyOf(changing);
    changing.value = 2;
    assert.deepEqual(constraint, { constraint_type: "any", constraints: [{ constraint_type: "exact", value: 1 }] });
  });

  test("optional() takes a constraint that already is", () => {
    assert.deepEqual(optional(optional(exact(5))), { ...five, optional: true });
  });

  const nonsense: readonly [title: string, build: () => unknown, place: string][] = [
    ["exact() refuses no value", () => exact(undefined as never), "exact().value"],
    ["exact() refuses an object", () => exact({} as never), "exact().value"],
    ["exact() refuses NaN", () => exact(NaN), "exact().value"],
    ["oneOf() refuses no values", () => oneOf(), "oneOf().values"],
    ["oneOf() refuses a list for a value", () => oneOf(["a"] as never), "oneOf().values[0]"],
    ["range() refuses no bounds", () => range({}), "range()"],
    ["range() refuses a bound that does not exist", () => range({ max: 9, minimum: 1 } as never), "range()"],
    ["range() refuses bounds the wrong way round", () => range({ min: 2, max: 1 }), "range()"],
    ["range() refuses infinity", () => range({ max: Infinity }), "range().max"],
    ["range() refuses null", () => range({ max: null } as never), "range().max"],
    ["subset() refuses an unsafe integer", () => subset(2 ** 53), "subset().allowed[0]"],
    ["pathPrefix() refuses what needs normalisation", () => pathPrefix("/a/../b"), "pathPrefix().prefix"],
    ["allOf() refuses no constraints", () => allOf(), "allOf().constraints"],
    ["anyOf() refuses no constraints", () => anyOf(), "anyOf().constraints"],
    ["anyOf() refuses an optional one", () => anyOf(optional(exact(1))), "anyOf().constraints[0]"],
    ["allOf() refuses a value for a constraint", () => allOf(5 as never), "allOf().constraints[0]"],
    ["optional() refuses what is no constraint", () => optional({} as never), "optional()"],
  ];
  for (const [title, build, place] of nonsense) {
    test(title, () => {
      assert.throws(build, (error) => {
        assert.ok(error instanceof ConstraintError && error instanceof TypeError);
        assert.equal(error.name, "ConstraintError");
        assert.equal(error.place, place);
        return true;
      });
    });
  }
});
