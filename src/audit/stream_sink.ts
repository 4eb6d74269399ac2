import { AuditError } from "./audit_error.ts";
import type { AuditSink } from "./audit_sink.ts";

/**
 * Writes a log to a stream: a file, a socket, the body of a request.
 *
 * A stream that failed stays failed, and how much of the last lines it took is not known. So its first failure ends the
 * log, which refuses or counts every event from then on.
 *
 * @param writable Where the bytes go; the sink locks it, and closes it when the log ends.
 */
export function streamSink(writable: WritableStream<Uint8Array>): AuditSink {
  const writer = writable.getWriter();
  writer.closed.catch(() => {}); // a stream that fails between two writes is told of by the next one
  return {
    write: (lines) => writer.write(new TextEncoder().encode(lines)).catch(failed),
    close: () => writer.close().catch(failed),
  };
}

function failed(cause: unknown): never {
  throw new AuditError("sink", "The stream of the audit log failed", { cause });
}
