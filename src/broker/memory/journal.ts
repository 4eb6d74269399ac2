import { BrokerError } from "../broker_error.ts";
import type { BrokerStore, StoredEvent, StoredGroup } from "./broker_store.ts";
import type { Engine } from "./engine.ts";
import { needsFrom, type Place } from "./place.ts";

/** Gathers what changes, and stores it together. */
export interface Journal<Event> {
  /** What was published; told when it is stored. */
  add(message: StoredEvent<Event>): Promise<void>;
  /** A group has moved, or is new. */
  touch(place: Place<Event>): void;
  /** A group is no more. */
  removed(place: Place<Event>): void;
  /** Waits until all that there is by now is stored. */
  stored(): Promise<void>;
  /** Whether something is not stored yet. */
  isPending(): boolean;
  /** Stores what is left, and closes the store. */
  close(): Promise<void>;
}

/** What a journal tells of. */
export interface JournalReader<Event> {
  /** These are stored. */
  stored(events: readonly StoredEvent<Event>[]): void;
  /** These are not, and were taken back. */
  failed(events: readonly StoredEvent<Event>[]): void;
}

/** Makes a journal of a store. */
export function journal<Event>(
  engine: Engine<Event>,
  store: BrokerStore<Event>,
  reader: JournalReader<Event>,
): Journal<Event> {
  let events: StoredEvent<Event>[] = [];
  const moved = new Set<Place<Event>>();
  const gone = new Set<Place<Event>>();
  let waiting: Waiting | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let soon = false;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    soon = false;
    const [written, told] = [events, waiting];
    [events, waiting] = [[], undefined];
    try {
      store.write(batchOf(engine, { events: written, moved, gone }));
    } catch (cause) {
      reader.failed(written);
      return told?.reject(new BrokerError("unreachable", "Cannot store what was published", { cause }));
    }
    for (const place of moved) place.done = [];
    moved.clear();
    gone.clear();
    told?.resolve();
    reader.stored(written);
  };
  const schedule = (now: boolean) => {
    if (timer !== undefined && (soon || !now)) return;
    clearTimeout(timer);
    soon = now;
    timer = setTimeout(flush, now ? 0 : LAZY_MS);
  };
  const stored = () => {
    schedule(true);
    waiting ??= createWaiting();
    return waiting.promise;
  };
  return {
    add(message) {
      events.push(message);
      return stored();
    },
    touch(place) {
      if (place.ended) return;
      moved.add(place);
      schedule(false);
    },
    removed(place) {
      moved.delete(place);
      gone.add(place);
      schedule(false);
    },
    stored,
    isPending: () => events.length > 0,
    async close() {
      if (timer !== undefined) flush();
      clearTimeout(timer);
      await store[Symbol.asyncDispose]();
    },
  };
}

function batchOf<Event>(
  { log }: Engine<Event>,
  { events, moved, gone }: {
    readonly events: readonly StoredEvent<Event>[];
    readonly moved: ReadonlySet<Place<Event>>;
    readonly gone: ReadonlySet<Place<Event>>;
  },
) {
  return {
    events,
    groups: [...moved].map(storedGroup),
    removed: [...gone].map(({ group, pattern }) => ({ name: group!, pattern })),
    first: log.first,
    end: log.end,
  };
}

function storedGroup<Event>(place: Place<Event>): StoredGroup {
  const from = needsFrom(place);
  const { group, pattern, idleSinceMs, slow } = place;
  return { name: group!, pattern, from, slow, done: place.done.filter((position) => position >= from), idleSinceMs };
}

/** Those who wait for the same batch. */
interface Waiting {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: unknown): void;
}

function createWaiting(): Waiting {
  let settle: Pick<Waiting, "resolve" | "reject">;
  const promise = new Promise<void>((resolve, reject) => settle = { resolve, reject });
  return { promise, ...settle! };
}

/** How long an acknowledgement may wait to be stored: a crash before only has the message come again. */
const LAZY_MS = 50;
