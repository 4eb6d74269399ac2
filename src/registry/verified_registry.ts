import type { Trust } from "../auth/mod.ts";
import type { Audit } from "../rpc/mod.ts";
import { type EndpointOptions, endpointPolicy } from "./endpoint_policy.ts";
import type { Instance } from "./instance.ts";
import { DEFAULT_NAMESPACE, NAMESPACE } from "./record.ts";
import { readAnswer, recordReader, refusalsOf, stillHolding } from "./record_reader.ts";
import type { Registry, RegistryReadOptions } from "./registry.ts";
import { verifyRecord } from "./verify_record.ts";

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
   * Why records of a service were refused at the last reading, and how many for each reason.
   *
   * @param service The service's name.
   * @returns The counts, by reason.
   */
  refusals(service: string): ReadonlyMap<string, number>;
  /**
   * Verifies instances again that were verified before trust changed; no registry is asked.
   *
   * @param instances The instances.
   * @returns Those whose records hold still.
   */
  stillHolding(instances: readonly Instance[]): Promise<readonly Instance[]>;
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
  const reader = recordReader({ expected: expectationOf(options), maxRecords, audit, now });
  return {
    get revision() {
      return reader.expected.trust.revision;
    },
    refusals: (service) => refusalsOf(reader, service),
    stillHolding: (instances) => stillHolding(reader, instances),
    verify: (record) => verifyRecord(record, undefined, reader.expected, now()),
    resolve: async (service, reading) => await readAnswer(reader, service, await registry.resolve(service, reading)),
    async *watch(service, reading) {
      for await (const records of registry.watch(service, reading)) yield await readAnswer(reader, service, records);
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
