import { type Random, secureRandom } from "../internal/random.ts";
import { perIdentity, type Weighted } from "./per_identity.ts";
import type { ChanceOptions } from "./random.ts";
import type { Selector } from "./selector.ts";

/**
 * Chooses in turn, each as often as its weight says, beginning anywhere, so that clients that start together do not
 * all call the same instance.
 *
 * @param options The source of chance for the beginning.
 * @returns The selector.
 */
export function roundRobin({ random = secureRandom() }: ChanceOptions = {}): Selector {
  return perIdentity((items) => inTurn(items, random));
}

/** Spreads the turns of each evenly: who has waited for most of its share comes next. */
function inTurn<Item extends Weighted>(items: readonly Item[], random: Random): () => Item {
  let next = random.below(items.length);
  if (items.every(({ weight }) => weight === items[0]!.weight)) {
    return () => items[next = (next + 1) % items.length]!;
  }
  // Each is due after every stride, at first anywhere within one.
  const due = items.map(({ weight }) => random.below(2 ** 32) / 2 ** 32 / weight);
  return () => {
    let chosen = 0;
    for (let i = 1; i < items.length; i++) if (due[i]! < due[chosen]!) chosen = i;
    due[chosen]! += 1 / items[chosen]!.weight;
    return items[chosen]!;
  };
}
