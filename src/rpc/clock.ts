/** Tells the time and wakes: the runtime's own, or a test's. */
export interface Clock {
  /** The time since some moment, in milliseconds; it only goes forward. */
  now(): number;
  /**
   * Calls back once.
   *
   * @param wake What is called.
   * @param ms After how long, in milliseconds, at most 2,147,483,647.
   * @returns What {@linkcode Clock.clear} takes.
   */
  set(wake: () => void, ms: number): unknown;
  /** Takes a call-back away that has not been made yet; for any other it does nothing. */
  clear(timer: unknown): void;
}

/** The runtime's own clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  set: (wake, ms) => setTimeout(wake, ms),
  clear: (timer) => clearTimeout(timer as number | undefined),
};
