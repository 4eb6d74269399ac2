import { sha256 } from "@noble/hashes/sha2.js";
import { toBase64Url } from "../internal/base64.ts";
import { AuthError } from "./auth_error.ts";
import { type CapabilityClaims, readCapability } from "./capability_token.ts";
import { signJws } from "./jws.ts";
import { type PublicJwk, thumbprintOf } from "./public_key.ts";
import { type Secret, secret } from "./secret.ts";
import type { SigningKey } from "./signing_key.ts";
import { parseWorkloadId } from "./spiffe_id.ts";
import { narrower, parseToolMap, type ToolMap } from "./tool_map.ts";
import { CAPABILITY_DETAILS, CHAIN_SEPARATOR, HOLDER_MEMBER, THUMBPRINT_URI, TOKEN_TYPES } from "./wire.ts";
import { readWit } from "./wit.ts";

/** A right as its holder has it: a chain of signed tokens, each narrower than the one before. */
export interface Capability {
  /** The chain; without the holder's key it is worth nothing. */
  readonly chain: Secret;
  /** The ids of its tokens, the first signed first: what can be revoked. */
  readonly tokenIds: readonly string[];
  /** What it allows. */
  readonly tools: ToolMap;
  /** Where it may be used, where it says so. */
  readonly audience: string | undefined;
  /** When it ends, in milliseconds since 1970. */
  readonly expiresAtMs: number;
  /** How many more times it can be passed on. */
  readonly depthLeft: number;
}

/** Who issues a first token: an authority, or an identity that owns the methods. */
export interface CapabilityIssuer {
  /** Its id: `spiffe://` and a trust domain for an authority, the identity of a service otherwise. */
  readonly id: string;
  /** The key that signs. */
  readonly key: SigningKey;
  /** The identity token, where a service issues. */
  credential?(): { readonly token: Secret } | Promise<{ readonly token: Secret }>;
}

/** What a right allows, to whom, and for how long. */
export interface Grant {
  /** Who may use it: an identity, or whoever holds a key. */
  readonly holder: string | PublicJwk;
  /** The methods and what their arguments may be: `{ "payments.v1/charge": { amount: range({ max: 100 }) } }`. */
  readonly tools: ToolMap;
  /** Where it may be used: the id of a service, or one of its audiences. @default {wherever its methods are} */
  readonly audience?: string;
  /** How long it lives, in milliseconds, at most a day and never longer than what it comes from. @default {300_000} */
  readonly lifetimeMs?: number;
  /** How many times it may be passed on, from 0 to 4. @default {2, or what is left} */
  readonly depth?: number;
}

/**
 * Issues a right.
 *
 * @example A right to charge small amounts
 * ```ts
 * import { createAuthority, issueCapability, range } from "@postern/rpc/auth";
 *
 * const authority = await createAuthority("example.org");
 * const capability = await issueCapability(authority, {
 *   holder: "spiffe://example.org/orders",
 *   tools: { "payments.v1/charge": { amount: range({ min: 1, max: 100 }) } },
 * });
 * ```
 *
 * @param issuer An authority, or the identity of a service that owns the methods.
 * @param grant What it allows, to whom, for how long.
 * @param options The clock.
 * @returns The right.
 * @throws {RangeError} The lifetime or the depth is out of range.
 * @throws {AuthError} `malformed_id` for a holder that is none.
 */
export async function issueCapability(
  issuer: CapabilityIssuer,
  grant: Grant,
  options: { readonly now?: () => number } = {},
): Promise<Capability> {
  const iat = Math.floor((options.now ?? Date.now)() / 1_000);
  const claims = {
    ...claimsOf(grant, iat, iat + lifetimeOf(grant)),
    del_depth: 0,
    del_max_depth: depthOf(grant, 2),
    iss: issuer.id,
  };
  const token = await signJws(TOKEN_TYPES.capability, claims, { kid: issuer.key.thumbprint, sign: issuer.key.sign });
  if (!issuer.credential) return capabilityOf([token]);
  const { token: identityToken } = await issuer.credential();
  return capabilityOf([identityToken.reveal(), token]);
}

/** Who passes a right on: the holder, with the token that says so where the right names its identity. */
export interface CapabilityHolder extends Pick<CapabilityIssuer, "key"> {
  /** Its id. */
  readonly id?: string;
  /** Its identity token. */
  credential?(): { readonly token: Secret } | Promise<{ readonly token: Secret }>;
}

/**
 * Makes a narrower right of one that the caller holds, without asking anyone.
 *
 * @param capability The right.
 * @param holder Who holds it, and signs.
 * @param grant What the narrower one allows; its time and depth are cut to what the right has left.
 * @param options The clock.
 * @returns The narrower right.
 * @throws {AuthError} `wider_right`: it would allow what the right does not, or may not be passed on; `wrong_holder`,
 * `expired_right`; `malformed_chain` where it got too long.
 */
export async function attenuate(
  capability: Capability,
  holder: CapabilityHolder,
  grant: Grant,
  options: { readonly now?: () => number } = {},
): Promise<Capability> {
  const tokens = capability.chain.reveal().split(CHAIN_SEPARATOR);
  const { claims: parent, jws } = readCapability(tokens.at(-1)!);
  assertHeldBy(parent, holder);
  const nowS = Math.floor((options.now ?? Date.now)() / 1_000);
  if (parent.exp <= nowS) throw new AuthError("expired_right", "Cannot pass the right on: it has ended");
  if (parent.del_depth >= parent.del_max_depth) {
    throw new AuthError("wider_right", "Cannot pass the right on: it was passed on as often as it may be");
  }
  const tools = parseToolMap(grant.tools);
  if (!narrower(tools, toolsOf(parent))) {
    throw new AuthError("wider_right", "Cannot pass the right on: it would allow more than it does");
  }
  const iat = Math.max(parent.iat, nowS);
  const del_depth = parent.del_depth + 1;
  const claims = {
    ...claimsOf(grant, iat, Math.min(iat + lifetimeOf(grant), parent.exp)),
    del_depth,
    del_max_depth: Math.min(parent.del_max_depth, del_depth + depthOf(grant, MAX_DEPTH)),
    iss: THUMBPRINT_URI + holder.key.thumbprint,
    par_hash: hashOf(jws.signingInput),
  };
  const token = await signJws(TOKEN_TYPES.capability, claims, { sign: holder.key.sign });
  return capabilityOf([...tokens, ...await credentialFor(parent, holder), token]);
}

/** Who passes on what is not his makes something that nobody takes, and should know it here. */
function assertHeldBy({ cnf: { jwk, [HOLDER_MEMBER]: id } }: CapabilityClaims, holder: CapabilityHolder): void {
  if (jwk ? thumbprintOf(jwk) === holder.key.thumbprint : id === holder.id) return;
  throw new AuthError("wrong_holder", "Cannot pass the right on: it is another's");
}

/** The identity token goes into the chain where the parent names an identity: it says whose key signs the child. */
async function credentialFor(parent: CapabilityClaims, holder: CapabilityHolder): Promise<readonly string[]> {
  if (parent.cnf[HOLDER_MEMBER] === undefined) return [];
  if (!holder.credential) {
    throw new AuthError("wrong_holder", "Cannot pass the right on: its holder has no identity token");
  }
  return [(await holder.credential()).token.reveal()];
}

/**
 * Reads a right that came as a text, from storage say; only who checks it against a trust can know that it is good.
 *
 * @param chain The chain.
 * @returns The right.
 * @throws {AuthError} `malformed_chain`.
 */
export function readChain(chain: Secret): Capability {
  const text = chain.reveal();
  const tokens = text.length > MAX_CHAIN ? [] : text.split(CHAIN_SEPARATOR);
  return capabilityOf(tokens.length > MAX_CHAIN_TOKENS ? [] : tokens);
}

function capabilityOf(tokens: readonly string[]): Capability {
  const own = tokens.flatMap((token) => isCapability(token) ? [readCapability(token).claims] : []);
  const leaf = own.at(-1);
  if (!leaf) throw new AuthError("malformed_chain", "Cannot read the right: there is no capability in it");
  if (!tokens.every((token) => isCapability(token) || isIdentityToken(token))) {
    throw new AuthError("malformed_chain", "Cannot read the right: a token in it is none");
  }
  const chain = tokens.join(CHAIN_SEPARATOR);
  if (chain.length > MAX_CHAIN) {
    throw new AuthError("malformed_chain", `Cannot use the right: it is over ${MAX_CHAIN} bytes, which nobody takes`);
  }
  return Object.freeze({
    chain: secret(chain),
    tokenIds: own.map(({ jti }) => jti),
    tools: toolsOf(leaf),
    audience: leaf.aud,
    expiresAtMs: leaf.exp * 1_000,
    depthLeft: leaf.del_max_depth - leaf.del_depth,
  });
}

/** Whether a token of a chain says it is a capability and not the identity token of who signed the next. */
export function isCapability(token: string): boolean {
  try {
    readCapability(token);
    return true;
  } catch {
    return false;
  }
}

/** Whether a token of a chain says it is the identity token of who signed the next. */
export function isIdentityToken(token: string): boolean {
  try {
    readWit(token);
    return true;
  } catch {
    return false;
  }
}

/**
 * What a token allows.
 *
 * @throws {AuthError} `malformed_chain`: a method or a constraint that is not understood.
 */
export function toolsOf(claims: CapabilityClaims): ToolMap {
  try {
    return parseToolMap(claims.authorization_details[0].tools);
  } catch (cause) {
    throw new AuthError("malformed_chain", "Cannot accept the right: what it allows is not understood", { cause });
  }
}

/** What a child says its parent is: the hash of what the parent's signature is over (section 4.6). */
export const hashOf = (signingInput: string): string => toBase64Url(sha256(new TextEncoder().encode(signingInput)));

function claimsOf({ holder, tools, audience }: Grant, iat: number, exp: number) {
  if (typeof holder === "string") parseWorkloadId(holder);
  const cnf = typeof holder === "string"
    ? { [HOLDER_MEMBER]: holder }
    : { jwk: { kty: "OKP", crv: "Ed25519", x: holder.x } };
  return {
    ...audience === undefined ? {} : { aud: audience },
    authorization_details: [{ type: CAPABILITY_DETAILS, tools: parseToolMap(tools) }],
    cnf,
    exp,
    iat,
    jti: crypto.randomUUID(),
  };
}

function lifetimeOf({ lifetimeMs = 300_000 }: Grant): number {
  if (lifetimeMs >= 1_000 && lifetimeMs <= 86_400_000) return Math.floor(lifetimeMs / 1_000);
  throw new RangeError(`Cannot grant a right for ${lifetimeMs} ms: it must be from 1000 to 86400000`);
}

function depthOf({ depth }: Grant, otherwise: number): number {
  if (depth === undefined) return otherwise;
  if (Number.isInteger(depth) && depth >= 0 && depth <= MAX_DEPTH) return depth;
  throw new RangeError(`Cannot grant a right of depth ${depth}: it must be from 0 to ${MAX_DEPTH}`);
}

/** The longest chain, in bytes: what the headers of a request have room for, beside the rest. */
export const MAX_CHAIN = 12_288;

/** How many tokens a chain may have, identity tokens among them. */
export const MAX_CHAIN_TOKENS = 10;

/** How many times a right may be passed on at most. */
export const MAX_DEPTH = 4;
