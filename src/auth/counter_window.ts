/**
 * Which counters of a session were used: a window that slides with the highest of them, so that messages may overtake each
 * other on their way, and none counts twice.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6479}
 */
export interface CounterWindow {
  /**
   * Takes a counter.
   *
   * @returns Whether it was new; one below the window counts as used.
   */
  take(counter: number): boolean;
  /** Whether a counter was taken; one that the window has left behind may have been. */
  wasTaken(counter: number): boolean;
  /** Takes back everything below a counter: nothing below it counts as new any more. */
  raise(counter: number): void;
}

/**
 * A window of 2,048 counters.
 *
 * @param first The lowest counter that may still come.
 */
export function counterWindow(first: number): CounterWindow {
  const used = new Uint32Array(WINDOW / 32);
  let lowest = first;
  let highest = first - 1;
  const slideTo = (counter: number) => {
    if (counter - highest >= WINDOW) used.fill(0);
    else for (let next = highest + 1; next <= counter; next++) clear(next);
    highest = counter;
  };
  const clear = (counter: number) => used[index(counter)]! &= ~bit(counter);
  return {
    take(counter) {
      if (counter < lowest || counter <= highest - WINDOW) return false;
      if (counter > highest) slideTo(counter);
      else if (used[index(counter)]! & bit(counter)) return false;
      used[index(counter)]! |= bit(counter);
      return true;
    },
    wasTaken(counter) {
      return counter <= highest - WINDOW || (counter <= highest && (used[index(counter)]! & bit(counter)) !== 0);
    },
    raise(counter) {
      lowest = Math.max(lowest, counter);
    },
  };
}

const WINDOW = 2_048;
const index = (counter: number) => (counter % WINDOW) >>> 5;
const bit = (counter: number) => 1 << (counter & 31);
