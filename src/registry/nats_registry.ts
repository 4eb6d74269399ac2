import { leaseOf } from "./lease.ts";
import { liveRecords, type NatsBucket, readBucket, recordIn, watchBucket } from "./nats_bucket.ts";
import { assertEncrypted, failure, isConflict } from "./nats_connection.ts";
import type { NatsConnectionLike, NatsKvEntryLike, NatsKvLike } from "./nats_like.ts";
import { patiently } from "./patience.ts";
import { DEFAULT_NAMESPACE, NAMESPACE, SERVICE_NAME } from "./record.ts";
import type { Registry } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";
import { assertNamespace, assertNewer, instanceKey, type StoredRecord, storedRecord } from "./stored_record.ts";

/** How a registry in NATS is set up. */
export interface NatsRegistryOptions {
  /** The namespace of the records that it keeps; registries of several namespaces share a bucket. @default {"default"} */
  readonly namespace?: string;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Keeps records in a bucket of NATS's key-value store.
 *
 * The bucket is made by who runs the server, and forgets records by itself: its `ttl` is longer than any lease, such as
 * 10 minutes, and its `history` is 1. A record is kept under `<namespace>.<service>.<instance>` for each of its services,
 * so that a server's rights can say which services may be written.
 *
 * Every answer is awaited for 5 s, a service may have 16,384 records, and what is no record is left out. A watch ends
 * with `unreachable` when the connection is lost, also where the client connects again by itself: meanwhile it would
 * have shown what is no longer so.
 *
 * @example A registry in NATS
 * ```ts ignore
 * import { wsconnect } from "@nats-io/nats-core";
 * import { Kvm } from "@nats-io/kv";
 *
 * const connection = await wsconnect({ servers: "wss://nats.example.org", user, pass, inboxPrefix: "_INBOX_client" });
 * const registry = natsRegistry(connection, await new Kvm(connection).open("registry"));
 * ```
 *
 * @param connection The connection; the caller closes it.
 * @param kv The bucket, opened on that connection.
 * @param options What differs from the defaults.
 * @returns The registry.
 * @throws {RegistryError} `insecure`: the server lets in everybody, or is reached without TLS. Where there is no connection
 *   yet, the first use throws it.
 * @throws {TypeError} The namespace is malformed; its methods throw it for the name of a service.
 */
export function natsRegistry(
  connection: NatsConnectionLike,
  kv: NatsKvLike,
  options: NatsRegistryOptions = {},
): Registry {
  const { namespace = DEFAULT_NAMESPACE, now = Date.now } = options;
  if (!NAMESPACE.test(namespace)) throw new TypeError("Cannot make a registry: its namespace is malformed");
  if (connection.info) assertEncrypted(connection);
  const bucket: NatsBucket = { connection, kv, now };
  return {
    properties: { encrypted: true, accessControlled: true },
    async register(record) {
      const stored = storedRecord(record);
      assertNamespace(stored, namespace);
      const instance = await instanceKey(stored.name);
      const written = await put(bucket, stored, (service) => `${namespace}.${service}.${instance}`);
      return leaseOf(() => takeOut(bucket, written));
    },
    async resolve(service, reading) {
      const entries = await readBucket(bucket, filterOf(namespace, service), reading);
      return liveRecords(entries, now()).map(({ record }) => record);
    },
    watch: (service, reading) => watchBucket(bucket, filterOf(namespace, service), reading),
    async list(reading) {
      const entries = await readBucket(bucket, `${namespace}.>`, reading);
      const services = liveRecords(entries, now()).flatMap((record) => record.services);
      return [...new Set(services)].sort();
    },
  };
}

/** Writes a record under each of its services, in place of older ones only; returns the revisions by key. */
async function put(
  bucket: NatsBucket,
  record: StoredRecord,
  keyOf: (service: string) => string,
): Promise<ReadonlyMap<string, number>> {
  assertEncrypted(bucket.connection);
  const written = new Map<string, number>();
  const left = new Set<string>();
  const keys = record.services.map(keyOf);
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const missing = keys.filter((key) => !written.has(key));
    const held = await reading(() => Promise.all(missing.map((key) => bucket.kv.get(key))));
    for (const entry of held) {
      const older = entry ? recordIn(entry) : undefined;
      assertNewer(record, older, bucket.now());
      for (const service of older?.services ?? []) left.add(keyOf(service));
    }
    const outcomes = await Promise.allSettled(missing.map((key, i) => putOne(bucket, key, record, held[i] ?? null)));
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === "fulfilled") written.set(missing[i]!, outcome.value);
      else if (!isConflict(outcome.reason)) throw failure(outcome.reason);
    }
    if (written.size < keys.length) continue;
    await leave(bucket, record, [...left].filter((key) => !written.has(key)));
    return written;
  }
  throw new RegistryError("unreachable", "Cannot register the record: others write in its place again and again");
}

function putOne({ kv }: NatsBucket, key: string, { record }: StoredRecord, held: NatsKvEntryLike | null) {
  return patiently(held ? kv.update(key, record, held.revision) : kv.create(key, record));
}

/** Takes an instance out of the services that it no longer serves. */
async function leave(bucket: NatsBucket, record: StoredRecord, keys: readonly string[]): Promise<void> {
  const older = new Map<string, number>();
  for (const key of keys) {
    const entry = await reading(() => bucket.kv.get(key));
    const held = entry ? recordIn(entry) : undefined;
    if (entry && held?.name === record.name && held.sequence < record.sequence) older.set(key, entry.revision);
  }
  await takeOut(bucket, older);
}

/** Deletes what has not been written again since. */
async function takeOut({ connection, kv }: NatsBucket, written: ReadonlyMap<string, number>): Promise<void> {
  assertEncrypted(connection);
  await Promise.all([...written].map(async ([key, previousSeq]) => {
    try {
      await patiently(kv.delete(key, { previousSeq }));
    } catch (error) {
      if (!isConflict(error)) throw failure(error);
    }
  }));
}

async function reading<Value>(read: () => Promise<Value>): Promise<Value> {
  try {
    return await patiently(read());
  } catch (error) {
    throw failure(error);
  }
}

/** The keys of one service, and not of those whose names only begin like it. */
function filterOf(namespace: string, service: string): string {
  // The name becomes a part of a subject, where "*" and ">" mean something.
  if (SERVICE_NAME.test(service)) return `${namespace}.${service}.*`;
  throw new TypeError("Cannot look for the service: its name is malformed");
}

/** As many writers of one instance's records as can get in each other's way. */
const MAX_ATTEMPTS = 16;
