import { type Candidate, type Pool, sameRegionFirst } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { callOf, candidate, type Held, pool } from "./_pool.ts";
import { seeded, sigmas } from "./_stats.ts";

const SHOP = "spiffe://example.org/shop";
const CALLS = 20_000;
const call = callOf();
const of = (region: string | undefined, count: number): Held[] =>
  Array.from({ length: count }, (_, i) => candidate(SHOP, `${region}-${i}`, { region }));
const first = ({ candidates }: Pool) => () => candidates[0]!;

function share(candidates: readonly Candidate[], ejected: readonly Candidate[] = []): number {
  const pick = sameRegionFirst(first, { region: "eu", random: seeded(11) })(pool(candidates, ejected));
  let near = 0;
  for (let i = 0; i < CALLS; i++) if (pick(call).instance.region === "eu") near++;
  return near;
}

test("sameRegionFirst() keeps every call in the region while all there are well", () => {
  assert.equal(share([...of("us", 20), ...of("eu", 1)]), CALLS);
});

test("sameRegionFirst() keeps every call in the region while five in seven there are well", () => {
  const eu = of("eu", 7);
  assert.equal(share([...of("us", 3), ...eu.slice(0, 5)], eu.slice(5)), CALLS);
});

for (const [well, all, stays] of [[4, 7, 0.8], [1, 2, 0.7], [1, 10, 0.14]] as const) {
  test(`sameRegionFirst() keeps ${stays} of the calls where ${well} of ${all} in the region are well`, () => {
    const eu = of("eu", all);
    const near = share([...of("us", 3), ...eu.slice(0, well)], eu.slice(well));
    assert.ok(Math.abs(sigmas(near, CALLS, stays)) < 4, `${near} of ${CALLS}`);
  });
}

test("sameRegionFirst() does not count what is ejected elsewhere", () => {
  assert.equal(share([...of("us", 1), ...of("eu", 2)], of("us", 9)), CALLS);
});

test("sameRegionFirst() sends every call elsewhere where nobody in the region is well", () => {
  assert.equal(share(of("us", 2), of("eu", 2)), 0);
});

test("sameRegionFirst() calls those that name no region last", () => {
  assert.equal(share([...of(undefined, 9), ...of("eu", 1)]), CALLS);
  assert.equal(share(of(undefined, 9)), 0);
});

test("sameRegionFirst() leaves the choice within a part to the selector, which sees that part alone", () => {
  const pools: Pool[] = [];
  const selector = (seen: Pool) => {
    pools.push(seen);
    return () => seen.candidates.at(-1)!;
  };
  const [eu, us] = [of("eu", 4), of("us", 3)];
  const pick = sameRegionFirst(selector, { region: "eu" })(pool([...us, ...eu.slice(0, 1)], eu.slice(1)));
  assert.deepEqual(pools, [pool(eu.slice(0, 1), eu.slice(1)), pool(us, [])]);
  const chosen = new Set(Array.from({ length: 200 }, () => pick(call).instance.id));
  assert.deepEqual(chosen, new Set(["eu-0", "us-2"]));
});

test("sameRegionFirst() asks for one choice where there is one part, or where all calls stay", () => {
  const seenOf = (candidates: readonly Candidate[], ejected: readonly Candidate[] = []) => {
    const pools: Pool[] = [];
    const selector = (seen: Pool) => (pools.push(seen), first(seen));
    sameRegionFirst(selector, { region: "eu" })(pool(candidates, ejected));
    return pools;
  };
  const [eu, us] = [of("eu", 2), of("us", 2)];
  assert.deepEqual(seenOf(eu, us), [pool(eu, us)]);
  assert.deepEqual(seenOf(us, eu), [pool(us, eu)]);
  assert.deepEqual(seenOf([...us, ...eu]), [pool(eu)]);
});

test("sameRegionFirst() keeps seven of ten calls, and not one more", () => {
  for (const [drawn, region] of [[0, "eu"], [699, "eu"], [700, "us"], [999, "us"]] as const) {
    const [eu, us] = [of("eu", 2), of("us", 1)];
    const pick = sameRegionFirst(first, { region: "eu", random: { below: () => drawn } })(
      pool([...us, eu[0]!], [eu[1]!]),
    );
    assert.equal(pick(call).instance.region, region, `${drawn}`);
  }
});
