// Runs code on a virtual clock: an hour of timers in as long as their callbacks take, and in the same order every time.
import { type Chance, chance } from "./_chance.ts";
import { standinCrypto } from "./_standin_crypto.ts";

/** What a simulation starts with. */
export interface Simulation {
  /** Chance, from the seed. */
  readonly chance: Chance;
  /** The true time, in milliseconds since 1970. */
  readonly now: () => number;
  /** Lets virtual time pass for whoever waits. */
  readonly sleep: (ms: number) => Promise<void>;
}

/**
 * Runs a simulation, with `setTimeout`, `clearTimeout`, `Date.now`, `performance.now` and `crypto` replaced while it runs.
 *
 * Nothing in it may wait for anything real. When everybody waits for a timer, the clock jumps to the next one; between two
 * timers all promises that can be settled are. When nobody waits for a timer and it is not over, it never will be, and it
 * fails. Timers that are left when it is over are forgotten.
 *
 * @param seed Where its chance begins; a failure names it.
 * @param run The simulation.
 */
export async function simulate<Value>(seed: number, run: (simulation: Simulation) => Promise<Value>): Promise<Value> {
  const turn = turns();
  const queue = timerQueue();
  const own = chance(seed);
  const restore = install({
    ...queue.globals,
    crypto: standinCrypto(own.fork()),
    performance: { now: () => queue.nowMs() - START_MS, timeOrigin: START_MS },
  });
  const dateNow = Date.now;
  Date.now = queue.nowMs;
  try {
    const sleep = (ms: number) => new Promise<void>((resolve) => void queue.globals.setTimeout(resolve, ms));
    let outcome: { readonly value: Value } | { readonly error: unknown } | undefined;
    run({ chance: own, now: queue.nowMs, sleep }).then((value) => outcome = { value }, (error) => outcome = { error });
    for (;;) {
      await turn.next();
      if (outcome) break;
      if (!queue.fireNext()) throw new Error("The simulation is stuck: it waits for something that is not a timer");
    }
    if ("value" in outcome) return outcome.value;
    throw outcome.error;
  } catch (cause) {
    throw new Error(`Seed ${seed}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  } finally {
    Date.now = dateNow;
    restore();
    turn.end();
  }
}

/** A whole second, as records count. */
const START_MS = 1_800_000_000_000;

/** Replaces globals; returns what puts them back as they were. */
function install(replacements: object): () => void {
  const before = Object.keys(replacements).map((name) =>
    [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const
  );
  for (const [name, value] of Object.entries(replacements)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, enumerable: true, writable: true });
  }
  return () => {
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else Reflect.deleteProperty(globalThis, name);
    }
  };
}

interface Timer {
  readonly atMs: number;
  readonly id: number;
  readonly run: () => void;
}

/** Timers in the order of their times, and of their making where times are the same: a binary heap. */
function timerQueue() {
  const heap: Timer[] = [];
  const live = new Set<number>();
  let nowMs = START_MS;
  let count = 0;
  const isBefore = (one: Timer, other: Timer) =>
    one.atMs < other.atMs || (one.atMs === other.atMs && one.id < other.id);
  const push = (timer: Timer) => {
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(timer, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timer;
  };
  const pop = () => {
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  };
  return {
    nowMs: () => nowMs,
    /** Fires the first timer; returns whether there was one. */
    fireNext() {
      while (heap.length > 0) {
        const { atMs, id, run } = pop();
        if (!live.delete(id)) continue;
        nowMs = atMs;
        run();
        return true;
      }
      return false;
    },
    globals: {
      setTimeout(run: () => void, ms = 0) {
        const id = ++count;
        live.add(id);
        push({ atMs: nowMs + Math.max(1, Math.trunc(ms) || 0), id, run });
        return id;
      },
      clearTimeout: (id: number) => void live.delete(id),
    },
  };
}

/** Gives way until all promises that can be settled are, by the quickest real timer of the runtime. */
function turns(): { next(): Promise<void>; end(): void } {
  const { setImmediate, setTimeout, MessageChannel } = globalThis as unknown as Runtime;
  if (setImmediate) return { next: () => new Promise((resolve) => void setImmediate(resolve)), end() {} };
  if (!MessageChannel) return { next: () => new Promise((resolve) => void setTimeout(resolve, 0)), end() {} };
  const { port1, port2 } = new MessageChannel();
  let wake = () => {};
  port1.onmessage = () => wake();
  return {
    next: () =>
      new Promise((resolve) => {
        wake = resolve;
        port2.postMessage(0);
      }),
    end: () => port1.close(),
  };
}

interface Runtime {
  readonly setImmediate?: (run: () => void) => unknown;
  readonly setTimeout: (run: () => void, ms: number) => unknown;
  readonly MessageChannel?: typeof MessageChannel;
}
