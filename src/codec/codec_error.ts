/** Why a codec refused: the bytes are not the format, a limit was passed, or the value cannot be carried. */
export type CodecErrorCode = "syntax" | "limit" | "unsupported";

/**
 * The one error a codec throws.
 *
 * Its message says where and what, never a received value, so it may be shown to whoever sent the bytes.
 */
export class CodecError extends Error {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "CodecError";
  /** Why the codec refused. */
  readonly code: CodecErrorCode;

  /**
   * @param code Why the codec refuses.
   * @param message What was found and what was wanted, without any received value.
   * @param options The error that caused this one.
   */
  constructor(code: CodecErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
