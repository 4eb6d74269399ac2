import { AuthError } from "./auth_error.ts";
import { readJws, verifyJws } from "./jws.ts";
import { importPublicKey, thumbprintOf } from "./public_key.ts";
import { parseSpiffeId, trustDomainId } from "./spiffe_id.ts";
import { type BundleKey, importBundle, type ImportedBundle, keyName, type TrustBundle } from "./trust_bundle.ts";
import { ATTRIBUTES_CLAIM, CERTIFICATE_MEMBER, KEY_USES, SERVES_CLAIM, TOKEN_TYPES } from "./wire.ts";
import { readWit, type Workload } from "./wit.ts";

/** How trust is set up. */
export interface TrustOptions {
  /**
   * How many verified tokens are remembered, so that a caller's token is verified once and not with every call; 0 for
   * none. Expiry and revocation are checked every time.
   *
   * @default {1_024}
   */
  readonly maxCachedTokens?: number;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/** Whom a program believes: the authorities of some trust domains, and what they have revoked. */
export interface Trust {
  /** The trust domains. */
  readonly trustDomains: readonly string[];
  /** How many times a newer bundle was taken over: what was verified under an earlier one must be verified again. */
  readonly revision: number;
  /**
   * Verifies a Workload Identity Token.
   *
   * @param token The token.
   * @param atMs When it has to hold, for what was said earlier, in milliseconds since 1970. What is revoked now, was never
   *   valid. @default {now}
   * @returns The workload; who presented the token still has to prove that it holds the key.
   * @throws {AuthError} Why it is not accepted.
   */
  verify(token: string, atMs?: number): Promise<Workload>;
  /**
   * The key with which a trust domain's authority signs.
   *
   * @param trustDomain The trust domain.
   * @param use What it signs.
   * @param kid Which of its keys.
   * @returns The key.
   * @throws {AuthError} `unknown_issuer`.
   */
  authorityKey(trustDomain: string, use: BundleKey["use"], kid: string | undefined): CryptoKey;
  /**
   * Refuses what an authority has revoked.
   *
   * @param trustDomain Whose list is asked.
   * @param named What is asked for: an identity, a key, tokens.
   * @throws {AuthError} `revoked`.
   */
  assertNotRevoked(
    trustDomain: string,
    named: { readonly id?: string; readonly key?: string; readonly tokens?: readonly string[] },
  ): void;
  /**
   * Takes over a newer bundle that the authority signed.
   *
   * @param signed The signed bundle.
   * @returns Whether anything changed: the same bundle again is no news.
   * @throws {AuthError} `rollback` for an older one, or why it is not the authority's.
   */
  update(signed: string): Promise<boolean>;
}

/**
 * Sets up trust in authorities, each of which speaks for its own trust domain and for no other.
 *
 * @example Trust one domain
 * ```ts
 * import { createAuthority, createTrust } from "@postern/rpc/auth";
 *
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * ```
 *
 * @param bundles The trust bundle of each trust domain, from configuration.
 * @param options What differs from the defaults.
 * @returns The trust.
 * @throws {AuthError} `malformed_bundle`, or `malformed_id` for a trust domain that is none.
 */
export async function createTrust(
  bundles: Readonly<Record<string, TrustBundle>>,
  options: TrustOptions = {},
): Promise<Trust> {
  const { maxCachedTokens = 1_024, now = Date.now } = options;
  const current: Bundles = new Map();
  for (const [trustDomain, bundle] of Object.entries(bundles)) {
    trustDomainId(trustDomain);
    current.set(trustDomain, await importBundle(bundle));
  }
  if (current.size === 0) throw new AuthError("malformed_bundle", "Cannot trust anyone: there is no bundle");
  const cache = new Map<string, Workload>();
  let revision = 0;
  return {
    trustDomains: Object.freeze([...current.keys()]),
    get revision() {
      return revision;
    },
    authorityKey: (trustDomain, use, kid) => authorityKey(current, trustDomain, use, kid),
    assertNotRevoked: (trustDomain, named) => assertNotRevoked(current, trustDomain, named),
    async verify(token, atMs = now()) {
      let workload = cache.get(token);
      if (!workload) {
        const asked = revision;
        workload = await verified(current, token);
        if (asked === revision) remember(cache, maxCachedTokens, token, workload);
      }
      assertHolds(workload, atMs);
      assertNotRevoked(current, workload.trustDomain, {
        id: workload.id,
        key: workload.thumbprint,
        tokens: [workload.tokenId],
      });
      return workload;
    },
    async update(signed) {
      const changed = await update(current, signed);
      if (changed) {
        cache.clear(); // a key may be gone
        revision++;
      }
      return changed;
    },
  };
}

/** The bundles in use, by trust domain. */
type Bundles = Map<string, ImportedBundle>;

function bundleOf(bundles: Bundles, trustDomain: string): ImportedBundle {
  const bundle = bundles.get(trustDomain);
  if (!bundle) throw new AuthError("unknown_issuer", "Cannot accept the token: its trust domain is not trusted");
  return bundle;
}

function authorityKey(
  bundles: Bundles,
  trustDomain: string,
  use: BundleKey["use"],
  kid: string | undefined,
): CryptoKey {
  const key = bundleOf(bundles, trustDomain).keys.get(keyName(use, kid ?? ""));
  if (!key) throw new AuthError("unknown_issuer", "Cannot accept the token: no key of its authority has this id");
  return key;
}

function assertNotRevoked(
  bundles: Bundles,
  trustDomain: string,
  { id, key, tokens = [] }: Parameters<Trust["assertNotRevoked"]>[1],
): void {
  const { revokedIds, revokedKeys, revokedTokens } = bundleOf(bundles, trustDomain);
  const isRevoked = (id !== undefined && revokedIds.has(id)) || (key !== undefined && revokedKeys.has(key)) ||
    tokens.some((each) => revokedTokens.has(each));
  if (isRevoked) throw new AuthError("revoked", "Cannot accept the token: it was revoked");
}

function assertHolds({ expiresAtMs, notBeforeMs }: Workload, nowMs: number): void {
  if (!(expiresAtMs > nowMs)) throw new AuthError("expired_token", "Cannot accept the token: it has expired");
  if (!(notBeforeMs <= nowMs + SKEW_MS)) {
    throw new AuthError("expired_token", "Cannot accept the token: it is not valid yet");
  }
}

/** Keeps a verified token; the one that came first makes room. */
function remember(cache: Map<string, Workload>, maxCachedTokens: number, token: string, workload: Workload): void {
  if (maxCachedTokens === 0) return;
  if (cache.size >= maxCachedTokens) cache.delete(cache.keys().next().value!);
  cache.set(token, workload);
}

async function update(bundles: Bundles, signed: string): Promise<boolean> {
  const jws = readJws(signed, TOKEN_TYPES.bundle, MAX_BUNDLE);
  const { iss, bundle } = (jws.claims ?? {}) as { readonly iss?: unknown; readonly bundle?: unknown };
  const { trustDomain } = parseSpiffeId(iss as string);
  await verifyJws(jws, authorityKey(bundles, trustDomain, KEY_USES.wit, jws.kid));
  const imported = await importBundle(bundle);
  const { sequence } = bundleOf(bundles, trustDomain);
  if (imported.sequence < sequence) {
    throw new AuthError("rollback", "Cannot trust the bundle: it is older than the one in use");
  }
  if (imported.sequence === sequence) return false;
  bundles.set(trustDomain, imported);
  return true;
}

/** The longest signed bundle, in bytes: a list of what is revoked grows. */
const MAX_BUNDLE = 1_048_576;

/** How far clocks may differ, in milliseconds. */
export const SKEW_MS = 5_000;

async function verified(bundles: Bundles, token: string): Promise<Workload> {
  const { jws, claims, trustDomain } = readWit(token);
  await verifyJws(jws, authorityKey(bundles, trustDomain, KEY_USES.wit, jws.kid));
  const { jwk } = claims.cnf;
  return Object.freeze({
    id: claims.sub,
    trustDomain,
    roles: Object.freeze(claims.roles), // a handler gets these very lists, and the next call the same workload
    attributes: Object.freeze(claims[ATTRIBUTES_CLAIM]),
    serves: Object.freeze(claims[SERVES_CLAIM]),
    jwk,
    thumbprint: thumbprintOf(jwk),
    key: await importPublicKey(jwk),
    tokenId: claims.jti,
    expiresAtMs: claims.exp * 1_000,
    notBeforeMs: (claims.nbf ?? claims.iat) * 1_000,
    certificate: claims.cnf[CERTIFICATE_MEMBER],
  });
}
