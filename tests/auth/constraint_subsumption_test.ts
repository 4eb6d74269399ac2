import type { Constraint } from "../../src/auth/constraint.ts";
import { allOf, anyOf, exact, oneOf, pathPrefix, range, subset, wildcard } from "../../src/auth/constraint_builders.ts";
import { subsumption } from "../../src/auth/constraint_subsumption.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

type Pairs = readonly (readonly [child: Constraint, parent: Constraint])[];

const open = { minInclusive: false, maxInclusive: false };

const narrower: Readonly<Record<string, Pairs>> = {
  "the same value": [[exact(1), exact(1)], [exact(0), exact(-0)], [exact(null), exact(null)]],
  "values among the parent's": [
    [oneOf("a"), oneOf("a", "b")],
    [oneOf("b", "a", "b"), oneOf("a", "b")],
    [exact("a"), oneOf("a", "b")],
    [oneOf("a", "a"), exact("a")],
  ],
  "a tighter range": [
    [range({ min: 1, max: 2 }), range({ min: 1, max: 2 })],
    [range({ min: 1, max: 2 }), range({ min: 0, max: 3 })],
    [range({ min: 1, max: 2 }), range({ min: 0 })],
    [range({ min: 1, max: 2 }), range({ max: 2 })],
    [range({ min: 1, max: 2, ...open }), range({ min: 1, max: 2 })],
    [range({ min: 1, max: 2, ...open }), range({ min: 1, max: 2, ...open })],
    [range({ min: 1.5 }), range({ min: 1, minInclusive: false })],
    [range({ max: 1.5 }), range({ max: 2, maxInclusive: false })],
    [range({ min: 1, minInclusive: true }), range({ min: 1 })],
  ],
  "numbers in the range": [
    [exact(2), range({ min: 1, max: 2 })],
    [oneOf(1, 1.5, 2), range({ min: 1, max: 2 })],
    [exact(-0), range({ min: 0 })],
  ],
  "fewer items": [[subset("a"), subset("a", "b")], [subset(), subset()], [subset(), subset("a")]],
  "a path below": [
    [pathPrefix("/a"), pathPrefix("/a")],
    [pathPrefix("/a/b"), pathPrefix("/a")],
    [pathPrefix("/a"), pathPrefix("/")],
    [exact("/a/b"), pathPrefix("/a")],
    [oneOf("/a", "/a/b/c"), pathPrefix("/a")],
  ],
  "anything under a wildcard": [
    [wildcard(), wildcard()],
    [exact(1), wildcard()],
    [anyOf(wildcard(), exact(1)), wildcard()],
    [allOf(subset("a")), wildcard()],
  ],
  "an all with a clause under each of the parent's": [
    [allOf(range({ min: 1 }), range({ max: 2 })), allOf(range({ max: 3 }), range({ min: 0 }))],
    [allOf(exact(5)), allOf(wildcard(), wildcard())],
    [allOf(range({ min: 1 }), wildcard()), range({ min: 0 })],
    [range({ min: 1, max: 2 }), allOf(range({ min: 1 }), range({ max: 2 }))],
    [exact(1), allOf(range({ min: 1 }), oneOf(1, 2))],
  ],
  "an any with each clause under one of the parent's": [
    [anyOf(exact("pdf"), exact("csv")), anyOf(exact("pdf"), exact("csv"), exact("xlsx"))],
    [anyOf(exact("pdf")), anyOf(oneOf("pdf", "csv"))],
    [anyOf(exact(1), range({ min: 2, max: 3 })), range({ min: 1 })],
    [exact(1), anyOf(exact(1), exact(2))],
    [oneOf(1, "a"), anyOf(range({ min: 1 }), exact("a"))],
    [range({ min: 4 }), anyOf(exact(1), range({ min: 3 }))],
  ],
  "composites of composites": [
    [allOf(anyOf(exact(1), exact(2)), wildcard()), anyOf(exact(1), exact(2))],
    [allOf(anyOf(exact(1), exact(2)), wildcard()), anyOf(range({ max: 1 }), exact(2))],
    [allOf(range({ min: 1 }), range({ max: 2 })), anyOf(exact("x"), allOf(range({ min: 0 }), range({ max: 9 })))],
    [anyOf(allOf(exact(1), wildcard()), exact(2)), allOf(oneOf(1, 2), anyOf(exact(1), exact(2)))],
  ],
};

const wider: Readonly<Record<string, Pairs>> = {
  "another value": [[exact(2), exact(1)], [exact("1"), exact(1)], [exact(false), exact(0)], [oneOf(1, 2), exact(1)]],
  "a value beside the parent's": [
    [oneOf("a", "c"), oneOf("a", "b")],
    [exact("c"), oneOf("a", "b")],
    [oneOf("1"), oneOf(1)],
  ],
  "a looser range": [
    [range({ min: 0, max: 2 }), range({ min: 1, max: 2 })],
    [range({ min: 1, max: 3 }), range({ min: 1, max: 2 })],
    [range({ min: 1 }), range({ min: 1, max: 2 })],
    [range({ max: 2 }), range({ min: 1, max: 2 })],
    [range({ min: 1 }), range({ min: 1, minInclusive: false })],
    [range({ max: 2 }), range({ max: 2, maxInclusive: false })],
    [range({ min: 1, max: 2, minInclusive: false }), range({ min: 1, max: 2, maxInclusive: false })],
  ],
  "values outside of the range": [
    [exact(3), range({ max: 2 })],
    [exact("2"), range({ max: 2 })],
    [exact(1), range({ min: 1, minInclusive: false })],
    [oneOf(1, 3), range({ max: 2 })],
    [exact(null), range({ max: 2 })],
  ],
  "more items": [[subset("a", "c"), subset("a", "b")], [subset("a"), subset()], [exact("a"), subset("a")]],
  "a path beside": [
    [pathPrefix("/a/bc"), pathPrefix("/a/b")],
    [pathPrefix("/a"), pathPrefix("/a/b")],
    [pathPrefix("/"), pathPrefix("/a")],
    [pathPrefix("a"), pathPrefix("/a")],
    [pathPrefix("/a"), pathPrefix("a")],
    [pathPrefix("a"), pathPrefix("/")],
    [exact("/a/../b"), pathPrefix("/a")],
    [exact("/a/"), pathPrefix("/a")],
    [exact("/a/b/%2e%2e"), pathPrefix("/a")],
    [oneOf("/a/b", "/b"), pathPrefix("/a")],
    [exact(1), pathPrefix("/a")],
  ],
  "a wildcard under less": [
    [wildcard(), exact(1)],
    [wildcard(), range({ min: 0 })],
    [wildcard(), subset("a")],
    [wildcard(), pathPrefix("/")],
    [wildcard(), oneOf("a")],
    [wildcard(), anyOf(exact(1), range({ max: 1 }))],
    [wildcard(), allOf(wildcard(), exact(1))],
    [anyOf(exact(1), wildcard()), exact(1)],
  ],
  "a type that has nothing to do with the parent's": [
    [range({ min: 1, max: 1 }), exact(1)],
    [range({ min: 1, max: 1 }), oneOf(1)],
    [pathPrefix("/a"), exact("/a")],
    [subset("a"), oneOf("a")],
    [range({ min: 1 }), pathPrefix("/")],
    [pathPrefix("/a"), subset("/a")],
  ],
  "an all that drops a clause of the parent's": [
    [allOf(range({ min: 1 })), allOf(range({ min: 1 }), range({ max: 2 }))],
    [range({ min: 1 }), allOf(range({ min: 1 }), range({ max: 2 }))],
    [allOf(range({ min: 0 }), range({ max: 3 })), range({ min: 1 })],
    [exact(3), allOf(range({ min: 1 }), range({ max: 2 }))],
  ],
  "an any that adds a clause": [
    [anyOf(exact("pdf"), exact("docx")), anyOf(exact("pdf"), exact("csv"))],
    [anyOf(exact(1), exact(5)), range({ max: 2 })],
    [oneOf(1, 5), anyOf(exact(1), exact(2))],
    [exact(5), anyOf(exact(1), exact(2))],
    [subset("a", "b"), anyOf(subset("a"), subset("b"))],
  ],
  "what only arithmetic could justify": [
    [range({ min: 0, max: 2 }), anyOf(range({ min: 0, max: 1 }), range({ min: 1, max: 2 }))],
    [allOf(range({ min: 0 }), range({ max: 2 })), range({ min: 0, max: 2 })],
  ],
};

describe("subsumption()", () => {
  for (const [expected, groups] of [[true, narrower], [false, wider]] as const) {
    for (const [title, pairs] of Object.entries(groups)) {
      pairs.forEach(([child, parent], index) => {
        test(`subsumption() says ${expected ? "yes" : "no"} to ${title}, pair ${index}`, () => {
          assert.equal(subsumption()(child, parent), expected);
        });
      });
    }
  }

  test("subsumption() answers again as it answered first", () => {
    const isNarrower = subsumption();
    const [child, parent] = [exact(1), range({ min: 1 })];
    assert.deepEqual([isNarrower(child, parent), isNarrower(child, parent)], [true, true]);
    assert.deepEqual([isNarrower(parent, child), isNarrower(parent, child)], [false, false]);
  });

  test("subsumption() says no to a type that nobody parsed", () => {
    const unknown = { constraint_type: "contains", required: [] } as never;
    assert.equal(subsumption()(unknown, unknown), false);
    assert.equal(subsumption()(exact(1), unknown), false);
  });
});
