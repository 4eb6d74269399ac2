import type { Clock } from "./clock.ts";
import { MAX_TIMER } from "../internal/within.ts";

/** What ends by itself. */
export interface Expiring {
  /** When, by the clock. */
  readonly deadlineAt: number;
}

/** Watches the deadlines of many with one timer. */
export interface Alarm<Each extends Expiring> {
  /** Watches one more. */
  add(each: Each): void;
  /** It is over: nobody waits for its deadline. */
  delete(each: Each): void;
  /** Watches nothing any more. */
  clear(): void;
}

/**
 * One timer for the deadlines of all calls: a timer for each would cost more than the rest of a small call.
 *
 * The timer is only ever moved forward; most calls are long over when it fires, and then it looks who is left.
 *
 * @param clock Tells the time.
 * @param expire Told of each whose time is up.
 */
export function alarm<Each extends Expiring>(clock: Clock, expire: (each: Each) => void): Alarm<Each> {
  const watched = new Set<Each>();
  let timer: unknown;
  let firesAt = Infinity;
  return {
    add(each) {
      watched.add(each);
      if (each.deadlineAt < firesAt) arm(each.deadlineAt);
    },
    delete: (each) => void watched.delete(each),
    clear() {
      watched.clear();
      clock.clear(timer);
      firesAt = Infinity;
    },
  };

  function arm(at: number): void {
    clock.clear(timer);
    firesAt = at;
    timer = clock.set(fire, Math.min(MAX_TIMER, Math.max(1, Math.ceil(at - clock.now()))));
  }

  function fire(): void {
    firesAt = Infinity;
    const now = clock.now();
    for (const each of [...watched]) {
      if (each.deadlineAt > now) continue;
      watched.delete(each);
      expire(each);
    }
    let next = Infinity;
    for (const { deadlineAt } of watched) next = Math.min(next, deadlineAt);
    if (next < firesAt) arm(next);
  }
}
