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

/** Hands an entry to a log that may throw: that must not take the answer with it. */
export function note(log: Log, entry: LogEntry): void {
  const failed = () => console.error("The log of a server failed");
  try {
    const logged: unknown = log(entry); // a function that returns a promise is a Log too
    if (logged instanceof Promise) logged.catch(failed);
  } catch {
    failed();
  }
}

/** The entry as one line in which no field can forge another line or hide what follows it. */
export function logLine(entry: LogEntry): string {
  const line = JSON.stringify({
    time: new Date().toISOString(),
    ...printable(entry, { left: MAX_VALUES }, 0) as LogEntry,
  });
  return line.replace(HOSTILE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A copy that JSON can carry: errors with what they hold, texts and lists cut, endless structures ended. */
function printable(value: unknown, budget: { left: number }, depth: number): unknown {
  if (typeof value === "string") return cut(value, MAX_TEXT);
  if (value === undefined || value === null || typeof value === "number" || typeof value === "boolean") return value;
  try {
    if (typeof value !== "object" || "toJSON" in value) return cut(String(value), MAX_TEXT);
    if (depth > MAX_DEPTH || --budget.left < 0) return "…";
    if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => printable(item, budget, depth + 1));
    const whole = value instanceof Error ? { ...hidden(value), ...value } : value;
    const members = Object.entries(whole).slice(0, MAX_ITEMS);
    return Object.fromEntries(members.map(([key, member]) => [cut(key, 128), printable(member, budget, depth + 1)]));
  } catch {
    return "a value that cannot be printed"; // what a handler throws may be an object that throws when it is looked at
  }
}

/** What `Object.entries` does not see of an error. */
const hidden = ({ name, message, stack, cause }: Error) => ({ name, message, stack, cause });

const cut = (text: string, length: number) => text.length > length ? `${text.slice(0, length)}…` : text;

/** The longest text in a line, in UTF-16 code units; a stack fits, a message of a megabyte does not. */
const MAX_TEXT = 4096;
const MAX_ITEMS = 50;
const MAX_VALUES = 200;
const MAX_DEPTH = 8;

/** What JSON leaves as it is but a terminal or a viewer acts on: C1 controls, line separators, bidirectional marks. */
const HOSTILE = /[\u007f-\u009f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;
