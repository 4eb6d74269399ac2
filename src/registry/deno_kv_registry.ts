import type { DenoKvAtomicLike, DenoKvEntryLike, DenoKvLike } from "./deno_kv_like.ts";
import { leaseOf } from "./lease.ts";
import { patiently } from "./patience.ts";
import { DEFAULT_NAMESPACE, NAMESPACE } from "./record.ts";
import type { Registry, RegistryReadOptions } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";
import {
  assertNamespace,
  assertNewer,
  instanceKey,
  type StoredRecord,
  storedRecord,
  tryStoredRecord,
} from "./stored_record.ts";

/** How a registry in Deno KV is set up. */
export interface DenoKvRegistryOptions {
  /** The namespace of the records that it keeps; registries of several namespaces share a store. @default {"default"} */
  readonly namespace?: string;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Keeps records in Deno KV: on one machine in a file, on Deno Deploy in its store.
 *
 * Whoever can open the store can write to it, so who keeps the file or the access token keeps the registry. Other programs
 * reach it through `registryService`.
 *
 * All keys are below `"postern"` and the namespace. A record is written together with what finds it by its services and
 * with what tells watchers, or not at all, and goes by itself when it has expired. A service may have 16,384 records. Of
 * what another process writes into the same file, a watch tells within 3 s.
 *
 * @example A registry in a file, with `deno run --unstable-kv`
 * ```ts ignore
 * const registry = denoKvRegistry(await Deno.openKv("registry.sqlite"));
 * ```
 *
 * @param kv The store; the caller closes it.
 * @param options What differs from the defaults.
 * @returns The registry.
 * @throws {TypeError} The namespace is malformed.
 */
export function denoKvRegistry(kv: DenoKvLike, options: DenoKvRegistryOptions = {}): Registry {
  const { namespace = DEFAULT_NAMESPACE, now = Date.now } = options;
  if (!NAMESPACE.test(namespace)) throw new TypeError("Cannot make a registry: its namespace is malformed");
  const store: Store = { kv, now, root: ["postern", namespace] };
  return {
    properties: { encrypted: true, accessControlled: true },
    async register(record) {
      const stored = storedRecord(record);
      assertNamespace(stored, namespace);
      const instance = await instanceKey(stored.name);
      await put(store, stored, instance);
      return leaseOf(() => takeOut(store, stored, instance));
    },
    async resolve(service, reading) {
      return (await read(store, recordsOf(store, service), reading)).map(({ record }) => record);
    },
    watch: (service, reading) => watch(store, service, reading),
    async list(reading) {
      const records = await read(store, [...store.root, "record"], reading);
      return [...new Set(records.flatMap(({ services }) => services))].sort();
    },
  };
}

interface Store {
  readonly kv: DenoKvLike;
  readonly now: () => number;
  readonly root: readonly string[];
}

const instanceOf = ({ root }: Store, instance: string) => [...root, "instance", instance];
const recordsOf = ({ root }: Store, service: string) => [...root, "record", service];
/** What is written whenever the records of a service change. */
const changeOf = ({ root }: Store, service: string) => [...root, "change", service];

async function put(store: Store, record: StoredRecord, instance: string): Promise<void> {
  const key = instanceOf(store, instance);
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const held = await reaching(() => store.kv.get(key));
    const older = tryStoredRecord(held.value);
    const nowMs = store.now();
    assertNewer(record, older, nowMs);
    const expireIn = Math.max(1, record.expiresAtMs - nowMs);
    const writes = store.kv.atomic().check({ key, versionstamp: held.versionstamp });
    writes.set(key, record.record, { expireIn });
    for (const service of record.services) {
      writes.set([...recordsOf(store, service), instance], record.record, { expireIn });
    }
    for (const service of older?.services ?? []) {
      if (!record.services.includes(service)) writes.delete([...recordsOf(store, service), instance]);
    }
    if (await commit(store, writes, [...record.services, ...older?.services ?? []], expireIn)) return;
  }
  throw new RegistryError("unreachable", "Cannot register the record: others write in its place again and again");
}

/** Takes a record out, unless another one has taken its place. */
async function takeOut(store: Store, { record, services, expiresAtMs }: StoredRecord, instance: string): Promise<void> {
  const key = instanceOf(store, instance);
  const held = await reaching(() => store.kv.get(key));
  if (held.value !== record) return;
  const writes = store.kv.atomic().check({ key, versionstamp: held.versionstamp }).delete(key);
  for (const service of services) writes.delete([...recordsOf(store, service), instance]);
  await commit(store, writes, services, Math.max(1, expiresAtMs - store.now()));
}

/** Writes, and tells who watches the services; returns whether nobody was faster. */
async function commit(
  store: Store,
  writes: DenoKvAtomicLike,
  services: readonly string[],
  expireIn: number,
): Promise<boolean> {
  for (const service of new Set(services)) writes.set(changeOf(store, service), "", { expireIn });
  return (await reaching(() => writes.commit())).ok;
}

async function read(
  { kv, now }: Store,
  prefix: readonly string[],
  options: RegistryReadOptions = {},
): Promise<readonly StoredRecord[]> {
  const limits = { limit: MAX_RECORDS + 1, batchSize: BATCH };
  const values = await reaching(() => collect(kv.list({ prefix }, limits)), options);
  if (values.length > MAX_RECORDS) {
    throw new RegistryError("too_many", "Cannot read the registry: its store has too many records");
  }
  const nowMs = now();
  return values.flatMap((value) => {
    const record = tryStoredRecord(value);
    return record && record.expiresAtMs > nowMs ? [record] : [];
  });
}

async function collect(entries: AsyncIterable<DenoKvEntryLike>): Promise<readonly unknown[]> {
  const values: unknown[] = [];
  for await (const { value } of entries) values.push(value);
  return values;
}

async function* watch(
  store: Store,
  service: string,
  options: RegistryReadOptions = {},
): AsyncGenerator<readonly string[]> {
  const { signal } = options;
  if (signal?.aborted) return;
  const key = changeOf(store, service);
  let changes: ReadableStreamDefaultReader<unknown> | undefined;
  const cancel = () => void changes?.cancel().catch(() => {});
  signal?.addEventListener("abort", cancel);
  try {
    changes = store.kv.watch([key]).getReader();
    let seen: string | null | undefined;
    for await (const _ of changesOrTime(changes)) {
      const { versionstamp } = await reaching(() => store.kv.get(key), options);
      if (versionstamp === seen) continue;
      seen = versionstamp;
      const records = await read(store, recordsOf(store, service), options);
      if (!signal?.aborted) yield records.map(({ record }) => record);
    }
    if (!signal?.aborted) throw new RegistryError("unreachable", "Cannot watch the service: the store ended it");
  } catch (error) {
    if (!signal?.aborted) throw failure(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
    cancel();
  }
}

/** Goes on with each change, and by the time too: of what another process writes into a file, Deno KV does not tell. */
async function* changesOrTime(changes: ReadableStreamDefaultReader<unknown>): AsyncGenerator<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let reading = changes.read();
  try {
    while (true) {
      const time = new Promise<undefined>((resolve) => timer = setTimeout(() => resolve(undefined), LOOK_MS));
      const result = await Promise.race([reading, time]);
      clearTimeout(timer);
      if (result?.done) return;
      if (result) reading = changes.read();
      yield;
    }
  } finally {
    clearTimeout(timer);
    reading.catch(() => {}); // it ends with who reads
  }
}

async function reaching<Value>(reach: () => Promise<Value>, options?: RegistryReadOptions): Promise<Value> {
  try {
    return await patiently(reach(), options);
  } catch (error) {
    throw failure(error);
  }
}

function failure(error: unknown): RegistryError {
  if (error instanceof RegistryError) return error;
  return new RegistryError("unreachable", "Cannot use the registry: Deno KV does not answer as it should", {
    cause: error,
  });
}

/** As many writers of one instance's records as can get in each other's way. */
const MAX_ATTEMPTS = 16;
const MAX_RECORDS = 16_384;
/** How long a watch goes without looking, in milliseconds. */
const LOOK_MS = 3_000;
/** The most that the store gives at once. */
const BATCH = 500;
