/**
 * The frames of `postern.v1`: every binary message of a connection is one or more of them.
 *
 * A frame begins with a byte whose low four bits are its type and whose others are flags; numbers are big-endian.
 *
 * @module
 */

/** The types of frames. */
export const FRAME = {
  /** Begins a call: id, timeout, path, headers, perhaps its first message. */
  open: 1,
  /** One message of a call. */
  message: 2,
  /** The sender's messages of a call are all sent; from the server it ends the call. */
  end: 3,
  /** The call failed; from the server only. */
  error: 4,
  /** Nobody waits for the call any more; from the client only. */
  cancel: 5,
  /** The receiver has taken messages and can take as many more. */
  credit: 6,
  /** Asks whether the other side is there. */
  ping: 7,
  /** It is. */
  pong: 8,
  /** The server takes no more calls on this connection. */
  drain: 9,
} as const;

/** The frame holds a message; of `open` only. */
export const HAS_MESSAGE = 0x10;
/** The frame is the sender's last one with a message; of `open` and `message`. */
export const ENDS = 0x20;

/** The largest message that holds several frames, in bytes. */
export const MAX_SHARED_BYTES = 65_536;
/** What a message may be larger than the one message of a call in it, in bytes: headers, path, proof. */
export const MAX_FRAME_OVERHEAD = 65_536;
/** The largest set of headers of a call, in bytes. */
export const MAX_CALL_HEADER_BYTES = 16_384;

/** How a call begins. */
export interface OpenFrame {
  /** Where the method is, as `/greeter.v1/hello`. */
  readonly path: string;
  /** How long the caller waits, in milliseconds; Infinity where it does not say. */
  readonly timeoutMs: number;
  /** The headers of the call by their lower-case names; undefined where there are none. */
  readonly headers: ReadonlyMap<string, string> | undefined;
  /** The first message, where it came along. */
  readonly message: Uint8Array | undefined;
  /** Whether there are no other messages. */
  readonly ends: boolean;
}

/** What is told of each frame, in order. */
export interface FrameUser {
  open(id: number, frame: OpenFrame): void;
  message(id: number, bytes: Uint8Array, ends: boolean): void;
  end(id: number): void;
  error(id: number, body: Uint8Array): void;
  cancel(id: number): void;
  credit(id: number, messages: number, bytes: number): void;
  ping(): void;
  pong(): void;
  drain(): void;
}

/** The other side does not speak the protocol: the connection is closed, and nothing of it is believed any more. */
export class ProtocolError extends Error {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "ProtocolError";
}

/**
 * Reads the frames of one message.
 *
 * Frames before one that is none have been told of already: the connection ends anyway.
 *
 * @throws {ProtocolError} The bytes are not a whole number of frames, or what is told of them throws it.
 */
export function readFrames(bytes: Uint8Array, to: FrameUser): void {
  if (bytes.length === 0) throw new ProtocolError("A message without a frame");
  const at: Cursor = { bytes, offset: 0 };
  readFrame(at, to);
  // Nothing else has its turn while the frames of a message are read: a large message may not be many small ones.
  if (at.offset < bytes.length && bytes.length > MAX_SHARED_BYTES) {
    throw new ProtocolError("Too many frames in a message");
  }
  while (at.offset < bytes.length) readFrame(at, to);
}

interface Cursor {
  readonly bytes: Uint8Array;
  offset: number;
}

function readFrame(at: Cursor, to: FrameUser): void {
  const head = at.bytes[at.offset++]!;
  const type = head & 0x0f;
  const flags = head & 0xf0;
  const allowed = type === FRAME.open ? HAS_MESSAGE | ENDS : type === FRAME.message ? ENDS : 0;
  if ((flags & ~allowed) !== 0) throw new ProtocolError("A frame has a flag that it cannot have");
  if (type === FRAME.ping) return to.ping();
  if (type === FRAME.pong) return to.pong();
  if (type === FRAME.drain) return to.drain();
  if (type < FRAME.open || type > FRAME.credit) throw new ProtocolError("A frame of an unknown type");
  const id = readUint32(at);
  if (id === 0) throw new ProtocolError("A call without a number");
  if (type === FRAME.message) return to.message(id, readBytes(at), (flags & ENDS) !== 0);
  if (type === FRAME.open) return to.open(id, readOpen(at, flags));
  if (type === FRAME.end) return to.end(id);
  if (type === FRAME.error) return to.error(id, readBytes(at));
  if (type === FRAME.cancel) return to.cancel(id);
  return to.credit(id, readUint32(at), readUint32(at));
}

function readOpen(at: Cursor, flags: number): OpenFrame {
  const timeoutMs = readUint32(at);
  const path = readText(at, readUint8(at));
  const headers = readHeaders(at, readUint8(at));
  const message = (flags & HAS_MESSAGE) !== 0 ? readBytes(at) : undefined;
  return { path, timeoutMs: timeoutMs === 0 ? Infinity : timeoutMs, headers, message, ends: (flags & ENDS) !== 0 };
}

function readHeaders(at: Cursor, count: number): ReadonlyMap<string, string> | undefined {
  if (count === 0) return undefined;
  const headers = new Map<string, string>();
  const start = at.offset;
  for (let i = 0; i < count; i++) {
    const name = readText(at, readUint8(at));
    if (!HEADER_NAME.test(name)) throw new ProtocolError("A header's name is none");
    if (headers.has(name)) throw new ProtocolError("A header that stands twice");
    headers.set(name, readText(at, readUint16(at)));
    if (at.offset - start > MAX_CALL_HEADER_BYTES) throw new ProtocolError("The headers of a call are too large");
  }
  return headers;
}

const HEADER_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;

function readUint8(at: Cursor): number {
  if (at.offset >= at.bytes.length) throw truncated();
  return at.bytes[at.offset++]!;
}

function readUint16(at: Cursor): number {
  return readUint8(at) << 8 | readUint8(at);
}

function readUint32(at: Cursor): number {
  const { bytes, offset } = at;
  if (offset + 4 > bytes.length) throw truncated();
  at.offset = offset + 4;
  return (bytes[offset]! << 24 | bytes[offset + 1]! << 16 | bytes[offset + 2]! << 8 | bytes[offset + 3]!) >>> 0;
}

function readBytes(at: Cursor): Uint8Array {
  const length = readUint32(at);
  const end = at.offset + length;
  if (end > at.bytes.length) throw truncated();
  const bytes = at.bytes.subarray(at.offset, end);
  at.offset = end;
  return bytes;
}

/** A text of printable ASCII: a short one is read quicker this way than by a decoder. */
function readText(at: Cursor, length: number): string {
  const { bytes, offset } = at;
  const end = offset + length;
  if (end > bytes.length) throw truncated();
  for (let i = offset; i < end; i++) {
    if (bytes[i]! < 0x20 || bytes[i]! > 0x7e) throw new ProtocolError("A text that is not printable ASCII");
  }
  at.offset = end;
  if (length > MAX_ARGUMENTS) return ascii.decode(bytes.subarray(offset, end));
  return String.fromCharCode.apply(null, bytes.subarray(offset, end) as unknown as number[]);
}

const ascii = /* @__PURE__ */ new TextDecoder();

/** A function takes only so many arguments. */
const MAX_ARGUMENTS = 1_024;

const truncated = () => new ProtocolError("A frame that is cut off");
