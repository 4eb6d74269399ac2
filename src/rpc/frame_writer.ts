import { writeUtf8 } from "../internal/utf8.ts";
import { ENDS, FRAME, HAS_MESSAGE, MAX_CALL_HEADER_BYTES } from "./frames.ts";

/** What an `open` frame is made of. */
export interface Opening {
  readonly path: string;
  /** In milliseconds; Infinity where the caller waits for as long as it takes. */
  readonly timeoutMs: number;
  readonly headers: Readonly<Record<string, string>> | undefined;
  /** The only message; undefined where a stream follows. */
  readonly message: string | Uint8Array | undefined;
}

/** Collects frames until they are sent as one message. */
export interface FrameWriter {
  /** How many bytes have been collected. */
  readonly size: number;
  /** Each returns how long the message in it is, in bytes; 0 where there is none. */
  open(id: number, opening: Opening): number;
  message(id: number, body: string | Uint8Array, ends: boolean): number;
  end(id: number): number;
  error(id: number, body: string): number;
  cancel(id: number): number;
  credit(id: number, messages: number, bytes: number): number;
  /** A frame without a call: `ping`, `pong`, `drain`. */
  signal(type: number): number;
  /**
   * Takes the first bytes out.
   *
   * @param size How many: a whole number of frames.
   * @param spare How many bytes more the result has, for a proof.
   * @returns A buffer of its own.
   */
  take(size: number, spare: number): Uint8Array<ArrayBuffer>;
}

/**
 * Writes frames one after the other into a buffer that grows; text is encoded where it will be sent from.
 *
 * @throws {RangeError} From `open`, for what does not fit a frame: the headers are too large, or not ASCII.
 */
export function frameWriter(): FrameWriter {
  const to: Buffer = { buffer: new Uint8Array(INITIAL_BYTES), size: 0 };
  return {
    get size() {
      return to.size;
    },
    open(id, { path, timeoutMs, headers, message }) {
      const start = to.size;
      begin(to, FRAME.open | (message === undefined ? 0 : HAS_MESSAGE | ENDS), id, 6 + path.length);
      uint32(to, timeoutMs > MAX_UINT32 ? 0 : Math.max(1, Math.ceil(timeoutMs)));
      try {
        shortText(to, path, 1);
        writeHeaders(to, headers);
      } catch (error) {
        to.size = start;
        throw error;
      }
      return message === undefined ? 0 : payload(to, message);
    },
    message(id, body, ends) {
      begin(to, ends ? FRAME.message | ENDS : FRAME.message, id, 0);
      return payload(to, body);
    },
    end: (id) => begin(to, FRAME.end, id, 0),
    error(id, body) {
      begin(to, FRAME.error, id, 0);
      return payload(to, body);
    },
    cancel: (id) => begin(to, FRAME.cancel, id, 0),
    credit(id, messages, bytes) {
      begin(to, FRAME.credit, id, 8);
      uint32(to, messages);
      return uint32(to, bytes);
    },
    signal(type) {
      reserve(to, 1);
      to.buffer[to.size++] = type;
      return 0;
    },
    take: (size, spare) => take(to, size, spare),
  };
}

interface Buffer {
  buffer: Uint8Array<ArrayBuffer>;
  size: number;
}

function take(to: Buffer, length: number, spare: number): Uint8Array<ArrayBuffer> {
  const taken = new Uint8Array(length + spare);
  taken.set(to.buffer.subarray(0, length));
  if (length < to.size) to.buffer.copyWithin(0, length, to.size);
  to.size -= length;
  if (to.size === 0 && to.buffer.length > KEPT_BYTES) to.buffer = new Uint8Array(INITIAL_BYTES);
  return taken;
}

function begin(to: Buffer, head: number, id: number, more: number): number {
  reserve(to, 5 + more);
  to.buffer[to.size++] = head;
  return uint32(to, id);
}

function reserve(to: Buffer, more: number): void {
  if (to.size + more <= to.buffer.length) return;
  const larger = new Uint8Array(Math.max(to.buffer.length * 2, to.size + more));
  larger.set(to.buffer.subarray(0, to.size));
  to.buffer = larger;
}

function uint32(to: Buffer, value: number): number {
  to.buffer[to.size] = value >>> 24;
  to.buffer[to.size + 1] = value >>> 16;
  to.buffer[to.size + 2] = value >>> 8;
  to.buffer[to.size + 3] = value;
  to.size += 4;
  return 0;
}

function writeHeaders(to: Buffer, headers: Opening["headers"]): void {
  const entries = headers ? Object.entries(headers) : NO_ENTRIES;
  let total = 0;
  for (const [name, value] of entries) total += name.length + value.length + 3;
  if (entries.length > 255 || total > MAX_CALL_HEADER_BYTES) throw new RangeError("The headers are too large");
  reserve(to, 1 + total);
  to.buffer[to.size++] = entries.length;
  for (const [name, value] of entries) {
    shortText(to, name, 1);
    shortText(to, value, 2);
  }
}

function shortText(to: Buffer, text: string, lengthBytes: 1 | 2): void {
  reserve(to, lengthBytes + text.length);
  if (lengthBytes === 2) to.buffer[to.size++] = text.length >>> 8;
  else if (text.length > 255) throw new RangeError("A name is too long");
  to.buffer[to.size++] = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 || unit > 0x7e) throw new RangeError("A header is not printable ASCII");
    to.buffer[to.size++] = unit;
  }
}

function payload(to: Buffer, body: string | Uint8Array): number {
  let length = body.length;
  if (typeof body === "string") {
    reserve(to, 4 + length * 3);
    length = writeUtf8(body, to.buffer, to.size + 4);
  } else {
    reserve(to, 4 + length);
    to.buffer.set(body, to.size + 4);
  }
  uint32(to, length);
  to.size += length;
  return length;
}

const NO_ENTRIES: readonly (readonly [string, string])[] = [];
const INITIAL_BYTES = 4_096;
/** A larger buffer is let go of once it is empty. */
const KEPT_BYTES = 262_144;
const MAX_UINT32 = 2 ** 32 - 1;
