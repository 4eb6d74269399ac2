// Messages as signatures see them, and signatures that say what no honest sender would say.
import { AuthError, type AuthReason, type Identity, type Signer } from "../../src/auth/mod.ts";
import { type ComponentValue, signatureBase } from "../../src/auth/message_signature.ts";
import { type RequestParts, valueOf } from "../../src/auth/request_signature.ts";
import { type ResponseParts, signResponse } from "../../src/auth/response_signature.ts";
import { contentDigest } from "../../src/auth/content_digest.ts";
import { toBase64 } from "../../src/internal/base64.ts";
import type { Captured } from "./_world.ts";

export type Headers = Readonly<Record<string, string>>;

/** The second at which the tests' clock starts. */
export const NOW_S = 1_800_000_000;

export const headerOf = (headers: Headers) => (name: string) =>
  Object.hasOwn(headers, name) ? headers[name] : undefined;

export function requestParts(method: string, target: string, headers: Headers): RequestParts {
  return { method, target, header: headerOf(headers) };
}

export function responseParts(status: number, request: ResponseParts["request"], headers: Headers): ResponseParts {
  return { status, request, header: headerOf(headers) };
}

/** For `assert.throws` and `assert.rejects`: an `AuthError` of this reason, in words that end without a period. */
export const because = (reason: AuthReason) => (error: unknown): true => {
  if (!(error instanceof AuthError)) throw new Error(`expected an AuthError, got ${String(error)}`);
  if (error.reason !== reason) throw new Error(`expected ${reason}, got ${error.reason}: ${error.message}`);
  if (!/^Cannot .*[^.]$/.test(error.message)) throw new Error(`a message that reads differently: ${error.message}`);
  return true;
};

/** What a forged `Signature-Input` says. */
export interface Forged {
  readonly components: readonly string[];
  /** The parameters as they are written, each with its semicolon. */
  readonly terms: string;
  readonly label?: string;
}

/** Signs anything: the signature is good, what it says is the test's. */
export async function forge(
  { components, terms, label = "wimse" }: Forged,
  value: ComponentValue,
  signer: Signer,
): Promise<Record<"signature-input" | "signature", string>> {
  const text = `(${components.join(" ")})${terms}`;
  const base = new TextEncoder().encode(signatureBase(components, text, value));
  const signature = toBase64(await signer.sign(base));
  return { "signature-input": `${label}=${text}`, signature: `${label}=:${signature}:` };
}

/** Takes a `Signature-Input` of ours apart. */
export function forgedFrom(headers: Headers): { readonly components: string[]; readonly terms: string } {
  const [, list, terms] = /^wimse=\(([^)]*)\)(.*)$/.exec(headers["signature-input"]!)!;
  return { components: list!.split(" "), terms: terms! };
}

export const targetOf = (url: string) => url.slice(url.indexOf("/", 8));

/** How a captured request is changed before it is signed again. */
export interface Change {
  readonly method?: string;
  readonly url?: string;
  readonly body?: string;
  /** Headers to set; undefined takes one away. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly components?: (components: readonly string[]) => readonly string[];
  readonly terms?: (terms: string) => string;
  readonly label?: string;
}

/** A captured request with something else in it, and the old signature: what a man in the middle can do. */
export function changed(captured: Captured, { method, url, body, headers = {} }: Change): Captured {
  const all: Record<string, string> = { ...captured.headers };
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) delete all[name];
    else all[name] = value;
  }
  return { url: url ?? captured.url, method: method ?? captured.method, headers: all, body: body ?? captured.body };
}

/** The same, signed again with the caller's own key: what a careless or hostile caller can do. */
export async function resigned(captured: Captured, change: Change, signer: Signer): Promise<Captured> {
  const next = changed(captured, change);
  const { components, terms } = forgedFrom(captured.headers);
  const forged = {
    components: change.components?.(components) ?? components,
    terms: change.terms?.(terms) ?? terms,
    label: change.label ?? "wimse",
  };
  const parts = requestParts(next.method, targetOf(next.url), next.headers);
  return { ...next, headers: { ...next.headers, ...await forge(forged, valueOf(parts), signer) } };
}

/** One parameter's value in a captured request's `Signature-Input`. */
export const parameterOf = (headers: Headers, name: string): string =>
  new RegExp(`;${name}=(?:"([^"]*)"|(\\d+))`).exec(headers["signature-input"]!)!.slice(1).find(Boolean)!;

/** Another nonce, so that a request which is signed again is no replay. */
export const renamed = (terms: string): string => terms.replace(/nonce="[^"]*"/, `nonce="${crypto.randomUUID()}"`);

/** Answers a captured request in the name of an identity, as its server would. */
export async function answerOf(
  identity: Identity,
  { url, method, headers: request }: Captured,
  body: string,
  { status = 200, nowS = NOW_S }: { readonly status?: number; readonly nowS?: number } = {},
): Promise<Response> {
  const headers: Record<string, string> = {
    "content-type": "application/json",
    "content-digest": await contentDigest(new TextEncoder().encode(body)),
    "workload-identity-token": (await identity.credential()).token.reveal(),
  };
  const parts = responseParts(
    status,
    { method, target: targetOf(url), token: request["workload-identity-token"] },
    headers,
  );
  const terms = { created: nowS, nonce: crypto.randomUUID(), requestNonce: parameterOf(request, "nonce") };
  return new Response(body, { status, headers: { ...headers, ...await signResponse(parts, terms, identity) } });
}
