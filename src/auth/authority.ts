import type { Audit } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import type { Attested, Attestor } from "./attestor.ts";
import { type EnrollmentRequest, verifyEnrollment } from "./enrollment.ts";
import type { Enroller } from "./identity.ts";
import { signJws } from "./jws.ts";
import { type PublicJwk, rawKeyOf, thumbprintOf } from "./public_key.ts";
import { generateKey, type SigningKey } from "./signing_key.ts";
import { parseWorkloadId, trustDomainId } from "./spiffe_id.ts";
import { createTrust, type Trust } from "./trust.ts";
import { readWit } from "./wit.ts";
import { type BundleKey, MAX_REVOKED, type Revocations, type TrustBundle } from "./trust_bundle.ts";
import {
  ALGORITHM,
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
   * @throws {RangeError} More than 10,000 of a kind, or 640 KiB in all, which no reader of the bundle would take.
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
  const { tokenLifetimeMs = 3_600_000 } = options;
  if (!(tokenLifetimeMs >= 60_000 && tokenLifetimeMs <= 86_400_000)) {
    throw new RangeError(`Cannot issue tokens for ${tokenLifetimeMs} ms: it must be from 60000 to 86400000`);
  }
  const office: Office = {
    id: trustDomainId(trustDomain),
    trustDomain,
    tokenLifetimeMs,
    attestors: options.attestors ?? [],
    audit: options.audit,
    now: options.now ?? Date.now,
    recentRequests: new Map(),
    keys: options.keys ?? [await generateKeys()],
    sequence: options.sequence ?? 1,
    revoked: options.revoked ?? { ids: [], keys: [], tokens: [] },
  };
  const change = (event: string, fields: Readonly<Record<string, number>> = {}) => {
    office.sequence++;
    office.audit?.record({ event, fields: { sequence: office.sequence, ...fields } });
  };
  return {
    id: office.id,
    trustDomain,
    get key() {
      return office.keys[0]!.capability;
    },
    issue: (jwk, workload) => issue(office, jwk, workload),
    enroll: (request) => enroll(office, request),
    bundle: () => bundleOf(office),
    signedBundle: () => signedBundle(office),
    async rotate(next) {
      office.keys = [next ?? await generateKeys(), ...office.keys].slice(0, MAX_KEYS);
      change("authority.rotate");
    },
    retire() {
      office.keys = office.keys.slice(0, 1);
      change("authority.retire");
    },
    revoke({ ids = [], keys = [], tokens = [] }) {
      const { revoked } = office;
      const all = {
        ids: [...new Set([...revoked.ids, ...ids])],
        keys: [...new Set([...revoked.keys, ...keys])],
        tokens: [...new Set([...revoked.tokens, ...tokens])],
      };
      const bytes = JSON.stringify(all).length;
      if (Object.values(all).some((list) => list.length > MAX_REVOKED) || bytes > MAX_REVOKED_BYTES) {
        throw new RangeError("Cannot revoke so much: no reader would take the bundle; rotate the keys and start again");
      }
      office.revoked = all;
      change("authority.revoke", { ids: ids.length, keys: keys.length, tokens: tokens.length });
    },
  };
}

/** What an authority holds; what is not readonly changes. */
interface Office {
  readonly id: string;
  readonly trustDomain: string;
  readonly tokenLifetimeMs: number;
  readonly attestors: readonly Attestor[];
  readonly audit: Audit | undefined;
  readonly now: () => number;
  readonly recentRequests: Map<string, number>;
  keys: readonly AuthorityKeys[];
  sequence: number;
  revoked: Revocations;
  signed?: { readonly sequence: number; readonly bundle: Promise<string> };
  trust?: { readonly sequence: number; readonly trust: Promise<Trust> };
}

/** Signed once for each change: anyone may ask for it, and signing is dear. */
function signedBundle(office: Office): Promise<string> {
  if (office.signed?.sequence === office.sequence) return office.signed.bundle;
  const claims = { iss: office.id, iat: Math.floor(office.now() / 1_000), bundle: plain(bundleOf(office)) };
  const bundle = signJws(TOKEN_TYPES.bundle, claims, signerOf(office.keys.at(-1)!));
  office.signed = { sequence: office.sequence, bundle };
  return bundle;
}

function bundleOf({ keys, sequence, revoked }: Office): TrustBundle {
  return {
    keys: keys.flatMap(({ wit, capability }) => [
      bundleKey(wit, KEY_USES.wit),
      bundleKey(capability, KEY_USES.capability),
    ]),
    [BUNDLE_SEQUENCE]: sequence,
    [BUNDLE_REVOKED]: revoked,
  };
}

async function issue(office: Office, jwk: PublicJwk, workload: Attested): Promise<string> {
  const { id: sub, serves = [], roles = [], attributes = {}, certificate } = workload;
  if (parseWorkloadId(sub).trustDomain !== office.trustDomain) {
    throw new AuthError("malformed_id", `Cannot issue an identity: it is not of the domain "${office.trustDomain}"`);
  }
  rawKeyOf(jwk); // a key that is none must not get a token
  const thumbprint = thumbprintOf(jwk);
  if (office.revoked.ids.includes(sub) || office.revoked.keys.includes(thumbprint)) {
    throw new AuthError("revoked", "Cannot issue an identity: it was revoked");
  }
  const { kty, crv, x } = jwk;
  const iat = Math.floor(office.now() / 1_000);
  const claims = {
    iss: office.id,
    sub,
    iat,
    exp: iat + Math.floor(office.tokenLifetimeMs / 1_000),
    jti: crypto.randomUUID(),
    cnf: {
      jwk: { kty, crv, x, alg: ALGORITHM },
      ...certificate === undefined ? {} : { [CERTIFICATE_MEMBER]: certificate },
    },
    roles,
    [SERVES_CLAIM]: serves,
    [ATTRIBUTES_CLAIM]: attributes,
  };
  const token = await signJws(TOKEN_TYPES.wit, claims, signerOf(office.keys[0]!));
  readWit(token); // a role or an attribute that no reader would take is found here and not at the first call
  office.audit?.record({ event: "credential.issue", caller: sub, fields: { tokenId: claims.jti, key: thumbprint } });
  return token;
}

async function enroll(office: Office, request: string): Promise<string> {
  try {
    const verified = await verifyEnrollment(request, { trustDomain: office.trustDomain, nowMs: office.now() });
    assertFirst(office.recentRequests, verified.requestId, office.now());
    const attested = await attest(office, verified);
    // Only what was believed is remembered: anyone can sign a request with a key of his own. Again, because it may have
    // come more than once while it was judged.
    assertFirst(office.recentRequests, verified.requestId, office.now());
    office.recentRequests.set(verified.requestId, office.now());
    return await issue(office, verified.jwk, attested);
  } catch (error) {
    const reason = error instanceof AuthError ? error.reason : "not_attested";
    office.audit?.record({ event: "credential.refuse", reason });
    throw error;
  }
}

async function attest(office: Office, { evidence, jwk }: EnrollmentRequest): Promise<Attested> {
  if (evidence.type === "wit") return await attestByToken(office, evidence.token, jwk);
  const attestor = office.attestors.find(({ type }) => type === evidence.type);
  if (!attestor) throw new AuthError("not_attested", "Cannot attest the workload: nobody judges evidence of this kind");
  return await attestor.attest(evidence.token, { thumbprint: thumbprintOf(jwk) });
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
async function attestByToken(office: Office, token: string, jwk: PublicJwk): Promise<Attested> {
  if (office.trust?.sequence !== office.sequence) {
    const trust = createTrust({ [office.trustDomain]: bundleOf(office) }, { now: office.now, maxCachedTokens: 0 });
    office.trust = { sequence: office.sequence, trust };
  }
  const trust = await office.trust.trust;
  const { id, serves, roles, attributes, certificate, thumbprint } = await trust.verify(token);
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
}

/** As much as fits, in base64 and with the keys, into the longest signed bundle; in bytes. */
const MAX_REVOKED_BYTES = 655_360;

/** A request's lifetime and twice the difference that clocks may have, in milliseconds. */
const REQUEST_MS = 70_000;
const MAX_REQUESTS = 100_000;
/** Present, past and one more: who rotates without retiring must not make the bundle grow for ever. */
const MAX_KEYS = 3;
