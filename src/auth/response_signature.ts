import { AuthError } from "./auth_error.ts";
import { type ComponentValue, readMessageSignature, type ReadSignature, signMessage } from "./message_signature.ts";
import type { RequestParts } from "./request_signature.ts";
import type { Signer } from "./signing_key.ts";
import { RESPONSE_COMPONENTS, RESPONSE_HEADERS, SIGNATURE_HEADER, SIGNATURE_INPUT_HEADER, WIT_HEADER } from "./wire.ts";

/** A response as far as its signature is about it. */
export interface ResponseParts {
  /** The HTTP status. */
  readonly status: number;
  /** The request that it answers. */
  readonly request: Pick<RequestParts, "method" | "target"> & {
    /** The identity token that it showed; undefined for none. */
    readonly token?: string | undefined;
  };
  /** Gives a header's value by its lower-case name; null or undefined for one that is not there. */
  header(name: string): string | null | undefined;
}

/** On which terms a response is signed. */
export interface ResponseTerms {
  readonly created: number;
  readonly nonce: string;
  /** The nonce of the request that it answers. */
  readonly requestNonce: string;
}

/** Signs a response, bound to the request that it answers. */
export async function signResponse(
  parts: ResponseParts,
  { created, nonce, requestNonce }: ResponseTerms,
  signer: Signer,
): Promise<Record<string, string>> {
  const more = `;wimse-req-nonce="${requestNonce}"`;
  const { input, signature } = await signMessage(coverageOf(parts), { created, nonce, more }, valueOf(parts), signer);
  return { [SIGNATURE_INPUT_HEADER]: input, [SIGNATURE_HEADER]: signature };
}

/**
 * Reads a response's signature, and checks that it covers all that it must and answers the request that was sent.
 *
 * @throws {AuthError} `unsigned`, `malformed_signature`, `wrong_coverage` or `wrong_exchange`.
 */
export function readResponseSignature(parts: ResponseParts, requestNonce: string): ReadSignature {
  const input = parts.header(SIGNATURE_INPUT_HEADER);
  const read = readMessageSignature(input, parts.header(SIGNATURE_HEADER), ["wimse-req-nonce"]);
  for (const component of coverageOf(parts)) {
    if (read.components.includes(component)) continue;
    throw new AuthError("wrong_coverage", `Cannot accept the answer: its signature does not cover ${component}`);
  }
  if (read.parameters.get("wimse-req-nonce") !== requestNonce) {
    throw new AuthError("wrong_exchange", "Cannot accept the answer: it answers another request");
  }
  return read;
}

function coverageOf(parts: ResponseParts): string[] {
  const present = RESPONSE_HEADERS.filter((name) => parts.header(name) != null);
  // The nonce is the caller's to choose: without its token, another caller could get an answer to the same one.
  const caller = parts.request.token === undefined ? [] : [CALLER_COMPONENT];
  return [...RESPONSE_COMPONENTS, ...caller, ...present.map((name) => `"${name}"`)];
}

const CALLER_COMPONENT = `"${WIT_HEADER}";req`;

/** The values of a response's components, and of those of the request that it answers. */
export function valueOf({ status, request, header }: ResponseParts): ComponentValue {
  return (component) => {
    if (component === '"@status"') return `${status}`;
    if (component === '"@method";req') return request.method;
    if (component === '"@request-target";req') return request.target;
    if (component === CALLER_COMPONENT) return request.token;
    if (component.startsWith('"@') || component.endsWith(";req")) return undefined;
    return header(component.slice(1, -1)) ?? undefined;
  };
}
