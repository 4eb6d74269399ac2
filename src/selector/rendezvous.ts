import { sha256 } from "@noble/hashes/sha2.js";
import type { Call } from "../rpc/mod.ts";
import { perIdentity, type Weighted } from "./per_identity.ts";
import type { Selector } from "./selector.ts";

/** How calls are placed. */
export interface RendezvousOptions {
  /**
   * 32 secret bytes under which names are hashed, given where several clients have to agree on the places.
   *
   * @default {random ones, of this selector alone}
   */
  readonly secret?: Uint8Array;
}

/**
 * Sends all calls with the same key to the same instance; when instances come and go, only the keys of those move.
 *
 * Keys and names are hashed under a secret, so nobody who does not know it can choose a name that attracts a key, or keys
 * that meet at one instance.
 *
 * @example A customer's calls stay together
 * ```ts
 * import { rendezvous } from "@postern/rpc/selector";
 *
 * const selector = rendezvous(({ message }) => (message as { readonly customer: string }).customer);
 * ```
 *
 * @param keyOf Gives the key of a call; it sees messages of all methods that the transport is used for.
 * @param options A shared secret.
 * @returns The selector.
 * @throws {RangeError} The secret is shorter than 32 bytes.
 * @see {@link https://www.eecs.umich.edu/techreports/cse/96/CSE-TR-316-96.pdf}
 */
export function rendezvous(keyOf: (call: Call) => string, options: RendezvousOptions = {}): Selector {
  if (options.secret && options.secret.length < SECRET) {
    throw new RangeError(`Cannot place calls: the secret must have ${SECRET} bytes`);
  }
  let hash: Hash | undefined;
  const places = new Map<string, Place>();
  // Not before the first call: workerd gives no random bits to a module that is being loaded.
  const hashing = () => hash ??= keyedHash(options.secret ?? crypto.getRandomValues(new Uint8Array(SECRET)));
  const select = perIdentity((items) => placing(items, keyOf, hashing(), places));
  return (pool) => {
    if (places.size > MAX_PLACES) places.clear();
    return select(pool);
  };
}

/** 64 bits, as two words. */
type Place = readonly [number, number];
type Hash = (label: string, text: string) => Place;

/**
 * Hashes texts under a secret: SHA-256 over the secret and the text, cut to 64 of its 256 bits, so that what was hashed
 * cannot be gone on from.
 */
function keyedHash(secret: Uint8Array): Hash {
  const block = new Uint8Array(64);
  block.set(secret.subarray(0, 64));
  const keyed = sha256.create().update(block);
  return (label, text) => {
    const bytes = keyed.clone().update(new TextEncoder().encode(`${label}\0${text}`)).digest();
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return [view.getUint32(0), view.getUint32(4)];
  };
}

function placing<Item extends Weighted>(
  items: readonly Item[],
  keyOf: (call: Call) => string,
  hash: Hash,
  known: Map<string, Place>,
): (call: Call) => Item {
  const places = items.map(({ name }) => {
    let place = known.get(name);
    if (!place) known.set(name, place = hash("place", name));
    return place;
  });
  const isEven = items.every(({ weight }) => weight === items[0]!.weight);
  const score = isEven ? meet : (place: Place, key: Place, weight: number) => weighted(meet(place, key), weight);
  return (call) => {
    const key = hash("key", keyOf(call));
    let [best, chosen] = [-Infinity, 0];
    for (let i = 0; i < items.length; i++) {
      const scored = score(places[i]!, key, items[i]!.weight);
      if (scored > best) [best, chosen] = [scored, i];
    }
    return items[chosen]!;
  };
}

/**
 * Where a name and a key meet, from 0 to 2^32.
 *
 * Both are secret bits already, of which nobody sees more than who was chosen, so that mixing them well is enough; hashing
 * each pair would cost a hundred times as much. The constants are those of MurmurHash3's finalizer.
 */
function meet([high, low]: Place, [keyHigh, keyLow]: Place): number {
  let mixed = low ^ keyLow;
  for (let round = 0; round < 2; round++) {
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    mixed ^= mixed >>> 16;
    if (round === 0) mixed ^= high ^ Math.imul(keyHigh, 0x9e3779b1);
  }
  return mixed >>> 0;
}

/** Makes a share proportional to its weight (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005). */
const weighted = (met: number, weight: number) => weight / -Math.log((met + 0.5) / 2 ** 32);

/** In bytes. */
const SECRET = 32;
/** How many names' places are remembered. */
const MAX_PLACES = 65_536;
