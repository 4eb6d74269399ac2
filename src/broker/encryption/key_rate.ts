/** How often something may happen. */
export interface RateLimitOptions {
  /** How often at once. */
  readonly burst: number;
  /** How often then, each second. */
  readonly perSecond: number;
  /** The clock, in milliseconds. */
  readonly now: () => number;
}

/**
 * Limits how often each of many may do something.
 *
 * @param options How often.
 * @returns Whether one, by its name, may do it now.
 */
export function rateLimit({ burst, perSecond, now }: RateLimitOptions): (name: string) => boolean {
  const spent = new Map<string, { readonly count: number; readonly atMs: number }>();
  return (name) => {
    const nowMs = now();
    const { count, atMs } = spent.get(name) ?? { count: 0, atMs: nowMs };
    const left = Math.max(0, count - Math.max(0, nowMs - atMs) / 1_000 * perSecond);
    if (left + 1 > burst) return false;
    spent.delete(name);
    spent.set(name, { count: left + 1, atMs: nowMs });
    if (spent.size > MAX_NAMES) spent.delete(spent.keys().next().value!); // who has been quiet for the longest time
    return true;
  };
}

/**
 * Limits work by what it costs: as much at once as is given, and then no more than goes by in time.
 *
 * @param options How much at once, in milliseconds, and the clock.
 * @returns Whether it may be done now; what it costs, in milliseconds, is spent then.
 */
export function costLimit(
  { mostMs, now }: { readonly mostMs: number; readonly now: () => number },
): (costMs: number) => boolean {
  let owed = { costMs: 0, atMs: now() };
  return (costMs) => {
    const nowMs = now();
    const leftMs = Math.max(0, owed.costMs - Math.max(0, nowMs - owed.atMs));
    const may = leftMs < mostMs;
    owed = { costMs: leftMs + (may ? costMs : 0), atMs: nowMs };
    return may;
  };
}

const MAX_NAMES = 1_024;
