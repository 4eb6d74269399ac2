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

/** The hashes on every runtime, in JavaScript. */
export const nobleHash: HashProvider = {
  sha256,
  hmac(key) {
    const block = new Uint8Array(BLOCK_BYTES);
    block.set(key.length > BLOCK_BYTES ? sha256(key) : key);
    // The two blocks that depend on the key only are hashed once, which halves the work for a short message.
    const inner = sha256.create().update(block.map((byte) => byte ^ 0x36));
    const outer = sha256.create().update(block.map((byte) => byte ^ 0x5c));
    const work = sha256.create();
    const innerHash = new Uint8Array(HASH_BYTES);
    return (data) => {
      const hash = new Uint8Array(HASH_BYTES);
      inner._cloneInto(work).update(data).digestInto(innerHash);
      outer._cloneInto(work).update(innerHash).digestInto(hash);
      return hash;
    };
  },
};

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;
