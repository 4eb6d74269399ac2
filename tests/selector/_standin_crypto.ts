// Stands in for the runtime's cryptography in a simulation: done at once instead of on another thread, and the same again for
// the same seed. The code under test calls it as it calls the real one; a forged signature is still told from a real one.
import { sha256 } from "@noble/hashes/sha2.js";
import type { Chance } from "./_chance.ts";

/** A key as the stand-in has it; what the code under test looks at is there. */
interface StandinKey {
  readonly type: "public" | "private";
  readonly algorithm: { readonly name: "Ed25519" };
  readonly usages: readonly string[];
  readonly extractable: boolean;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Makes a `Crypto` whose signatures are checksums over the public key, the message and a secret that only it knows.
 *
 * @param chance Where keys and random bits come from.
 */
export function standinCrypto(chance: Chance): Crypto {
  const secret = [chance.below(2 ** 32), chance.below(2 ** 32)] as const;
  const keyOf = (type: StandinKey["type"], bytes: Bytes): StandinKey => ({
    type,
    algorithm: { name: "Ed25519" },
    usages: [type === "private" ? "sign" : "verify"],
    extractable: type === "public",
    bytes,
  });
  const subtle = {
    // deno-lint-ignore require-await -- like the real one, it answers with a promise and fails by rejecting
    async generateKey() {
      const bytes = chance.fill(new Uint8Array(32));
      return { privateKey: keyOf("private", bytes), publicKey: keyOf("public", bytes) };
    },
    // deno-lint-ignore require-await -- like the real one, it answers with a promise and fails by rejecting
    async exportKey(format: string, key: StandinKey) {
      if (format !== "raw" || key.type !== "public") throw new TypeError("The stand-in exports public keys only");
      return key.bytes.slice().buffer;
    },
    // deno-lint-ignore require-await -- like the real one, it answers with a promise and fails by rejecting
    async importKey(format: string, bytes: Bytes) {
      if (format !== "raw") throw new TypeError("The stand-in imports public keys only");
      return keyOf("public", bytes.slice());
    },
    // deno-lint-ignore require-await -- like the real one, it answers with a promise and fails by rejecting
    async sign(_: unknown, key: StandinKey, message: Bytes) {
      if (key.type !== "private") throw new TypeError("Cannot sign with a public key");
      return checksum(secret, key.bytes, message).buffer;
    },
    // deno-lint-ignore require-await -- like the real one, it answers with a promise and fails by rejecting
    async verify(_: unknown, key: StandinKey, signature: Bytes, message: Bytes) {
      const expected = checksum(secret, key.bytes, message);
      return signature.length === expected.length && expected.every((byte, i) => byte === signature[i]);
    },
    // deno-lint-ignore require-await -- like the real one, it answers with a promise and fails by rejecting
    async digest(_: unknown, message: Bytes) {
      return sha256(message).buffer;
    },
  };
  const standin = {
    subtle,
    getRandomValues: <View extends ArrayBufferView>(view: View) => chance.fill(view),
    randomUUID: () => uuidOf(chance.fill(new Uint8Array(16))),
  };
  return standin as unknown as Crypto;
}

/** 64 bytes, of which a simulated forger knows no way to make them. */
function checksum(secret: readonly [number, number], key: Bytes, message: Bytes): Bytes {
  let [high, low] = secret;
  for (const bytes of [key, message]) {
    for (let i = 0; i < bytes.length; i++) {
      high = Math.imul(high ^ bytes[i]!, 0x01000193);
      low = Math.imul(low + bytes[i]! ^ (high >>> 15), 0x85ebca6b);
    }
  }
  const words = new Uint32Array(16);
  for (let i = 0; i < words.length; i++) {
    high = Math.imul(high ^ (low >>> 13) ^ i, 0xc2b2ae35);
    words[i] = low = Math.imul(low ^ (high >>> 16), 0x9e3779b1);
  }
  return new Uint8Array(words.buffer);
}

function uuidOf(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}
