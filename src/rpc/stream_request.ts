import type { Codec } from "../codec/mod.ts";
import { letGo } from "../internal/let_go.ts";
import type { Call } from "./call.ts";
import type { Channel } from "./channel.ts";
import { END_STREAM, WELL_ENDED } from "./connect_protocol.ts";
import { envelopeWriter } from "./envelope_writer.ts";
import { coded } from "./coded.ts";
import type { FetchDeadline } from "./fetch_deadline.ts";
import { outgoingBody } from "./outgoing_body.ts";
import { RECEIVED, RpcError } from "./rpc_error.ts";

/** The body of a streaming request. */
export interface Outgoing {
  /** Begins to send: what of a `RequestInit` does that. */
  begin(channel: Channel | undefined): Readonly<Record<string, unknown>>;
  /** Whether messages were asked for that cannot be asked for again. */
  readonly begun: boolean;
  /** The server wants no more. */
  stop(): void;
}

/** What a call sends: one message, or a stream of them. */
export function outgoingOf(call: Call, codec: Codec, deadline: FetchDeadline): Outgoing {
  const encode = (message: unknown) => coded(() => codec.encode(message), "invalid_argument");
  return call.method.streamsInput
    ? manyOf(call.messages!, { ...codec, encode }, deadline)
    : oneOf(encode(call.message));
}

/** One message, whose request is whole at once. */
function oneOf(content: string | Uint8Array): Outgoing {
  return {
    begun: false,
    begin(channel) {
      const writer = envelopeWriter(channel);
      writer.write(0, content);
      if (channel) writer.write(END_STREAM, WELL_ENDED);
      return { body: writer.take() };
    },
    stop() {},
  };
}

/** A stream of messages, sent while the answers come. */
function manyOf(messages: AsyncIterable<unknown>, codec: Codec, deadline: FetchDeadline): Outgoing {
  let begun = false;
  let iterator: AsyncIterator<unknown> | undefined;
  const stop = () => {
    if (iterator) void letGo(iterator);
  };
  deadline.signal.addEventListener("abort", stop, { once: true });
  return {
    get begun() {
      return begun;
    },
    begin(channel) {
      const body = outgoingBody({
        codec,
        channel,
        open() {
          begun = true;
          const opened = iterator = messages[Symbol.asyncIterator]();
          return { [Symbol.asyncIterator]: () => opened };
        },
        last(failure) {
          if (!failure) return Promise.resolve(channel && WELL_ENDED);
          deadline.giveUp(asRpcError(failure.error));
          throw failure.error;
        },
        left() {},
        ended() {},
      });
      assertSendable(body);
      return { body, duplex: "half" };
    },
    stop,
  };
}

function asRpcError(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  return new RpcError("canceled", "The messages to send ended with an error", { cause: error, ...RECEIVED });
}

/**
 * Refuses to stream a request where the runtime would send the text "[object ReadableStream]" in its place.
 *
 * @see {@link https://fetch.spec.whatwg.org/#ref-for-dom-requestinit-duplex}
 */
function assertSendable(body: ReadableStream): void {
  const probe = new ReadableStream();
  const init = { method: "POST", body: probe, duplex: "half" };
  if (!new Request("https://localhost", init).headers.has("content-type")) return;
  void body.cancel();
  throw new RpcError("unimplemented", "Cannot call this method: this runtime does not send streams", RECEIVED);
}
