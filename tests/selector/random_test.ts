import { random } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { callOf, candidate, identities, pool, several } from "./_pool.ts";
import { chiSquare, chiSquareLimit, counted, seeded, sigmas } from "./_stats.ts";

const CALLS = 100_000;
const call = callOf();

test("random() chooses each instance of an identity as often as any other", () => {
  for (const n of [2, 3, 5, 16, 64]) {
    const pick = random({ random: seeded(n) })(pool(several(n)));
    const counts = counted(CALLS, () => pick(call).instance.id);
    assert.equal(counts.size, n);
    assert.ok(chiSquare(counts.values(), CALLS / n) < chiSquareLimit(n - 1), `${n}: ${[...counts.values()]}`);
  }
});

test("random() chooses each identity as often as any other", () => {
  const pick = random({ random: seeded() })(pool(identities(7)));
  const counts = counted(CALLS, () => pick(call).instance.identity);
  assert.ok(chiSquare(counts.values(), CALLS / 7) < chiSquareLimit(6), `${[...counts.values()]}`);
});

test("random() chooses instances and identities in proportion to their weights", () => {
  const weights = [1, 9, 30, 60, 100];
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  for (const identityOf of [() => "spiffe://example.org/shop", (i: number) => `spiffe://example.org/shop-${i}`]) {
    const candidates = weights.map((weight, i) => candidate(identityOf(i), `i${i}`, { weight }));
    const pick = random({ random: seeded(3) })(pool(candidates));
    const counts = counted(CALLS, () => pick(call).instance.id);
    weights.forEach((weight, i) => {
      assert.ok(Math.abs(sigmas(counts.get(`i${i}`)!, CALLS, weight / total)) < 4, `weight ${weight}`);
    });
  }
});

test("random() chooses the only instance there is", () => {
  const only = several(1);
  assert.equal(random()(pool(only))(call), only[0]);
});

test("random() chooses otherwise in each selector that is made", () => {
  const candidates = several(64);
  const run = () => {
    const pick = random()(pool(candidates));
    return Array.from({ length: 16 }, () => pick(call).instance.id).join();
  };
  assert.notEqual(run(), run());
});
