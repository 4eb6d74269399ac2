import { AuditError } from "./audit_error.ts";
import type { LogEntry, LogWriter } from "./_log_writer.ts";

/** What waits to be stored, in order, and the one loop that stores it. */
export interface LogQueue {
  /** How many entries wait. */
  readonly entries: number;
  /** How many bytes they have. */
  readonly bytes: number;
  /** Why nothing will ever be stored again; undefined while it may. */
  readonly ended: AuditError | undefined;
  /** Takes an entry. */
  add(entry: LogEntry): void;
  /** Has a checkpoint written behind what was added so far. */
  mark(): void;
  /** Has one written now, and waits until it is stored; rejects where storing fails. */
  checkpoint(): Promise<string>;
  /** Waits until what was added so far is stored; rejects where storing fails. */
  flush(): Promise<void>;
  /** Has the loop run, unless it failed a moment ago. */
  wake(): void;
  /** Rejects everyone who waits. */
  abandon(error: AuditError): void;
}

/** What the queue of a log needs to know. */
export interface LogQueueOptions {
  readonly now: () => number;
  /** How long to leave a sink alone that failed. */
  readonly retryMs: number;
  /** Told when storing fails, once until it works again. */
  readonly onFailure: (error: unknown) => void;
  /** Told when entries were stored. */
  readonly onRoom: () => void;
}

interface Mark {
  readonly isCheckpoint: boolean;
  waiter?: { readonly resolve: (note: string) => void; readonly reject: (error: unknown) => void } | undefined;
}

interface State {
  /** Grows at its end, and shrinks at its start when that is stored. */
  readonly items: (LogEntry | Mark)[];
  entries: number;
  bytes: number;
  running: boolean;
  failedAt: number | undefined;
  ended: AuditError | undefined;
}

/** Makes the queue of a log. */
export function logQueue(writer: LogWriter, options: LogQueueOptions): LogQueue {
  const state: State = { items: [], entries: 0, bytes: 0, running: false, failedAt: undefined, ended: undefined };

  function wake(isUrgent = false): void {
    if (state.running || state.ended || state.items.length === 0) return;
    const isEarly = state.failedAt !== undefined && options.now() - state.failedAt < options.retryMs;
    if (isUrgent || !isEarly) void run(state, writer, options);
  }

  function wait(isCheckpoint: boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      if (state.ended) return reject(state.ended);
      state.items.push({ isCheckpoint, waiter: { resolve, reject } });
      wake(true);
    });
  }

  return {
    get entries() {
      return state.entries;
    },
    get bytes() {
      return state.bytes;
    },
    get ended() {
      return state.ended;
    },
    add(entry) {
      state.items.push(entry);
      state.entries++;
      state.bytes += entry.bytes;
    },
    mark: () => void state.items.push({ isCheckpoint: true }),
    checkpoint: () => wait(true),
    flush: async () => void await wait(false),
    wake: () => wake(),
    abandon: (error) => rejectAll(state, error),
  };
}

async function run(state: State, writer: LogWriter, options: LogQueueOptions): Promise<void> {
  state.running = true;
  try {
    await undefined; // what is recorded in one turn is stored in one write
    while (state.items.length > 0) {
      await store(state, writer);
      state.failedAt = undefined;
      options.onRoom();
    }
  } catch (error) {
    const isNew = state.failedAt === undefined;
    state.failedAt = options.now();
    if (error instanceof AuditError && error.code === "sink") state.ended = error;
    rejectAll(state, error);
    if (isNew) tell(options.onFailure, error);
  }
  state.running = false;
}

/** Stores the entries at the start of the queue, or what is marked there. */
async function store(state: State, writer: LogWriter): Promise<void> {
  const batch = nextBatch(state.items);
  if (batch.length > 0) {
    await writer.append(batch);
    state.items.splice(0, batch.length);
    state.entries -= batch.length;
    state.bytes -= batch.reduce((sum, { bytes }) => sum + bytes, 0);
    return;
  }
  const mark = state.items[0] as Mark;
  const note = mark.isCheckpoint ? await writer.checkpoint() : "";
  state.items.shift();
  mark.waiter?.resolve(note);
}

function nextBatch(items: readonly (LogEntry | Mark)[]): LogEntry[] {
  const batch: LogEntry[] = [];
  let bytes = 0;
  for (const item of items) {
    if (!("line" in item) || bytes >= MAX_BATCH_BYTES) break;
    batch.push(item);
    bytes += item.bytes;
  }
  return batch;
}

// Their marks stay where they are: a checkpoint is still due, and a write that hangs may yet end.
function rejectAll({ items }: State, error: unknown): void {
  for (const item of items) {
    if ("line" in item) continue;
    item.waiter?.reject(error);
    item.waiter = undefined;
  }
}

function tell(onFailure: (error: unknown) => void, error: unknown): void {
  try {
    onFailure(error);
  } catch {
    console.error("The audit log cannot store its entries");
  }
}

/** How much goes into one write: enough to make writing cheap, little enough to end a file near its limit. */
const MAX_BATCH_BYTES = 65_536;
