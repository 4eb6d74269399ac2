import type { Call } from "../rpc/mod.ts";
import type { Candidate, Selector } from "./selector.ts";

/** One of several, each of which wants a share. */
export interface Weighted {
  /** Its name, which is the same whenever it is there. */
  readonly name: string;
  /** How much it wants beside the others, a whole number from 1 to 100. */
  readonly weight: number;
  /** How many calls it is answering for each of its instances. */
  readonly load: number;
}

/** Gets ready to choose one of several; there are at least two. */
export type Chooser = <Item extends Weighted>(items: readonly Item[]) => (call: Call) => Item;

/**
 * Chooses an identity first and one of its instances then: an identity counts once, however many instances it registers, so
 * that false ones win nothing.
 *
 * The weight of an identity is the largest of its instances' weights: what they say of themselves can lower its share and
 * never raise it over anybody else's.
 *
 * @param choose How one of several instances is chosen.
 * @param chooseIdentity How one of several identities is. @default {as instances are}
 * @returns The selector.
 */
export function perIdentity(choose: Chooser, chooseIdentity: Chooser = choose): Selector {
  return ({ candidates }) => {
    const groups = new Map<string, Candidate[]>();
    for (const candidate of candidates) {
      const group = groups.get(candidate.instance.identity);
      if (group) group.push(candidate);
      else groups.set(candidate.instance.identity, [candidate]);
    }
    const identities = [...groups].map(([name, members]) => identityOf(name, members, choose));
    if (identities.length === 1) return identities[0]!.pick;
    const pick = chooseIdentity(identities);
    return (call) => pick(call).pick(call);
  };
}

interface Identity extends Weighted {
  readonly pick: (call: Call) => Candidate;
}

function identityOf(name: string, members: readonly Candidate[], choose: Chooser): Identity {
  const items = members.map((candidate) => ({
    candidate,
    name: candidate.instance.name,
    weight: candidate.instance.weight,
    get load() {
      return candidate.inFlight;
    },
  }));
  const chooseItem = items.length === 1 ? () => items[0]! : choose(items);
  return {
    name,
    weight: items.reduce((most, { weight }) => Math.max(most, weight), 1),
    get load() {
      return items.reduce((sum, { load }) => sum + load, 0);
    },
    pick: (call) => chooseItem(call).candidate,
  };
}
