/**
 * The parts of the Connect protocol that Postern keeps from its users, for the programs under test, which must show them
 * to the suite: trailers, and the details of errors as they are on the wire.
 *
 * @see {@link https://connectrpc.com/docs/protocol}
 */
import type { Any } from "@bufbuild/protobuf/wkt";
import { joined } from "./_bytes.ts";
import type { Header } from "./_messages.ts";

/** The code of an error by its number in the suite's enum. */
export const CODES = [
  "unspecified",
  "canceled",
  "unknown",
  "invalid_argument",
  "deadline_exceeded",
  "not_found",
  "already_exists",
  "permission_denied",
  "resource_exhausted",
  "failed_precondition",
  "aborted",
  "out_of_range",
  "unimplemented",
  "internal",
  "unavailable",
  "data_loss",
  "unauthenticated",
] as const;

/** An error as it is on the wire. */
export interface WireError {
  code?: string;
  message?: string;
  details?: WireDetail[];
}

/** One detail of it. */
export interface WireDetail {
  readonly type: string;
  readonly value: string;
}

/** What ends a stream. */
export interface EndOfStream {
  error?: WireError | null;
  metadata?: Record<string, string[]>;
}

/** Before the name of a trailer of a unary answer. */
export const TRAILER_PREFIX = "trailer-";

/** Whether an answer is a stream. */
export function isStream(response: Response): boolean {
  return response.headers.get("content-type")?.startsWith("application/connect+") ?? false;
}

/** A detail as Protobuf wraps it. */
export function toWire({ typeUrl, value }: Any): WireDetail {
  const base64 = btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join(""));
  return { type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value: base64.replace(/=+$/, "") };
}

/** And back. */
export function fromWire({ type, value }: WireDetail): Any {
  const bytes = Uint8Array.from(atob(value), (letter) => letter.charCodeAt(0));
  return { $typeName: "google.protobuf.Any", typeUrl: `type.googleapis.com/${type}`, value: bytes };
}

/** The headers as the suite writes them. */
export function headerList(headers: Headers | Readonly<Record<string, readonly string[]>>): Header[] {
  if (!(headers instanceof Headers)) {
    return Object.entries(headers).map(([name, value]) => ({ name, value: [...value] }));
  }
  return [...headers].map(([name, value]) => ({ name, value: [value] }));
}

/** Adds headers of the suite's. */
export function addHeaders(to: Headers, headers: readonly Header[], prefix = ""): void {
  for (const { name, value } of headers) value.forEach((each) => to.append(prefix + name, each));
}

/** Passes an enveloped body through as it is, and shows its end. */
export function watchingEnd(look: (end: EndOfStream) => void): TransformStream<Uint8Array, Uint8Array> {
  const split = splitter();
  return new TransformStream({
    transform(chunk, controller) {
      controller.enqueue(chunk);
      for (const envelope of split(chunk)) {
        const end = endOf(envelope);
        if (end) look(end);
      }
    },
  });
}

/** Passes an enveloped body through, with another end. */
export function replacingEnd(replace: (end: EndOfStream) => EndOfStream): TransformStream<Uint8Array, Uint8Array> {
  const split = splitter();
  return new TransformStream({
    transform(chunk, controller) {
      for (const envelope of split(chunk)) {
        const end = endOf(envelope);
        controller.enqueue(end ? envelopeOf(replace(end)) : envelope);
      }
    },
  });
}

/** The flag of the envelope that ends a stream. */
const END = 0x02;

/** The flags and the length before each envelope, in bytes. */
const HEAD = 5;

/** Takes chunks apart into whole envelopes; what never becomes one is never given. */
function splitter(): (chunk: Uint8Array) => Generator<Uint8Array> {
  let held = new Uint8Array();
  return function* (chunk) {
    held = joined(held, chunk);
    for (let size = sizeOf(held); size <= held.length; size = sizeOf(held)) {
      const envelope = held.slice(0, size);
      held = held.slice(size);
      yield envelope;
    }
  };
}

function sizeOf(held: Uint8Array): number {
  return held.length < HEAD ? Infinity : HEAD + new DataView(held.buffer, held.byteOffset).getUint32(1);
}

/** The end of a stream, where the envelope is one. */
function endOf(envelope: Uint8Array): EndOfStream | undefined {
  return (envelope[0]! & END) === 0 ? undefined : asEnd(new TextDecoder().decode(envelope.subarray(HEAD)));
}

function envelopeOf(end: EndOfStream): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(end));
  const envelope = new Uint8Array(HEAD + text.length);
  envelope[0] = END;
  new DataView(envelope.buffer).setUint32(1, text.length);
  envelope.set(text, HEAD);
  return envelope;
}

function asEnd(text: string): EndOfStream | undefined {
  try {
    const end: unknown = JSON.parse(text);
    return typeof end === "object" && end !== null ? end : undefined;
  } catch {
    return undefined;
  }
}
