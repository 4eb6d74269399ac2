import { within } from "../internal/within.ts";
import { instanceName, readRecord } from "./record.ts";
import type { Registry } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";
import type { RegistryChanges } from "./registry_service.ts";

/** The records of one service as they change, for any number of readers, each of whom is somewhere else in it. */
export interface Feed {
  /**
   * What changed since a cursor.
   *
   * @param cursor Where the reader is; undefined for all.
   * @param waitMs How long to wait for a change where there is none, in milliseconds.
   * @param signal Whether anybody waits still.
   */
  since(cursor: string | undefined, waitMs: number, signal: AbortSignal): Promise<RegistryChanges>;
}

/** The feeds of a registry. */
export interface Feeds extends Disposable {
  /** The feed of a service. */
  of(service: string): Feed;
}

/**
 * Follows a registry, once for each service whoever asks, for as long as somebody does.
 *
 * A cursor is the feed's own random name and the number of a change. What does not fit into one answer comes with the
 * next; who asks with a cursor of another feed, or one that is too old, gets everything.
 */
export function feedsOf(store: Registry, now: () => number): Feeds {
  const feeds = new Map<string, Following>();
  let ended = false;
  const sweep = (nowMs: number) => {
    for (const [service, feed] of feeds) {
      if (feed.waiting === 0 && nowMs - feed.askedAtMs > IDLE_MS) {
        feed.end();
        feeds.delete(service);
      }
    }
  };
  return {
    of(service) {
      if (ended) throw new RegistryError("unreachable", "Cannot read the registry: it is about to end");
      const nowMs = performance.now();
      let feed = feeds.get(service);
      if (!feed || feed.hasFailed) {
        sweep(nowMs);
        // Names that somebody made up must not keep out a service that there is.
        const [idle] = [...feeds].find(([, each]) => each.waiting === 0 && each.isEmpty) ?? [];
        if (feeds.size >= MAX_FEEDS && idle !== undefined) {
          feeds.get(idle)!.end();
          feeds.delete(idle);
        }
        if (feeds.size >= MAX_FEEDS) {
          throw new RegistryError("too_many", "Cannot read the service: too many others are being read");
        }
        feed = follow(store, service, now);
        feeds.set(service, feed);
      }
      feed.askedAtMs = nowMs;
      return feed;
    },
    [Symbol.dispose]() {
      ended = true;
      for (const feed of feeds.values()) feed.end();
      feeds.clear();
    },
  };
}

interface Following extends Feed {
  askedAtMs: number;
  readonly waiting: number;
  readonly isEmpty: boolean;
  readonly hasFailed: boolean;
  end(): void;
}

/** What a feed knows of its service. */
interface Log {
  /** Names this feed among those of other services, processes and times. */
  readonly id: string;
  /** The number of the last change. */
  version: number;
  /** The records by name, in the order in which they changed. */
  readonly records: Map<string, { readonly record: string; readonly version: number; readonly expiresAtMs: number }>;
  /** What the records in the last snapshot are of: most of the next one's are the same. */
  read: ReadonlyMap<string, Subject | undefined>;
  /** What is gone, in the order in which it went. */
  gone: { readonly name: string; readonly version: number }[];
  /** The last change that is not known of any more. */
  forgotten: number;
}

function follow(store: Registry, service: string, now: () => number): Following {
  const ending = new AbortController();
  const { signal } = ending;
  const log: Log = {
    id: crypto.randomUUID().slice(0, 18),
    version: 0,
    records: new Map(),
    read: new Map(),
    gone: [],
    forgotten: 0,
  };
  let failure: unknown;
  let waiting = 0;
  let wake: () => void;
  let next = new Promise<void>((resolve) => wake = resolve);
  const notify = () => {
    wake();
    next = new Promise((resolve) => wake = resolve);
  };
  let first: Promise<void> | undefined = next;
  const run = async () => {
    try {
      for await (const records of store.watch(service, { signal })) {
        if (note(log, records) || first) notify();
        first = undefined;
      }
      throw new RegistryError("unreachable", "Cannot read the registry: it has ended");
    } catch (error) {
      failure = error;
      notify();
    }
  };
  run();
  const following: Following = {
    askedAtMs: 0,
    get waiting() {
      return waiting;
    },
    get isEmpty() {
      return log.records.size === 0;
    },
    get hasFailed() {
      return failure !== undefined;
    },
    end: () => ending.abort(),
    async since(cursor, waitMs, reader) {
      waiting++;
      try {
        if (first) await within(first, () => FIRST_MS, tooSlow);
        if (waitMs > 0 && !failure && positionOf(log, cursor)?.from === log.version) {
          await within(Promise.race([next, aborted(reader)]), () => waitMs, () => undefined).catch(() => {});
        }
        if (failure) throw failure;
        const nowMs = now();
        drop(log, (_, expiresAtMs) => expiresAtMs <= nowMs); // that time passes is no change which a store tells
        return changesSince(log, cursor);
      } finally {
        waiting--;
      }
    },
  };
  return following;
}

/** What a record is of, and until when. */
interface Subject {
  readonly name: string;
  readonly expiresAtMs: number;
}

/** Takes over a snapshot; returns whether anything changed. */
function note(log: Log, records: readonly string[]): boolean {
  const before = log.version;
  const present = new Set<string>();
  const read = new Map<string, Subject | undefined>();
  for (const record of records) {
    const subject = log.read.has(record) ? log.read.get(record) : subjectOf(record);
    read.set(record, subject);
    if (subject === undefined || present.has(subject.name)) continue;
    const { name, expiresAtMs } = subject;
    present.add(name);
    if (log.records.get(name)?.record === record) continue;
    log.records.delete(name); // so that it comes last
    log.records.set(name, { record, version: ++log.version, expiresAtMs });
  }
  log.read = read;
  drop(log, (name) => !present.has(name));
  return log.version !== before;
}

function drop(log: Log, isGone: (name: string, expiresAtMs: number) => boolean): void {
  for (const [name, { expiresAtMs }] of log.records) {
    if (!isGone(name, expiresAtMs)) continue;
    log.records.delete(name);
    log.gone.push({ name, version: ++log.version });
  }
  if (log.gone.length > MAX_GONE) {
    const cut = log.gone.splice(0, log.gone.length - MAX_GONE / 2);
    log.forgotten = cut.at(-1)!.version;
  }
}

/** What is no record is nobody's, and travels no further. */
function subjectOf(record: string): Subject | undefined {
  try {
    const { sub, jti, exp } = readRecord(record).claims;
    return { name: instanceName(sub, jti), expiresAtMs: exp * 1_000 };
  } catch {
    return undefined;
  }
}

function changesSince(log: Log, cursor: string | undefined): RegistryChanges {
  const position = positionOf(log, cursor);
  // Who gets everything had nothing: what went before is nothing to him, on none of the pages.
  const { from, goneFrom } = position ?? { from: 0, goneFrom: log.version };
  const changes: RegistryChanges = { cursor: "", reset: position === undefined, records: [], gone: [], more: false };
  let bytes = 0;
  let reached = log.version;
  for (const [name, { record, version }] of log.records) {
    if (version <= from) continue;
    if (bytes > MAX_ANSWER) {
      changes.more = true;
      break;
    }
    changes.records.push({ name, record });
    bytes += name.length + record.length;
    reached = version;
  }
  if (!changes.more) reached = log.version;
  changes.gone = log.gone.filter(({ version }) => version > goneFrom).map(({ name }) => name);
  // Where more is gone than fits, everything that is there is the shorter answer.
  if (changes.gone.length > 1_024 || changes.gone.join("").length > MAX_ANSWER / 4) return changesSince(log, undefined);
  return { ...changes, cursor: `${log.id}.${reached}.${log.version}` };
}

/** Up to where a reader has the records, and up to where it knows what is gone. */
interface Position {
  readonly from: number;
  readonly goneFrom: number;
}

const CURSOR = /^([\da-f-]{18})\.(\d{1,15})\.(\d{1,15})$/;

/** The changes that a cursor stands for; undefined where what came after it is not known. */
function positionOf(log: Log, cursor: string | undefined): Position | undefined {
  const [, id, records, gone] = CURSOR.exec(cursor ?? "") ?? [];
  if (id !== log.id) return undefined;
  const [from, goneFrom] = [Number(records), Number(gone)];
  const isKnown = goneFrom >= log.forgotten && from <= goneFrom && goneFrom <= log.version;
  return isKnown ? { from, goneFrom } : undefined;
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });

const tooSlow = () => new RegistryError("unreachable", "Cannot read the registry: it took too long to answer");

/** How many services are followed at once. */
const MAX_FEEDS = 1_024;
/** How long a service is followed that nobody asks for, in milliseconds. */
const IDLE_MS = 120_000;
/** How long the first snapshot may take, in milliseconds. */
const FIRST_MS = 5_000;
/** How many that are gone are remembered. */
const MAX_GONE = 8_192;
/** How much one answer holds, in bytes: half of what a client reads by default. */
const MAX_ANSWER = 512 * 1_024;
