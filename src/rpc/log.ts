import type { RpcCode } from "./rpc_error.ts";

/** One line of a server's log. */
export interface LogEntry {
  /** `info` for what a caller did wrong and for what a handler notes, `error` for what the server did wrong. */
  readonly level: "info" | "error";
  /** What happened, or the handler's own words. */
  readonly event: string;
  /** The id that the caller was given too. */
  readonly correlationId: string;
  /** The method, as `greeter.v1/hello`; undefined where no known method was called. */
  readonly method?: string | undefined;
  /** The code that the caller was given. */
  readonly code?: RpcCode;
  /** Why, in words that the caller did not see where they say more than its own. */
  readonly cause?: unknown;
  /** What a handler notes beside its words. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** Takes the lines of a server's log; must not throw, and must escape what it prints. */
export type Log = (entry: LogEntry) => void;

/**
 * Prints each entry as one line of JSON to the error output: the log of a server that is given none.
 *
 * @param entry What happened.
 */
export function logToConsole(entry: LogEntry): void {
  console.error(logLine(entry));
}

/** The entry as one line in which no field can forge another line or hide what follows it. */
export function logLine(entry: LogEntry): string {
  let line: string;
  try {
    line = JSON.stringify({ time: new Date().toISOString(), ...entry }, printable());
  } catch {
    // What a handler threw may be anything, also an object that throws when it is looked at.
    line = JSON.stringify({ time: new Date().toISOString(), ...entry, cause: UNPRINTABLE, fields: undefined });
  }
  return line.replace(HOSTILE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A replacer for `JSON.stringify`: errors with what they hold, long texts cut, deep or endless structures ended. */
function printable(): (key: string, value: unknown) => unknown {
  let left = 200;
  return (_key, value) => {
    if (--left < 0) return undefined;
    if (typeof value === "bigint" || typeof value === "symbol" || typeof value === "function") return String(value);
    if (typeof value === "string") return value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value;
    if (!(value instanceof Error)) return value;
    const { name, message, stack, cause } = value;
    return { name, message, ...("code" in value ? { code: value.code } : {}), stack, cause };
  };
}

const UNPRINTABLE = "a value that cannot be printed";

/** The longest text in a line; a stack fits, a message of a megabyte does not. */
const MAX_TEXT = 4096;

/** What JSON leaves as it is but a terminal or a viewer acts on: C1 controls, line separators, bidirectional marks. */
const HOSTILE = /[\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;
