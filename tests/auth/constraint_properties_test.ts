import type { Constraint, ConstraintEntry, Scalar } from "../../src/auth/constraint.ts";
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
import { satisfies } from "../../src/auth/constraint_check.ts";
import { subsumption } from "../../src/auth/constraint_subsumption.ts";
import { type ArgumentMap, narrower, parseToolMap, permits } from "../../src/auth/tool_map.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

// The worlds are small, so that a child and its parent often speak of the same values.
const number = fc.constantFrom(0, -0, 1, 2, 3, 1.5, -1);
const path = fc.constantFrom("/", "/a", "/a/b", "/a/bc", "/a/b/c", "a", "a/b");
const scalar: fc.Arbitrary<Scalar> = fc.oneof(number, path, fc.constantFrom("0", "1", "", true, false, null));
const scalars = fc.array(scalar, { minLength: 1, maxLength: 4 });
const bounds = fc.record({ low: number, high: number, minInclusive: fc.boolean(), maxInclusive: fc.boolean() })
  .map(({ low, high, minInclusive, maxInclusive }) => {
    const [min, max] = [Math.min(low, high), Math.max(low, high)];
    return { min, max, minInclusive, maxInclusive };
  });

const leaf: fc.Arbitrary<Constraint> = fc.oneof(
  scalar.map(exact),
  scalars.map((values) => oneOf(...values)),
  bounds.map(range),
  bounds.map(({ min, minInclusive }) => range({ min, minInclusive })),
  bounds.map(({ max, maxInclusive }) => range({ max, maxInclusive })),
  fc.array(scalar, { maxLength: 4 }).map((values) => subset(...values)),
  path.map(pathPrefix),
  fc.constant(wildcard()),
);
const { constraint } = fc.letrec<{ constraint: Constraint }>((tie) => ({
  constraint: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    leaf,
    fc.array(tie("constraint"), { minLength: 1, maxLength: 3 }).map((clauses) => allOf(...clauses)),
    fc.array(tie("constraint"), { minLength: 1, maxLength: 3 }).map((clauses) => anyOf(...clauses)),
  ),
}));

/** Draws one value in the middle of a property. */
type Draw = <Value>(arbitrary: fc.Arbitrary<Value>) => Value;
const gen = fc.gen().map((value): Draw => (arbitrary) => value(() => arbitrary));

/** A constraint that differs a little from another, to either side. */
function mutated(from: Constraint, draw: Draw): Constraint {
  switch (draw(fc.constantFrom("keep", "wrap all", "wrap any", "other", "inside", "inside", "inside"))) {
    case "keep":
      return from;
    case "wrap all":
      return allOf(...draw(fc.constantFrom([from], [from, draw(leaf)], [draw(leaf), from])));
    case "wrap any":
      return anyOf(...draw(fc.constantFrom([from], [from, draw(leaf)])));
    case "other":
      return draw(leaf);
    default:
      return mutatedInside(from, draw);
  }
}

function mutatedInside(from: Constraint, draw: Draw): Constraint {
  switch (from.constraint_type) {
    case "exact":
      return oneOf(from.value, ...draw(fc.array(scalar, { maxLength: 1 })));
    case "one_of":
      return oneOf(...edited(from.values, scalar, draw));
    case "subset":
      return subset(...edited(from.allowed, scalar, draw));
    case "range": {
      const { min = -2, max = 4, min_inclusive, max_inclusive } = from;
      const nudge = () => draw(fc.constantFrom(0, 0, 0.5, -0.5, 1));
      const low = min + nudge();
      const same = { minInclusive: min_inclusive ?? true, maxInclusive: max_inclusive ?? true };
      const flipped = { minInclusive: draw(fc.boolean()), maxInclusive: draw(fc.boolean()) };
      return range({ min: low, max: Math.max(low, max - nudge()), ...draw(fc.constantFrom(same, flipped)) });
    }
    case "all":
      return allOf(...edited(from.constraints.map((clause) => mutated(clause, draw)), leaf, draw));
    case "any":
      return anyOf(...edited(from.constraints.map((clause) => mutated(clause, draw)), leaf, draw));
    case "wildcard":
      return draw(constraint);
    default:
      return draw(fc.oneof(path.map(pathPrefix), path.map(exact), fc.constant(pathPrefix(from.prefix))));
  }
}

/** A list with one item more or fewer, and never empty. */
function edited<Item>(items: readonly Item[], more: fc.Arbitrary<Item>, draw: Draw): Item[] {
  const shorter = items.slice(1);
  return draw(fc.constantFrom([...items], shorter.length > 0 ? shorter : [...items], [...items, draw(more)]));
}

/** Whatever could tell two constraints apart: their values, their neighbours, lists and paths of them, and strangers. */
const NUMBERS = [-3, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 2 ** 53, Infinity, NaN];
const PATHS = ["/", "/a", "/a/b", "/a/bc", "/a/b/c", "a", "a/b", "/a/", "/a/../b", "//a", "/a/b/x", "/x", "x", "a/%2e"];
const OTHERS = ["0", "1", "", "4", true, false, null, undefined, {}, 1n];
const SINGLES: readonly unknown[] = [...NUMBERS, ...PATHS, ...OTHERS];
const VALUES: readonly unknown[] = [
  ...SINGLES,
  [],
  ...SINGLES.map((value) => [value]),
  ...SINGLES.map((value, index) => [value, SINGLES[(index * 7 + 1) % SINGLES.length]]),
];

describe("subsumption() properties", () => {
  test("subsumption() says yes only where the parent takes whatever the child takes", () => {
    const seen = { yes: 0, no: 0 };
    fc.assert(
      fc.property(constraint, gen, (parent, draw) => {
        const child = mutated(parent, draw);
        const answer = subsumption()(child, parent);
        seen[answer ? "yes" : "no"]++;
        if (!answer) return;
        for (const value of VALUES) {
          if (satisfies(child, value)) assert.ok(satisfies(parent, value), String(value));
        }
      }),
      { numRuns: 5000 },
    );
    // Otherwise the property would hold for want of cases.
    assert.ok(seen.yes > 500 && seen.no > 500, JSON.stringify(seen));
  });

  test("subsumption() says yes only where it may for constraints that know nothing of each other", () => {
    fc.assert(
      fc.property(constraint, constraint, (child, parent) => {
        if (!subsumption()(child, parent)) return;
        for (const value of VALUES) {
          if (satisfies(child, value)) assert.ok(satisfies(parent, value), String(value));
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("subsumption() says yes to a single value exactly where the parent takes it", () => {
    fc.assert(
      fc.property(scalar, constraint, (value, parent) => {
        assert.equal(subsumption()(exact(value), parent), satisfies(parent, value));
      }),
      { numRuns: 2000 },
    );
  });

  test("subsumption() is reflexive", () => {
    fc.assert(fc.property(constraint, (one) => assert.ok(subsumption()(one, one))), { numRuns: 2000 });
  });

  test("subsumption() is transitive", () => {
    let chains = 0;
    fc.assert(
      fc.property(constraint, gen, (grandparent, draw) => {
        const parent = mutated(grandparent, draw);
        const child = mutated(parent, draw);
        const isNarrower = subsumption();
        if (!isNarrower(parent, grandparent) || !isNarrower(child, parent)) return;
        chains++;
        assert.ok(isNarrower(child, grandparent));
      }),
      { numRuns: 5000 },
    );
    assert.ok(chains > 300, `${chains} chains`);
  });
});

const NAMES = ["a", "b", "__proto__", "constructor"];
const entry: fc.Arbitrary<ConstraintEntry> = fc.oneof(constraint, constraint.map(optional));
const entries = fc.array(fc.tuple(fc.constantFrom(...NAMES), entry), { maxLength: 3 });
const withStar = fc.constantFrom(false, false, true);

function toMap(list: readonly (readonly [string, ConstraintEntry])[], star: boolean): ArgumentMap {
  return parseToolMap({ t: Object.fromEntries([...list, ...(star ? [["*", wildcard()] as const] : [])]) }).t;
}
const argumentMap = fc.tuple(entries, withStar).map(([list, star]) => toMap(list, star));

/** A map that differs a little from another, to either side. */
function mutatedMap(from: ArgumentMap, draw: Draw): ArgumentMap {
  const same = Object.entries(from).filter(([name]) => name !== "*");
  const changed = same.flatMap(([name, { optional: isOptional, ...bare }]): [string, ConstraintEntry][] => {
    const next = mutated(bare as Constraint, draw);
    const flip = draw(fc.constantFrom(false, false, false, true));
    const kept: [string, ConstraintEntry] = [name, (isOptional === true) !== flip ? optional(next) : next];
    return draw(fc.constantFrom([kept], [kept], [kept], []));
  });
  const star = draw(fc.constantFrom(Object.hasOwn(from, "*"), Object.hasOwn(from, "*"), false, true));
  return toMap([...changed, ...draw(fc.constantFrom([], [], draw(entries).slice(0, 1)))], star);
}

const argument = fc.constantFrom(...VALUES);
const args = fc.array(fc.tuple(fc.constantFrom(...NAMES, "*", "other"), argument), { maxLength: 4 })
  .map((list): Record<string, unknown> => Object.fromEntries(list));

/** Arguments that a map rather takes: the names it knows, with values that it takes where there are some. */
function inside(map: ArgumentMap, draw: Draw): Record<string, unknown> {
  const named = Object.entries(map).filter(([name]) => name !== "*").flatMap(([name, one]) => {
    const taken = VALUES.filter((value) => value !== undefined && satisfies(one, value));
    const leaveOut = taken.length === 0 || (one.optional === true && draw(fc.boolean()));
    return leaveOut ? [] : [[name, draw(fc.constantFrom(...taken))]];
  });
  const more = draw(fc.constantFrom(false, false, true)) ? [[draw(fc.constantFrom(...NAMES, "*", "other")), 1]] : [];
  return Object.fromEntries([...more, ...named]);
}

describe("narrower() properties", () => {
  test("narrower() says yes only where the parent permits whatever the child permits", () => {
    const seen = { yes: 0, no: 0, permitted: 0 };
    fc.assert(
      fc.property(argumentMap, gen, (parentMap, draw) => {
        const [parent, child] = [{ t: parentMap }, { t: mutatedMap(parentMap, draw) }];
        const answer = narrower(child, parent);
        seen[answer ? "yes" : "no"]++;
        if (!answer) return;
        for (let count = 0; count < 12; count++) {
          const call = count < 8 ? inside(child.t, draw) : draw(args);
          if (!permits(child, "t", call)) continue;
          seen.permitted++;
          assert.ok(permits(parent, "t", call));
        }
      }),
      { numRuns: 4000 },
    );
    assert.ok(seen.yes > 500 && seen.no > 500 && seen.permitted > 2000, JSON.stringify(seen));
  });

  test("narrower() is reflexive, and whatever it says is so for copies", () => {
    fc.assert(
      fc.property(argumentMap, (map) => {
        const copy = parseToolMap(JSON.parse(JSON.stringify({ t: map })));
        assert.ok(narrower({ t: map }, { t: map }) && narrower(copy, { t: map }) && narrower({ t: map }, copy));
      }),
      { numRuns: 1000 },
    );
  });

  test("narrower() is transitive", () => {
    let chains = 0;
    fc.assert(
      fc.property(argumentMap, gen, (map, draw) => {
        const grandparent = { t: map };
        const parent = { t: mutatedMap(grandparent.t, draw) };
        const child = { t: mutatedMap(parent.t, draw) };
        if (!narrower(parent, grandparent) || !narrower(child, parent)) return;
        chains++;
        assert.ok(narrower(child, grandparent));
      }),
      { numRuns: 5000 },
    );
    assert.ok(chains > 200, `${chains} chains`);
  });

  test("permits() answers whatever the arguments are", () => {
    fc.assert(
      fc.property(argumentMap, fc.anything({ withNullPrototype: true, withBigInt: true }), (map, anything) => {
        assert.equal(typeof permits({ t: map }, "t", anything as Record<string, unknown>), "boolean");
      }),
      { numRuns: 2000 },
    );
  });

  test("parseToolMap() reads a tool map or throws its own error, whatever the value is", () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true, withSparseArray: true }), (anything) => {
        try {
          parseToolMap({ t: { a: anything } });
        } catch (error) {
          assert.equal((error as Error).name, "ConstraintError");
        }
      }),
      { numRuns: 2000 },
    );
  });
});
