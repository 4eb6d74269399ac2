// Chains made by hand: what an attacker with a key of his own can sign, whatever this project's own functions refuse to.
import { hashOf } from "../../src/auth/capability.ts";
import { contentDigest } from "../../src/auth/content_digest.ts";
import { readJws, signJws } from "../../src/auth/jws.ts";
import { newNonce } from "../../src/auth/message_signature.ts";
import { AuthError, type AuthReason, type Identity, type SigningKey } from "../../src/auth/mod.ts";
import { signRequest } from "../../src/auth/request_signature.ts";
import {
  CAPABILITY_DETAILS,
  CHAIN_SEPARATOR,
  HOLDER_MEMBER,
  THUMBPRINT_URI,
  TOKEN_TYPES,
} from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { type Captured, DOMAIN, ECHO, type World } from "./_world.ts";

export type Claims = Readonly<Record<string, unknown>>;

/** What the rights of most tests allow. */
export const SAY = { "echo.v1/say": { text: { constraint_type: "one_of", values: ["a", "b"] } } };

/** `authorization_details` of some tools. */
export const details = (tools: unknown) => [{ type: CAPABILITY_DETAILS, tools }];

/** Names a holder by its key. */
export const byKey = ({ jwk: { kty, crv, x } }: SigningKey) => ({ jwk: { kty, crv, x } });

/** Names a holder by its identity. */
export const byId = (id: string) => ({ [HOLDER_MEMBER]: id });

/** The claims of a good first token of the authority. */
export function rootClaims({ now }: World, cnf: unknown, more: Claims = {}): Claims {
  const iat = now() / 1_000;
  return {
    authorization_details: details(SAY),
    cnf,
    del_depth: 0,
    del_max_depth: 4,
    exp: iat + 300,
    iat,
    iss: `spiffe://${DOMAIN}`,
    jti: crypto.randomUUID(),
    ...more,
  };
}

/** The claims of a good child of a token, signed with a key. */
export function childClaims(parent: string, holder: SigningKey, cnf: unknown, more: Claims = {}): Claims {
  const { claims, signingInput } = readJws(parent, TOKEN_TYPES.capability);
  const { authorization_details, del_depth, del_max_depth, exp, iat } = claims as Readonly<Record<string, never>>;
  return {
    authorization_details,
    cnf,
    del_depth: del_depth + 1,
    del_max_depth,
    exp,
    iat,
    iss: THUMBPRINT_URI + holder.thumbprint,
    jti: crypto.randomUUID(),
    par_hash: hashOf(signingInput),
    ...more,
  };
}

/** Signs claims as a capability; a member that is undefined is left out. */
export function sign(claims: Claims, key: Pick<SigningKey, "sign">, kid?: string): Promise<string> {
  const given = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
  return signJws(TOKEN_TYPES.capability, given, { sign: key.sign, ...kid === undefined ? {} : { kid } });
}

/** A first token of the authority. */
export function root(world: World, cnf: unknown, more: Claims = {}): Promise<string> {
  const { key } = world.authority;
  return sign(rootClaims(world, cnf, more), key, key.thumbprint);
}

/** A token that the holder of another signs. */
export function child(parent: string, holder: SigningKey, cnf: unknown, more: Claims = {}): Promise<string> {
  return sign(childClaims(parent, holder, cnf, more), holder);
}

/** The text of a chain. */
export const chainOf = (...tokens: readonly string[]): string => tokens.join(CHAIN_SEPARATOR);

/** An identity's present token. */
export const witOf = async ({ credential }: Pick<Identity, "credential">): Promise<string> =>
  (await credential()).token.reveal();

/** Asserts that something is refused, and for which reason. */
export async function assertRefused(promise: Promise<unknown>, reason: AuthReason, why?: RegExp): Promise<AuthError> {
  const error = await promise.then(() => assert.fail(`it was accepted, not refused as ${reason}`), (thrown) => thrown);
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${String(error)}`);
  assert.equal(error.reason, reason, error.message);
  assert.match(error.message, /^Cannot .*[^.]$/);
  if (why) assert.match(error.message, why);
  return error;
}

/** What a server at `echo` knows when it verifies chains. */
export const termsOf = ({ trust }: Pick<World, "trust">) => ({ trust, trustDomain: DOMAIN });

/** What a request of one's own making consists of. */
export interface Signed {
  readonly verb?: string;
  readonly path?: string;
  readonly body?: string;
  /** Headers that are there when it is signed, and so are covered. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly audience?: string;
}

/** A request signed by hand, with whatever the signer likes in it. */
export async function signedRequest({ now }: World, identity: Identity, signed: Signed = {}): Promise<Captured> {
  const { verb = "POST", path = "/echo.v1/say", headers: more = {}, audience = ECHO } = signed;
  const body = signed.body ?? (verb === "POST" ? '{"text":"a"}' : "");
  const headers: Record<string, string> = {
    ...verb === "POST" ? { "content-type": "application/json" } : {},
    ...body ? { "content-digest": await contentDigest(new TextEncoder().encode(body)) } : {},
    "workload-identity-token": await witOf(identity),
    ...more,
  };
  const parts = { method: verb, target: path, header: (name: string) => headers[name] };
  const terms = { created: Math.floor(now() / 1_000), nonce: newNonce(), audience };
  return {
    url: `https://echo.test${path}`,
    method: verb,
    headers: { ...headers, ...await signRequest(parts, terms, identity) },
    body,
  };
}

/** Rebuilds a request of any verb. */
export function send(server: { fetch(request: Request): Promise<Response> }, request: Captured): Promise<Response> {
  const { url, method, headers, body } = request;
  return server.fetch(new Request(url, body ? { method, headers, body } : { method, headers }));
}
