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
   * Makes the error.
   *
   * @param code Why the codec refuses.
   * @param message What was found and what was wanted, without any received value.
   * @param options The error that caused this one.
   */
  constructor(code: CodecErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Makes the error of one direction; `found` says what was found and where, never a received value. */
export type Refusal = (found: string, code?: CodecErrorCode, cause?: unknown) => CodecError;

/** The refusal of a decoder. */
export const cannotDecode: Refusal = (found, code = "syntax") =>
  new CodecError(code, "Cannot decode the message: " + found);

/** The refusal of an encoder; it may have a cause, because the value is the caller's own. */
export const cannotEncode: Refusal = (found, code = "unsupported", cause) =>
  new CodecError(code, "Cannot encode the message: " + found, cause === undefined ? undefined : { cause });
