import type { NatsMessageLike } from "./nats_like.ts";

/** What JetStream says of a message, in the subject that it is acknowledged by. */
export interface StreamPlace {
  /** Its number in the stream. */
  readonly sequence: number;
  /** Which attempt it is, from 1. */
  readonly attempt: number;
}

/**
 * Reads where a message is in its stream.
 *
 * The subject is `$JS.ACK.<stream>.<consumer>.<attempt>.<sequence>…`, with `<domain>.<account>` after `ACK` in its newer form.
 *
 * @returns The place; undefined where the message is of no stream.
 */
export function placeOf({ reply = "" }: NatsMessageLike): StreamPlace | undefined {
  const parts = reply.split(".");
  if (parts[0] !== "$JS" || parts[1] !== "ACK" || parts.length < 9) return undefined;
  const first = parts.length === 9 ? 4 : 6;
  const [attempt, sequence] = [Number(parts[first]), Number(parts[first + 1])];
  return Number.isSafeInteger(sequence) && attempt >= 1 ? { sequence, attempt } : undefined;
}

/** An event as bytes. */
export const encodeEvent = (event: string): Uint8Array => ENCODER.encode(event);

/** An event from bytes; what is no UTF-8 was not published by a broker, and is no event that anybody accepts. */
export const decodeEvent = (data: Uint8Array): string => DECODER.decode(data);

const ENCODER = /* @__PURE__ */ new TextEncoder();
const DECODER = /* @__PURE__ */ new TextDecoder("utf-8", { ignoreBOM: true });
