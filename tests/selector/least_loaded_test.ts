import { leastLoaded } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { callOf, candidate, type Held, identities, pool, several } from "./_pool.ts";
import { chiSquare, chiSquareLimit, counted, seeded, sigmas } from "./_stats.ts";

const CALLS = 50_000;
const SHOP = "spiffe://example.org/shop";
const call = callOf();

test("leastLoaded() chooses by chance where all are as busy", () => {
  for (const [n, inFlight] of [[2, 0], [5, 3], [16, 0]] as const) {
    const pick = leastLoaded({ random: seeded(n) })(pool(several(n, SHOP, { inFlight })));
    const counts = counted(CALLS, () => pick(call).instance.id);
    assert.ok(chiSquare(counts.values(), CALLS / n) < chiSquareLimit(n - 1), `${[...counts.values()]}`);
  }
});

test("leastLoaded() chooses in proportion to the weights where all are idle", () => {
  const candidates = [20, 80].map((weight, i) => candidate(SHOP, `i${i}`, { weight }));
  const pick = leastLoaded({ random: seeded() })(pool(candidates));
  const counts = counted(CALLS, () => pick(call).instance.id);
  assert.ok(Math.abs(sigmas(counts.get("i0")!, CALLS, 0.2)) < 4, `${[...counts]}`);
});

test("leastLoaded() chooses the less busy of two", () => {
  const candidates = several(2);
  const pick = leastLoaded({ random: seeded() })(pool(candidates));
  candidates[0]!.inFlight = 1;
  const counts = counted(1_000, () => pick(call).instance.id);
  // Both draws are the busy one in one of 2^6 choices, no more of them are made.
  assert.ok(counts.get("i1")! > 950, `${[...counts]}`);
});

/** Chance that gives these numbers, and the last of them from then on. */
function scripted(...numbers: readonly number[]) {
  let drawn = 0;
  return { below: () => numbers[Math.min(drawn++, numbers.length - 1)]!, drawn: () => drawn };
}

test("leastLoaded() draws again for one that it has drawn, four times at most", () => {
  for (
    const [numbers, draws, expected] of [
      [[0, 1], 2, "i1"],
      [[0, 0, 1], 3, "i1"],
      [[0, 0, 0, 0, 0, 1], 6, "i1"],
      [[0, 0, 0, 0, 0, 0, 1], 6, "i0"],
      [[1, 0], 2, "i1"],
      [[1, 1, 1, 0], 4, "i1"],
    ] as const
  ) {
    const candidates = several(2);
    const random = scripted(...numbers);
    const pick = leastLoaded({ random })(pool(candidates));
    candidates[0]!.inFlight = 1;
    assert.equal(pick(call).instance.id, expected, numbers.join());
    assert.equal(random.drawn(), draws, numbers.join());
  }
});

test("leastLoaded() does not look at what whole identities are answering", () => {
  const busy = several(2, "spiffe://example.org/busy", { inFlight: 1_000 });
  const pick = leastLoaded({ random: seeded(3) })(pool([...busy, ...identities(1)]));
  const counts = counted(CALLS, () => pick(call).instance.identity);
  const found = counts.get("spiffe://example.org/busy") ?? 0;
  assert.ok(Math.abs(sigmas(found, CALLS, 0.5)) < 4, `${[...counts]}`);
});

test("leastLoaded() looks at what the instances of each identity are answering, beside others too", () => {
  const candidates = several(2);
  const pick = leastLoaded({ random: seeded(2) })(pool([...candidates, ...identities(1, {}, "other")]));
  candidates[0]!.inFlight = 1;
  const counts = counted(4_000, () => pick(call).instance.name);
  assert.ok((counts.get(`${SHOP}#i0`) ?? 0) < 100 && counts.get(`${SHOP}#i1`)! > 1_800, `${[...counts]}`);
});

test("leastLoaded() measures what an instance is answering by its weight", () => {
  const [light, heavy] = [candidate(SHOP, "light", { weight: 10 }), candidate(SHOP, "heavy", { weight: 100 })];
  const pick = leastLoaded({ random: seeded() })(pool([light, heavy]));
  Object.assign(light, { inFlight: 2 });
  Object.assign(heavy, { inFlight: 19 });
  assert.ok((counted(1_000, () => pick(call).instance.id).get("heavy") ?? 0) > 950, "19 for 100 is less than 2 for 10");
  Object.assign(heavy, { inFlight: 21 });
  const now = counted(1_000, () => pick(call).instance.id);
  assert.ok(now.get("light")! > 250, "2 for 10 is less than 21 for 100");
});

test("leastLoaded() keeps calls that last nearly even, far more so than chance alone", () => {
  const n = 50;
  const candidates = several(n);
  const pick = leastLoaded({ random: seeded(9) })(pool(candidates));
  for (let i = 0; i < n * 20; i++) (pick(call) as Held).inFlight++;
  const busiest = Math.max(...candidates.map(({ inFlight }) => inFlight));
  assert.ok(busiest <= 24, `the busiest has ${busiest}, chance alone would give about 31`);
});

test("leastLoaded() never chooses the busiest of many, nor always the idlest", () => {
  const candidates = identities(1).concat(several(9));
  const within = candidates.slice(1);
  within.forEach((each, i) => each.inFlight = i);
  const pick = leastLoaded({ random: seeded(4) })(pool(within));
  const counts = counted(CALLS, () => pick(call).instance.id);
  assert.ok((counts.get("i8") ?? 0) < CALLS / 1_000, "the busiest");
  // The idlest of nine is among two draws in 2 of 9 choices.
  assert.ok(Math.abs(sigmas(counts.get("i0")!, CALLS, 2 / 9)) < 4, "the idlest");
});
