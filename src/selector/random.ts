import { type Random, secureRandom } from "../internal/random.ts";
import { perIdentity, type Weighted } from "./per_identity.ts";
import type { Selector } from "./selector.ts";

/** Where a selector takes its chance from. */
export interface ChanceOptions {
  /** The source of chance. @default {the runtime's cryptographic one} */
  readonly random?: Random;
}

/**
 * Chooses by chance, in proportion to the weights.
 *
 * @example Choose by chance
 * ```ts ignore
 * const transport = balancedTransport(registry, { identity, trust, selector: random() });
 * ```
 *
 * @param options The source of chance.
 * @returns The selector.
 */
export function random({ random = secureRandom() }: ChanceOptions = {}): Selector {
  return perIdentity((items) => drawing(items, random));
}

/** Draws one of several in proportion to their weights. */
export function drawing<Item extends Weighted>(items: readonly Item[], random: Random): () => Item {
  const { length } = items;
  if (items.every(({ weight }) => weight === items[0]!.weight)) return () => items[random.below(length)]!;
  let total = 0;
  const ends = items.map(({ weight }) => total += weight);
  return () => items[firstAbove(ends, random.below(total))]!;
}

/** Where in a rising list the first number above another one is. */
function firstAbove(ends: readonly number[], value: number): number {
  let [low, high] = [0, ends.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
