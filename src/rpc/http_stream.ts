import type { Codec } from "../codec/mod.ts";
import { within } from "../internal/within.ts";
import { bodyReader } from "./block_reader.ts";
import type { Channel } from "./channel.ts";
import { END_STREAM, WELL_ENDED, type WireError } from "./connect_protocol.ts";
import type { CallContext } from "./context.ts";
import { decodeMessage } from "./decode_message.ts";
import { failureOf } from "./failure.ts";
import type { Admission } from "./guard.ts";
import { incomingMessages } from "./incoming_messages.ts";
import { envelopeWriter } from "./envelope_writer.ts";
import { type Failed, outgoingBody } from "./outgoing_body.ts";
import { RpcError } from "./rpc_error.ts";
import { type Endpoint, invokeStream, type ServerCore } from "./server_core.ts";

/** A streaming call that was let in. */
export interface StreamCall {
  readonly endpoint: Endpoint;
  readonly admission: Admission;
  readonly codec: Codec;
  readonly context: CallContext;
  /** Gives up the call's place in the server. */
  leave(): void;
}

/**
 * Answers a streaming call: the head at once, so that both sides can talk, and the rest as the handler gives it.
 *
 * From here on every failure is told by the last envelope of the body, and the call is over when that has been taken.
 *
 * @see {@link https://connectrpc.com/docs/protocol#streaming-response}
 */
export function streamedAnswer(core: ServerCore, request: Request, call: StreamCall): ReadableStream<Uint8Array> {
  const { endpoint, admission, codec, context } = call;
  const { channel } = admission;
  return outgoingBody({
    codec,
    channel,
    stallMs: core.limits.stallMs,
    open: () => invokeStream(endpoint, admission, requestMessages(core, request, call, channel), context),
    last: (failure) => endOf(core, call, failure),
    left: () => context.cancel(),
    ended: call.leave,
  });
}

/** The content of the last envelope. */
async function endOf(
  core: ServerCore,
  { endpoint, context }: StreamCall,
  failure: Failed | undefined,
): Promise<string> {
  if (!failure) return WELL_ENDED;
  const { wire } = await failureOf(failure.error, { method: endpoint.method, context }, core.log);
  return JSON.stringify({ error: wire });
}

/** A whole body for a call that was not let in: the last envelope and nothing before it. */
export function endWith(error: WireError): Uint8Array<ArrayBuffer> {
  const writer = envelopeWriter();
  writer.write(END_STREAM, JSON.stringify({ error }));
  return writer.take();
}

/** The caller's messages, decoded one by one. */
function requestMessages(
  core: ServerCore,
  request: Request,
  { endpoint: { method }, codec }: StreamCall,
  channel: Channel | undefined,
): AsyncIterable<unknown> {
  const maxBytes = Math.min(codec.maxBytes, method.options.maxBodyBytes ?? codec.maxBytes);
  const messages = incomingMessages(request.body, {
    envelopes: bodyReader({ maxBytes, hasEnd: channel !== undefined, mistake: "invalid_argument", channel }),
    decode: (bytes) => decodeMessage(codec, bytes),
    ...channel && { atEnd: assertEmptyEnd },
    brokenOff: (cause) => new RpcError("canceled", BROKEN_OFF, { cause }),
    truncated: () => new RpcError(channel ? "data_loss" : "invalid_argument", BROKEN_OFF),
    closed: (reader, complete) => complete || reader?.cancel().catch(() => {}),
  });
  return method.streamsInput ? messages : inTime(messages, core.limits.receiveDeadlineMs);
}

const BROKEN_OFF = "Cannot read the stream: it ended before it was complete";

/** A caller ends its messages, and has nothing else to say. */
function assertEmptyEnd(content: Uint8Array): void {
  if (content.length === 2 && content[0] === 0x7b && content[1] === 0x7d) return;
  throw new RpcError("invalid_argument", "Cannot read the stream: its end is not one");
}

/** One message has as long to arrive as any body. */
export function inTime(messages: AsyncIterator<unknown>, receiveDeadlineMs: number): AsyncIterable<unknown> {
  const tooSlow = () => new RpcError("deadline_exceeded", "Cannot read the message: it took too long to arrive");
  const iterator = {
    next: () => within(messages.next(), () => receiveDeadlineMs, tooSlow),
    return: () => messages.return!(),
  };
  return { [Symbol.asyncIterator]: () => iterator };
}

/** Refuses what an endpoint cannot answer as a stream, or proves only in part. */
export function assertProvable({ seal, channel }: Admission): void {
  if (!seal || channel) return;
  throw new RpcError("failed_precondition", "Cannot take the call: its proof is not one for a stream");
}
