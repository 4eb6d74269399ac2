import { seenNumbers } from "../../src/broker/seen_numbers.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";

test("seenNumbers() has what was added, and nothing beside it", () => {
  const seen = seenNumbers({ pieces: 512 });
  const numbers = [1, 2, 31, 32, 33, 63, 64, 2_047, 2_048, 2_049, 4_096, 999_999_999_999_999];
  for (const number of numbers) {
    assert.equal(seen.has(number), false, `${number}`);
    seen.add(number);
    assert.equal(seen.has(number), true, `${number}`);
  }
  for (const number of [3, 30, 34, 62, 65, 95, 2_046, 2_050, 4_095, 4_097, 6_144, 999_999_999_999_998]) {
    assert.equal(seen.has(number), false, `${number}`);
  }
});

test("seenNumbers() forgets the lowest pieces, and takes all below them for done with", () => {
  const seen = seenNumbers({ pieces: 2 });
  for (const number of [1, 2_048, 10_000]) seen.add(number);
  // The piece of 1 is gone: of what is below 2,048 nobody can say any more.
  for (const number of [0, 1, 2, 2_047]) assert.equal(seen.has(number), true, `${number}`);
  for (const number of [2_049, 4_095, 4_096, 9_999, 10_001]) assert.equal(seen.has(number), false, `${number}`);
  assert.deepEqual([seen.has(2_048), seen.has(10_000)], [true, true]);
  // One lower than all that are there, but not forgotten: it is the one that goes, and is done with nevertheless.
  const sparse = seenNumbers({ pieces: 2 });
  for (const number of [10_000, 20_000, 5_000]) sparse.add(number);
  assert.deepEqual([5_000, 6_143, 6_144, 10_000, 20_000].map((number) => sparse.has(number)), [
    true,
    true,
    false,
    true,
    true,
  ]);
  sparse.add(1);
  const edge = seenNumbers({ pieces: 2 });
  for (const number of [1, 2_049, 10_000]) edge.add(number);
  assert.equal(edge.has(2_048), false);
  edge.add(2_048); // the first that is not forgotten
  assert.equal(edge.has(2_048), true);
  assert.deepEqual([sparse.has(10_000), sparse.has(6_144)], [true, false]);
});

test("seenNumbers() takes its pieces from a budget that others share, and keeps one whatever they need", () => {
  const budget = { pieces: 3 };
  const [first, second] = [seenNumbers(budget), seenNumbers(budget)];
  for (const number of [1, 2_049, 4_097]) first.add(number);
  assert.equal(budget.pieces, 0);
  second.add(1);
  second.add(2);
  assert.deepEqual([second.has(1), second.has(2), second.has(3)], [true, true, false]);
  assert.equal(first.has(2), false, "nothing of the first is forgotten for the second's last piece");
  first.clear();
  assert.equal(budget.pieces, 2);
  second.add(2_049);
  assert.deepEqual([second.has(3), budget.pieces], [false, 1]);
  second.clear();
  assert.equal(budget.pieces, 3);
});

test("seenNumbers() takes nothing any more once it was cleared", () => {
  const budget = { pieces: 3 };
  const seen = seenNumbers(budget);
  seen.add(1);
  seen.clear();
  seen.add(5_000);
  assert.equal(budget.pieces, 3);
});

test("seenNumbers() is a set, but for what it forgot, whatever is added", () => {
  const number = fc.oneof(
    fc.integer({ min: 1, max: 200 }),
    fc.integer({ min: 1, max: 20_000 }),
    fc.integer({ min: 0, max: 12 }).map((piece) => piece * 2_048 + 1),
    fc.integer({ min: 1, max: 999_999_999_999_999 }),
  );
  fc.assert(
    fc.property(fc.array(number, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), (numbers, maxPieces) => {
      const budget = { pieces: maxPieces };
      const seen = seenNumbers(budget);
      const model = new Set<number>();
      let floor = 0;
      for (const each of numbers) {
        seen.add(each);
        model.add(each);
        const pieces = [...new Set([...model].map((one) => Math.floor(one / 2_048)))]
          .filter((piece) => piece * 2_048 >= floor).sort((a, b) => a - b);
        if (pieces.length > maxPieces) floor = (pieces[0]! + 1) * 2_048;
        assert.equal(budget.pieces, Math.max(0, maxPieces - pieces.length));
        for (const about of [each, each - 1, each + 1, each + 32, each + 2_048, ...numbers]) {
          assert.equal(seen.has(about), about < floor || model.has(about), `${about}, floor ${floor}`);
        }
      }
    }),
    { numRuns: 100 },
  );
});
