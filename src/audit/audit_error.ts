/**
 * Why an audit log refused: its queue is `full`, it was `closed`, its `sink` failed for good, entries were `undelivered`
 * when it was ended; or why a checkpoint was: it is not one (`syntax`), or no trusted key signed it (`signature`).
 */
export type AuditErrorCode = "full" | "closed" | "sink" | "undelivered" | "syntax" | "signature";

/** The one error of an audit log. Its message never holds a part of an event. */
export class AuditError extends Error {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "AuditError";
  /** Why it refused. */
  readonly code: AuditErrorCode;

  /**
   * Makes the error.
   *
   * @param code Why it refuses.
   * @param message What was found and what was wanted.
   * @param options The error that caused this one.
   */
  constructor(code: AuditErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
