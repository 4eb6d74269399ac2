import type { Audit } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import type { Attested, Attestor } from "./attestor.ts";
import { type EnrollmentRequest, verifyEnrollment } from "./enrollment.ts";
import type { Enroller } from "./identity.ts";
import { signJws } from "./jws.ts";
import { type PublicJwk, rawKeyOf, thumbprintOf } from "./public_key.ts";
import { generateKey, type SigningKey } from "./signing_key.ts";
import { parseWorkloadId, trustDomainId } from "./spiffe_id.ts";
import { createTrust } from "./trust.ts";
import type { BundleKey, Revocations, TrustBundle } from "./trust_bundle.ts";
import {
  ATTRIBUTES_CLAIM,
  BUNDLE_REVOKED,
  BUNDLE_SEQUENCE,
  CERTIFICATE_MEMBER,
  KEY_USES,
  SERVES_CLAIM,
  TOKEN_TYPES,
} from "./wire.ts";

/** The keys with which an authority signs, one for each use. */
export interface AuthorityKeys {
  /** Signs identity tokens and trust bundles. */
  readonly wit: SigningKey;
  /** Signs capabilities. */
  readonly capability: SigningKey;
}

/** How an authority is set up. */
export interface AuthorityOptions {
  /** What judges the evidence of workloads that want an identity. @default {[]} */
  readonly attestors?: readonly Attestor[];
  /** The keys, newest first; one that is not first only goes on being trusted. @default {new ones, gone with the process} */
  readonly keys?: readonly AuthorityKeys[];
  /** The sequence of the first bundle; an authority that starts again with kept keys must go on from the last one. @default {1} */
  readonly sequence?: number;
  /** What is revoked from the start. @default {nothing} */
  readonly revoked?: Revocations;
  /** How long an identity token lives, in milliseconds, from a minute to a day. @default {3_600_000} */
  readonly tokenLifetimeMs?: number;
  /** Where its decisions are recorded. @default {nowhere} */
  readonly audit?: Audit;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/** Says who is who in a trust domain. */
export interface Authority extends Enroller {
  /** Its own id, `spiffe://` and the trust domain. */
  readonly id: string;
  /** The key that signs capabilities at present; `issueCapability` takes the authority as who issues. */
  readonly key: SigningKey;
  /**
   * Signs an identity token for a workload whose identity is beyond doubt: the way without a network.
   *
   * @param jwk The workload's public key.
   * @param workload Who it is.
   * @returns The token.
   * @throws {AuthError} `malformed_id`, also for an id of another trust domain; `revoked`.
   */
  issue(jwk: PublicJwk, workload: Attested): Promise<string>;
  /** The bundle that others trust it by. */
  bundle(): TrustBundle;
  /**
   * The bundle, signed for those who trust an earlier one: with the oldest key that is still trusted.
   *
   * @returns What `Trust.update` takes.
   */
  signedBundle(): Promise<string>;
  /**
   * Signs with new keys from now on; the old ones go on being trusted until `retire`.
   *
   * @param keys The new keys. @default {generated}
   */
  rotate(keys?: AuthorityKeys): Promise<void>;
  /** Trusts the present keys only: what older ones signed is refused from now on. */
  retire(): void;
  /**
   * Revokes identities, keys and tokens.
   *
   * @param what What is revoked, in addition to what is already.
   */
  revoke(what: Partial<Revocations>): void;
}

/**
 * Sets up the authority of a trust domain.
 *
 * @example An identity without a network
 * ```ts
 * import { createAuthority, generateKey, importIdentity } from "@postern/rpc/auth";
 *
 * const authority = await createAuthority("example.org");
 * const key = await generateKey();
 * const token = await authority.issue(key.jwk, { id: "spiffe://example.org/orders", serves: ["orders.v1"] });
 * const identity = importIdentity(key, token);
 * ```
 *
 * @param trustDomain The trust domain, such as `example.org`.
 * @param options What differs from the defaults.
 * @returns The authority.
 * @throws {AuthError} `malformed_id`.
 * @throws {RangeError} The tokens' lifetime is out of range.
 */
export async function createAuthority(trustDomain: string, options: AuthorityOptions = {}): Promise<Authority> {
  const { attestors = [], tokenLifetimeMs = 3_600_000, now = Date.now, audit } = options;
  const id = trustDomainId(trustDomain);
  if (!(tokenLifetimeMs >= 60_000 && tokenLifetimeMs <= 86_400_000)) {
    throw new RangeError(`Cannot issue tokens for ${tokenLifetimeMs} ms: it must be from 60000 to 86400000`);
  }
  let keys = options.keys ?? [await generateKeys()];
  let sequence = options.sequence ?? 1;
  let revoked: Revocations = options.revoked ?? { ids: [], keys: [], tokens: [] };
  const recentRequests = new Map<string, number>();

  const bundle = (): TrustBundle => ({
    keys: keys.flatMap((
      { wit, capability },
    ) => [bundleKey(wit, KEY_USES.wit), bundleKey(capability, KEY_USES.capability)]),
    [BUNDLE_SEQUENCE]: sequence,
    [BUNDLE_REVOKED]: revoked,
  });

  const issue: Authority["issue"] = async (jwk, workload) => {
    const { id: sub, serves = [], roles = [], attributes = {}, certificate } = workload;
    if (parseWorkloadId(sub).trustDomain !== trustDomain) {
      throw new AuthError("malformed_id", `Cannot issue an identity: it is not of the trust domain "${trustDomain}"`);
    }
    rawKeyOf(jwk); // a key that is none must not get a token
    if (revoked.ids.includes(sub) || revoked.keys.includes(thumbprintOf(jwk))) {
      throw new AuthError("revoked", "Cannot issue an identity: it was revoked");
    }
    const iat = Math.floor(now() / 1_000);
    const { kty, crv, x } = jwk;
    const cnf = {
      jwk: { kty, crv, x, alg: "Ed25519" },
      ...certificate === undefined ? {} : { [CERTIFICATE_MEMBER]: certificate },
    };
    const exp = iat + Math.floor(tokenLifetimeMs / 1_000);
    const claims = {
      iss: id,
      sub,
      iat,
      exp,
      jti: crypto.randomUUID(),
      cnf,
      roles,
      [SERVES_CLAIM]: serves,
      [ATTRIBUTES_CLAIM]: attributes,
    };
    const token = await signJws(TOKEN_TYPES.wit, claims, signerOf(keys[0]!));
    audit?.record({ event: "credential.issue", caller: sub, fields: { tokenId: claims.jti, key: thumbprintOf(jwk) } });
    return token;
  };

  const attest = async ({ evidence, jwk }: EnrollmentRequest): Promise<Attested> => {
    if (evidence.type === "wit") return await attestByToken(evidence.token, jwk, { [trustDomain]: bundle() }, now);
    const attestor = attestors.find(({ type }) => type === evidence.type);
    if (!attestor) {
      throw new AuthError("not_attested", "Cannot attest the workload: nobody judges evidence of this kind");
    }
    return await attestor.attest(evidence.token, { thumbprint: thumbprintOf(jwk) });
  };

  return {
    id,
    trustDomain,
    get key() {
      return keys[0]!.capability;
    },
    issue,
    bundle,
    signedBundle: () =>
      signJws(
        TOKEN_TYPES.bundle,
        { iss: id, iat: Math.floor(now() / 1_000), bundle: plain(bundle()) },
        signerOf(keys.at(-1)!),
      ),
    async enroll(request) {
      try {
        const verified = await verifyEnrollment(request, { trustDomain, nowMs: now() });
        assertFirst(recentRequests, verified.requestId, now());
        return await issue(verified.jwk, await attest(verified));
      } catch (error) {
        const reason = error instanceof AuthError ? error.reason : "not_attested";
        audit?.record({ event: "credential.refuse", reason });
        throw error;
      }
    },
    async rotate(next) {
      keys = [next ?? await generateKeys(), ...keys].slice(0, MAX_KEYS);
      sequence++;
      audit?.record({ event: "authority.rotate", fields: { sequence } });
    },
    retire() {
      keys = keys.slice(0, 1);
      sequence++;
      audit?.record({ event: "authority.retire", fields: { sequence } });
    },
    revoke({ ids = [], keys: thumbprints = [], tokens = [] }) {
      revoked = {
        ids: [...new Set([...revoked.ids, ...ids])],
        keys: [...new Set([...revoked.keys, ...thumbprints])],
        tokens: [...new Set([...revoked.tokens, ...tokens])],
      };
      sequence++;
      const fields = { sequence, ids: ids.length, keys: thumbprints.length, tokens: tokens.length };
      audit?.record({ event: "authority.revoke", fields });
    },
  };
}

const generateKeys = async (): Promise<AuthorityKeys> => ({
  wit: await generateKey(),
  capability: await generateKey(),
});

const signerOf = ({ wit }: AuthorityKeys) => ({ kid: wit.thumbprint, sign: wit.sign });

const bundleKey = ({ jwk, thumbprint }: SigningKey, use: BundleKey["use"]): BundleKey => ({
  ...jwk,
  kid: thumbprint,
  use,
});

/** Without members that are undefined, which canonical JSON refuses. */
const plain = (bundle: TrustBundle) => JSON.parse(JSON.stringify(bundle)) as unknown;

/** A workload that shows its present token, and proves by its request that it holds the key, is still who it was. */
async function attestByToken(
  token: string,
  jwk: PublicJwk,
  bundles: Readonly<Record<string, TrustBundle>>,
  now: () => number,
): Promise<Attested> {
  const { id, serves, roles, attributes, certificate, thumbprint } = await (await createTrust(bundles, { now })).verify(
    token,
  );
  if (thumbprint !== thumbprintOf(jwk)) {
    throw new AuthError("not_attested", "Cannot attest the workload: the token it shows is for another key");
  }
  return { id, serves, roles, attributes, ...certificate === undefined ? {} : { certificate } };
}

/** A request that was overheard is good for nothing: each is taken once, and lives for a minute. */
function assertFirst(recent: Map<string, number>, requestId: string, nowMs: number): void {
  for (const [id, atMs] of recent) {
    if (atMs > nowMs - REQUEST_MS) break; // in the order in which they came
    recent.delete(id);
  }
  if (recent.has(requestId)) throw new AuthError("replayed", "Cannot accept the request: it was made before");
  if (recent.size >= MAX_REQUESTS) {
    throw new AuthError("replay_full", "Cannot accept the request: too many came at once");
  }
  recent.set(requestId, nowMs);
}

/** A request's lifetime and twice the difference that clocks may have, in milliseconds. */
const REQUEST_MS = 70_000;
const MAX_REQUESTS = 100_000;
/** Present, past and one more: who rotates without retiring must not make the bundle grow for ever. */
const MAX_KEYS = 3;
