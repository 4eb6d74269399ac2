/** What is used of a connection to NATS; `NatsConnection` of `@nats-io/nats-core` 3 is one. */
export interface NatsConnectionLike {
  /** What the server says of itself; absent while there is no connection. */
  readonly info?: {
    /** Whether it lets nobody in without credentials. */
    readonly auth_required?: boolean;
    /** Whether it takes no connection without TLS; servers do not say so over a WebSocket. */
    readonly tls_required?: boolean;
  };
  /** The servers that it may connect to. */
  getServers(): readonly {
    /** The server's URL. */
    readonly src: string;
  }[];
  /** Whether it has been closed. */
  isClosed(): boolean;
  /** What happens to it; ends when it is closed. */
  status(): NatsStatusesLike;
}

/** What happens to a connection. */
export interface NatsStatusesLike extends AsyncIterable<{ readonly type: string }> {
  /** Ends it. */
  stop?(): void;
}

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
