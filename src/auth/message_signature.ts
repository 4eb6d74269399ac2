import { fromBase64, toBase64, toBase64Url } from "../internal/base64.ts";
import { AuthError } from "./auth_error.ts";
import { type ParameterValue, readSignature, readSignatureInput, type SignatureInput } from "./signature_input.ts";
import type { Signer } from "./signing_key.ts";
import { ALGORITHM, SIGNATURE_LABEL, SIGNATURE_TAG } from "./wire.ts";

/** Gives the value of a covered component; undefined for one that the message does not have. */
export type ComponentValue = (component: string) => string | undefined;

/** A message's signature that was read but not verified. */
export interface ReadSignature extends SignatureInput {
  /** The signature. */
  readonly signature: Uint8Array<ArrayBuffer>;
  /** When it was made, in seconds since 1970. */
  readonly created: number;
  /** The same in milliseconds, as far as the nonce says. */
  readonly createdMs: number;
  /** When it ends, in seconds since 1970. */
  readonly expires: number;
  /** What makes it one of a kind. */
  readonly nonce: string;
}

/**
 * The text that is signed.
 *
 * @throws {AuthError} `wrong_coverage`: the message does not have a component that is to be covered.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9421#section-2.5}
 */
export function signatureBase(components: readonly string[], text: string, valueOf: ComponentValue): string {
  let base = "";
  for (const component of components) {
    const value = valueOf(component);
    if (value === undefined) {
      throw new AuthError("wrong_coverage", `Cannot check the signature: the message has no ${component}`);
    }
    base += `${component}: ${value}\n`;
  }
  return `${base}"@signature-params": ${text}`;
}

/** What a signature of ours says beside what it covers. */
export interface SignatureTerms {
  readonly created: number;
  readonly nonce: string;
  /** Parameters that only requests or only responses have, each with its semicolon. */
  readonly more: string;
}

/** Signs the named components of a message. */
export async function signMessage(
  components: readonly string[],
  { created, nonce, more }: SignatureTerms,
  valueOf: ComponentValue,
  signer: Signer,
): Promise<{ readonly input: string; readonly signature: string }> {
  const terms = `;created=${created};expires=${created + LIFETIME_S};nonce="${nonce}";tag="${SIGNATURE_TAG}"${more}`;
  const text = `(${components.join(" ")})${terms}`;
  const bytes = await signer.sign(new TextEncoder().encode(signatureBase(components, text, valueOf)));
  return { input: `${SIGNATURE_LABEL}=${text}`, signature: `${SIGNATURE_LABEL}=:${toBase64(bytes)}:` };
}

/**
 * Reads a message's signature and checks that it is of the profile, which names no key and no algorithm: both come from
 * the identity token.
 *
 * @param allowed The parameters that it may have, those that every signature must have aside.
 * @throws {AuthError} `unsigned`, `malformed_signature`.
 * @see {@link https://datatracker.ietf.org/doc/html/draft-ietf-wimse-http-signature-08#section-3}
 */
export function readMessageSignature(
  input: string | null | undefined,
  signature: string | null | undefined,
  allowed: readonly string[],
): ReadSignature {
  if (!input || !signature) throw new AuthError("unsigned", "Cannot check the signature: the message has none");
  const read = readSignatureInput(input);
  const bytes = fromBase64(readSignature(signature, read.label));
  if (!bytes) throw new AuthError("malformed_signature", "Cannot check the signature: it is not canonical base64");
  const { parameters } = read;
  for (const name of parameters.keys()) {
    if (!REQUIRED.includes(name) && !allowed.includes(name)) {
      throw new AuthError("malformed_signature", "Cannot check the signature: it has a parameter that is not known");
    }
  }
  const nonce = textOf(parameters, "nonce");
  if (nonce.length < 8 || nonce.length > 128) {
    throw new AuthError("malformed_signature", "Cannot check the signature: its nonce is too short or too long");
  }
  if (textOf(parameters, "tag") !== SIGNATURE_TAG) {
    throw new AuthError("malformed_signature", "Cannot check the signature: its tag is another");
  }
  const created = numberOf(parameters, "created");
  return {
    ...read,
    signature: bytes,
    nonce,
    created,
    createdMs: createdMsOf(nonce, created),
    expires: numberOf(parameters, "expires"),
  };
}

/**
 * Refuses a signature whose time is over, has not come, or is longer than a signature may live.
 *
 * @throws {AuthError} `stale`.
 */
export function assertInTime({ created, expires }: ReadSignature, nowMs: number): void {
  const now = nowMs / 1_000;
  if (created > now + SKEW_S) throw new AuthError("stale", "Cannot accept the message: it is from the future");
  if (expires <= now - SKEW_S) throw new AuthError("stale", "Cannot accept the message: it is too old");
  if (expires - created > MAX_LIFETIME_S || expires < created) {
    throw new AuthError("stale", "Cannot accept the message: its signature lives too long");
  }
}

/**
 * Verifies the signature over the components that it says it covers.
 *
 * @throws {AuthError} `bad_signature`, or `wrong_coverage` for a component that the message does not have.
 */
export async function verifyMessageSignature(
  read: ReadSignature,
  key: CryptoKey,
  valueOf: ComponentValue,
): Promise<void> {
  const base = new TextEncoder().encode(signatureBase(read.components, read.text, valueOf));
  if (await crypto.subtle.verify(ALGORITHM, key, read.signature, base)) return;
  throw new AuthError("bad_signature", "Cannot accept the message: its signature is not its sender's");
}

/**
 * 128 random bits; a request's say the moment too, because `created` knows whole seconds only, and a server that starts
 * within one could not tell what came before it.
 */
export function newNonce(createdMs?: number): string {
  const random = toBase64Url(crypto.getRandomValues(new Uint8Array(16)));
  return createdMs === undefined ? random : `t${Math.floor(createdMs)}-${random}`;
}

/** The moment that a nonce of ours says, if it lies within the second that the signature says. */
function createdMsOf(nonce: string, created: number): number {
  const ms = Number(MOMENT.exec(nonce)?.[1]);
  return Math.floor(ms / 1_000) === created ? ms : created * 1_000;
}

const MOMENT = /^t(\d{13})-[A-Za-z0-9_-]{22}$/;

function textOf(parameters: ReadonlyMap<string, ParameterValue>, name: string): string {
  const value = parameters.get(name);
  if (typeof value === "string") return value;
  throw new AuthError("malformed_signature", `Cannot check the signature: "${name}" is not a text`);
}

function numberOf(parameters: ReadonlyMap<string, ParameterValue>, name: string): number {
  const value = parameters.get(name);
  if (typeof value === "number") return value;
  throw new AuthError("malformed_signature", `Cannot check the signature: "${name}" is not a number`);
}

const REQUIRED = ["created", "expires", "nonce", "tag"];

/** How long a signature of ours lives, in seconds. */
const LIFETIME_S = 30;
/** How long one of another implementation may live, in seconds: as long as its nonce can be remembered. */
const MAX_LIFETIME_S = 60;
/** How far clocks may differ, in seconds. */
export const SKEW_S = 5;
