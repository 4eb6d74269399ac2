import {
  AuthError,
  KEY_USES,
  parseSpiffeId,
  parseWorkloadId,
  type Trust,
  verifyJws,
  type Workload,
} from "../auth/mod.ts";
import type { EndpointPolicy } from "./endpoint_policy.ts";
import type { Instance } from "./instance.ts";
import {
  instanceName,
  MAX_LEASE_S,
  MAX_STATIC_S,
  readRecord,
  type RecordClaims,
  type UnverifiedRecord,
} from "./record.ts";
import { RegistryError } from "./registry_error.ts";

/** What a record has to be good for. */
export interface RecordExpectation {
  /** Whom the reader believes. */
  readonly trust: Trust;
  /** Whose instances are accepted, of the trust domains that are trusted. */
  readonly trustDomains: readonly string[];
  /** The registry's namespace. */
  readonly namespace: string;
  /** Where instances may be. */
  readonly endpoints: EndpointPolicy;
}

/**
 * Verifies a record, in this order: what costs nothing first, and the signatures last, its authority's before its own.
 *
 * @param record The record.
 * @param service The service that it was found under; undefined for one that is about to be registered.
 * @param nowMs The time, in milliseconds since 1970.
 * @throws {RegistryError} Why the record is refused.
 * @throws {AuthError} Why its identity token or its signature is refused.
 */
export async function verifyRecord(
  record: string,
  service: string | undefined,
  expected: RecordExpectation,
  nowMs: number,
): Promise<Instance> {
  const unverified = readRecord(record);
  const { claims } = unverified;
  if (claims.aud !== expected.namespace) throw refused("wrong_namespace", "it is for another registry");
  if (service !== undefined && !Object.hasOwn(claims.services, service)) {
    throw refused("wrong_service", "it is of another service");
  }
  const { trustDomain } = parseWorkloadId(claims.sub);
  if (!expected.trustDomains.includes(trustDomain)) {
    throw refused("wrong_domain", "its trust domain is not one whose instances are accepted");
  }
  assertInTime(claims, nowMs);
  for (const endpoint of claims.endpoints) expected.endpoints(endpoint, trustDomain);
  const { trust } = expected;
  if (claims.wit === undefined) return instanceOf(claims, await verifyIssued(unverified, trustDomain, trust));
  const signer = await verifyOwn(unverified, claims.wit, trust);
  return instanceOf(claims, Math.min(claims.exp * 1_000, signer.expiresAtMs), signer);
}

/**
 * The instance signed for itself: with the key of an identity that may serve what the record names.
 *
 * @returns Who it is; neither the record outlives the identity nor the other way round.
 */
async function verifyOwn({ jws, claims }: UnverifiedRecord, wit: string, trust: Trust): Promise<Workload> {
  if (claims.iss !== claims.sub || jws.kid !== undefined) throw refused("malformed_record", "it has two issuers");
  const workload = await trust.verify(wit);
  if (workload.id !== claims.sub) {
    throw new AuthError("wrong_token", "Cannot accept the record: its token is another's");
  }
  if (Object.keys(claims.services).some((name) => !workload.serves.includes(name))) {
    throw refused("not_serving", "its identity may not serve what it names");
  }
  const region = Object.hasOwn(workload.attributes, "region") ? workload.attributes["region"] : claims.region;
  if (region !== claims.region) throw refused("wrong_region", "its authority says that it is in another region");
  await verifyJws(jws, workload.key);
  return workload;
}

/** The authority of its trust domain signed for it. */
async function verifyIssued({ jws, claims }: UnverifiedRecord, trustDomain: string, trust: Trust): Promise<number> {
  const issuer = parseSpiffeId(claims.iss);
  if (issuer.path !== "" || issuer.trustDomain !== trustDomain) {
    throw refused("malformed_record", "it has no identity token, and its issuer is not the authority");
  }
  trust.assertNotRevoked(trustDomain, { id: claims.sub, tokens: [claims.jti] });
  await verifyJws(jws, trust.authorityKey(trustDomain, KEY_USES.capability, jws.kid));
  return claims.exp * 1_000;
}

function assertInTime({ iat, exp, wit }: RecordClaims, nowMs: number): void {
  if (exp * 1_000 <= nowMs) throw refused("expired_record", "its lease is over");
  if (iat * 1_000 > nowMs + SKEW_MS) throw refused("not_yet_valid", "it was made in the future");
  if (exp - iat > (wit === undefined ? MAX_STATIC_S : MAX_LEASE_S) || exp <= iat) {
    throw refused("malformed_record", "its lease is out of range");
  }
}

/** How far clocks may differ, in milliseconds: each by half of it from the right time. */
const SKEW_MS = 10_000;

const refused = (reason: RegistryError["reason"], why: string) =>
  new RegistryError(reason, `Cannot accept the record: ${why}`);

function instanceOf(claims: RecordClaims, expiresAtMs: number, signer?: Workload): Instance {
  const { sub, jti, region, enc, version, toolkit, weight, draining } = claims;
  const name = instanceName(sub, jti);
  return Object.freeze({
    name,
    identity: sub,
    id: jti,
    services: Object.freeze(claims.services),
    endpoints: Object.freeze(claims.endpoints),
    audience: claims.own_audience ? name : sub,
    version,
    toolkit,
    region,
    weight,
    draining,
    encryptionKey: enc && Object.freeze(enc),
    signer,
    sequence: claims.seq,
    expiresAtMs,
  });
}
