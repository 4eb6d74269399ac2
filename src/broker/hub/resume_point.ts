import type { StartPosition } from "../broker.ts";

/** Where a subscription goes on after its connection, or its group, was lost. */
export interface ResumePoint {
  /** Where it goes on. */
  readonly start: StartPosition | undefined;
  /** It was there for the first time, at some time of the broker's. */
  begun(timeMs: number): void;
  /** A message came, perhaps again. */
  came(position: string): void;
  /** A message was acknowledged. */
  settled(position: string): void;
  /** It begins once more at {@linkcode ResumePoint.start}. */
  restart(): void;
}

/**
 * Follows what was acknowledged without a gap: what comes after it comes again.
 *
 * A message that is given back leaves a gap until it came again. What is behind a gap is repeated after a lost connection,
 * although it was acknowledged; at most 16,384 messages are followed there.
 *
 * @param start Where the subscription begins.
 */
export function resumePoint(start: StartPosition | undefined): ResumePoint {
  let from = start;
  let isFull = false;
  /** What came after `from`, in order, and whether it was acknowledged. */
  const after = new Map<string, boolean>();
  return {
    get start() {
      return from;
    },
    begun(timeMs) {
      // "new" would be after what came, and after what was published while there was no connection.
      if (from === undefined || from === "new") from = { time: new Date(timeMs) };
    },
    came(position) {
      if (isFull || after.has(position)) return;
      if (after.size >= MAX_FOLLOWED) isFull = true;
      else after.set(position, false);
    },
    settled(position) {
      if (!after.has(position)) return;
      after.set(position, true);
      for (const [first, isSettled] of after) {
        if (!isSettled) return;
        after.delete(first);
        from = { after: first };
      }
    },
    restart() {
      // All of it comes again, but for what the broker does not have any more: nothing waits for that.
      after.clear();
      isFull = false;
    },
  };
}

/** How many messages are followed behind a gap. */
const MAX_FOLLOWED = 16_384;
