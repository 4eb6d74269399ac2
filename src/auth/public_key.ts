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
  if (!raw || isWeak(raw)) throw new AuthError("malformed_key", "Cannot use the key: it is not 32 bytes in base64url");
  return raw;
}

/**
 * Whether a key is one of the few of small order, or spelled with a coordinate that is too large: such a key "signs"
 * messages that nobody signed.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8032#section-5.1.3}
 */
function isWeak(raw: Uint8Array): boolean {
  const y = Array.from(raw, (byte, i) => (i === 31 ? byte & 0x7f : byte).toString(16).padStart(2, "0")).join("");
  return SMALL_ORDER.has(y) || /^(?:e[d-f]|f[0-9a-f])(?:ff){30}7f$/.test(y);
}

/** The y-coordinates of the points of order 1, 2, 4 and 8, little-endian, without the sign. */
const SMALL_ORDER: ReadonlySet<string> = /* @__PURE__ */ new Set([
  `01${"00".repeat(31)}`,
  `ec${"ff".repeat(30)}7f`,
  "00".repeat(32),
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]);

/** Imports a public key for checking signatures. */
export async function importPublicKey(jwk: PublicJwk): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey("raw", rawKeyOf(jwk), ALGORITHM, true, ["verify"]);
  } catch (cause) {
    if (cause instanceof AuthError) throw cause;
    throw new AuthError("malformed_key", "Cannot use the key: the runtime does not take it", { cause });
  }
}
