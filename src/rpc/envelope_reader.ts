import { BLOCK, COMPRESSED } from "./connect_protocol.ts";
import { RpcError } from "./rpc_error.ts";

/** One envelope of a stream. */
export interface Envelope {
  readonly flags: number;
  readonly bytes: Uint8Array;
}

/** Takes a body apart as it comes, in chunks that mean nothing. */
export interface EnvelopeReader {
  /** Hands over the next chunk; only once {@linkcode next} had nothing more to give. */
  push(chunk: Uint8Array): void;
  /**
   * Gives the next envelope, undefined where it has not come whole; its bytes are part of a chunk where they can be.
   *
   * @throws {RpcError} What comes is no envelope, or a larger one than is taken.
   */
  next(): Envelope | undefined;
  /** Whether nothing of a further envelope has come. */
  readonly isEmpty: boolean;
}

/** What a reader takes. */
export interface EnvelopeRules {
  /** The largest envelope with the flags, in bytes; undefined for flags that it does not take. */
  limitOf(flags: number): number | undefined;
  /** Makes the error for a body that is none, of constant words. */
  broken(what: string): RpcError;
  /** Makes the error for an envelope that is too large. @default {`resource_exhausted`, with the limit} */
  readonly tooLarge?: () => RpcError;
}

/** The flags and the length before each envelope, in bytes. */
export const ENVELOPE_HEAD = 5;

/**
 * A reader that refuses an envelope by its head, before it keeps a byte of it, and that keeps no more than a small multiple
 * of what has come: a head may promise much.
 *
 * @see {@link https://connectrpc.com/docs/protocol#streaming-request}
 */
export function envelopeReader(rules: EnvelopeRules): EnvelopeReader {
  const incoming = bytesIn();
  let head: { readonly flags: number; readonly length: number } | undefined;
  return {
    push: incoming.push,
    next() {
      head ??= readHead();
      const bytes = head && incoming.take(head.length);
      if (!head || !bytes) return undefined;
      const { flags } = head;
      head = undefined;
      return { flags, bytes };
    },
    get isEmpty() {
      return head === undefined && incoming.isEmpty;
    },
  };

  function readHead() {
    const bytes = incoming.take(ENVELOPE_HEAD);
    if (!bytes) return undefined;
    const flags = bytes[0]!;
    const limit = rules.limitOf(flags);
    if (limit === undefined) throw unknownFlags(flags, rules);
    const length = ((bytes[1]! << 24) | (bytes[2]! << 16) | (bytes[3]! << 8) | bytes[4]!) >>> 0;
    if (length > limit) {
      throw rules.tooLarge?.() ??
        new RpcError("resource_exhausted", `Cannot read the stream: a message is over ${limit} bytes`);
    }
    return { flags, length };
  }
}

function unknownFlags(flags: number, { limitOf, broken }: EnvelopeRules): RpcError {
  const isCompressed = (flags & COMPRESSED) !== 0 && (flags & BLOCK) === 0;
  if (isCompressed && limitOf(flags & ~COMPRESSED) !== undefined) {
    return new RpcError("internal", "Cannot read the stream: a message is compressed, which was not agreed on");
  }
  return broken("an envelope has unknown flags");
}

/** Bytes that come in chunks and leave in pieces of another size. */
function bytesIn() {
  let chunk: Uint8Array = NOTHING;
  let at = 0;
  let kept: Uint8Array = NOTHING; // the beginning of a piece, from chunks that are gone
  let held = 0;
  return {
    push(next: Uint8Array): void {
      chunk = next;
      at = 0;
    },
    take(length: number): Uint8Array | undefined {
      if (held === 0 && chunk.length - at >= length) {
        at += length;
        return chunk.subarray(at - length, at);
      }
      keep(Math.min(length - held, chunk.length - at), length);
      if (held < length) return undefined;
      const whole = kept.subarray(0, length);
      kept = NOTHING;
      held = 0;
      return whole;
    },
    get isEmpty(): boolean {
      return held === 0 && at === chunk.length;
    },
  };

  /** Keeps what has come of a piece, in room that doubles: chunks may be of one byte, and a length may be a lie. */
  function keep(more: number, length: number): void {
    if (held + more > kept.length) {
      const grown = new Uint8Array(Math.min(length, Math.max(held + more, kept.length * 2, 256)));
      grown.set(kept.subarray(0, held));
      kept = grown;
    }
    kept.set(chunk.subarray(at, at + more), held);
    held += more;
    at += more;
  }
}

const NOTHING = /* @__PURE__ */ new Uint8Array();
