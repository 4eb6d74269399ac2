import type { Refusal } from "./codec_error.ts";
import { type CodecLimits, overLimit } from "./limits.ts";

/** One walk over a value: what it must stay within, how it refuses, and what it has found. */
export interface JsonWalk {
  readonly limits: Required<CodecLimits>;
  readonly cannot: Refusal;
  /** How many members and items the value holds in all. */
  entries: number;
  /** Whether a number is beyond the safe integers, so that its spelling matters. */
  large: boolean;
}

/**
 * Refuses what strict JSON does not carry unchanged. Both directions use it, so what one writes the other reads: after
 * `JSON.parse` it catches what that lets through, before `JSON.stringify` what that alters, drops or runs.
 */
export function walkJson(walk: JsonWalk, value: unknown, depth: number): void {
  const { limits, cannot } = walk;
  if (typeof value === "string") return checkString(value, cannot);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw cannot("a number is not finite");
    if (Math.abs(value) > Number.MAX_SAFE_INTEGER) walk.large = true;
    return;
  }
  if (typeof value === "boolean" || value === null) return;
  if (typeof value !== "object") throw cannot("a value is of type " + typeof value);
  // A cycle ends here too.
  if (depth === limits.maxDepth) throw overLimit(cannot, depth, "levels");
  if (isArray(value, cannot)) {
    countEntries(walk, value.length);
    // By index: a list cannot grow past the length that was counted.
    for (let at = 0; at < value.length; at++) walkJson(walk, value[at], depth + 1);
    return;
  }
  for (const key of Object.keys(value)) {
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    if (key === "__proto__") throw cannot(`a member is named "__proto__"`);
    checkString(key, cannot);
    countEntries(walk, 1);
    walkJson(walk, member, depth + 1);
  }
}

/** Tells arrays from objects, and refuses objects that are more than their members or would write themselves. */
function isArray(value: object, cannot: Refusal): value is readonly unknown[] {
  const prototype = Object.getPrototypeOf(value);
  const array = Array.isArray(value);
  const plain = array ? prototype === Array.prototype : prototype === Object.prototype || prototype === null;
  if (!plain || typeof (value as { toJSON?: unknown }).toJSON === "function") {
    throw cannot("an object is an instance of a class or has a toJSON method");
  }
  return array;
}

function checkString(text: string, cannot: Refusal): void {
  if (!text.isWellFormed()) throw cannot("a string holds a lone surrogate");
}

function countEntries(walk: JsonWalk, more: number): void {
  const { maxItems } = walk.limits;
  if ((walk.entries += more) > maxItems) throw overLimit(walk.cannot, maxItems, "members and items");
}

/**
 * Refuses an integer spelled out beyond the safe ones; an exponent or fraction says that the number is not exact.
 *
 * @param text Valid JSON. Its strings are emptied first, escapes before quotes; no step backtracks.
 */
export function checkIntegers(text: string, cannot: Refusal): void {
  const numbers = text.replace(/\\./g, "").replace(/"[^"]*"/g, "").match(/(?<![\d.]|e[+-]?)\d{16,}(?![\d.e])/gi);
  if (numbers?.some((digits) => !Number.isSafeInteger(Number(digits)))) {
    throw cannot("an integer is beyond the safe ones");
  }
}
