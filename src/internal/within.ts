/**
 * Waits for a promise, but no longer than a given time.
 *
 * A timer costs more than the rest of a small call, and most of what a call waits for is there within a few turns of
 * the microtask queue: a body that arrived with its headers, a handler that awaits nothing. So the timer is set only
 * when those turns are over.
 *
 * @param promise What is waited for; when the time is up it goes on by itself, its outcome unobserved.
 * @param remainingMs How long to wait, perhaps for ever; asked only when a timer is needed.
 * @param expire Makes the error when the time is up.
 * @returns What the promise gives.
 */
export async function within<Value>(
  promise: Promise<Value>,
  remainingMs: () => number,
  expire: () => unknown,
): Promise<Value> {
  let outcome: { readonly value: Value } | { readonly error: unknown } | undefined;
  promise.then((value) => outcome = { value }, (error) => outcome = { error });
  for (let turn = 0; turn < FREE_TURNS && !outcome; turn++) await undefined;
  if (outcome && "value" in outcome) return outcome.value;
  if (outcome) throw outcome.error;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(expire()), Math.min(Math.max(0, remainingMs()), MAX_TIMER));
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Enough for a body that is there already (2 turns on Deno) and for a few nested async functions. */
const FREE_TURNS = 8;

/** The longest a timer runs, in milliseconds; runtimes turn longer ones into none at all. */
export const MAX_TIMER = 2 ** 31 - 1;
