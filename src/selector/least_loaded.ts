import { secureRandom } from "../internal/random.ts";
import { perIdentity } from "./per_identity.ts";
import { type ChanceOptions, drawing } from "./random.ts";
import type { Selector } from "./selector.ts";

/**
 * Draws two by chance and chooses the one that is answering fewer of this client's calls for its weight: nearly as even as
 * asking all of them, without everybody running to the same one.
 *
 * The client counts; what an instance would say of its own load is not asked. Among several identities load is not looked
 * at: one that always answers at once, with whatever, would draw nearly all calls.
 *
 * @param options The source of chance.
 * @returns The selector.
 * @see {@link https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf}
 */
export function leastLoaded({ random = secureRandom() }: ChanceOptions = {}): Selector {
  return perIdentity((items) => {
    const draw = drawing(items, random);
    return () => {
      const first = draw();
      let second = draw();
      for (let again = 0; second === first && again < MAX_DRAWS; again++) second = draw();
      return second.load * first.weight < first.load * second.weight ? second : first;
    };
  }, (identities) => drawing(identities, random));
}

/** Enough to find another one unless one has nearly all the weight. */
const MAX_DRAWS = 4;
