import { AuthError, type Trust } from "../auth/mod.ts";
import type { Audit } from "../rpc/mod.ts";
import { type EndpointOptions, endpointPolicy } from "./endpoint_policy.ts";
import type { Instance } from "./instance.ts";
import { DEFAULT_NAMESPACE, MAX_LEASE_S, MAX_STATIC_S, NAMESPACE, readRecord } from "./record.ts";
import type { Registry, RegistryReadOptions } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";
import { type RecordExpectation, verifyRecord } from "./verify_record.ts";

/** What a reader of a registry accepts. */
export interface VerifiedRegistryOptions {
  /** Whom it believes. */
  readonly trust: Trust;
  /**
   * Whose instances it accepts: an authority that is trusted to name callers is not yet trusted to name who is called.
   *
   * @default {the one trust domain that `trust` has; with several there is no default}
   */
  readonly trustDomains?: readonly string[];
  /** The registry's namespace, such as one for each environment. @default {"default"} */
  readonly namespace?: string;
  /** Where instances may be. @default {below the trust domain's name, on port 443 or one that needs no privilege} */
  readonly endpoints?: EndpointOptions;
  /** How many records of one service are read; what is beyond is not looked at. @default {10_000} */
  readonly maxRecords?: number;
  /** Where refused records are recorded. @default {nowhere} */
  readonly audit?: Audit;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/** A registry that gives verified instances only. */
export interface VerifiedRegistry {
  /** Grows when what was verified before has to be verified again, because trust has changed. */
  readonly revision: number;
  /**
   * Verifies one record, as readers will: for who is about to register it.
   *
   * @param record The record.
   * @returns The instance that it is of.
   * @throws {RegistryError} Why it is refused.
   * @throws {AuthError} Why its identity is refused.
   */
  verify(record: string): Promise<Instance>;
  /**
   * The instances of a service whose records hold.
   *
   * @param service The service's name.
   * @param options What ends the reading.
   * @returns The instances; each at most once.
   * @throws {RegistryError} `unreachable`.
   */
  resolve(service: string, options?: RegistryReadOptions): Promise<readonly Instance[]>;
  /**
   * Follows the instances of a service; that a record has expired is no change which it tells.
   *
   * @param service The service's name.
   * @param options What ends the watching.
   * @returns All instances whenever one changed.
   */
  watch(service: string, options?: RegistryReadOptions): AsyncIterable<readonly Instance[]>;
}

/**
 * Verifies what a registry gives: each record once, and again when trust has changed.
 *
 * A registry that lies can withhold, and nothing else. A record that is invented, changed, of another service, namespace
 * or trust domain, too old, older than one that was seen, or that leads where no instance may be, is left out and
 * recorded. In place of an older record of an instance the newest goes on being used.
 *
 * @param registry The registry, trusted by nobody.
 * @param options What is accepted.
 * @returns The verified view of it.
 * @throws {TypeError} The registry promises too little, trust is missing, or it is not said whose instances are accepted.
 */
export function verifiedRegistry(registry: Registry, options: VerifiedRegistryOptions): VerifiedRegistry {
  const { now = Date.now, maxRecords = 10_000, audit } = options;
  assertSecure(registry);
  if (!Number.isInteger(maxRecords) || maxRecords < 1) {
    throw new RangeError("Cannot read a registry: maxRecords must be a whole number from 1");
  }
  const reader: Reader = {
    expected: expectationOf(options),
    maxRecords,
    audit,
    now,
    newest: new Map(),
    answers: new Map(),
  };
  return {
    get revision() {
      return reader.expected.trust.revision;
    },
    verify: (record) => verifyRecord(record, undefined, reader.expected, now()),
    resolve: async (service, reading) => await read(reader, service, await registry.resolve(service, reading)),
    async *watch(service, reading) {
      for await (const records of registry.watch(service, reading)) yield await read(reader, service, records);
    },
  };
}

/**
 * Refuses a registry that anybody may read on the way to it, or write to.
 *
 * @throws {TypeError} It is one.
 */
export function assertSecure({ properties }: Registry): void {
  for (const name of ["encrypted", "accessControlled"] as const) {
    if (properties?.[name] !== true) throw new TypeError(`Cannot use the registry: it does not promise to be ${name}`);
  }
}

function expectationOf({ trust, namespace = DEFAULT_NAMESPACE, ...options }: VerifiedRegistryOptions) {
  if (!trust) throw new TypeError(`Cannot read a registry without "trust"`);
  const { trustDomains = trust.trustDomains } = options;
  if (!options.trustDomains && trustDomains.length > 1) {
    throw new TypeError(`Cannot read a registry: "trustDomains" must say whose instances are accepted`);
  }
  const unknown = trustDomains.find((domain) => !trust.trustDomains.includes(domain));
  if (unknown !== undefined || trustDomains.length === 0) {
    throw new TypeError(`Cannot accept instances of "${unknown ?? "nobody"}": nobody vouches for them`);
  }
  if (!NAMESPACE.test(namespace)) throw new TypeError("Cannot read a registry: its namespace is malformed");
  return { trust, namespace, trustDomains, endpoints: endpointPolicy(trustDomains, options.endpoints) };
}

interface Reader {
  readonly expected: RecordExpectation;
  readonly maxRecords: number;
  readonly audit: Audit | undefined;
  readonly now: () => number;
  /** The newest record of each instance, by its name, oldest knowledge first. */
  readonly newest: Map<string, Newest>;
  /** What the last answer was, by service, so that what is there still is not verified again. */
  readonly answers: Map<string, Answer>;
}

interface Newest {
  /** Under which revision of trust it was verified. */
  readonly revision: number;
  /** When no older record of the instance can hold any more, in milliseconds since 1970. */
  readonly forgottenAtMs: number;
  readonly record: string;
  readonly instance: Instance;
}

interface Answer {
  readonly revision: number;
  readonly records: ReadonlyMap<string, Instance | undefined>;
}

/** Verifies an answer; what was in the last one is known already. */
async function read(reader: Reader, service: string, records: readonly string[]): Promise<readonly Instance[]> {
  const { trust } = reader.expected;
  const { revision } = trust;
  const last = reader.answers.get(service);
  const known = last?.revision === revision ? last.records : undefined;
  const judged = new Map<string, Instance | undefined>();
  const fresh: string[] = [];
  for (const record of new Set(records.slice(0, reader.maxRecords))) {
    if (known?.has(record)) judged.set(record, known.get(record));
    else fresh.push(record);
  }
  if (records.length > reader.maxRecords) note(reader, service, "too_many");
  let forged = 0;
  for (let i = 0; i < fresh.length && forged < MAX_FORGED; i += AT_ONCE) {
    const some = fresh.slice(i, i + AT_ONCE);
    const outcomes = await Promise.all(some.map((record) => judge(reader, service, record)));
    outcomes.forEach(({ instance, error }, at) => {
      if (error instanceof AuthError) forged++;
      // What came too early holds later.
      if (!(error instanceof RegistryError && error.reason === "not_yet_valid")) judged.set(some[at]!, instance);
    });
  }
  if (forged >= MAX_FORGED) note(reader, service, "too_many");
  reader.answers.set(service, { revision, records: judged });
  await reconsider(reader, judged, revision);
  return newestOf(reader, service, judged, { known, revision });
}

async function judge(
  reader: Reader,
  service: string,
  record: string,
): Promise<{ readonly instance?: Instance; readonly error?: unknown }> {
  try {
    return { instance: await verifyRecord(record, service, reader.expected, reader.now()) };
  } catch (error) {
    // Whatever one record makes go wrong, the others are there still.
    const isKnown = error instanceof RegistryError || error instanceof AuthError;
    note(reader, service, isKnown ? error.reason : "internal");
    return { error };
  }
}

/** What was the newest under an earlier bundle may be revoked by now, and must not stand in the way of what holds. */
async function reconsider(
  { newest, expected, now }: Reader,
  judged: ReadonlyMap<string, Instance | undefined>,
  revision: number,
): Promise<void> {
  for (const instance of judged.values()) {
    const held = instance && newest.get(instance.name);
    if (!held || held.revision === revision) continue;
    if (judged.get(held.record)) {
      newest.set(instance.name, { ...held, revision });
      continue;
    }
    try {
      // As of when it held: that it has ended makes no older one newer.
      await verifyRecord(held.record, undefined, expected, Math.min(now(), held.instance.expiresAtMs - 1));
    } catch (error) {
      if (error instanceof AuthError && error.reason !== "expired_token") {
        newest.delete(instance.name);
        continue;
      }
    }
    newest.set(instance.name, { ...held, revision });
  }
}

/** The instances of an answer, each by its newest record, those that have expired left out. */
function newestOf(
  reader: Reader,
  service: string,
  judged: ReadonlyMap<string, Instance | undefined>,
  { known, revision }: { readonly known: Answer["records"] | undefined; readonly revision: number },
): readonly Instance[] {
  const { newest, now } = reader;
  const nowMs = now();
  const instances = new Map<string, Instance>();
  for (const [record, instance] of judged) {
    if (!instance) continue;
    const held = newest.get(instance.name);
    if (!held || held.instance.sequence < instance.sequence || isForgotten(held, nowMs)) {
      remember(newest, newestFrom(record, instance, revision), nowMs);
    } else if (held.record !== record && !known?.has(record)) note(reader, service, "rollback");
    const current = newest.get(instance.name)!.instance;
    const isServing = Object.hasOwn(current.services, service);
    if (current.expiresAtMs > nowMs && isServing) instances.set(instance.name, current);
  }
  return Object.freeze([...instances.values()]);
}

function remember(newest: Map<string, Newest>, entry: Newest, nowMs: number): void {
  newest.delete(entry.instance.name); // so that it comes last
  for (const [name, held] of newest) {
    if (newest.size < MAX_REMEMBERED && !isForgotten(held, nowMs)) break;
    newest.delete(name);
  }
  newest.set(entry.instance.name, entry);
}

/** An older record of the instance, too, has expired by then: what an authority signed may hold for long. */
function newestFrom(record: string, instance: Instance, revision: number): Newest {
  const longestS = readRecord(record).claims.wit === undefined ? MAX_STATIC_S : MAX_LEASE_S;
  return { record, instance, revision, forgottenAtMs: instance.expiresAtMs + longestS * 1_000 };
}

const isForgotten = ({ forgottenAtMs }: Newest, nowMs: number) => forgottenAtMs <= nowMs;

function note({ audit }: Reader, service: string, reason: string): void {
  try {
    audit?.record({ event: "record.refuse", reason, fields: { service } });
  } catch {
    // The record is refused all the same.
  }
}

/** How many signatures are checked at once. */
const AT_ONCE = 32;
/** After so many forged records nothing more of an answer is looked at: who sends them must not set its reader to work. */
const MAX_FORGED = 256;
/** How many instances' newest records are remembered. */
const MAX_REMEMBERED = 65_536;
