import { sha256 } from "@noble/hashes/sha2.js";

/** SHA-256 without waiting: what proves each message of a session, for which WebCrypto's promises would cost more. */
export interface HashProvider {
  /**
   * Hashes bytes.
   *
   * @param data The bytes.
   * @returns The 32 bytes of the hash, which are the caller's.
   * @see FIPS 180-4
   */
  sha256(data: Uint8Array): Uint8Array<ArrayBuffer>;
  /**
   * Prepares HMAC-SHA-256 with a key.
   *
   * @param key The key, which is copied; of any length.
   * @returns What computes the 32 bytes for some bytes, as often as asked; they are the caller's.
   * @see RFC 2104
   */
  hmac(key: Uint8Array): (data: Uint8Array) => Uint8Array<ArrayBuffer>;
}

/**
 * The hashes on every runtime, in JavaScript.
 *
 * @returns A provider; what it keeps to compute with is its own, and holds nothing from one hash to the next.
 */
export function nobleHash(): HashProvider {
  const initial = sha256.create();
  const work = sha256.create();
  const innerHash = new Uint8Array(HASH_BYTES);
  // Going on from a state that is there costs half of making one.
  const hashFrom = (state: typeof initial, data: Uint8Array, hash: Uint8Array<ArrayBuffer>) => {
    state._cloneInto(work).update(data).digestInto(hash);
    return hash;
  };
  const sha256Of = (data: Uint8Array) => hashFrom(initial, data, new Uint8Array(HASH_BYTES));
  return {
    sha256: sha256Of,
    hmac(key) {
      const block = new Uint8Array(BLOCK_BYTES);
      block.set(key.length > BLOCK_BYTES ? sha256Of(key) : key);
      // The two blocks that depend on the key only are hashed once, which halves the work for a short message.
      const inner = sha256.create().update(block.map((byte) => byte ^ 0x36));
      const outer = sha256.create().update(block.map((byte) => byte ^ 0x5c));
      return (data) => hashFrom(outer, hashFrom(inner, data, innerHash), new Uint8Array(HASH_BYTES));
    },
  };
}

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;
