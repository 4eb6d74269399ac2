export type { NatsConnectionLike, NatsStatusesLike } from "../internal/nats.ts";

/** What is used of a bucket of NATS's key-value store; `KV` of `@nats-io/kv` 3 is one. */
export interface NatsKvLike {
  /** Reads the newest entry of a key, also one that says that the key was deleted. */
  get(key: string): Promise<NatsKvEntryLike | null>;
  /** Writes a key that is not there. */
  create(key: string, value: string): Promise<number>;
  /** Writes a key whose newest entry has a revision. */
  update(key: string, value: string, revision: number): Promise<number>;
  /** Deletes a key whose newest entry has a revision. */
  delete(key: string, options: { previousSeq: number }): Promise<void>;
  /** Gives the entries that are there, and ends. */
  history(options: { key: string }): Promise<NatsKvEntriesLike>;
  /** Gives the entries that come from now on. */
  watch(options: { key: string; include: "updates" }): Promise<NatsKvEntriesLike>;
}

/** One entry of a bucket. */
export interface NatsKvEntryLike {
  /** Its key. */
  readonly key: string;
  /** Its value; empty where the key was deleted. */
  readonly value: Uint8Array;
  /** Its place in the order of all writes to the bucket. */
  readonly revision: number;
}

/** Entries that come one after another. */
export interface NatsKvEntriesLike extends AsyncIterable<NatsKvEntryLike> {
  /** Ends it. */
  stop(): void;
  /** The consumer that they come from, which the server keeps for 5 minutes more unless it is deleted. */
  readonly _data?: {
    /** Deletes it. */
    delete?(): Promise<unknown>;
  };
}
