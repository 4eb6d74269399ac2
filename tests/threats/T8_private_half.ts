/** Gets at the `CryptoKey` inside of a key, as code in the process can that changed the runtime's own functions. */
import type { SigningKey } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";

/** The private half, taken from the call that signs with it. */
export async function privateHalfOf(key: SigningKey): Promise<CryptoKey> {
  let found: CryptoKey | undefined;
  const { subtle } = crypto;
  const sign = subtle.sign;
  Object.defineProperty(subtle, "sign", {
    configurable: true,
    value: (algorithm: "Ed25519", used: CryptoKey, bytes: BufferSource) => {
      found = used;
      return sign.call(subtle, algorithm, used, bytes);
    },
  });
  try {
    await key.sign(new Uint8Array(1));
  } finally {
    delete (subtle as { sign?: unknown }).sign; // the prototype's own comes back
  }
  assert.ok(found, "the key signs with WebCrypto");
  return found;
}

/** Asserts that nobody can have the private half, whatever they ask the runtime for. */
export async function assertNotExportable(key: SigningKey): Promise<void> {
  const half = await privateHalfOf(key);
  assert.equal(half.type, "private");
  assert.equal(half.extractable, false);
  assert.deepEqual([...half.usages], ["sign"]);
  for (const copy of [half, cloned(half)]) {
    for (const format of ["jwk", "pkcs8", "raw"] as const) {
      await assert.rejects(async () => await exported(format, copy));
    }
  }
}

const exported = (format: "jwk" | "pkcs8" | "raw", key: CryptoKey): Promise<unknown> =>
  crypto.subtle.exportKey(format as "jwk", key);

/** A structured clone, as a worker would get it; workerd makes none of a key. */
function cloned(key: CryptoKey): CryptoKey {
  try {
    return structuredClone(key);
  } catch {
    return key;
  }
}
