/** What a codec refuses to read or write beyond; each limit stops an attack that small inputs can mount. */
export interface CodecLimits {
  /** The largest message, in bytes; stops a sender from filling memory. @default {1_048_576} */
  readonly maxBytes?: number;
  /** How deep arrays and objects may nest; stops stack exhaustion in schemas and handlers. @default {32} */
  readonly maxDepth?: number;
  /** How many members and items a message may hold in all; stops hash flooding and amplification. @default {10_000} */
  readonly maxItems?: number;
}

/** The limits that hold where none are given. */
export const defaultCodecLimits: Required<CodecLimits> = { maxBytes: 1_048_576, maxDepth: 32, maxItems: 10_000 };
