// A bucket of NATS in memory and a connection to it, which fail as a test says; for runtimes that cannot start a server.
import type { NatsConnectionLike, NatsKvEntriesLike, NatsKvEntryLike, NatsKvLike } from "../../src/registry/mod.ts";

/** A connection that a test can break. */
export interface FakeConnection extends NatsConnectionLike {
  info?: { auth_required?: boolean; tls_required?: boolean };
  /** Where it may connect to. */
  urls: string[];
  /** Something happens to it. */
  happens(type: string): void;
  /** It is closed. */
  close(): void;
  /** How many still ask what happens to it. */
  readonly followers: number;
}

export function fakeConnection(): FakeConnection {
  const statuses = new Set<Queue<{ type: string }>>();
  let isClosed = false;
  const connection: FakeConnection = {
    info: { auth_required: true },
    urls: ["wss://nats.example.org"],
    getServers: () => connection.urls.map((src) => ({ src })),
    isClosed: () => isClosed,
    status() {
      const status = queue<{ type: string }>(() => statuses.delete(status));
      statuses.add(status);
      return status;
    },
    happens(type) {
      for (const status of statuses) status.push({ type });
    },
    close() {
      isClosed = true;
      connection.info = undefined;
      for (const status of statuses) status.stop();
    },
    get followers() {
      return statuses.size;
    },
  };
  return connection;
}

/** A bucket that a test can disturb. */
export interface FakeBucket extends NatsKvLike {
  /** The newest entries. */
  readonly entries: Map<string, NatsKvEntryLike>;
  /** Writes as another client does. */
  write(key: string, value: string | Uint8Array): number;
  /** Tells those who watch of an entry again. */
  repeat(entry: NatsKvEntryLike): void;
  /** Before something is done. */
  before: (what: "get" | "write" | "delete" | "history" | "watch") => void | Promise<void>;
  /** Before each entry of those that are there. */
  beforeEntry: () => void;
  /** Whether the reading of what is there never ends. */
  isStuck: boolean;
  /** How many are read from. */
  readonly open: number;
  /** How many were deleted on the server. */
  readonly deleted: number;
}

export function fakeBucket(): FakeBucket {
  const entries = new Map<string, NatsKvEntryLike>();
  const watches = new Map<Queue<NatsKvEntryLike>, string>();
  const count = { revision: 0, open: 0, deleted: 0 };
  const write = (key: string, value: string | Uint8Array) => {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    const entry = { key, value: bytes, revision: ++count.revision };
    entries.set(key, entry);
    tell(entry);
    return entry.revision;
  };
  const tell = (entry: NatsKvEntryLike) => {
    for (const [watch, filter] of watches) if (isWithin(entry.key, filter)) watch.push(entry);
  };
  const writeAt = async (key: string, value: string, revision: number) => {
    await bucket.before(value === "" ? "delete" : "write");
    if ((entries.get(key)?.revision ?? 0) !== revision) throw Object.assign(new Error("wrong"), { code: 10_071 });
    return write(key, value);
  };
  const opened = (coming: Queue<NatsKvEntryLike>): NatsKvEntriesLike =>
    Object.assign(coming, {
      _data: {
        delete() {
          count.deleted++;
          return Promise.reject(new Error("nobody waits for it"));
        },
      },
    });
  const bucket: FakeBucket = {
    entries,
    write,
    repeat: tell,
    before: () => {},
    beforeEntry: () => {},
    isStuck: false,
    get open() {
      return count.open;
    },
    get deleted() {
      return count.deleted;
    },
    async get(key) {
      await bucket.before("get");
      return entries.get(key) ?? null;
    },
    create: (key, value) => writeAt(key, value, 0),
    update: (key, value, revision) => writeAt(key, value, revision),
    async delete(key, { previousSeq }) {
      await writeAt(key, "", previousSeq);
    },
    async history({ key }) {
      await bucket.before("history");
      count.open++;
      const coming = queue<NatsKvEntryLike>(() => count.open--, () => bucket.beforeEntry());
      for (const entry of [...entries.values()].sort((a, b) => a.revision - b.revision)) {
        if (isWithin(entry.key, key)) coming.push(entry);
      }
      if (!bucket.isStuck) coming.finish();
      return opened(coming);
    },
    async watch({ key }) {
      await bucket.before("watch");
      count.open++;
      const coming = queue<NatsKvEntryLike>(() => {
        count.open--;
        watches.delete(coming);
      });
      watches.set(coming, key);
      return opened(coming);
    },
  };
  return bucket;
}

/** As NATS's subjects: "*" is one token, ">" is one and more. */
function isWithin(key: string, filter: string): boolean {
  const tokens = key.split(".");
  const wanted = filter.split(".");
  if (wanted.at(-1) === ">") return tokens.length >= wanted.length && key.startsWith(filter.slice(0, -1));
  return tokens.length === wanted.length && wanted.every((token, i) => token === "*" || token === tokens[i]);
}

interface Queue<Value> extends AsyncIterable<Value> {
  push(value: Value): void;
  /** Ends it after what is in it. */
  finish(): void;
  /** Ends it at once. */
  stop(): void;
}

function queue<Value>(ended: () => void, beforeEach: () => void = () => {}): Queue<Value> {
  const values: Value[] = [];
  let wake = () => {};
  const state = { isFinished: false, isStopped: false };
  const stop = () => {
    if (state.isStopped) return;
    state.isStopped = true;
    ended();
    wake();
  };
  return {
    push(value) {
      values.push(value);
      wake();
    },
    finish() {
      state.isFinished = true;
      wake();
    },
    stop,
    async *[Symbol.asyncIterator]() {
      try {
        while (!state.isStopped) {
          if (values.length > 0) {
            beforeEach();
            if (!state.isStopped) yield values.shift()!;
          } else if (state.isFinished) return;
          else await new Promise<void>((resolve) => wake = resolve);
        }
      } finally {
        stop();
      }
    },
  };
}
