// Bodies of streams, made and read byte by byte.
import assert from "node:assert/strict";
import { ORIGIN } from "./_rig.ts";

/** One envelope of a body. */
export interface Piece {
  readonly flags: number;
  readonly text: string;
}

export const END = 0x02;

/** An envelope of a text, its length perhaps a lie. */
export function envelope(text: string, flags = 0, length?: number): Uint8Array<ArrayBuffer> {
  const content = new TextEncoder().encode(text);
  const bytes = new Uint8Array(5 + content.length);
  bytes[0] = flags;
  new DataView(bytes.buffer).setUint32(1, length ?? content.length);
  bytes.set(content, 5);
  return bytes;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The envelopes, or the blocks, that a body is made of. */
export function pieces(bytes: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const all: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(1);
    all.push(bytes.slice(at, at + 5 + length));
    at += 5 + length;
  }
  return all;
}

/** The envelopes of a plain body as flags and text. */
export function read(bytes: Uint8Array): Piece[] {
  return pieces(bytes).map((piece) => ({ flags: piece[0]!, text: new TextDecoder().decode(piece.subarray(5)) }));
}

/** The code of the error in the last envelope of a plain answer, and the messages before it. */
export async function ended(response: Response): Promise<{ readonly texts: string[]; readonly code?: string }> {
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/connect+json");
  const all = read(new Uint8Array(await response.arrayBuffer()));
  const last = all.pop()!;
  assert.equal(last.flags, END);
  assert.ok(all.every(({ flags }) => flags === 0));
  return { texts: all.map(({ text }) => JSON.parse(text).text), code: JSON.parse(last.text).error?.code };
}

/** A streaming request with a body as it is. */
export function streamPost(
  method: string,
  body: BodyInit,
  headers: Readonly<Record<string, string>> = {},
): Request {
  const all = { "content-type": "application/connect+json", ...headers };
  const init = { method: "POST", body, headers: all, duplex: "half" };
  return new Request(`${ORIGIN}/streams.v1/${method}`, init);
}

/** A body that comes in the given chunks. */
export function chunks(...parts: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const left = [...parts];
  return new ReadableStream({
    pull(controller) {
      const next = left.shift();
      if (next) controller.enqueue(next);
      else controller.close();
    },
  });
}
