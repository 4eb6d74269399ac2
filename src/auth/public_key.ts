import { sha256 } from "@noble/hashes/sha2.js";
import * as v from "valibot";
import { fromBase64, toBase64Url } from "../internal/base64.ts";
import { AuthError } from "./auth_error.ts";
import { ALGORITHM } from "./wire.ts";

/** A public Ed25519 key as a JWK (RFC 8037, section 2). */
export interface PublicJwk {
  /** Always `OKP`. */
  readonly kty: "OKP";
  /** Always `Ed25519`. */
  readonly crv: "Ed25519";
  /** The key's 32 bytes in base64url. */
  readonly x: string;
  /** Always `Ed25519`, where it is given (RFC 9864). */
  readonly alg?: "Ed25519" | undefined;
}

/** 32 bytes in base64url. */
const KEY = /^[A-Za-z0-9_-]{43}$/;

/**
 * The members that a `cnf.jwk` may have.
 *
 * Closed, so that no private part, no certificate URL and no other purpose rides along.
 */
export const publicJwkSchema = /* @__PURE__ */ v.strictObject({
  kty: v.literal("OKP"),
  crv: v.literal("Ed25519"),
  x: v.pipe(v.string(), v.regex(KEY)),
  alg: v.optional(v.literal(ALGORITHM)),
});

/**
 * The thumbprint of a key: one name for it that everyone computes alike.
 *
 * @param jwk The key.
 * @returns SHA-256 over its canonical members, in base64url.
 * @see {@link https://www.rfc-editor.org/rfc/rfc7638#section-3}
 */
export function thumbprintOf(jwk: PublicJwk): string {
  const members = `{"crv":"${jwk.crv}","kty":"${jwk.kty}","x":"${jwk.x}"}`;
  return toBase64Url(sha256(new TextEncoder().encode(members)));
}

/**
 * The raw bytes of a public key.
 *
 * @param jwk The key.
 * @returns Its 32 bytes.
 * @throws {AuthError} `malformed_key`: another length, or a spelling that is not the canonical one.
 */
export function rawKeyOf(jwk: PublicJwk): Uint8Array<ArrayBuffer> {
  const raw = KEY.test(jwk.x) ? fromBase64(jwk.x) : undefined;
  if (!raw) throw new AuthError("malformed_key", "Cannot use the key: it is not 32 bytes in base64url");
  return raw;
}

/** Imports a public key for checking signatures. */
export async function importPublicKey(jwk: PublicJwk): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey("raw", rawKeyOf(jwk), ALGORITHM, true, ["verify"]);
  } catch (cause) {
    if (cause instanceof AuthError) throw cause;
    throw new AuthError("malformed_key", "Cannot use the key: the runtime does not take it", { cause });
  }
}
