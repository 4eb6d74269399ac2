/**
 * Frames of WebSocket on a byte stream, for where a runtime has none that will do.
 *
 * Extensions are never negotiated: compressing what is secret beside what an attacker chose tells the secret.
 *
 * @see RFC 6455, section 5
 * @module
 */

/** The opcodes of RFC 6455, section 11.8. */
export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** A whole message or control frame. */
export interface ReceivedMessage {
  /** Text, binary, or one of the control opcodes. */
  readonly opcode: number;
  /** The payload, which nobody else has. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Why a connection must be closed, with the close code that says it. */
export interface FrameFault {
  /** The close code (RFC 6455, section 7.4). */
  readonly fault: number;
  /** The same in a few words. */
  readonly reason: string;
}

/** Takes bytes as they come, gives messages. */
export interface FrameReader {
  /** Takes what came; the bytes may be used again afterwards only by nobody. */
  push(chunk: Uint8Array): void;
  /** The next whole message, a fault, or undefined until more bytes come. */
  next(): ReceivedMessage | FrameFault | undefined;
  /** Whether a message has begun and is not whole. */
  readonly isPartial: boolean;
}

/**
 * Writes a frame that is a whole message.
 *
 * @param opcode Its opcode.
 * @param payload Its payload.
 * @param isMasked Whether a client writes it: what clients write is masked with fresh random bytes.
 * @returns The frame in one piece, so that no part of it waits for an acknowledgement of another.
 */
export function encodeFrame(opcode: number, payload: Uint8Array, isMasked: boolean): Uint8Array<ArrayBuffer> {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const start = 2 + extended + (isMasked ? MASK_BYTES : 0);
  const skipped = -start & 3; // the payload begins at a multiple of four, where it can be masked by words
  const all = new Uint8Array(skipped + start + length);
  const view = new DataView(all.buffer, skipped);
  view.setUint8(0, 0x80 | opcode);
  view.setUint8(1, (isMasked ? 0x80 : 0) | (extended === 0 ? length : extended === 2 ? 126 : 127));
  if (extended === 2) view.setUint16(2, length);
  if (extended === 8) view.setBigUint64(2, BigInt(length));
  all.set(payload, skipped + start);
  if (isMasked) {
    const mask = crypto.getRandomValues(all.subarray(skipped + start - MASK_BYTES, skipped + start));
    applyMask(all.subarray(skipped + start), mask);
  }
  return all.subarray(skipped);
}

const MASK_BYTES = 4;

/** Masks and unmasks in place. */
function applyMask(payload: Uint8Array<ArrayBuffer>, mask: Uint8Array): void {
  const whole = payload.byteOffset % 4 === 0 ? payload.length >> 2 : 0;
  if (whole > 0) {
    const word = new Uint32Array(Uint8Array.from(mask).buffer)[0]!;
    const words = new Uint32Array(payload.buffer, payload.byteOffset, whole);
    for (let i = 0; i < whole; i++) words[i]! ^= word;
  }
  for (let i = whole * 4; i < payload.length; i++) payload[i]! ^= mask[i & 3]!;
}

interface Header {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly length: number;
  readonly bytes: number;
}

/** A message of more pieces is an attack: each costs work and carries nothing. */
const MAX_FRAGMENTS = 1_024;

/**
 * Reads frames strictly.
 *
 * @param isMasked Whether frames must be masked, as those from clients, or must not, as those from servers.
 * @param maxMessageBytes The largest message, in bytes; a header that promises more is refused before the payload comes.
 * @returns The reader.
 */
export function frameReader(isMasked: boolean, maxMessageBytes: number): FrameReader {
  const queue = byteQueue();
  let fragments: Uint8Array<ArrayBuffer>[] = [];
  let fragmentBytes = 0;
  let opcode: number = OPCODE.continuation;
  let failed: FrameFault | undefined;

  const fail = (fault: number, reason: string) => failed = { fault, reason };

  /** Puts a frame to those before it; gives the message when it was the last. */
  const assemble = (header: Header, payload: Uint8Array<ArrayBuffer>): ReceivedMessage | undefined => {
    if (header.opcode >= OPCODE.close) return { opcode: header.opcode, payload };
    if (header.opcode !== OPCODE.continuation) ({ opcode } = header);
    if (header.isFinal && fragments.length === 0) return finish(payload);
    fragments.push(payload);
    fragmentBytes += payload.length;
    if (!header.isFinal) return undefined;
    return finish(concat(fragments, fragmentBytes));
  };
  const finish = (payload: Uint8Array<ArrayBuffer>): ReceivedMessage => {
    const message = { opcode, payload };
    [fragments, fragmentBytes, opcode] = [[], 0, OPCODE.continuation];
    return message;
  };

  return {
    push: queue.push,
    get isPartial() {
      return queue.length > 0 || opcode !== OPCODE.continuation;
    },
    next() {
      for (;;) {
        if (failed) return failed;
        const header = readHeader(queue.peek(MAX_HEADER_BYTES));
        if (!header) return undefined;
        const wrong = faultOf(header, opcode !== OPCODE.continuation);
        if (wrong) return fail(1002, wrong);
        if (header.isMasked !== isMasked) return fail(1002, "Wrong mask");
        if (header.length + fragmentBytes > maxMessageBytes) return fail(1009, "Too large");
        if (fragments.length >= MAX_FRAGMENTS) return fail(1008, "Too many fragments");
        if (queue.length < header.bytes + header.length) return undefined;
        const head = queue.take(header.bytes);
        const payload = queue.take(header.length);
        if (isMasked) applyMask(payload, head.subarray(-MASK_BYTES));
        const message = assemble(header, payload);
        if (message) return message;
      }
    },
  };
}

const MAX_HEADER_BYTES = 14;

interface ReadHeader extends Header {
  readonly reserved: number;
  readonly isMasked: boolean;
}

function readHeader(bytes: Uint8Array): ReadHeader | undefined {
  if (bytes.length < 2) return undefined;
  const [first, second] = [bytes[0]!, bytes[1]!];
  const short = second & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const isMasked = second >= 0x80;
  const size = 2 + extended + (isMasked ? MASK_BYTES : 0);
  if (bytes.length < size) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  // A length beyond 2 ** 53 loses digits and stays far above every limit.
  const length = extended === 2 ? view.getUint16(2) : extended === 8 ? Number(view.getBigUint64(2)) : short;
  return { opcode: first & 0x0f, isFinal: first >= 0x80, reserved: first & 0x70, isMasked, length, bytes: size };
}

/** What RFC 6455, sections 5.2, 5.4 and 5.5, forbids. */
function faultOf({ opcode, isFinal, reserved, length }: ReadHeader, isContinued: boolean): string | undefined {
  if (reserved !== 0) return "Reserved bits";
  if (opcode > OPCODE.pong || (opcode > OPCODE.binary && opcode < OPCODE.close)) return "Reserved opcode";
  if (opcode >= OPCODE.close) return isFinal && length < 126 ? undefined : "Bad control frame";
  return (opcode === OPCODE.continuation) === isContinued ? undefined : "Bad continuation";
}

/** How much of what comes in small pieces is put together, in bytes. */
const GATHERED_BYTES = 4_096;

interface ByteQueue {
  readonly length: number;
  push(chunk: Uint8Array): void;
  /** The first bytes, as many as there are up to a number. */
  peek(count: number): Uint8Array;
  /** Takes the first bytes out, as a copy. */
  take(count: number): Uint8Array<ArrayBuffer>;
}

function byteQueue(): ByteQueue {
  let chunks: Uint8Array[] = [];
  let offset = 0; // into the first chunk
  let gathered: Uint8Array | undefined; // the last chunk, with room for more: each piece of a byte or two costs hundreds
  let filled = 0;
  let length = 0;
  const copy = (count: number) => {
    const bytes = new Uint8Array(count);
    let filled = 0;
    for (let i = 0; filled < count; i++) {
      const part = chunks[i]!.subarray(i === 0 ? offset : 0).subarray(0, count - filled);
      bytes.set(part, filled);
      filled += part.length;
    }
    return bytes;
  };
  return {
    get length() {
      return length;
    },
    push(chunk) {
      if (chunk.length === 0) return;
      length += chunk.length;
      const last = chunks.length - 1;
      if (last >= 0 && gathered && filled + chunk.length <= gathered.length) {
        gathered.set(chunk, filled);
        chunks[last] = gathered.subarray(0, filled += chunk.length);
      } else if (last >= 0 && chunk.length * 4 <= GATHERED_BYTES) {
        gathered = new Uint8Array(GATHERED_BYTES);
        gathered.set(chunk);
        chunks.push(gathered.subarray(0, filled = chunk.length));
      } else {
        gathered = undefined;
        chunks.push(chunk);
      }
    },
    peek: (count) => copy(Math.min(count, length)),
    take(count) {
      const bytes = copy(count);
      length -= count;
      let used = 0;
      for (offset += count; used < chunks.length && offset >= chunks[used]!.length; used++) {
        offset -= chunks[used]!.length;
      }
      if (used > 0) chunks = chunks.slice(used);
      return bytes;
    },
  };
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}
