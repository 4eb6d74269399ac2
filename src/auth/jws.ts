import { canonicalJson, type Codec, json } from "../codec/mod.ts";
import { fromBase64, toBase64Url } from "../internal/base64.ts";
import { decodeUtf8 } from "../internal/utf8.ts";
import { AuthError } from "./auth_error.ts";
import type { Signer } from "./signing_key.ts";
import { ALGORITHM } from "./wire.ts";

/** A compact JWS that was read but not verified: nothing in it is true yet. */
export interface UnverifiedJws {
  /** The signature. */
  readonly signature: Uint8Array<ArrayBuffer>;
  /** What its signature is over, which names it whatever its signature (RFC 7515, section 5.1). */
  readonly signingInput: string;
  /** Which key is said to have signed it. */
  readonly kid: string | undefined;
  /** The claims. */
  readonly claims: unknown;
}

/** The longest token, in bytes: what a workload says of itself fits, what makes every call dear does not. */
export const MAX_TOKEN = 8192;

/**
 * Reads a compact JWS that can be spelled in one way only.
 *
 * Libraries take padding, spaces and stray bits in base64url, and the last of two members with one name: tokens that
 * differ as texts and are the same to them, which gets around caches and lists of revoked ones. Here each part is
 * canonical base64url, the header is closed, and the claims are their own canonical JSON.
 *
 * @param token The token.
 * @param type The `typ` it must have.
 * @param maxBytes The longest it may be, in bytes. @default {8_192}
 * @throws {AuthError} `malformed_token`.
 * @see {@link https://www.rfc-editor.org/rfc/rfc7515#section-7.1}
 * @see {@link https://www.rfc-editor.org/rfc/rfc8785}
 */
export function readJws(token: string, type: string, maxBytes: number = MAX_TOKEN): UnverifiedJws {
  if (token.length > maxBytes) throw malformed("it is too long");
  const parts = SYNTAX.exec(token);
  if (!parts) throw malformed("it is not a compact JWS");
  const codec = json({ maxBytes, maxItems: maxBytes });
  const kid = kidOf(parts[1]!, type, codec);
  const payload = decoded(parts[2]!, codec);
  if (canonicalJson(payload.value) !== payload.text) throw malformed("its claims are not canonical JSON");
  const signature = fromBase64(parts[3]!);
  if (!signature) throw malformed("its signature is not canonical base64url");
  return { signature, kid, claims: payload.value, signingInput: token.slice(0, token.lastIndexOf(".")) };
}

/**
 * Verifies the signature of a token that was read.
 *
 * All that a library would decide was decided when it was read: what is left is one operation of the runtime's own.
 *
 * @throws {AuthError} `bad_token_signature`.
 */
export async function verifyJws({ signature, signingInput }: UnverifiedJws, key: CryptoKey): Promise<void> {
  if (await crypto.subtle.verify(ALGORITHM, key, signature, encoder.encode(signingInput))) return;
  throw new AuthError("bad_token_signature", "Cannot accept the token: its signature is not its issuer's");
}

/**
 * Signs claims in their canonical form.
 *
 * @param type The `typ`, which keeps tokens of one kind from being taken for another.
 * @param claims The claims.
 * @param signer Who signs, and by which `kid` its key is known.
 * @returns The token.
 */
export async function signJws(type: string, claims: unknown, signer: Signer): Promise<string> {
  const input = `${headerOf(type, signer.kid)}.${encoded(canonicalJson(claims))}`;
  return `${input}.${toBase64Url(await signer.sign(encoder.encode(input)))}`;
}

const malformed = (why: string) => new AuthError("malformed_token", `Cannot read the token: ${why}`);

/** The header that this library writes. */
function headerOf(type: string, kid?: string): string {
  return encoded(canonicalJson({ alg: ALGORITHM, typ: type, ...kid === undefined ? {} : { kid } }));
}

/** Reads a header; the one that nearly all events have is known by its text. */
function kidOf(header: string, type: string, codec: Codec): string | undefined {
  if (header === headerOf(type)) return undefined;
  const { value } = decoded(header, codec);
  assertHeader(value, type);
  return (value as { readonly kid?: string }).kid;
}

function assertHeader(header: unknown, type: string): void {
  const { alg, typ, kid, ...others } = (header ?? {}) as Readonly<Record<string, unknown>>;
  // A key, a URL of one, or a demand to understand something (crit) must not even be looked at.
  if (Object.keys(others).length > 0) throw malformed("its header has a member that is not known");
  if (alg !== ALGORITHM) throw malformed(`its algorithm is not ${ALGORITHM}`);
  if (typ !== type) throw malformed(`its type is not "${type}"`);
  const wellFormed = kid === undefined || (typeof kid === "string" && KEY_ID.test(kid));
  if (!wellFormed) throw malformed("its key id is malformed");
}

function decoded(part: string, codec: Codec): { readonly text: string; readonly value: unknown } {
  const bytes = fromBase64(part);
  if (!bytes) throw malformed("a part is not canonical base64url");
  try {
    return { text: decodeUtf8(bytes), value: codec.decode(bytes) };
  } catch (cause) {
    throw new AuthError("malformed_token", "Cannot read the token: a part is not strict JSON", { cause });
  }
}

const encoded = (text: string) => toBase64Url(encoder.encode(text));

const encoder = /* @__PURE__ */ new TextEncoder();

/** An Ed25519 signature has 64 bytes. */
const SYNTAX = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/;
const KEY_ID = /^[\w.-]{1,128}$/;
