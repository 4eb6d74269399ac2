import * as v from "valibot";
import {
  type CapabilityIssuer,
  type EncryptionJwk,
  type Identity,
  parseSpiffeId,
  parseWorkloadId,
  readJws,
  signJws,
  type UnverifiedJws,
} from "../auth/mod.ts";
import { toBase64Url } from "../internal/base64.ts";
import { RegistryError } from "./registry_error.ts";

/** The type in the JOSE header of a record, which keeps other tokens from being taken for one. */
export const RECORD_TYPE = "svc-record+jwt";
/** The longest record, in bytes. */
export const MAX_RECORD = 8_192;
/** The longest lease of a record that an instance signs for itself, in seconds: after so long a lie about it is over. */
export const MAX_LEASE_S = 300;
/** The longest life of a record that an authority signs, in seconds. */
export const MAX_STATIC_S = 366 * 86_400;
/** The version of this toolkit, as records name it. */
export const TOOLKIT = "postern/0.1.0";
/** The namespace of registries that are not divided. */
export const DEFAULT_NAMESPACE = "default";

/** What a record says of an instance. */
export interface InstanceDescription {
  /** The services that it serves, each with the digest of its contract; "" where a contract has none. */
  readonly services: Readonly<Record<string, string>>;
  /** Where it is reached, the preferred one first; 1 to 4 URLs of `https:` or `wss:`. */
  readonly endpoints: readonly string[];
  /** The instance's own id among those of its identity, 1 to 64 letters, digits, `_` and `-`. @default {128 random bits} */
  readonly instance?: string;
  /**
   * Whether calls are addressed to the instance and not to its identity, so that none can be replayed to another instance:
   * to `instanceName(identity, instance)`, which is among the `audiences` of its `protect`.
   *
   * @default {false}
   */
  readonly ownAudience?: boolean;
  /** Its version, as Semantic Versioning writes it. @default {"0.0.0"} */
  readonly version?: string;
  /** Where it runs; lower-case letters, digits and `-`. @default {nowhere in particular} */
  readonly region?: string;
  /** How much of its identity's calls it wants beside others, from 1 to 100. @default {100} */
  readonly weight?: number;
  /** Whether it is about to end, and wants no new calls. @default {false} */
  readonly draining?: boolean;
  /** The key to make sessions with it by, and to encrypt for it. @default {`announce`: its identity's; else none} */
  readonly encryptionKey?: EncryptionJwk;
  /** The registry's namespace; a record of another one is refused. @default {"default"} */
  readonly namespace?: string;
}

/** When a record holds. */
export interface RecordTerms {
  /** Grows with every record of one instance; one that goes backwards is refused. */
  readonly sequence: number;
  /** How long it holds, in milliseconds. */
  readonly lifetimeMs: number;
  /** The time, in milliseconds since 1970. @default {Date.now()} */
  readonly nowMs?: number;
}

/**
 * Signs the record of an instance, by the instance's own identity; `announce` does it for a server, again and again.
 *
 * @param identity Who the instance is.
 * @param description What the record says.
 * @param terms Its sequence, and how long it holds: 1 to 300 s.
 * @returns The record.
 * @throws {RegistryError} `malformed_record`: no reader would take it.
 */
export async function signRecord(
  identity: Identity,
  description: InstanceDescription,
  terms: RecordTerms,
): Promise<string> {
  assertLease(terms, MAX_LEASE_S);
  const { token } = await identity.credential();
  const claims = { ...claimsOf(identity.id, identity.id, description, terms), wit: token.reveal() };
  return assertReadable(await signJws(RECORD_TYPE, claims, { sign: identity.sign }));
}

/**
 * Signs a record for an instance that cannot keep one fresh itself, by the authority of its trust domain: for
 * `staticRegistry`.
 *
 * @example A list of instances that goes into a file
 * ```ts
 * import { createAuthority } from "@postern/rpc/auth";
 * import { issueRecord, staticRegistry } from "@postern/rpc/registry";
 *
 * const authority = await createAuthority("example.org");
 * const record = await issueRecord(authority, {
 *   id: "spiffe://example.org/greeter",
 *   services: { "greeter.v1": "" },
 *   endpoints: ["https://greeter.example.org"],
 * }, { sequence: 1, lifetimeMs: 30 * 86_400_000 });
 * const registry = staticRegistry(record);
 * ```
 *
 * @param authority The authority.
 * @param description Who the instance is, and what the record says.
 * @param terms Its sequence, and how long it holds: at most 366 days.
 * @returns The record.
 * @throws {RegistryError} `malformed_record`: no reader would take it.
 * @throws {AuthError} `malformed_id`.
 */
export async function issueRecord(
  authority: CapabilityIssuer,
  description: InstanceDescription & { readonly id: string },
  terms: RecordTerms,
): Promise<string> {
  const { id, ...about } = description;
  if (parseWorkloadId(id).trustDomain !== parseSpiffeId(authority.id).trustDomain) {
    throw new RegistryError("malformed_record", "Cannot sign the record: its identity is of another trust domain");
  }
  assertLease(terms, MAX_STATIC_S);
  const { key } = authority;
  const claims = claimsOf(authority.id, id, about, terms);
  return assertReadable(await signJws(RECORD_TYPE, claims, { kid: key.thumbprint, sign: key.sign }));
}

function assertLease({ lifetimeMs }: RecordTerms, mostS: number): void {
  if (lifetimeMs > 0 && lifetimeMs <= mostS * 1_000) return;
  throw new RegistryError("malformed_record", `Cannot sign the record: it must hold for at most ${mostS} s`);
}

function claimsOf(issuer: string, id: string, description: InstanceDescription, terms: RecordTerms) {
  const { services, endpoints, region, encryptionKey } = description;
  const iat = Math.floor((terms.nowMs ?? Date.now()) / 1_000);
  return {
    iss: issuer,
    sub: id,
    aud: description.namespace ?? DEFAULT_NAMESPACE,
    jti: description.instance ?? newInstanceId(),
    seq: terms.sequence,
    iat,
    exp: iat + Math.ceil(terms.lifetimeMs / 1_000),
    services,
    endpoints,
    ...region === undefined ? {} : { region },
    ...encryptionKey === undefined ? {} : { enc: encryptionKey },
    version: description.version ?? "0.0.0",
    toolkit: TOOLKIT,
    weight: description.weight ?? MAX_WEIGHT,
    draining: description.draining ?? false,
    own_audience: description.ownAudience ?? false,
  };
}

/**
 * The name of an instance among all instances, which nobody of another identity can have: its identity and its own id.
 *
 * @param identity Its SPIFFE id.
 * @param instance Its own id.
 * @returns The name, as `spiffe://example.org/orders#one`.
 */
export function instanceName(identity: string, instance: string): string {
  return `${identity}#${instance}`;
}

/** 128 random bits in base64url: the id of an instance among those of its identity. */
export function newInstanceId(): string {
  return toBase64Url(crypto.getRandomValues(new Uint8Array(16)));
}

/** What nobody would take is found by who signs it and not by those who miss it. */
function assertReadable(record: string): string {
  readRecord(record);
  return record;
}

/** A record that was read but not verified: nothing in it is true yet. */
export interface UnverifiedRecord {
  /** The token, for its signature. */
  readonly jws: UnverifiedJws;
  /** What it claims. */
  readonly claims: RecordClaims;
}

/** What a record claims, by the names of RFC 7519 where there are any. */
export interface RecordClaims {
  /** Who signed it: the instance itself, or the authority of its trust domain. */
  readonly iss: string;
  /** The identity of the instance. */
  readonly sub: string;
  /** The registry's namespace. */
  readonly aud: string;
  /** The instance's own id. */
  readonly jti: string;
  /** Grows with every record of the instance. */
  readonly seq: number;
  /** When it was signed, in seconds since 1970. */
  readonly iat: number;
  /** When it ends, in seconds since 1970. */
  readonly exp: number;
  /** The services, each with the digest of its contract. */
  readonly services: Readonly<Record<string, string>>;
  /** Where the instance is reached. */
  readonly endpoints: readonly string[];
  /** Where it runs. */
  readonly region?: string | undefined;
  /** The key to encrypt for it. */
  readonly enc?: EncryptionJwk | undefined;
  /** Its version. */
  readonly version: string;
  /** Its toolkit. */
  readonly toolkit: string;
  /** How much of its identity's calls it wants. */
  readonly weight: number;
  /** Whether it is about to end. */
  readonly draining: boolean;
  /** Whether calls are addressed to it by its own name. */
  readonly own_audience: boolean;
  /** Its identity token, where it signed for itself. */
  readonly wit?: string | undefined;
}

/**
 * Reads a record, without verifying it: for a backend, which has to know where to put it.
 *
 * @param record The record.
 * @returns Its claims, of which none is true yet.
 * @throws {RegistryError} `malformed_record`.
 */
export function readRecord(record: string): UnverifiedRecord {
  let jws: UnverifiedJws;
  try {
    jws = readJws(record, RECORD_TYPE, MAX_RECORD);
  } catch (cause) {
    throw new RegistryError("malformed_record", "Cannot read the record: it is not one in its one spelling", { cause });
  }
  const parsed = v.safeParse(claimsSchema, jws.claims);
  if (parsed.success) return { jws, claims: parsed.output };
  const path = v.getDotPath(parsed.issues[0]) ?? "a claim";
  throw new RegistryError("malformed_record", `Cannot read the record: "${path.slice(0, 64)}" is not as it must be`);
}

/** Nobody gets more than this by asking for it. */
const MAX_WEIGHT = 100;

const Seconds = /* @__PURE__ */ v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(253402300799));
const text = (pattern: RegExp) => v.pipe(v.string(), v.regex(pattern));

/** The grammar of a service's name, as a contract has it. */
export const SERVICE_NAME = /^(?=.{1,128}$)[A-Za-z]\w*(?:\.[A-Za-z]\w*)*$/;
/** The grammar of a namespace. */
export const NAMESPACE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Claims beside these are of a newer toolkit, and are ignored. */
const claimsSchema = /* @__PURE__ */ v.object({
  iss: v.pipe(v.string(), v.maxLength(2048)),
  sub: v.pipe(v.string(), v.maxLength(2048)),
  aud: /* @__PURE__ */ text(NAMESPACE),
  jti: /* @__PURE__ */ text(/^[\w-]{1,64}$/),
  seq: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  iat: Seconds,
  exp: Seconds,
  services: v.pipe(
    v.record(/* @__PURE__ */ text(SERVICE_NAME), /* @__PURE__ */ text(/^(?:[A-Za-z0-9_-]{43})?$/)),
    v.check((services) => Object.keys(services).length > 0 && Object.keys(services).length <= 32),
  ),
  endpoints: v.pipe(v.array(v.pipe(v.string(), v.maxLength(512))), v.minLength(1), v.maxLength(4)),
  region: v.optional(/* @__PURE__ */ text(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/)),
  enc: v.optional(v.strictObject({
    kty: v.literal("OKP"),
    crv: v.literal("X25519"),
    x: /* @__PURE__ */ text(/^[A-Za-z0-9_-]{43}$/),
  })),
  version: /* @__PURE__ */ text(
    /^(?=.{5,96}$)\d{1,9}\.\d{1,9}\.\d{1,9}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/,
  ),
  toolkit: /* @__PURE__ */ text(/^[\w.+/-]{1,64}$/),
  weight: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_WEIGHT)),
  draining: v.boolean(),
  own_audience: v.boolean(),
  wit: v.optional(v.string()),
});
