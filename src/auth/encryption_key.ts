import { fromBase64, toBase64Url } from "../internal/base64.ts";
import { AuthError } from "./auth_error.ts";
import type { Secret } from "./secret.ts";

/** The public half of an X25519 key as a JWK (RFC 8037, section 2). */
export interface EncryptionJwk {
  /** Always `OKP`. */
  readonly kty: "OKP";
  /** Always `X25519`. */
  readonly crv: "X25519";
  /** The key's 32 bytes in base64url. */
  readonly x: string;
}

/** The key by which others make session keys with a program, and encrypt for it. */
export interface EncryptionKey {
  /** The public half. */
  readonly jwk: EncryptionJwk;
  /** Both halves; the private one cannot be exported. */
  readonly pair: CryptoKeyPair;
}

/**
 * Makes a new encryption key that cannot be exported.
 *
 * @returns The key.
 */
export async function generateEncryptionKey(): Promise<EncryptionKey> {
  const pair = await crypto.subtle.generateKey(ALGORITHM, false, ["deriveBits"]) as CryptoKeyPair;
  const x = toBase64Url(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  return encryptionKey(x, pair);
}

/**
 * Imports an encryption key from its JWK text (RFC 8037): one that several isolates of one instance share, say. The
 * imported key cannot be exported again.
 *
 * @param text The JWK as JSON, wrapped so that no program holds it as a plain text by accident.
 * @returns The key.
 * @throws {AuthError} `malformed_key`: not an X25519 private key as a JWK, or its halves do not belong together.
 */
export async function importEncryptionKey(text: Secret): Promise<EncryptionKey> {
  try {
    const { kty, crv, x, d } = JSON.parse(text.reveal()) as Readonly<Record<string, unknown>>;
    if (kty !== "OKP" || crv !== ALGORITHM || typeof x !== "string" || typeof d !== "string") throw new TypeError();
    const privateKey = await crypto.subtle.importKey("jwk", { kty, crv, x, d }, ALGORITHM, false, ["deriveBits"]);
    const pair = { privateKey, publicKey: await importEncryptionPublicKey(x) };
    await assertPair(pair);
    return encryptionKey(x, pair);
  } catch {
    // The cause would show what the text was.
    throw new AuthError("malformed_key", "Cannot use the key: it is not an X25519 private key as a JWK");
  }
}

/**
 * Imports the public half of somebody's encryption key.
 *
 * @param x Its 32 bytes in base64url.
 * @throws {AuthError} `malformed_key`.
 */
export async function importEncryptionPublicKey(x: string): Promise<CryptoKey> {
  const raw = KEY.test(x) ? fromBase64(x) : undefined;
  if (!raw) throw new AuthError("malformed_key", "Cannot use the key: it is not 32 bytes in base64url");
  return await crypto.subtle.importKey("raw", raw, ALGORITHM, true, []);
}

/** Halves that do not belong together would agree on keys that nobody else can have. */
async function assertPair(pair: CryptoKeyPair): Promise<void> {
  const other = await crypto.subtle.generateKey(ALGORITHM, false, ["deriveBits"]) as CryptoKeyPair;
  const agree = async (privateKey: CryptoKey, publicKey: CryptoKey) =>
    toBase64Url(
      new Uint8Array(await crypto.subtle.deriveBits({ name: ALGORITHM, public: publicKey }, privateKey, 256)),
    );
  const agreed = await agree(pair.privateKey, other.publicKey) === await agree(other.privateKey, pair.publicKey);
  if (!agreed) throw new TypeError();
}

const encryptionKey = (x: string, pair: CryptoKeyPair): EncryptionKey =>
  Object.freeze({ jwk: Object.freeze({ kty: "OKP", crv: ALGORITHM, x }), pair });

const ALGORITHM = "X25519";

/** 32 bytes in base64url. */
export const KEY: RegExp = /^[A-Za-z0-9_-]{43}$/;
