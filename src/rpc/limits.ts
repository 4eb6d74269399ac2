import { MAX_TIMER } from "../internal/within.ts";

/**
 * What a server refuses to go beyond; each limit stops an attack, and each has its own refusal.
 *
 * How large and how deep a message may be is the codec's to say: `json({ maxBytes, maxDepth, maxItems })`.
 */
export interface ServerLimits {
  /**
   * The largest set of request headers, names and values, in bytes; stops a caller from making every request expensive
   * to look at. Refused with `resource_exhausted` and status 431.
   *
   * @default {16_384}
   */
  readonly maxHeaderBytes?: number;
  /**
   * How many calls may be under way at once; stops a flood from filling memory. Refused with `resource_exhausted`. A
   * handler that outlives its call's deadline keeps its place until it ends.
   *
   * @default {1_024}
   */
  readonly maxConcurrentCalls?: number;
  /**
   * How long a body may take to arrive, in milliseconds; stops callers that send a byte now and then. Refused with
   * `deadline_exceeded`.
   *
   * @default {10_000}
   */
  readonly receiveDeadlineMs?: number;
  /**
   * The longest a unary call may take, in milliseconds, where its method's contract does not say; a caller's own deadline
   * can only be shorter. A stream has none but its method's and its caller's. Answered with `deadline_exceeded`.
   *
   * @default {30_000}
   */
  readonly callDeadlineMs?: number;
  /**
   * How long a stream may wait for its reader to take something, in milliseconds; stops readers that keep calls open and
   * read nothing. The stream is cut, and its handler is told.
   *
   * @default {60_000}
   */
  readonly stallMs?: number;
}

/** The limits that hold where none are given. */
export const defaultServerLimits: Required<ServerLimits> = {
  maxHeaderBytes: 16_384,
  maxConcurrentCalls: 1_024,
  receiveDeadlineMs: 10_000,
  callDeadlineMs: 30_000,
  stallMs: 60_000,
};

/** Completes a server's limits, and refuses one that could not hold or that nobody looks at. */
export function serverLimits(given: ServerLimits = {}): Required<ServerLimits> {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(defaultServerLimits, name));
  if (unknown !== undefined) throw new TypeError(`Cannot use the limit "${unknown}": there is no such limit`);
  const limits: Record<keyof ServerLimits, number> = { ...defaultServerLimits };
  for (const name of Object.keys(limits) as (keyof ServerLimits)[]) {
    if (given[name] !== undefined) limits[name] = given[name];
    assertLimit(name, limits[name]);
  }
  return limits;
}

/** Refuses a limit that is not a whole number from 1 to what a timer can hold. */
export function assertLimit(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= MAX_TIMER) return;
  throw new RangeError(
    `Cannot use the limit "${name}": it is ${value}, it must be a whole number from 1 to ${MAX_TIMER}`,
  );
}
