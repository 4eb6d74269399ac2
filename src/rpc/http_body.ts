import type { HttpHead } from "./http_head.ts";
import { RpcError } from "./rpc_error.ts";

/** A body on its way in. */
export interface Reading {
  /** The whole body. */
  readonly bytes: Promise<Uint8Array>;
  /** Lets go of what has not come yet; a body whose length is declared is the runtime's to let go of. */
  cancel(): void;
}

/**
 * Reads a body of at most `maxBytes`.
 *
 * A length that is declared is refused before a byte is read; one that is not is counted while reading.
 *
 * @param message The request or response that has the body.
 * @param declaredLength Its `Content-Length`.
 * @param maxBytes The largest body that is taken.
 * @throws {RpcError} `resource_exhausted` over the limit, `invalid_argument` for a length that is no number, `canceled`
 * for a body that ends before it is complete.
 */
export function readBody(message: Body, declaredLength: string | null | undefined, maxBytes: number): Reading {
  if (declaredLength != null) return { bytes: readDeclared(message, declaredLength, maxBytes), cancel: nothing };
  const reader = message.body?.getReader();
  if (!reader) return { bytes: Promise.resolve(new Uint8Array()), cancel: nothing };
  const cancel = () => void reader.cancel().catch(nothing); // the other side decides when that is done
  return { bytes: readCounted(reader, maxBytes, cancel), cancel };
}

async function readDeclared(message: Body, declaredLength: string, maxBytes: number): Promise<Uint8Array> {
  if (!/^\d{1,15}$/.test(declaredLength)) {
    throw new RpcError("invalid_argument", "Cannot read the message: its Content-Length is not a number");
  }
  if (Number(declaredLength) > maxBytes) throw tooLarge(maxBytes);
  const body = await message.arrayBuffer().then(asBytes, brokenOff);
  if (body.length > maxBytes) throw tooLarge(maxBytes); // a Request made in this process may declare anything
  return body;
}

async function readCounted(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  maxBytes: number,
  cancel: () => void,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const read = () => reader.read().catch(brokenOff);
  for (let next = await read(); !next.done; next = await read()) {
    size += next.value.length;
    if (size > maxBytes) {
      cancel();
      throw tooLarge(maxBytes);
    }
    chunks.push(next.value);
  }
  if (chunks.length === 1) return chunks[0]!;
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}

const nothing = () => {};

const asBytes = (buffer: ArrayBuffer) => new Uint8Array(buffer);

/** The other side went away, or sent a framing that is none. */
function brokenOff(cause: unknown): never {
  throw new RpcError("canceled", "Cannot read the message: it ended before it was complete", { cause });
}

/** The refusal of a body over the limit. */
export function tooLarge(maxBytes: number): RpcError {
  return new RpcError("resource_exhausted", `Cannot read the message: it is over ${maxBytes} bytes`);
}

/**
 * Refuses a framing that two parties could read differently.
 *
 * Most runtimes refuse these themselves; Node hands on `identity, chunked`, and workerd both lengths.
 */
export function assertOneLength({ contentLength, transferEncoding }: HttpHead): void {
  if (transferEncoding === undefined) return;
  if (contentLength !== undefined || transferEncoding.toLowerCase() !== "chunked") {
    throw new RpcError("invalid_argument", "Cannot read the message: its length is ambiguous");
  }
}
