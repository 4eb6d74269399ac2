// What the tests of choices share: chance that a test decides, and how far from its share a count may be.
import { type Random, secureRandom } from "../../src/internal/random.ts";

/** Chance that is the same in every run: the sampling under test, over words of sfc32 in place of the runtime's. */
export function seeded(seed = 1): Random {
  let [a, b, c, count] = [seed, 0x9e3779b9, 0x243f6a88, 1];
  const word = () => {
    const sum = (a + b + count++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 20; i++) word();
  return secureRandom((words) => words.forEach((_, i) => words[i] = word()));
}

/** How many calls each name got. */
export function counted(times: number, name: (i: number) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i < times; i++) {
    const chosen = name(i);
    counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
  }
  return counts;
}

/** How far counts are from what was expected of them. */
export function chiSquare(counts: Iterable<number>, expected: number): number {
  let sum = 0;
  for (const count of counts) sum += (count - expected) ** 2 / expected;
  return sum;
}

/**
 * What chi-square exceeds by chance in one of a hundred million runs (Wilson and Hilferty's approximation, which is above the true
 * value where there are few degrees).
 */
export function chiSquareLimit(degrees: number): number {
  const part = 2 / (9 * degrees);
  return degrees * (1 - part + 5.612 * Math.sqrt(part)) ** 3;
}

/** How many standard deviations of a binomial distribution a count is above its share. */
export function sigmas(count: number, times: number, share: number): number {
  return (count - times * share) / Math.sqrt(times * share * (1 - share));
}
