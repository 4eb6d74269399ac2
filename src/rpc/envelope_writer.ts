import { writeUtf8 } from "../internal/utf8.ts";
import { type Channel, PROOF_BYTES } from "./channel.ts";
import { BLOCK } from "./connect_protocol.ts";
import { BLOCK_BYTES } from "./block_reader.ts";
import { ENVELOPE_HEAD } from "./envelope_reader.ts";

/** Puts envelopes together, so that many small ones leave as one chunk. */
export interface EnvelopeWriter {
  /** How many bytes wait to leave. */
  readonly bytes: number;
  /** Adds an envelope. */
  write(flags: number, content: string | Uint8Array): void;
  /**
   * Takes what waits, as a block with its proof where there is a channel; one without envelopes where nothing waits.
   *
   * @throws What the channel throws; what waited is lost then.
   */
  take(): Uint8Array<ArrayBuffer>;
}

/** A writer of envelopes, or of blocks of them. */
export function envelopeWriter(channel?: Channel): EnvelopeWriter {
  const start = channel ? ENVELOPE_HEAD : 0;
  let buffer = new Uint8Array(FIRST_BYTES);
  let at = start;
  return {
    get bytes() {
      return at - start;
    },
    write(flags, content) {
      const most = typeof content === "string" ? content.length * 3 : content.length;
      room(ENVELOPE_HEAD + most + PROOF_BYTES);
      const from = at + ENVELOPE_HEAD;
      const length = writeContent(content, buffer, from);
      writeHead(buffer, at, flags, length);
      at = from + length;
    },
    take() {
      const end = at;
      at = start;
      if (!channel) return leaving(end);
      buffer.set(channel.seal(buffer.subarray(start, end)), end);
      writeHead(buffer, 0, BLOCK, end - start + PROOF_BYTES);
      return leaving(end + PROOF_BYTES);
    },
  };

  /** What leaves is a copy, unless it is so large that its room is not kept. */
  function leaving(end: number): Uint8Array<ArrayBuffer> {
    const bytes = buffer.length > 4 * BLOCK_BYTES ? buffer.subarray(0, end) : buffer.slice(0, end);
    if (buffer.length > 4 * BLOCK_BYTES) buffer = new Uint8Array(FIRST_BYTES);
    return bytes;
  }

  function room(more: number): void {
    if (at + more <= buffer.length) return;
    const grown = new Uint8Array(Math.max(at + more, buffer.length * 2));
    grown.set(buffer.subarray(0, at));
    buffer = grown;
  }
}

const FIRST_BYTES = 1_024;

function writeHead(buffer: Uint8Array, at: number, flags: number, length: number): void {
  buffer[at] = flags;
  buffer[at + 1] = length >>> 24;
  buffer[at + 2] = length >>> 16;
  buffer[at + 3] = length >>> 8;
  buffer[at + 4] = length;
}

function writeContent(content: string | Uint8Array, buffer: Uint8Array, at: number): number {
  if (typeof content === "string") return writeUtf8(content, buffer, at);
  buffer.set(content, at);
  return content.length;
}
