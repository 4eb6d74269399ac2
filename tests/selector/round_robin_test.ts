import { type Candidate, roundRobin } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { callOf, candidate, identities, pool, several } from "./_pool.ts";
import { chiSquare, chiSquareLimit, counted, seeded } from "./_stats.ts";

const call = callOf();
const take = (pick: (call: ReturnType<typeof callOf>) => Candidate, count: number) =>
  Array.from({ length: count }, () => pick(call).instance.name);

test("roundRobin() goes through all instances before it begins again", () => {
  for (const n of [2, 3, 10]) {
    for (const candidates of [several(n), identities(n)]) {
      const round = take(roundRobin({ random: seeded(n) })(pool(candidates)), 2 * n);
      assert.equal(new Set(round.slice(0, n)).size, n);
      assert.deepEqual(round.slice(n), round.slice(0, n), "the order stays");
    }
  }
});

test("roundRobin() begins anywhere, at each as often as at any other", () => {
  const n = 8;
  const random = seeded(5);
  const candidates = several(n);
  const counts = counted(8_000, () => roundRobin({ random })(pool(candidates))(call).instance.id);
  assert.equal(counts.size, n);
  assert.ok(chiSquare(counts.values(), 8_000 / n) < chiSquareLimit(n - 1), `${[...counts.values()]}`);
});

test("roundRobin() begins anywhere with its own chance too", () => {
  const candidates = several(100);
  const starts = counted(50, () => roundRobin()(pool(candidates))(call).instance.id);
  assert.ok(starts.size > 10, "clients that start together call the same instance");
});

test("roundRobin() begins anywhere where weights differ", () => {
  const random = seeded(6);
  const candidates = [50, 100, 100, 100].map((weight, i) =>
    candidate("spiffe://example.org/shop", `i${i}`, { weight })
  );
  const starts = counted(2_000, () => roundRobin({ random })(pool(candidates))(call).instance.id);
  assert.equal(starts.size, 4, `${[...starts]}`);
});

const WEIGHTS = [1, 2, 3, 4];
const weighing = (weights: readonly number[]) =>
  weights.map((weight, i) => candidate("spiffe://example.org/shop", `i${i}`, { weight }));

test("roundRobin() chooses each exactly as often as its weight says in every round, and spreads its turns", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const pick = roundRobin({ random: seeded(seed) })(pool(weighing(WEIGHTS)));
    const turns = take(pick, 1_000).map((name) => Number(name.at(-1)));
    for (let from = 0; from < turns.length; from += 10) {
      const round = turns.slice(from, from + 10);
      const counts = WEIGHTS.map((_, i) => round.filter((turn) => turn === i).length);
      assert.deepEqual(counts, WEIGHTS, `seed ${seed}, round ${from / 10}`);
    }
    // Who has four of ten turns has one in each two and a half: never three one after the other.
    assert.ok(!turns.some((turn, i) => turn === turns[i + 1] && turn === turns[i + 2]), `seed ${seed}: three in a row`);
  }
});

test("roundRobin() gives one that weighs little its first turn anywhere within a round", () => {
  const random = seeded(8);
  const firsts = new Uint32Array(4);
  for (let i = 0; i < 2_000; i++) {
    const turns = take(roundRobin({ random })(pool(weighing([1, 50, 49]))), 100);
    firsts[Math.floor(turns.findIndex((name) => name.endsWith("#i0")) / 25)]!++;
  }
  // Every client that starts would otherwise call it at once, or none would for long.
  assert.ok(chiSquare(firsts, 500) < chiSquareLimit(3), firsts.join());
});
