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
 * @throws {RangeError} The secret has not 32 bytes.
 * @see {@link https://www.eecs.umich.edu/techreports/cse/96/CSE-TR-316-96.pdf}
 */
export function rendezvous(keyOf: (call: Call) => string, options: RendezvousOptions = {}): Selector {
  if (options.secret && options.secret.length !== SECRET) {
    throw new RangeError(`Cannot place calls: the secret must have ${SECRET} bytes`);
  }
  const given = options.secret?.slice(); // the caller may wipe its own
  let hashes: Hashes | undefined;
  // Not before the first call: workerd gives no random bits to a module that is being loaded.
  const hashing = () => {
    if (hashes) return hashes;
    const secret = given ?? crypto.getRandomValues(new Uint8Array(SECRET));
    return hashes = { ofName: keyedHash(secret, "name"), ofKey: keyedHash(secret, "key") };
  };
  return perIdentity((items) => placing(items, keyOf, hashing()));
}

interface Hashes {
  readonly ofName: Hash;
  readonly ofKey: Hash;
}

/** 64 bits, as two words. */
type Place = readonly [number, number];
/** The place of a text; those of the latest ones are remembered, because hashing costs more than choosing. */
type Hash = (text: string) => Place;

/**
 * Hashes texts under a secret: SHA-256 over the secret and the text, cut to 64 of its 256 bits, so that what was hashed
 * cannot be gone on from.
 *
 * @param label Keeps texts of one kind from meeting those of another.
 */
function keyedHash(secret: Uint8Array, label: string): Hash {
  const block = new Uint8Array(64);
  block.set(secret);
  const encoder = new TextEncoder();
  const keyed = sha256.create().update(block).update(encoder.encode(`${label}\0`));
  const known = new Map<string, Place>();
  return (text) => {
    let place = known.get(text);
    if (place) return place;
    const bytes = keyed.clone().update(encoder.encode(text)).digest();
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    place = [view.getInt32(0), view.getInt32(4)];
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(text, place);
    return place;
  };
}

function placing<Item extends Weighted>(
  items: readonly Item[],
  keyOf: (call: Call) => string,
  { ofName, ofKey }: Hashes,
): (call: Call) => Item {
  const { length } = items;
  const places = new Int32Array(2 * length); // in one piece, because a call looks at all of them
  items.forEach(({ name }, i) => places.set(ofName(name), 2 * i));
  const isEven = items.every(({ weight }) => weight === items[0]!.weight);
  const score = (i: number, [high, low]: Place) => meet(places[2 * i]! ^ high, places[2 * i + 1]! ^ low);
  return (call) => {
    const key = ofKey(keyOf(call));
    let [best, chosen] = [-Infinity, 0];
    for (let i = 0; i < length; i++) {
      const scored = isEven ? score(i, key) : weighted(score(i, key), items[i]!.weight);
      if (scored > best) [best, chosen] = [scored, i];
    }
    return items[chosen]!;
  };
}

/**
 * Where a name and a key meet: 32 bits, of those in which they differ.
 *
 * Both are secret bits already, of which nobody sees more than who was chosen, so that mixing them well is enough; hashing
 * each pair would cost a hundred times as much. The constants are those of MurmurHash3's finalizer.
 */
function meet(high: number, low: number): number {
  let mixed = Math.imul(high, 0x9e3779b1) ^ low;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** Makes a share proportional to its weight (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005). */
const weighted = (met: number, weight: number) => weight / -Math.log((met + 0.5) / 2 ** 32);

/** In bytes. */
const SECRET = 32;
/** How many texts' places are remembered. */
const MAX_KNOWN = 16_384;
