/** How the suite talks to the programs that it tests: messages with their length before them, in 4 bytes, big-endian. */
import { joined } from "./_bytes.ts";

/** The messages on the standard input, until it ends. */
export async function* readMessages(): AsyncGenerator<Uint8Array> {
  let held = new Uint8Array();
  for await (const chunk of Deno.stdin.readable) {
    held = joined(held, chunk);
    for (let size = sizeOf(held); size !== undefined && held.length >= 4 + size; size = sizeOf(held)) {
      yield held.subarray(4, 4 + size);
      held = held.slice(4 + size);
    }
  }
}

function sizeOf(bytes: Uint8Array): number | undefined {
  return bytes.length < 4 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

/** Writes one message in one go, so that two that are written at the same time do not mix. */
export function writeMessage(message: Uint8Array): void {
  const framed = new Uint8Array(4 + message.length);
  new DataView(framed.buffer).setUint32(0, message.length);
  framed.set(message, 4);
  for (let at = 0; at < framed.length;) at += Deno.stdout.writeSync(framed.subarray(at));
}
