import { pause } from "../internal/pause.ts";
import { changesSince, dropExpired, noteRecords, positionOf, recordLog } from "./record_log.ts";
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

function follow(store: Registry, service: string, now: () => number): Following {
  const ending = new AbortController();
  const { signal } = ending;
  const log = recordLog();
  let failure: unknown;
  let waiting = 0;
  const wakers = new Set<() => void>();
  const notify = () => wakers.forEach((wake) => wake());
  let isReady = false;
  const run = async () => {
    try {
      for await (const records of store.watch(service, { signal })) {
        const isNews = noteRecords(log, records) || !isReady;
        isReady = true;
        if (isNews) notify();
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
        if (!isReady && !failure) await pauseUntil(wakers, FIRST_MS, reader);
        if (!isReady && !failure) throw tooSlow();
        dropExpired(log, now());
        if (waitMs > 0 && !failure && positionOf(log, cursor)?.from === log.version) {
          await pauseUntil(wakers, waitMs, reader);
        }
        if (failure) throw failure;
        dropExpired(log, now());
        return changesSince(log, cursor);
      } finally {
        waiting--;
      }
    },
  };
  return following;
}

/** Waits for the next change; one listener for each who waits, because a promise that all share would keep them all. */
async function pauseUntil(wakers: Set<() => void>, ms: number, signal: AbortSignal): Promise<void> {
  const ending = new AbortController();
  const wake = () => ending.abort();
  wakers.add(wake);
  signal.addEventListener("abort", wake);
  try {
    if (!signal.aborted) await pause(ms, ending.signal);
  } finally {
    wakers.delete(wake);
    signal.removeEventListener("abort", wake);
  }
}

const tooSlow = () => new RegistryError("unreachable", "Cannot read the registry: it took too long to answer");

/** How many services are followed at once. */
const MAX_FEEDS = 1_024;
/** How long a service is followed that nobody asks for, in milliseconds. */
const IDLE_MS = 120_000;
/** How long the first snapshot may take, in milliseconds. */
const FIRST_MS = 5_000;
