import { assertEncrypted, failure, lost, onLoss } from "./nats_connection.ts";
import type { NatsConnectionLike, NatsKvEntriesLike, NatsKvEntryLike, NatsKvLike } from "./nats_like.ts";
import { patiently } from "./patience.ts";
import { MAX_RECORD } from "./record.ts";
import type { RegistryReadOptions } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";
import { type StoredRecord, tryStoredRecord } from "./stored_record.ts";

/** A bucket and the connection to it. */
export interface NatsBucket {
  /** The connection. */
  readonly connection: NatsConnectionLike;
  /** The bucket. */
  readonly kv: NatsKvLike;
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number;
}

/** What is in a bucket. */
export interface NatsEntries {
  /** The records, by their keys. */
  readonly records: Map<string, StoredRecord>;
  /** Up to which revision of the bucket. */
  revision: number;
}

/**
 * The records below a filter: one request, and one message for each.
 *
 * @throws {RegistryError} `insecure`, `refused`, `too_many` or `unreachable`.
 */
export async function readBucket(
  bucket: NatsBucket,
  filter: string,
  options: RegistryReadOptions = {},
): Promise<NatsEntries> {
  assertEncrypted(bucket.connection);
  const entries: NatsEntries = { records: new Map(), revision: 0 };
  let isLost = false;
  let coming: NatsKvEntriesLike | undefined;
  // What ends because the connection did looks like what ended because that was all.
  const unfollow = onLoss(bucket.connection, () => {
    isLost = true;
    coming?.stop();
  });
  try {
    coming = await opened(bucket.kv.history({ key: filter }), options);
    await patiently(takeAll(entries, coming), options);
  } catch (error) {
    throw failure(error);
  } finally {
    if (coming) end(coming);
    unfollow();
  }
  if (isLost) throw lost();
  return entries;
}

/**
 * Follows the records below a filter: all of them, and all of them again after a change.
 *
 * @throws {RegistryError} `insecure`, `refused`, `too_many` or `unreachable`: the connection was lost, too.
 */
export async function* watchBucket(
  bucket: NatsBucket,
  filter: string,
  options: RegistryReadOptions = {},
): AsyncGenerator<readonly string[]> {
  const { signal } = options;
  if (signal?.aborted) return;
  assertEncrypted(bucket.connection);
  const state: WatchState = { isChanged: true, error: undefined, wake: () => {} };
  const fail = (error: unknown) => {
    state.error ??= error;
    state.wake();
  };
  const abort = () => state.wake();
  signal?.addEventListener("abort", abort);
  const unfollow = onLoss(bucket.connection, () => fail(lost()));
  let updates: NatsKvEntriesLike | undefined;
  try {
    // The updates begin before the reading does, so that nothing falls between the two.
    updates = await opened(bucket.kv.watch({ key: filter, include: "updates" }), options);
    const entries = await readBucket(bucket, filter, options);
    takeUpdates(entries, updates, state).then(() => fail(lost()), fail);
    while (!signal?.aborted) {
      if (state.error) throw state.error;
      if (state.isChanged) {
        state.isChanged = false;
        yield liveRecords(entries, bucket.now()).map(({ record }) => record);
      } else await new Promise<void>((resolve) => state.wake = resolve);
    }
  } catch (error) {
    if (!signal?.aborted) throw failure(error);
  } finally {
    if (updates) end(updates);
    unfollow();
    signal?.removeEventListener("abort", abort);
  }
}

interface WatchState {
  isChanged: boolean;
  error: unknown;
  wake: () => void;
}

/** The records that hold; the others are forgotten, because a bucket does not tell what it forgets. */
export function liveRecords({ records }: NatsEntries, nowMs: number): readonly StoredRecord[] {
  for (const [key, { expiresAtMs }] of records) {
    if (expiresAtMs <= nowMs) records.delete(key);
  }
  return [...records.values()];
}

async function takeAll(entries: NatsEntries, coming: NatsKvEntriesLike): Promise<void> {
  for await (const entry of coming) take(entries, entry);
}

async function takeUpdates(entries: NatsEntries, updates: NatsKvEntriesLike, state: WatchState): Promise<void> {
  for await (const entry of updates) {
    // A client that missed something begins anew with what is long known.
    if (entry.revision <= entries.revision || !take(entries, entry)) continue;
    state.isChanged = true;
    state.wake();
  }
}

/** Takes over an entry; returns whether that changed anything. */
function take(entries: NatsEntries, entry: NatsKvEntryLike): boolean {
  entries.revision = Math.max(entries.revision, entry.revision);
  const held = entries.records.get(entry.key);
  const record = recordIn(entry);
  if (held?.record === record?.record) return false;
  if (!record) return entries.records.delete(entry.key);
  entries.records.set(entry.key, record);
  if (entries.records.size <= MAX_KEYS) return true;
  throw new RegistryError("too_many", "Cannot read the registry: its bucket has too many keys");
}

/** The record in an entry, or undefined where it says that it was deleted, or is something else. */
export function recordIn({ value }: NatsKvEntryLike): StoredRecord | undefined {
  if (value.length === 0 || value.length > MAX_RECORD) return undefined;
  return tryStoredRecord(new TextDecoder().decode(value));
}

/** What comes too late is ended, because nobody else would. */
async function opened(opening: Promise<NatsKvEntriesLike>, options: RegistryReadOptions): Promise<NatsKvEntriesLike> {
  try {
    return await patiently(opening, options);
  } catch (error) {
    opening.then(end, () => {});
    throw error;
  }
}

/** Nobody waits for it: where it fails, the server forgets the consumer by itself. */
function end(coming: NatsKvEntriesLike): void {
  coming.stop();
  coming._data?.delete?.().catch(() => {});
}

/** How many keys of a bucket are taken. */
const MAX_KEYS = 16_384;
