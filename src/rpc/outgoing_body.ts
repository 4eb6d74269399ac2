import type { Codec } from "../codec/mod.ts";
import type { Channel } from "./channel.ts";
import { messagePump } from "./message_pump.ts";

/** What ended messages before their end. */
export interface Failed {
  readonly error: unknown;
}

/** What a body is made of. */
export interface OutgoingBody {
  readonly codec: Codec;
  /** What proves its blocks; without one it has none. */
  readonly channel?: Channel | undefined;
  /** Begins the messages, once. */
  open(): Promise<AsyncIterable<unknown>> | AsyncIterable<unknown>;
  /**
   * Says how it ends.
   *
   * @returns The content of the last envelope; undefined where there is none.
   * @throws The body breaks off with that, so that no one takes it for complete.
   */
  last(failure: Failed | undefined): Promise<string | undefined>;
  /** How long nobody may take anything, in milliseconds. @default {for ever} */
  readonly stallMs?: number;
  /** Told when the reader has gone, or has taken nothing for too long, before the messages are let go of. */
  left(): void;
  /** Told once when it has ended, whatever its end. */
  ended(): void;
}

/**
 * A body of envelopes. What is ready within one turn of the event loop leaves as one chunk, and nothing waits for more to
 * come; nothing is asked of the messages before somebody takes the chunk before.
 */
export function outgoingBody(body: OutgoingBody): ReadableStream<Uint8Array<ArrayBuffer>> {
  const pump = messagePump(body);
  let stalled: ReturnType<typeof setTimeout> | undefined;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      clearTimeout(stalled);
      const { chunk, done } = await pump.fill();
      if (pump.left) return;
      if (chunk) controller.enqueue(chunk);
      if (done) return controller.close();
      if (body.stallMs === undefined || controller.desiredSize! > 0) return;
      stalled = setTimeout(() => {
        controller.error(new Error("Nobody reads the stream"));
        pump.leave();
      }, body.stallMs);
    },
    cancel() {
      clearTimeout(stalled);
      pump.leave();
    },
  }, { highWaterMark: 1 });
}
