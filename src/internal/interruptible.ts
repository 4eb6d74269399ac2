/** Waits for one promise after the other, and for none of them longer than until a signal aborts. */
export interface Interruptible {
  /**
   * Waits for the next promise; one at a time.
   *
   * @returns What the promise gives; it rejects with the signal's reason where that comes first.
   */
  wait<Value>(promise: Promise<Value>): Promise<Value>;
  /** Nothing is waited for any more. */
  end(): void;
}

/**
 * One listener for all the promises of a sequence: a race for each of them would leave something behind at the signal for
 * each of them.
 *
 * @param signal What ends the waiting.
 * @param interrupt Called once when it aborts, after the one who waits was told.
 */
export function interruptible(signal: AbortSignal, interrupt: () => void = () => {}): Interruptible {
  let abandon: ((reason: unknown) => void) | undefined;
  const abort = () => {
    abandon?.(signal.reason);
    interrupt();
  };
  signal.addEventListener("abort", abort, { once: true });
  return {
    wait: (promise) =>
      new Promise((resolve, reject) => {
        abandon = reject;
        promise.then(resolve, reject);
        if (signal.aborted) reject(signal.reason);
      }),
    end: () => signal.removeEventListener("abort", abort),
  };
}
