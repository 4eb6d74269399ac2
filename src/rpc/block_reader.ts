import { type Channel, PROOF_BYTES } from "./channel.ts";
import { BLOCK, END_STREAM } from "./connect_protocol.ts";
import { ENVELOPE_HEAD, type EnvelopeReader, envelopeReader } from "./envelope_reader.ts";
import type { RpcCode } from "./rpc_error.ts";
import { RpcError } from "./rpc_error.ts";

/** How the envelopes of one body are read. */
export interface BodyRules {
  /** The largest message, in bytes. */
  readonly maxBytes: number;
  /** Whether an envelope with the end of the stream may come. */
  readonly hasEnd: boolean;
  /** Whose mistake a body is that is none. */
  readonly mistake: RpcCode;
  /** What proves the blocks of the body; without one it has none. */
  readonly channel?: Channel | undefined;
}

/** Reads the envelopes of a body, out of proven blocks where there is a channel. */
export function bodyReader(rules: BodyRules): EnvelopeReader {
  const { maxBytes, hasEnd, mistake, channel } = rules;
  const broken = (what: string) => new RpcError(mistake, `Cannot read the stream: ${what}`);
  const inner = envelopeReader({
    limitOf: (flags) => flags === 0 ? maxBytes : flags === END_STREAM && hasEnd ? MAX_END_BYTES : undefined,
    broken,
  });
  return channel ? blockReader(inner, channel, maxBytes, broken) : inner;
}

/**
 * Reads blocks, and gives the envelopes of each only once its proof was checked: nothing that is not proven is looked at
 * beyond how long it is.
 */
function blockReader(
  inner: EnvelopeReader,
  channel: Channel,
  maxBytes: number,
  broken: (what: string) => RpcError,
): EnvelopeReader {
  const limit = BLOCK_BYTES + ENVELOPE_HEAD + Math.max(maxBytes, MAX_END_BYTES) + PROOF_BYTES;
  // How long a block is said to be was proven by nobody, and must not choose what the reader is told.
  const tooLarge = () => broken("a block is too large");
  const outer = envelopeReader({ limitOf: (flags) => flags === BLOCK ? limit : undefined, broken, tooLarge });
  return {
    push: outer.push,
    next() {
      for (;;) {
        const envelope = inner.next();
        if (envelope) return envelope;
        if (!inner.isEmpty) throw broken("a block ends within a message");
        const block = outer.next();
        if (!block) return undefined;
        const proofAt = block.bytes.length - PROOF_BYTES;
        if (proofAt < 0) throw broken("a block has no proof");
        const envelopes = block.bytes.subarray(0, proofAt);
        channel.open(envelopes, block.bytes.subarray(proofAt));
        inner.push(envelopes);
      }
    },
    get isEmpty() {
      return inner.isEmpty && outer.isEmpty;
    },
  };
}

/** A writer begins another chunk, or block, once one holds this much, in bytes. */
export const BLOCK_BYTES = 65_536;

/** The largest end of a stream, in bytes; it is JSON, and a short one. */
export const MAX_END_BYTES = 65_536;
