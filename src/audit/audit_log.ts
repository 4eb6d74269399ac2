import { within } from "../internal/within.ts";
import type { Audit, AuditEvent } from "../rpc/mod.ts";
import { entryLine, type LogEnd, nothing } from "./_log_line.ts";
import { type LogQueue, logQueue } from "./_log_queue.ts";
import { logWriter } from "./_log_writer.ts";
import { AuditError } from "./audit_error.ts";
import type { AuditSink } from "./audit_sink.ts";
import { checkKey, checkOrigin, type CheckpointSigner } from "./checkpoint.ts";
import { emptyTree, leafHash } from "./merkle_tree.ts";

/** An append-only log of decisions. */
export interface AuditLog extends Audit, AsyncDisposable {
  /** Which log it is, as its checkpoints name it. */
  readonly origin: string;
  /** How many entries it has, those that are not stored yet included. */
  readonly size: number;
  /** How many events it could not take, where it counts them. */
  readonly lost: number;
  /**
   * Signs all that was recorded so far. Give it to someone who cannot write to the log: whoever can could cut the log
   * off at an older checkpoint, and nothing in the log would show it.
   *
   * @returns A C2SP checkpoint, which is in the log too, once it and every entry before it are stored.
   * @throws {AuditError} `sink` or `closed` where the log takes no more; whatever storing or signing failed with.
   */
  checkpoint(): Promise<string>;
  /**
   * Waits until all that was recorded so far is stored.
   *
   * @throws {AuditError} `sink` or `closed` where the log takes no more; whatever storing or signing failed with.
   */
  flush(): Promise<void>;
}

/** How {@linkcode auditLog} keeps a log. */
export interface AuditLogOptions {
  /** Who signs the checkpoints: the identity of the instance. */
  readonly signer: CheckpointSigner;
  /**
   * What to do with an event that finds the queue full or the sink failed: `refuse` it, so that what was to be decided is
   * refused too, or `count` it, and record how many were lost as an entry `audit.lost` when there is room.
   *
   * @default {"refuse"}
   */
  readonly whenFull?: "refuse" | "count";
  /** How many events may wait to be stored. A process that dies loses them. @default {10_000} */
  readonly maxQueuedEvents?: number;
  /** How many bytes of them may wait. @default {16_777_216} */
  readonly maxQueuedBytes?: number;
  /** After how many entries a checkpoint is written. @default {1_000} */
  readonly checkpointEvery?: number;
  /**
   * How old the last checkpoint may be when an entry comes, before another is written. No timer runs: in a log that is
   * idle the last entries stay unsigned until the next one, `checkpoint()` or the end.
   *
   * @default {10_000}
   */
  readonly checkpointEveryMs?: number;
  /** How long a sink that failed is left alone, unless somebody waits for it. @default {1_000} */
  readonly retryMs?: number;
  /** How long the end of the log may take. @default {5_000} */
  readonly drainMs?: number;
  /** Which log it is: unique among all logs that the signer ever signs. @default {the signer's id and a random UUID} */
  readonly origin?: string;
  /** Where a log that goes on ends so far, from {@linkcode verifyAudit}; it keeps its origin. */
  readonly resume?: LogEnd;
  /** The time, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
  /**
   * Told why storing or signing fails, once until it works again.
   *
   * @default {prints a constant line to the error output}
   */
  readonly onFailure?: (error: unknown) => void;
}

/**
 * Keeps a log that shows when it was tampered with.
 *
 * Each entry is a leaf of a Merkle tree, and now and then the root of the tree is signed, as one line of the log:
 * {@linkcode verifyAudit} finds what was altered since. `record` only puts the event into a queue. A sink that is slow or
 * hangs holds up nobody; what does not fit the queue is refused or counted. Texts are cut at 2048 UTF-16 code units, an
 * event at 8192 and 32 fields; what could forge a line or hide one is escaped.
 *
 * @param sink Where the lines go.
 * @param options Who signs, and what to do when the sink does not keep up.
 * @returns The log. Ending it stores what waits and a last checkpoint, and closes the sink; it throws an
 *   {@linkcode AuditError} `undelivered` where that fails or takes too long.
 * @throws {RangeError} For an option out of range.
 * @throws {TypeError} For a key or an origin that a checkpoint cannot name.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1 | RFC 9162, section 2.1}
 */
export function auditLog(sink: AuditSink, options: AuditLogOptions): AuditLog {
  const settings = resolve(options);
  const { start, signer, whenFull } = settings;
  const queue = logQueue(logWriter(sink, signer, start), { ...settings, onRoom: () => recorder.tellLoss() });
  const recorder = createRecorder(queue, settings);
  let ending: Promise<void> | undefined;

  const closed = () => new AuditError("closed", "The audit log has ended");
  const full = () => new AuditError("full", "The queue of the audit log is full");

  return {
    origin: start.origin,
    get size() {
      return recorder.size;
    },
    get lost() {
      return recorder.lost;
    },
    record(event) {
      recorder.tellLoss(false, event);
      const refusal = ending ? closed() : queue.ended ?? (recorder.isFull(event) ? full() : undefined);
      if (!refusal) recorder.add(event);
      else recorder.lose(); // what was refused for it is done with, and its event is missing all the same
      queue.wake();
      if (refusal && whenFull === "refuse") throw refusal;
    },
    checkpoint: () => ending ? Promise.reject(closed()) : queue.checkpoint(),
    flush: () => ending ? Promise.reject(closed()) : queue.flush(),
    [Symbol.asyncDispose]() {
      if (!ending) recorder.tellLoss(true);
      return ending ??= end(sink, queue, settings.drainMs);
    },
  };
}

type Settings = Required<Omit<AuditLogOptions, "origin" | "resume">> & { readonly start: LogEnd };

function resolve(options: AuditLogOptions): Settings {
  const { signer, resume } = options;
  checkKey(signer);
  const origin = resume?.origin ?? options.origin ?? `${signer.id}/${crypto.randomUUID()}`;
  checkOrigin(origin);
  for (const name of ["maxQueuedEvents", "maxQueuedBytes", "checkpointEvery"] as const) {
    const value = options[name] ?? 1;
    if (!Number.isSafeInteger(value) || value < 1) throw new RangeError(`"${name}" must be an integer of at least 1`);
  }
  for (const name of ["checkpointEveryMs", "retryMs", "drainMs"] as const) {
    if (!((options[name] ?? 0) >= 0)) throw new RangeError(`"${name}" must be at least 0`);
  }
  return {
    signer,
    start: resume ?? { origin, last: nothing, tree: emptyTree },
    whenFull: options.whenFull ?? "refuse",
    maxQueuedEvents: options.maxQueuedEvents ?? 10_000,
    maxQueuedBytes: options.maxQueuedBytes ?? 16_777_216,
    checkpointEvery: options.checkpointEvery ?? 1000,
    checkpointEveryMs: options.checkpointEveryMs ?? 10_000,
    retryMs: options.retryMs ?? 1000,
    drainMs: options.drainMs ?? 5000,
    now: options.now ?? Date.now,
    onFailure: options.onFailure ?? (() => console.error("The audit log cannot store its entries")),
  };
}

interface Recorder {
  readonly size: number;
  readonly lost: number;
  /** Whether there is no room; what nobody proved to have done gets half of it, so that strangers leave some to others. */
  isFull(event?: AuditEvent): boolean;
  add(event: AuditEvent): void;
  lose(): void;
  /** Records how many events were lost since the last time, where there is room or it must be. */
  tellLoss(isForced?: boolean, event?: AuditEvent): void;
}

function createRecorder(queue: LogQueue, settings: Settings): Recorder {
  const { now, start, maxQueuedEvents, maxQueuedBytes, checkpointEvery, checkpointEveryMs } = settings;
  let [size, last, unsigned, markedAt] = [start.tree.size, start.last, 0, now()];
  let [lost, untold] = [0, 0];

  const isFull = (event?: AuditEvent) => {
    const share = event?.event.endsWith(".refuse") && event.caller === undefined ? 2 : 1;
    return queue.entries >= maxQueuedEvents / share || queue.bytes >= maxQueuedBytes / share;
  };

  function add(event: AuditEvent): void {
    const time = now();
    const line = entryLine({ index: size, time: new Date(time).toISOString(), prev: last }, event);
    const bytes = new TextEncoder().encode(line);
    const leaf = leafHash(bytes);
    queue.add({ line, leaf, bytes: bytes.length + 1 });
    [size, last, unsigned] = [size + 1, leaf, unsigned + 1];
    if (unsigned < checkpointEvery && time - markedAt < checkpointEveryMs) return;
    queue.mark();
    [unsigned, markedAt] = [0, time];
  }

  return {
    get size() {
      return size;
    },
    get lost() {
      return lost;
    },
    isFull,
    add,
    lose: () => void ([lost, untold] = [lost + 1, untold + 1]),
    tellLoss(isForced = false, event) {
      if (untold === 0 || (isFull(event) && !isForced)) return;
      const count = untold;
      untold = 0;
      add({ event: "audit.lost", fields: { count } });
    },
  };
}

async function end(sink: AuditSink, queue: LogQueue, drainMs: number): Promise<void> {
  const undelivered = (cause?: unknown) =>
    new AuditError("undelivered", `The audit log ended with ${queue.entries} entries not stored, or unsigned`, {
      cause,
    });
  const drained = (async () => {
    let failure: AuditError | undefined;
    await queue.checkpoint().catch((error) => failure = undelivered(error));
    try {
      await sink.close?.();
    } catch (error) {
      failure ??= undelivered(error);
    }
    if (failure) throw failure;
  })();
  try {
    await within(drained, () => drainMs, undelivered);
  } finally {
    queue.abandon(undelivered());
  }
}
