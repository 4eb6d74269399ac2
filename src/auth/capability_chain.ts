import { AuthError } from "./auth_error.ts";
import { hashOf, isIdentityToken, MAX_CHAIN, MAX_CHAIN_TOKENS, MAX_DEPTH, toolsOf } from "./capability.ts";
import { type CapabilityClaims, readCapability } from "./capability_token.ts";
import { type UnverifiedJws, verifyJws } from "./jws.ts";
import { importPublicKey, thumbprintOf } from "./public_key.ts";
import { parseSpiffeId } from "./spiffe_id.ts";
import { narrower, type ToolMap } from "./tool_map.ts";
import type { Trust } from "./trust.ts";
import { CHAIN_SEPARATOR, HOLDER_MEMBER, KEY_USES, THUMBPRINT_URI } from "./wire.ts";
import type { Workload } from "./wit.ts";

/** A chain whose every signature and every step was verified; whether it holds now, here and for its presenter is not yet. */
export interface VerifiedChain {
  /** What the last token allows: no more than any before it. */
  readonly tools: ToolMap;
  /** Who may use it: an identity, or who holds the key with the thumbprint. */
  readonly holder: { readonly id?: string; readonly thumbprint?: string };
  /** The identities and keys that it came through, its issuer first and its present holder last. */
  readonly path: readonly string[];
  /** Every audience that a token of it names. */
  readonly audiences: readonly string[];
  /** The ids of its tokens, and of the identity tokens in it. */
  readonly tokenIds: readonly string[];
  /** The identities and keys that signed it, for looking whether they were revoked. */
  readonly signers: readonly ChainSigner[];
  /** From when it holds, in milliseconds since 1970. */
  readonly notBeforeMs: number;
  /** Until when it holds, in milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** Who signed a token of a chain, the authority aside. */
export interface ChainSigner {
  /** Its identity, where it showed an identity token. */
  readonly id?: string;
  /** The thumbprint of its key. */
  readonly key: string;
  /** Whose list says whether it was revoked. */
  readonly trustDomain: string;
}

/** The same with what its identity token says, where it showed one. */
type Signed = ChainSigner & Partial<Pick<Workload, "tokenId" | "expiresAtMs">>;

/** What a server knows about itself when it verifies chains. */
export interface ChainTerms {
  readonly trust: Trust;
  /** Whose authority, and whose services, may issue rights here. */
  readonly trustDomain: string;
}

/**
 * Verifies a chain: each token is signed by the holder of the one before, and allows no more.
 *
 * The first is signed by the authority of the trust domain, or by a service for methods that it may serve; then the
 * service's identity token comes before it. The same where a right names an identity as its holder and is passed on.
 *
 * @throws {AuthError} Why the chain is none.
 * @see {@link https://datatracker.ietf.org/doc/html/draft-niyikiza-oauth-attenuating-agent-tokens-02#section-8}
 */
export async function verifyChain(text: string, terms: ChainTerms): Promise<VerifiedChain> {
  const links = readLinks(text);
  const root = await verifyRoot(links[0]!, terms);
  const signers = root ? [root] : [];
  let tools = toolsOf(links[0]!.claims);
  for (let i = 1; i < links.length; i++) {
    const [parent, child] = [links[i - 1]!, links[i]!];
    const signer = await verifyStep(parent, child, terms);
    const childTools = toolsOf(child.claims);
    if (!narrower(childTools, tools)) throw new AuthError("wider_right", "Cannot accept the right: it was widened");
    tools = childTools;
    signers.push(signer);
  }
  const claims = links.map((link) => link.claims);
  return Object.freeze({
    tools,
    holder: holderOf(claims.at(-1)!),
    path: Object.freeze([claims[0]!.iss, ...claims.map(holderName)]),
    audiences: claims.flatMap(({ aud }) => aud === undefined ? [] : [aud]),
    tokenIds: Object.freeze([...claims.map(({ jti }) => jti), ...signers.flatMap(({ tokenId }) => tokenId ?? [])]),
    signers: signers.map(({ id, key, trustDomain }) =>
      id === undefined ? { key, trustDomain } : { id, key, trustDomain }
    ),
    notBeforeMs: Math.max(...claims.map(({ iat }) => iat * 1_000)),
    // An identity token in it must hold too: when it was used to sign, nobody can tell.
    expiresAtMs: Math.min(
      ...claims.map(({ exp }) => exp * 1_000),
      ...signers.map(({ expiresAtMs }) => expiresAtMs ?? Infinity),
    ),
  });
}

/**
 * Remembers verified chains by their exact text, until what is trusted changes.
 *
 * Chains of callers are many where each call has its own; what came first is forgotten first.
 */
export function chainVerifier(terms: ChainTerms): (text: string) => Promise<VerifiedChain> {
  const verified = new Map<string, VerifiedChain>();
  let revision = terms.trust.revision;
  return async (text) => {
    if (revision !== terms.trust.revision) {
      verified.clear();
      revision = terms.trust.revision;
    }
    const known = verified.get(text);
    if (known) return known;
    const asked = revision;
    const chain = await verifyChain(text, terms);
    if (asked !== terms.trust.revision) return chain; // trusted a moment ago, and not to be remembered
    if (verified.size >= MAX_REMEMBERED) verified.delete(verified.keys().next().value!);
    verified.set(text, chain);
    return chain;
  };
}

/** One capability of a chain, with the identity token of who signed it where there is one. */
interface Link {
  readonly jws: UnverifiedJws;
  readonly claims: CapabilityClaims;
  readonly wit: string | undefined;
}

function readLinks(text: string): readonly Link[] {
  if (text.length > MAX_CHAIN) throw malformed("it is too long");
  const tokens = text.split(CHAIN_SEPARATOR);
  if (tokens.length > MAX_CHAIN_TOKENS) throw malformed("it has too many tokens");
  const links: Link[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const wit = isIdentityToken(tokens[i]!) ? tokens[i++]! : undefined;
    if (i === tokens.length) throw malformed("it ends with an identity token");
    links.push({ ...readCapability(tokens[i]!), wit });
  }
  if (new Set(links.map(({ claims }) => claims.jti)).size !== links.length) throw malformed("it has a token twice");
  links.forEach(({ claims }, depth) => {
    if (claims.del_depth !== depth || depth > claims.del_max_depth || claims.del_max_depth > MAX_DEPTH) {
      throw malformed("a depth is not as it must be");
    }
    if (claims.exp <= claims.iat || claims.exp - claims.iat > MAX_LIFETIME_S) {
      throw malformed("a lifetime is not as it must be");
    }
  });
  return links;
}

/** @returns Who signed it, where that was not the authority. */
async function verifyRoot(
  { jws, claims, wit }: Link,
  { trust, trustDomain }: ChainTerms,
): Promise<Signed | undefined> {
  if (claims.par_hash !== undefined) throw malformed("its first token has a parent");
  if (wit === undefined) {
    const issuer = parseSpiffeId(claims.iss);
    if (issuer.path !== "" || issuer.trustDomain !== trustDomain) throw unknownRoot();
    await verifyJws(jws, trust.authorityKey(trustDomain, KEY_USES.capability, jws.kid));
    return undefined;
  }
  const owner = await trust.verify(wit);
  if (owner.id !== claims.iss || owner.trustDomain !== trustDomain) throw unknownRoot();
  for (const tool of Object.keys(toolsOf(claims))) {
    if (owner.serves.includes(tool.slice(0, tool.indexOf("/")))) continue;
    throw new AuthError("unknown_root", "Cannot accept the right: its issuer may not grant this method");
  }
  await verifyJws(jws, owner.key);
  return signerOf(owner);
}

/** @returns Who signed the child. */
async function verifyStep(parent: Link, child: Link, terms: ChainTerms): Promise<Signed> {
  const signer = parent.claims.cnf.jwk
    ? await verifyByKey(parent, child, terms)
    : await verifyByIdentity(parent, child, terms);
  if (child.claims.par_hash !== hashOf(parent.jws.signingInput)) throw broken("a token has another parent");
  assertNotLonger(parent.claims, child.claims);
  return signer;
}

async function verifyByKey(parent: Link, child: Link, { trustDomain }: ChainTerms): Promise<Signed> {
  const jwk = parent.claims.cnf.jwk!;
  const key = thumbprintOf(jwk);
  if (child.wit !== undefined) throw malformed("it has an identity token where a key is the holder");
  if (child.claims.iss !== THUMBPRINT_URI + key) throw broken("it was not its holder who passed it on");
  await verifyJws(child.jws, await importPublicKey(jwk));
  return { key, trustDomain };
}

async function verifyByIdentity(parent: Link, child: Link, { trust }: ChainTerms): Promise<Signed> {
  if (child.wit === undefined) throw malformed("it lacks the identity token of a holder");
  const holder = await trust.verify(child.wit);
  const isHolder = holder.id === parent.claims.cnf[HOLDER_MEMBER] &&
    child.claims.iss === THUMBPRINT_URI + holder.thumbprint;
  if (!isHolder) throw broken("it was not its holder who passed it on");
  await verifyJws(child.jws, holder.key);
  return signerOf(holder);
}

const signerOf = ({ id, thumbprint: key, trustDomain, tokenId, expiresAtMs }: Workload): Signed => {
  return { id, key, trustDomain, tokenId, expiresAtMs };
};

function assertNotLonger(parent: CapabilityClaims, child: CapabilityClaims): void {
  const isNarrower = child.exp <= parent.exp && child.iat >= parent.iat && child.del_max_depth <= parent.del_max_depth;
  if (!isNarrower) throw new AuthError("wider_right", "Cannot accept the right: its time or depth was widened");
}

function holderOf({ cnf: { jwk, [HOLDER_MEMBER]: id } }: CapabilityClaims): VerifiedChain["holder"] {
  return jwk ? { thumbprint: thumbprintOf(jwk) } : { id: id! };
}

function holderName(claims: CapabilityClaims): string {
  const { id, thumbprint } = holderOf(claims);
  return id ?? THUMBPRINT_URI + thumbprint;
}

const malformed = (why: string) => new AuthError("malformed_chain", `Cannot accept the right: ${why}`);
const broken = (why: string) => new AuthError("broken_chain", `Cannot accept the right: ${why}`);
const unknownRoot = () =>
  new AuthError("unknown_root", "Cannot accept the right: its issuer may not issue rights here");

/** In seconds; a day. */
const MAX_LIFETIME_S = 86_400;
const MAX_REMEMBERED = 512;
