import { toBase64 } from "../internal/base64.ts";
import type { HashProvider } from "../internal/hash.ts";
import { textEncoder } from "../internal/text_encoder.ts";
import { AuthError } from "./auth_error.ts";
import type { RequestParts } from "./request_signature.ts";
import {
  NOT_IN_SESSION,
  SESSION_HEADERS,
  SESSION_LABEL,
  SESSION_TAG,
  SIGNATURE_HEADER,
  SIGNATURE_INPUT_HEADER,
  TRACE_HEADER,
} from "./wire.ts";

/** Computes a MAC over a text, in base64. */
export type TextMac = (text: string) => string;

/** Prepares MACs over texts with a key. */
export function textMac(hash: HashProvider, key: Uint8Array): TextMac {
  const mac = hash.hmac(key);
  const encode = textEncoder();
  return (text) => toBase64(mac(encode(text)));
}

/** On which terms a request is proven under a session. */
export interface SessionRequestTerms {
  /** The session's id: the encapsulated key. */
  readonly id: string;
  /** Which of the session's messages it is. */
  readonly counter: number;
  /** When it is made, in seconds since 1970. */
  readonly created: number;
}

/** A request's proof under a session that was read but not verified. */
export interface ReadSessionSignature extends SessionRequestTerms {
  /** The text that the MAC is over. */
  readonly base: string;
  /** The MAC in base64. */
  readonly mac: string;
  /** Whether the trace is covered. */
  readonly coversTrace: boolean;
}

/** Whether a request says that it is proven under a session. */
export function isUnderSession(input: string | null | undefined): boolean {
  return input != null && input.endsWith(END_OF_INPUT);
}

/**
 * Proves a request under a session, as RFC 9421 writes it: the session as `keyid`, the counter as `nonce`, and a tag of its own,
 * which says the algorithm too: `hmac-sha256`.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9421#section-3.3.3}
 */
export function signSessionRequest(parts: RequestParts, terms: SessionRequestTerms, mac: TextMac) {
  const { components, lines } = covered(parts, parts.header(TRACE_HEADER) != null);
  const text = `(${components})${parametersOf(terms)}`;
  const signature = mac(`${lines}"@signature-params": ${text}`);
  return {
    [SIGNATURE_INPUT_HEADER]: `${SESSION_LABEL}=${text}`,
    [SIGNATURE_HEADER]: `${SESSION_LABEL}=:${signature}:`,
  };
}

/**
 * Reads a request's proof under a session, in its one spelling.
 *
 * What it must cover is known from the request, so that its text is compared and not parsed.
 *
 * @throws {AuthError} `malformed_signature` or `wrong_coverage`.
 */
export function readSessionSignature(parts: RequestParts): ReadSessionSignature {
  const input = parts.header(SIGNATURE_INPUT_HEADER) ?? "";
  const mac = SIGNATURE.exec(parts.header(SIGNATURE_HEADER) ?? "")?.[1];
  const end = input.indexOf(");");
  const read = PARAMETERS.exec(input.slice(end + 1));
  if (!mac || !read) throw new AuthError("malformed_signature", "Cannot check the proof: it is not spelled as one");
  if (NOT_IN_SESSION.some((name) => parts.header(name) != null)) {
    throw new AuthError("wrong_coverage", "Cannot accept the request: it shows what its session has shown");
  }
  const coversTrace = input.startsWith(`"${TRACE_HEADER}"`, end - TRACE_HEADER.length - 2);
  const { components, lines } = covered(parts, coversTrace);
  if (input.slice(0, end) !== `${SESSION_LABEL}=(${components}`) {
    throw new AuthError("wrong_coverage", "Cannot accept the request: its proof covers something else");
  }
  return {
    id: read[2]!,
    counter: Number(read[3]),
    created: Number(read[1]),
    base: `${lines}"@signature-params": ${input.slice(SESSION_LABEL.length + 1)}`,
    mac,
    coversTrace,
  };
}

/** The components that are covered, and their lines in the base. */
function covered(parts: RequestParts, withTrace: boolean): { readonly components: string; readonly lines: string } {
  let components = '"@method" "@request-target"';
  let lines = `"@method": ${parts.method}\n"@request-target": ${parts.target}\n`;
  const cover = (name: string) => {
    const value = parts.header(name);
    if (value == null) return;
    components += ` "${name}"`;
    lines += `"${name}": ${value}\n`;
  };
  for (const name of SESSION_HEADERS) cover(name);
  if (withTrace) cover(TRACE_HEADER);
  return { components, lines };
}

/** A response as far as its proof under a session is about it. */
export interface SessionResponse {
  readonly status: number;
  readonly contentType: string;
  /** Undefined where a stream or a connection's frames follow. */
  readonly digest: string | undefined;
  /** The counter of the request that it answers. */
  readonly counter: number;
}

/** What a response's proof says it covers: known to both sides, to the letter. */
export function sessionResponseInput({ digest, counter }: Pick<SessionResponse, "digest" | "counter">): string {
  const components = digest === undefined ? '"@status" "content-type"' : '"@status" "content-type" "content-digest"';
  return `${SESSION_LABEL}=(${components});nonce="${counter}"${END_OF_INPUT}`;
}

/** The text that a response's MAC is over. */
export function sessionResponseBase(response: SessionResponse): string {
  const { status, contentType, digest } = response;
  const digestLine = digest === undefined ? "" : `"content-digest": ${digest}\n`;
  const text = sessionResponseInput(response).slice(SESSION_LABEL.length + 1);
  return `"@status": ${status}\n"content-type": ${contentType}\n${digestLine}"@signature-params": ${text}`;
}

/** A signature's header with a session's MAC in it. */
export const sessionSignature = (mac: string): string => `${SESSION_LABEL}=:${mac}:`;

/** Whether two texts are the same, in a time that does not say where they differ. */
export function isSameText(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}

const parametersOf = ({ id, counter, created }: SessionRequestTerms) =>
  `;created=${created};keyid="${id}";nonce="${counter}"${END_OF_INPUT}`;

const END_OF_INPUT = `;tag="${SESSION_TAG}"`;
const PARAMETERS = /^;created=([1-9]\d{8,9});keyid="([A-Za-z0-9_-]{43})";nonce="([1-9]\d{0,9})";tag="postern-session"$/;
const SIGNATURE = /^s=:([A-Za-z0-9+/]{43}=):$/;
