import { withResolvers } from "../../internal/with_resolvers.ts";
import type { EpochKey } from "./epoch_key.ts";
import { keyPatience } from "./key_patience.ts";

/** Which key of which publisher. */
export type KeyName = Pick<EpochKey, "publisher" | "topic" | "kid">;

/** The keys that a subscriber was given: each counts for messages of the publisher who gave it, and of its topic. */
export interface KeyRing extends Disposable {
  /** A key; undefined where it was not given. */
  get(name: KeyName): EpochKey | undefined;
  /** Keeps a key, and the oldest ones of its publisher and topic no longer. */
  add(key: EpochKey): void;
  /**
   * Waits for a key.
   *
   * @param name Which one.
   * @param ask Asks for it; called where nobody waits for it yet.
   * @returns The key; undefined where it did not come in time, or another one of its publisher and topic did not a
   *   moment ago, or where too many are waited for, or its publisher let wait for too long.
   */
  wait(name: KeyName, ask: () => void): Promise<EpochKey | undefined>;
  /** Which of some keys is waited for. */
  isAwaited(name: KeyName): boolean;
}

interface Waiting {
  readonly key: Promise<EpochKey | undefined>;
  readonly end: (key: EpochKey | undefined) => void;
}

/**
 * Makes an empty ring.
 *
 * Messages are read in their order, so while a key is waited for all others wait too. How long they do is a matter of each publisher:
 * its messages may wait twice as long as for one key, and then in a sixth of the time.
 *
 * @param options How long a key is waited for, and the clock.
 */
export function keyRing(options: { readonly keyWaitMs: number; readonly now: () => number }): KeyRing {
  const { keyWaitMs, now } = options;
  const rings = new Map<string, Map<string, EpochKey>>();
  const waiting = new Map<string, Waiting>();
  const missed = new Map<string, number>();
  const patience = keyPatience({ keyWaitMs, now });
  const ringOf = ({ publisher, topic }: KeyName) => `${publisher} ${topic}`;
  const nameOf = (name: KeyName) => `${ringOf(name)} ${name.kid}`;
  const get = (name: KeyName) => rings.get(ringOf(name))?.get(name.kid);

  /** Whether a key may be waited for that nobody waits for yet. */
  function mayWait(which: KeyName): boolean {
    const missedAtMs = missed.get(ringOf(which));
    // Whoever reads many old messages does not wait for the key of each.
    if (missedAtMs !== undefined && now() - missedAtMs < MISSED_MS) return false;
    return waiting.size < MAX_WAITING && patience.begin(which);
  }

  function waitFor(which: KeyName): Waiting {
    const name = nameOf(which);
    const { promise: key, resolve } = withResolvers<EpochKey | undefined>();
    const end = (found: EpochKey | undefined) => {
      clearTimeout(timer);
      waiting.delete(name);
      patience.end(which, { missed: !found });
      resolve(found);
    };
    const timer = setTimeout(() => {
      bounded(missed, ringOf(which), now(), MAX_MISSED);
      end(undefined);
    }, keyWaitMs);
    const each = { key, end };
    waiting.set(name, each);
    return each;
  }

  return {
    get,
    add(key) {
      const ring = rings.get(ringOf(key)) ?? new Map<string, EpochKey>();
      bounded(rings, ringOf(key), ring, MAX_RINGS);
      bounded(ring, key.kid, key, MAX_KEYS);
      waiting.get(nameOf(key))?.end(key);
    },
    async wait(which, ask) {
      const already = waiting.get(nameOf(which));
      if (already) return await already.key;
      if (!mayWait(which)) return undefined;
      const { key } = waitFor(which);
      ask();
      return await key;
    },
    isAwaited: (name) => waiting.has(nameOf(name)),
    [Symbol.dispose]() {
      for (const { end } of [...waiting.values()]) end(undefined);
      rings.clear();
    },
  };
}

/** Puts one in as the newest, and lets the oldest go where there are too many. */
function bounded<Value>(all: Map<string, Value>, name: string, value: Value, most: number): void {
  all.delete(name);
  all.set(name, value);
  if (all.size > most) all.delete(all.keys().next().value!);
}

/** How many keys of one publisher and topic are kept. */
export const MAX_KEYS = 64;
/** Of how many publishers and topics keys are kept. */
export const MAX_RINGS = 1_024;
const MAX_WAITING = 1_024;
const MAX_MISSED = 1_024;
/** For how long after a key that did not come none of its publisher and topic is waited for, in milliseconds. */
const MISSED_MS = 30_000;
