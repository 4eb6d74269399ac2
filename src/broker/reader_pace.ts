import type { SubscribeTerms } from "./broker_input.ts";

/** How fast a reader is, and so how many messages are fetched before it asks for them. */
export interface ReaderPace {
  /** How many to fetch ahead. */
  readonly ahead: number;
  /** It has a message. */
  handed(nowMs: number): void;
  /** It is ready for another one. */
  ready(nowMs: number): void;
}

/**
 * Follows how long a reader takes for a message: it is believed to be slow at once, and fast by and by.
 *
 * So many are fetched that the last of them waits here for a quarter of the time that it may be out: a message that the hub
 * gives to somebody else while it lies here would count an attempt that nobody made. Nothing is fetched for a reader of which
 * nothing is known.
 */
export function readerPace({ ackWaitMs, maxInFlight }: Pick<SubscribeTerms, "ackWaitMs" | "maxInFlight">): ReaderPace {
  let handedAt: number | undefined;
  let paceMs: number | undefined;
  return {
    get ahead() {
      if (paceMs === undefined) return 0;
      return Math.min(maxInFlight - 1, Math.floor(ackWaitMs / 4 / Math.max(paceMs, 0.001)));
    },
    handed(nowMs) {
      handedAt = nowMs;
    },
    ready(nowMs) {
      if (handedAt === undefined) return;
      paceMs = Math.max(nowMs - handedAt, (paceMs ?? 0) * 0.9);
      handedAt = undefined;
    },
  };
}
