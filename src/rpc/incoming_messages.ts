import { sequence, type Taker } from "../internal/sequence.ts";
import { END_STREAM } from "./connect_protocol.ts";
import type { EnvelopeReader } from "./envelope_reader.ts";

/** How a body becomes messages. */
export interface IncomingBody {
  /** Takes it apart. */
  readonly envelopes: EnvelopeReader;
  /** Reads one message. */
  decode(bytes: Uint8Array): unknown;
  /** Ends the waiting for a chunk with its reason when it aborts. @default {none} */
  readonly signal?: AbortSignal;
  /** Takes the content of the envelope that ends the stream; what it throws is how the stream ends. */
  atEnd?(content: Uint8Array): void | Promise<void>;
  /** Makes the error for a body that cannot be read any further. */
  brokenOff(cause: unknown): unknown;
  /** Makes the error for a body that ended before it was complete. */
  truncated(): unknown;
  /** Makes of what went wrong what the one who reads is told. @default {the same} */
  asError?(cause: unknown): unknown;
  /** Told once when no message of it is wanted any more, and whether its end had come. */
  closed(reader: ReadableStreamDefaultReader<Uint8Array> | undefined, complete: boolean): void;
}

/** The messages of a body, each decoded when it is asked for; whoever leaves them early lets go of the body. */
export function incomingMessages(
  stream: ReadableStream<Uint8Array> | null,
  body: IncomingBody,
): AsyncIterableIterator<unknown, undefined> {
  const { envelopes, signal } = body;
  const reader = stream?.getReader();
  let complete = false;
  let to: Taker<unknown>;
  const fail = (cause: unknown) => to?.fail(body.asError ? body.asError(cause) : cause);
  const abort = () => fail(signal!.reason);
  signal?.addEventListener("abort", abort);
  return sequence({
    pull(taker) {
      to = taker;
      try {
        if (!given()) more().catch(fail);
      } catch (error) {
        fail(error);
      }
    },
    close() {
      signal?.removeEventListener("abort", abort);
      body.closed(reader, complete);
    },
  });

  /** Gives what has come already. */
  function given(): boolean {
    const envelope = envelopes.next();
    if (!envelope) return false;
    if (envelope.flags === END_STREAM) atEnd(envelope.bytes).catch(fail);
    else to.give(body.decode(envelope.bytes));
    return true;
  }

  async function more(): Promise<void> {
    if (signal?.aborted) throw signal.reason;
    do {
      const { done, value } = await chunk(reader, body);
      if (done) return finish();
      envelopes.push(value);
    } while (!given());
  }

  function finish(): void {
    if (body.atEnd || !envelopes.isEmpty) throw body.truncated();
    complete = true;
    to.end();
  }

  async function atEnd(content: Uint8Array): Promise<void> {
    if (!envelopes.isEmpty) throw body.truncated();
    await body.atEnd!(content);
    complete = true;
    to.end();
  }
}

async function chunk(
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined,
  { brokenOff }: IncomingBody,
): Promise<ReadableStreamReadResult<Uint8Array>> {
  try {
    return reader ? await reader.read() : { done: true, value: undefined };
  } catch (cause) {
    throw brokenOff(cause);
  }
}
