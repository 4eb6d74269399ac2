import { AuthError } from "./auth_error.ts";
import { type ComponentValue, readMessageSignature, type ReadSignature, signMessage } from "./message_signature.ts";
import type { Signer } from "./signing_key.ts";
import { REQUEST_COMPONENTS, REQUEST_HEADERS, SIGNATURE_HEADER, SIGNATURE_INPUT_HEADER, TRACE_HEADER } from "./wire.ts";

/** A request as far as its signature is about it. */
export interface RequestParts {
  /** The HTTP method. */
  readonly method: string;
  /** The path, and the query with its question mark where there is one. */
  readonly target: string;
  /** Gives a header's value by its lower-case name; null or undefined for one that is not there. */
  header(name: string): string | null | undefined;
}

/** On which terms a request is signed. */
export interface RequestTerms {
  readonly created: number;
  readonly nonce: string;
  /** Who it is for. */
  readonly audience: string;
}

/** Signs a request: everything that a recipient may look at. */
export async function signRequest(
  parts: RequestParts,
  { created, nonce, audience }: RequestTerms,
  signer: Signer,
): Promise<Record<string, string>> {
  const more = `;wimse-aud="${audience}";wimse-sign-response`;
  const traced = parts.header(TRACE_HEADER) == null ? [] : [`"${TRACE_HEADER}"`];
  const components = [...coverageOf(parts), ...traced];
  const { input, signature } = await signMessage(components, { created, nonce, more }, valueOf(parts), signer);
  return { [SIGNATURE_INPUT_HEADER]: input, [SIGNATURE_HEADER]: signature };
}

/** A request's signature that was read but not verified. */
export interface ReadRequestSignature extends ReadSignature {
  /** Who the request is for. */
  readonly audience: string;
}

/**
 * Reads a request's signature, and checks that it covers all that it must.
 *
 * @throws {AuthError} `unsigned`, `malformed_signature` or `wrong_coverage`.
 */
export function readRequestSignature(parts: RequestParts): ReadRequestSignature {
  const input = parts.header(SIGNATURE_INPUT_HEADER);
  const read = readMessageSignature(input, parts.header(SIGNATURE_HEADER), ["wimse-aud", "wimse-sign-response"]);
  const audience = read.parameters.get("wimse-aud");
  if (typeof audience !== "string") {
    throw new AuthError("malformed_signature", "Cannot check the signature: it does not say whom it is for");
  }
  const signResponse = read.parameters.get("wimse-sign-response") ?? true;
  if (signResponse !== true) {
    throw new AuthError("malformed_signature", "Cannot check the signature: a flag of it has a value");
  }
  for (const component of coverageOf(parts)) {
    if (read.components.includes(component)) continue;
    throw new AuthError("wrong_coverage", `Cannot accept the request: its signature does not cover ${component}`);
  }
  return { ...read, audience };
}

/** What a signature must cover: always the method and the target, and every header that nobody on the way may add. */
function coverageOf(parts: RequestParts): string[] {
  const present = REQUEST_HEADERS.filter((name) => parts.header(name) != null);
  return [...REQUEST_COMPONENTS, ...present.map((name) => `"${name}"`)];
}

/**
 * The values of a request's components.
 *
 * There is no `@authority` and no `@target-uri` here: which host a request names is the sender's to choose, so that it
 * says nothing of who it is for.
 */
export function valueOf(parts: RequestParts): ComponentValue {
  return (component) => {
    if (component === '"@method"') return parts.method;
    if (component === '"@request-target"') return parts.target;
    if (component.startsWith('"@') || component.endsWith(";req")) return undefined;
    return parts.header(component.slice(1, -1)) ?? undefined;
  };
}
