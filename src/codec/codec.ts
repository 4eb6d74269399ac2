/**
 * Turns one message into bytes and back.
 *
 * An implementation MUST be total: any bytes give a value or a {@linkcode CodecError}, never another exception and never
 * more memory than a small multiple of the input. It MUST NOT construct anything but plain data, and it MUST refuse to
 * write what it would refuse to read.
 */
export interface Codec {
  /** The encoding's name in Connect's terms: the subtype in `application/<name>` and the `encoding` of a GET. */
  readonly name: string;
  /** The largest message it reads or writes, in bytes; a transport MUST stop reading beyond it. */
  readonly maxBytes: number;
  /**
   * Writes a message.
   *
   * @param value Plain data.
   * @returns The message as text where the format is text, else as bytes.
   * @throws {CodecError} `unsupported` for a value the format cannot carry, `limit` for one that is too deep or too large.
   */
  encode(value: unknown): string | Uint8Array<ArrayBuffer>;
  /**
   * Reads a message.
   *
   * @param bytes The whole message.
   * @returns Plain data.
   * @throws {CodecError} `syntax` for bytes that are not the format, `limit` for a message over a limit.
   */
  decode(bytes: Uint8Array): unknown;
}
