import { toBase64Url } from "../internal/base64.ts";
import { AuthError } from "./auth_error.ts";
import { type PublicJwk, rawKeyOf, thumbprintOf } from "./public_key.ts";
import type { Secret } from "./secret.ts";
import { ALGORITHM } from "./wire.ts";

/** What signs, and by which name its key is known. */
export interface Signer {
  /** The `kid` that goes into a token's header. */
  readonly kid?: string | undefined;
  /**
   * Signs bytes with Ed25519.
   *
   * @param bytes What is signed.
   * @returns The 64 bytes of the signature.
   */
  sign(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
}

/** A private key that signs and shows nothing of itself. */
export interface SigningKey extends Signer {
  /** The public half. */
  readonly jwk: PublicJwk;
  /** The public half's 32 bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** The public half's thumbprint (RFC 7638). */
  readonly thumbprint: string;
}

/**
 * Makes a new key that cannot be exported: what steals it has to run inside the process, and loses it with it.
 *
 * @returns The key.
 */
export async function generateKey(): Promise<SigningKey> {
  const pair = await crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]) as CryptoKeyPair;
  return await keyOfPair(pair);
}

/**
 * Uses a key that was made elsewhere: one from a store that keeps `CryptoKey`s, such as IndexedDB or Deno KV.
 *
 * @param pair The key pair; its private half must not be extractable.
 * @returns The key.
 * @throws {AuthError} `malformed_key`: not an Ed25519 key that may sign, one that can be exported, or halves that do not belong together.
 */
export async function keyOfPair({ privateKey, publicKey }: CryptoKeyPair): Promise<SigningKey> {
  if (privateKey?.algorithm?.name !== ALGORITHM || !privateKey.usages.includes("sign")) {
    throw new AuthError("malformed_key", "Cannot use the key: it is not an Ed25519 key that may sign");
  }
  if (privateKey.extractable) {
    throw new AuthError("malformed_key", "Cannot use the key: it can be exported");
  }
  const x = toBase64Url(new Uint8Array(await crypto.subtle.exportKey("raw", publicKey)));
  return await assertPair(signingKey({ kty: "OKP", crv: "Ed25519", x }, privateKey));
}

/**
 * Imports a private key from its JWK text (RFC 8037); the imported key cannot be exported again.
 *
 * @param text The JWK as JSON, wrapped so that no program holds it as a plain text by accident.
 * @returns The key.
 * @throws {AuthError} `malformed_key`: not an Ed25519 private key as a JWK, or its halves do not belong together.
 */
export async function importKey(text: Secret): Promise<SigningKey> {
  return await assertPair(await imported(text));
}

/** A token for the public half of another key would prove nothing of what this one signs. */
async function assertPair(key: SigningKey): Promise<SigningKey> {
  const probe = new TextEncoder().encode("postern");
  const publicKey = await crypto.subtle.importKey("raw", key.publicKey, ALGORITHM, true, ["verify"]);
  if (await crypto.subtle.verify(ALGORITHM, publicKey, await key.sign(probe), probe)) return key;
  throw new AuthError("malformed_key", "Cannot use the key: its public half is another key's");
}

async function imported(text: Secret): Promise<SigningKey> {
  try {
    const { kty, crv, x, d } = JSON.parse(text.reveal()) as Readonly<Record<string, unknown>>;
    if (kty !== "OKP" || crv !== "Ed25519" || typeof x !== "string" || typeof d !== "string") throw new TypeError();
    const privateKey = await crypto.subtle.importKey("jwk", { kty, crv, x, d }, ALGORITHM, false, ["sign"]);
    return signingKey({ kty, crv, x }, privateKey);
  } catch {
    // The cause would show what the text was.
    throw new AuthError("malformed_key", "Cannot use the key: it is not an Ed25519 private key as a JWK");
  }
}

function signingKey(jwk: PublicJwk, privateKey: CryptoKey): SigningKey {
  return Object.freeze({
    jwk: Object.freeze({ ...jwk, alg: ALGORITHM }),
    publicKey: rawKeyOf(jwk),
    thumbprint: thumbprintOf(jwk),
    sign: async (bytes: Uint8Array<ArrayBuffer>) =>
      new Uint8Array(await crypto.subtle.sign(ALGORITHM, privateKey, bytes)),
  });
}
