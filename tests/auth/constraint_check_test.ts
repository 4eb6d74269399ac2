import type { ConstraintEntry } from "../../src/auth/constraint.ts";
import { allOf, anyOf, exact, oneOf, pathPrefix, range, subset, wildcard } from "../../src/auth/constraint_builders.ts";
import { satisfies } from "../../src/auth/constraint_check.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

interface Row {
  readonly name: string;
  readonly constraint: ConstraintEntry;
  readonly yes: readonly unknown[];
  readonly no: readonly unknown[];
}

const holes = () => {
  const items: unknown[] = ["a"];
  items.length = 2;
  return items;
};

const rows: readonly Row[] = [
  { name: "exact(1)", constraint: exact(1), yes: [1, 1.0], no: [2, "1", true, [1], { value: 1 }, null, undefined, 1n] },
  { name: "exact(0)", constraint: exact(0), yes: [0, -0], no: ["0", "", false, null, NaN] },
  { name: "exact(-0)", constraint: exact(-0), yes: [0, -0], no: ["0", Number.MIN_VALUE] },
  { name: 'exact("a")', constraint: exact("a"), yes: ["a"], no: ["A", "a ", ["a"], new String("a"), "\u0430"] },
  { name: "exact(composed é)", constraint: exact("\u00e9"), yes: ["\u00e9"], no: ["e\u0301"] },
  { name: "exact(null)", constraint: exact(null), yes: [null], no: [undefined, 0, "null", {}] },
  { name: "exact(true)", constraint: exact(true), yes: [true], no: [1, "true", false] },
  {
    name: 'oneOf("a", 1, null)',
    constraint: oneOf("a", 1, null),
    yes: ["a", 1, null],
    no: ["b", "1", undefined, ["a"], NaN],
  },
  { name: "oneOf(0)", constraint: oneOf(0), yes: [0, -0], no: ["0", false, undefined] },
  {
    name: "range({ min: 0, max: 10 })",
    constraint: range({ min: 0, max: 10 }),
    yes: [0, -0, 10, 5, 0.1],
    no: [-1, 10.001, "5", null, undefined, NaN, 5n, [5], new Number(5), new Date(5)],
  },
  {
    name: "range() with both bounds excluded",
    constraint: range({ min: 0, max: 10, minInclusive: false, maxInclusive: false }),
    yes: [Number.MIN_VALUE, 9.999],
    no: [0, -0, 10],
  },
  {
    name: "range({ min: 0 })",
    constraint: range({ min: 0 }),
    yes: [0, Number.MAX_SAFE_INTEGER, 0.5],
    no: [-1, Infinity, 2 ** 53, 1e300],
  },
  {
    name: "range({ max: 0 })",
    constraint: range({ max: 0 }),
    yes: [0, -0, Number.MIN_SAFE_INTEGER],
    no: [1, -Infinity, -(2 ** 53)],
  },
  {
    name: "range() of one excluded number",
    constraint: range({ min: 1, max: 1, minInclusive: false }),
    yes: [],
    no: [1, 0, 2],
  },
  {
    name: 'subset("a", 1)',
    constraint: subset("a", 1),
    yes: [[], ["a"], [1, "a", 1]],
    no: [["b"], ["a", "b"], ["1"], "a", { 0: "a", length: 1 }, [["a"]], [undefined], holes(), new Set(["a"]), null],
  },
  { name: "subset()", constraint: subset(), yes: [[]], no: [[undefined], [null], new Array(1), "", {}] },
  {
    name: 'pathPrefix("/a/b")',
    constraint: pathPrefix("/a/b"),
    yes: ["/a/b", "/a/b/c", "/a/b/c/d.txt", "/a/b/...", "/a/b/.hidden", "/a/b/ ", "/a/b/é"],
    no: ["/a/bc", "/a", "/", "", "a/b", "a/b/c", "/A/b", "//a/b", ["/a/b"], { path: "/a/b" }, 1, null, undefined],
  },
  {
    name: 'pathPrefix("/a/b") and paths that need normalisation,',
    constraint: pathPrefix("/a/b"),
    yes: [],
    no: [
      "/a/b/",
      "/a/b//c",
      "/a/b/./c",
      "/a/b/.",
      "/a/b/../c",
      "/a/b/..",
      "/a/b/../../etc/passwd",
      "/a/b/c/../d",
      "/a/b\\..\\c",
      "/a/b/c\\d",
      "/a/b/%2e%2e/c",
      "/a/b/100%",
      "/a/b/c\0",
      "/a/b/c\n",
      "/a/b/c\x7f",
      "/a/b/c\x85",
      "/a/b/c\ud800",
      "/a/b/" + "c".repeat(5000),
    ],
  },
  {
    name: 'pathPrefix("a")',
    constraint: pathPrefix("a"),
    yes: ["a", "a/b"],
    no: ["/a", "/a/b", "ab", "./a", "b/../a", "a/"],
  },
  { name: 'pathPrefix("/")', constraint: pathPrefix("/"), yes: ["/", "/a", "/a/b"], no: ["", "a", "//", "/a/", "/.."] },
  {
    name: "allOf(range, range)",
    constraint: allOf(range({ min: 1 }), range({ max: 3 })),
    yes: [1, 2, 3],
    no: [0, 4, "2"],
  },
  { name: "anyOf(exact, range)", constraint: anyOf(exact("all"), range({ max: 3 })), yes: ["all", 2], no: ["none", 4] },
  {
    name: "anyOf(allOf, allOf)",
    constraint: anyOf(allOf(range({ min: 1 }), range({ max: 2 })), allOf(wildcard(), exact("x"))),
    yes: [1, 2, "x"],
    no: [0, 3, "y"],
  },
  { name: "wildcard()", constraint: wildcard(), yes: [null, 0, "", [], {}, false, NaN, 1n], no: [] },
];

describe("satisfies()", () => {
  for (const { name, constraint, yes, no } of rows) {
    yes.forEach((value, index) => {
      test(`satisfies() says yes for ${name} and value ${index} of those inside`, () => {
        assert.equal(satisfies(constraint, value), true);
      });
    });
    no.forEach((value, index) => {
      test(`satisfies() says no for ${name} and value ${index} of those outside`, () => {
        assert.equal(satisfies(constraint, value), false);
      });
    });
  }

  test("satisfies() says no to a type that nobody parsed", () => {
    assert.equal(satisfies({ constraint_type: "not_one_of", excluded: [] } as never, 1), false);
  });
});
