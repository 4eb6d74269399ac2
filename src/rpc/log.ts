import { jsonLine } from "../internal/json_line.ts";
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
  return jsonLine({ time: new Date().toISOString(), ...entry });
}
