// A clock that stands still until a test moves it, for the time of day and for timers.
import type { Clock } from "../../src/rpc/mod.ts";
import type { MovedClock } from "./_conformance_rig.ts";

/** A clock of the tests. */
export interface ManualClock extends MovedClock, Clock {
  /** How many timers are set. */
  readonly timers: number;
}

/** Makes a clock. */
export function manualClock(startMs = 1_800_000_000_000): ManualClock {
  let nowMs = startMs;
  const timers = new Map<number, { readonly wake: () => void; readonly dueMs: number }>();
  let count = 0;
  const due = () =>
    [...timers].filter(([, { dueMs }]) => dueMs <= nowMs).sort(([, one], [, two]) => one.dueMs - two.dueMs)[0];
  return {
    now: () => nowMs,
    set(wake, ms) {
      timers.set(++count, { wake, dueMs: nowMs + ms });
      return count;
    },
    clear: (timer) => void timers.delete(timer as number),
    pass(ms) {
      nowMs += ms;
      for (let next = due(); next; next = due()) {
        timers.delete(next[0]);
        next[1].wake();
      }
    },
    get timers() {
      return timers.size;
    },
  };
}
