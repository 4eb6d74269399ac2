/** Where the lines of an audit log go. */
export interface AuditSink {
  /**
   * Stores lines.
   *
   * An implementation MUST store them after all that it stored before, MUST NOT resolve before they are stored, and MUST
   * have stored nothing of them where it rejects, because they are then written again. Where it cannot know that, or
   * will never store anything again, it MUST reject with an {@linkcode AuditError} of the code `sink`, which ends the
   * log. It is not called again before it has settled.
   *
   * @param lines One or more lines, each ending in a newline.
   */
  write(lines: string): void | Promise<void>;
  /** Whether the next entries are to begin a new file; a sink without files leaves it away. */
  isFull?(): boolean;
  /** Ends the file; what is written next goes to a new one. Called where {@linkcode AuditSink.isFull} said so. */
  rotate?(): void | Promise<void>;
  /** Ends the sink when the log ends. */
  close?(): void | Promise<void>;
}
