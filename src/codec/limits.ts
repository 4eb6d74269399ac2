import type { CodecError, Refusal } from "./codec_error.ts";

/** What a codec refuses to read or write beyond; each limit stops an attack that small inputs can mount. */
export interface CodecLimits {
  /** The largest message, in bytes; stops a sender from filling memory. @default {1_048_576} */
  readonly maxBytes?: number;
  /** How deep arrays and objects may nest, 1 to 1000; stops stack exhaustion in schemas and handlers. @default {32} */
  readonly maxDepth?: number;
  /** How many members and items a message may hold in all; stops hash flooding and amplification. @default {10_000} */
  readonly maxItems?: number;
}

/** The limits that hold where none are given. */
export const defaultCodecLimits: Required<CodecLimits> = { maxBytes: 1_048_576, maxDepth: 32, maxItems: 10_000 };

/** The deepest nesting that can be allowed: the codecs recurse, and this much fits the smallest stack they run on. */
export const deepestNesting = 1000;

/**
 * Fills in the defaults.
 *
 * @throws {RangeError} For a limit that is not a positive safe integer, or a depth over {@linkcode deepestNesting}.
 */
export function resolveLimits(limits: CodecLimits = {}): Required<CodecLimits> {
  const resolved = { ...defaultCodecLimits } as Record<keyof CodecLimits, number>;
  for (const name of ["maxBytes", "maxDepth", "maxItems"] as const) {
    const limit = limits[name] ?? resolved[name];
    const most = name === "maxDepth" ? deepestNesting : Number.MAX_SAFE_INTEGER;
    if (!Number.isInteger(limit) || limit < 1 || limit > most) {
      throw new RangeError(`"${name}" must be an integer from 1 to ${most}`);
    }
    resolved[name] = limit;
  }
  return resolved;
}

/** The error of a message that is over a limit. */
export function overLimit(cannot: Refusal, most: number, of: "bytes" | "levels" | "members and items"): CodecError {
  return cannot(`it is over the limit of ${most} ${of}`, "limit");
}
