// The client: streams are async iterables, those that it reads and those that it sends.
import { createClient, type Transport } from "@postern/rpc";
import { Files, Ticker } from "./contracts.ts";

const PIECE_BYTES = 64 * 1024;

/** Looks at some prices, and leaves. */
export async function watch(transport: Transport, symbol: string, count: number): Promise<readonly number[]> {
  const prices: number[] = [];
  for await (const { cents } of createClient(Ticker, transport).watch({ symbol })) {
    prices.push(cents);
    if (prices.length === count) break; // which ends the call, at the server too
  }
  return prices;
}

/** Sends a file, says how far the server has stored it, and gives the digest that the server made of it. */
export async function upload(
  transport: Transport,
  file: Blob,
  progress: (storedBytes: number) => unknown,
): Promise<string | undefined> {
  let digest: string | undefined;
  for await (const { storedBytes, sha256 } of createClient(Files, transport).upload(pieces(file))) {
    if (sha256 === undefined) progress(storedBytes);
    else digest = sha256;
  }
  return digest;
}

/** Each piece is read when the server has room for it, so that no file is too large for this program's memory. */
async function* pieces(file: Blob): AsyncGenerator<{ readonly bytes: Uint8Array<ArrayBuffer> }> {
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    yield { bytes: new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer()) };
  }
}
