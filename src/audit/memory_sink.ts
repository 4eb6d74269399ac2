import type { AuditSink } from "./audit_sink.ts";

/** A log in memory. */
export interface MemorySink extends AuditSink {
  /** What was stored, each line with its newline. */
  text(): string;
}

/** Keeps a log in memory, without a limit: for tests, and for processes that end soon. */
export function memorySink(): MemorySink {
  const written: string[] = [];
  return {
    write: (lines) => void written.push(lines),
    text: () => written.join(""),
  };
}
