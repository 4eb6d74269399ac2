import type { EngineLimits } from "./engine.ts";

/**
 * Fills in the limits that were left open.
 *
 * @param options Those that were given.
 * @throws {RangeError} One is out of its range.
 */
export function checkLimits(options: { readonly [name in keyof EngineLimits]?: number | undefined }): EngineLimits {
  const check = (name: keyof EngineLimits, least: number, most: number, fallback: number) => {
    const value = options[name] ?? fallback;
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw new RangeError(`Cannot make the broker: "${name}" is from ${least} to ${most}`);
  };
  return {
    maxMessages: check("maxMessages", 1, 10_000_000, 100_000),
    maxBytes: check("maxBytes", 1_024, Number.MAX_SAFE_INTEGER, 64 * 1024 * 1024),
    retentionMs: check("retentionMs", 1_000, Number.MAX_SAFE_INTEGER, WEEK_MS),
    maxGroups: check("maxGroups", 0, 65_536, 1_024),
    groupIdleMs: check("groupIdleMs", 0, Number.MAX_SAFE_INTEGER, WEEK_MS),
    maxSubscriptions: check("maxSubscriptions", 1, 1_048_576, 16_384),
    maxWaiting: check("maxWaiting", 0, 65_536, 1_024),
  };
}

const WEEK_MS = 604_800_000;
