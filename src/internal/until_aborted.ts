/**
 * Waits for a promise, and no longer than until a signal aborts.
 *
 * @param promise What is waited for; after an abort it goes on by itself, its outcome unobserved.
 * @param signal What ends the waiting; without one, nothing does.
 * @param abandon Makes the error of the signal's reason.
 * @returns What the promise gives.
 */
export function untilAborted<Value>(
  promise: Promise<Value>,
  signal: AbortSignal | undefined,
  abandon: (reason: unknown) => unknown,
): Promise<Value> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(abandon(signal.reason));
    const settle = () => signal.removeEventListener("abort", abort);
    promise.then(resolve, reject).then(settle);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
  });
}
