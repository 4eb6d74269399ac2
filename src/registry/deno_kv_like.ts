/** A key of Deno KV. */
export type DenoKvKeyLike = readonly string[];

/** What is used of Deno's key-value store; `Deno.Kv` is one. */
export interface DenoKvLike {
  /** Reads a key. */
  get(key: DenoKvKeyLike): Promise<DenoKvEntryLike>;
  /** Reads all keys that begin alike. */
  list(
    selector: { prefix: DenoKvKeyLike },
    options: { limit: number; batchSize: number },
  ): AsyncIterable<DenoKvEntryLike>;
  /** Begins writes that happen together or not at all. */
  atomic(): DenoKvAtomicLike;
  /** Tells of each change of some keys, first what they are now. */
  watch(keys: DenoKvKeyLike[]): ReadableStream<unknown>;
}

/** A key and what is there. */
export interface DenoKvEntryLike {
  /** The value; null where nothing is. */
  readonly value: unknown;
  /** Changes with each write; null where nothing is. */
  readonly versionstamp: string | null;
}

/** Writes that happen together or not at all. */
export interface DenoKvAtomicLike {
  /** Makes them not happen where a key has changed. */
  check(check: { key: DenoKvKeyLike; versionstamp: string | null }): DenoKvAtomicLike;
  /** Writes a key, which goes by itself. */
  set(key: DenoKvKeyLike, value: string, options: { expireIn: number }): DenoKvAtomicLike;
  /** Deletes a key. */
  delete(key: DenoKvKeyLike): DenoKvAtomicLike;
  /** Lets them happen. */
  commit(): Promise<{ readonly ok: boolean }>;
}
