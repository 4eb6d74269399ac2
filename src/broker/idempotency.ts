/**
 * Remembers which messages were done with.
 *
 * Delivery is at least once; with this, what was acknowledged is not delivered again as long as it is remembered, also after a
 * restart where the store survives it. What ends between doing the work and acknowledging it is still done twice: only a store in
 * the same transaction as the work can prevent that.
 */
export interface IdempotencyStore {
  /**
   * Whether a message was done with.
   *
   * @param key What names it: publisher, topic and id.
   */
  has(key: string): boolean | Promise<boolean>;
  /**
   * Remembers that a message was done with.
   *
   * @param key What names it.
   */
  add(key: string): void | Promise<void>;
}

/** What a memory of messages is bounded by. */
export interface MemoryIdempotencyOptions {
  /** How long a message is remembered, in milliseconds. @default {3_600_000} */
  readonly windowMs?: number;
  /** How many are remembered; of more, the oldest are forgotten. @default {100_000} */
  readonly maxMessages?: number;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Remembers in this process, for as long as it runs: for what publishers send twice with one id.
 *
 * @param options What differs from the defaults.
 * @returns The memory; several subscriptions may share it.
 */
export function memoryIdempotency(options: MemoryIdempotencyOptions = {}): IdempotencyStore {
  const { windowMs = 3_600_000, maxMessages = 100_000, now = Date.now } = options;
  const doneMs = new Map<string, number>();
  return {
    has(key) {
      const atMs = doneMs.get(key);
      return atMs !== undefined && now() - atMs < windowMs;
    },
    add(key) {
      doneMs.delete(key); // the newest is the last
      doneMs.set(key, now());
      if (doneMs.size > maxMessages) doneMs.delete(doneMs.keys().next().value!);
    },
  };
}
