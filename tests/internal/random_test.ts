import { secureRandom } from "../../src/internal/random.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { chiSquare, chiSquareLimit } from "../selector/_stats.ts";

const DRAWS = 1_000_000;
const WORDS = 2 ** 32;

/** A source of exactly these words, one after the other, as often as they are drawn. */
function scripted(...script: readonly number[]) {
  let at = 0;
  return secureRandom((words) => words.forEach((_, i) => words[i] = script[at++ % script.length]!));
}

// In this file 70 numbers are compared with a limit that chance exceeds in one of 10,000 runs (p > 0.0001): together they
// fail by chance in less than one of 100 runs.
for (let from = 2; from <= 64; from += 9) {
  const to = from + 8;
  test(`secureRandom() draws each of n numbers as often as any other, for n from ${from} to ${to}`, () => {
    const random = secureRandom();
    for (let n = from; n <= to; n++) {
      const counts = new Uint32Array(n);
      for (let i = 0; i < DRAWS; i++) counts[random.below(n)]!++;
      const found = chiSquare(counts, DRAWS / n);
      assert.ok(found < chiSquareLimit(n - 1), `n = ${n}: chi-square ${found}`);
    }
  });
}

// With so large an n the remainder of a division alone would draw the first third half of the time.
test("secureRandom() draws each third of a range that does not divide evenly as often as any other", () => {
  const random = secureRandom();
  const counts = [0, 0, 0];
  for (let i = 0; i < 100_000; i++) counts[Math.floor(random.below(3 * 2 ** 30) / 2 ** 30)]!++;
  assert.ok(chiSquare(counts, 100_000 / 3) < chiSquareLimit(2), counts.join());
});

test("secureRandom() draws again for the first and the last word that do not divide evenly", () => {
  for (let n = 3; n <= 64; n++) {
    const rest = WORDS % n;
    if (rest === 0) continue;
    assert.equal(scripted(WORDS - rest, n + 1).below(n), 1, `first, n = ${n}`);
    assert.equal(scripted(WORDS - 1, n + 1).below(n), 1, `last, n = ${n}`);
  }
});

test("secureRandom() keeps the last word that divides evenly", () => {
  for (const n of [2, 3, 7, 10, 64, 1_000_003, 3 * 2 ** 30, WORDS - 1, WORDS]) {
    const last = WORDS - WORDS % n - 1;
    assert.equal(scripted(last, 0).below(n), n - 1, String(n));
  }
});

test("secureRandom() keeps the greatest word where n is a power of two", () => {
  for (let bits = 1; bits <= 32; bits++) assert.equal(scripted(WORDS - 1, 0).below(2 ** bits), 2 ** bits - 1);
});

test("secureRandom() draws again as often as it must", () => {
  const refused = Array.from({ length: 1_000 }, () => WORDS - 1);
  assert.equal(scripted(...refused, 5).below(3), 2);
});

test("secureRandom() maps each word to a number, and each number is met as often", () => {
  const drawn = Array.from({ length: 12 }, (_, i) => scripted(i).below(4));
  assert.deepEqual(drawn, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
});

test("below() has no choice where n is 1", () => {
  for (const word of [0, 1, WORDS - 1]) assert.equal(scripted(word).below(1), 0);
});

test("below() gives whole words where n is 4,294,967,296", () => {
  for (const word of [0, 1, 2 ** 31, WORDS - 1]) assert.equal(scripted(word).below(WORDS), word);
});

for (const n of [0, -1, 0.5, 1.5, WORDS + 1, NaN, Infinity, -Infinity]) {
  test(`below() refuses ${n}`, () => {
    assert.throws(() => secureRandom().below(n), { name: "RangeError", message: `Cannot draw one of ${n}` });
  });
}

const first = (count: number, random = secureRandom()) => Array.from({ length: count }, () => random.below(WORDS));

test("secureRandom() gives two sources made at the same moment different numbers", () => {
  const [one, other] = [secureRandom(), secureRandom()];
  assert.notDeepEqual(first(8, one), first(8, other));
});

test("secureRandom() draws the same whatever the time and Math.random say", () => {
  const kept = [Reflect.get(Math, "random"), Date.now, performance.now] as const;
  let asked = 0;
  const frozen = () => (asked++, 0.5);
  try {
    Object.assign(Math, { random: frozen });
    Object.assign(Date, { now: frozen });
    performance.now = frozen;
    assert.notDeepEqual(first(8), first(8));
    const random = secureRandom();
    const counts = new Uint32Array(8);
    for (let i = 0; i < 80_000; i++) counts[random.below(8)]!++;
    assert.ok(chiSquare(counts, 10_000) < chiSquareLimit(7), counts.join());
  } finally {
    Object.assign(Math, { random: kept[0] });
    Object.assign(Date, { now: kept[1] });
    performance.now = kept[2];
  }
  assert.equal(asked, 0);
});

test("secureRandom() draws numbers that say nothing of those that follow", () => {
  const random = secureRandom();
  for (const distance of [1, 2, 255, 256, 257]) {
    const drawn = Array.from({ length: 64_000 + distance }, () => random.below(8));
    const pairs = new Uint32Array(64);
    for (let i = 0; i < 64_000; i++) pairs[drawn[i]! * 8 + drawn[i + distance]!]!++;
    assert.ok(chiSquare(pairs, 1_000) < chiSquareLimit(63), `distance ${distance}`);
  }
});

test("secureRandom() gives no word out twice, and keeps none that it gave out", () => {
  const seen: Uint32Array[] = [];
  let next = 0;
  const random = secureRandom((words) => {
    seen.push(words);
    for (let i = 0; i < words.length; i++) words[i] = next++;
  });
  assert.deepEqual(first(1_000, random), Array.from({ length: 1_000 }, (_, i) => i));
  const used = 1_000 - (seen.length - 1) * seen[0]!.length;
  assert.ok(seen.at(-1)!.subarray(0, used).every((word) => word === 0), "what was drawn is still there");
});
