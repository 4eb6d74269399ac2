import { leaseOf } from "./lease.ts";
import type { Registry, RegistryReadOptions } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";
import { assertNewer, type StoredRecord, storedRecord } from "./stored_record.ts";

/** How a registry in memory is set up. */
export interface MemoryRegistryOptions {
  /** How many records it holds at most; stops who registers without end from filling memory. @default {16_384} */
  readonly maxRecords?: number;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Keeps records in this process: for a program that has all its services inside, for tests, and behind
 * `registryService` for a small mesh.
 *
 * @example A registry
 * ```ts
 * import { memoryRegistry } from "@postern/rpc/registry";
 *
 * const registry = memoryRegistry();
 * const services = await registry.list();
 * ```
 *
 * @param options What differs from the defaults.
 * @returns The registry.
 */
export function memoryRegistry(options: MemoryRegistryOptions = {}): Registry {
  const { maxRecords = 16_384, now = Date.now } = options;
  const entries = new Map<string, StoredRecord>();
  const watchers = new Set<() => void>();
  const sweep = () => {
    for (const [name, { expiresAtMs }] of entries) {
      if (expiresAtMs <= now()) entries.delete(name);
    }
  };
  const changed = () => {
    for (const wake of watchers) wake();
  };
  const live = () => [...entries.values()].filter(({ expiresAtMs }) => expiresAtMs > now());
  const recordsOf = (service: string) =>
    live().filter(({ services }) => services.includes(service)).map(({ record }) => record);
  return {
    properties: { encrypted: true, accessControlled: true },
    // deno-lint-ignore require-await -- a backend's failures are rejections
    async register(record) {
      const entry = storedRecord(record);
      const held = entries.get(entry.name);
      assertNewer(entry, held, now());
      if (!held && entries.size >= maxRecords) sweep();
      if (!held && entries.size >= maxRecords) {
        throw new RegistryError("too_many", "Cannot register the record: the registry is full");
      }
      entries.set(entry.name, entry);
      changed();
      return leaseOf(() => {
        if (entries.get(entry.name) !== entry) return; // another lease counts by now
        entries.delete(entry.name);
        changed();
      });
    },
    resolve: (service) => Promise.resolve(recordsOf(service)),
    watch: (service, options) => snapshots(() => recordsOf(service), watchers, options),
    list: () => Promise.resolve([...new Set(live().flatMap(({ services }) => services))].sort()),
  };
}

async function* snapshots(
  read: () => readonly string[],
  watchers: Set<() => void>,
  { signal }: RegistryReadOptions = {},
): AsyncGenerator<readonly string[]> {
  let wake: () => void = () => {};
  let changed = true;
  const notice = () => {
    changed = true;
    wake();
  };
  watchers.add(notice);
  signal?.addEventListener("abort", notice);
  try {
    let last: readonly string[] | undefined;
    while (!signal?.aborted) {
      if (!changed) await new Promise<void>((resolve) => wake = resolve);
      changed = false;
      if (signal?.aborted) return;
      const records = read();
      if (records.length === last?.length && records.every((record, i) => record === last![i])) continue;
      last = records;
      yield records;
    }
  } finally {
    watchers.delete(notice);
    signal?.removeEventListener("abort", notice);
  }
}
