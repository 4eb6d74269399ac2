import type { AuditSink } from "./audit_sink.ts";

/**
 * Prints each line of a log to the output, for whatever collects the output of a container.
 *
 * Whatever else the program prints there is between the lines: take the lines that begin with `{"index":`,
 * `{"checkpoint":` or `{"audit":` out before verifying.
 */
export function consoleSink(): AuditSink {
  return {
    write(lines) {
      for (const line of lines.slice(0, -1).split("\n")) console.log(line);
    },
  };
}
