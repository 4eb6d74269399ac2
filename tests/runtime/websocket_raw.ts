/** A client that speaks WebSocket as an attacker may: byte by byte, and wrong. */
import type { TestAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";

/** A connection after its handshake. */
export interface RawWebSocket extends Disposable {
  /** The status the server answered the handshake with. */
  readonly status: number;
  /** The head of the answer. */
  readonly head: string;
  /** Sends bytes; a connection that the server closed takes none, which is no error. */
  send(...bytes: readonly Uint8Array[]): Promise<void>;
  /** The next data or close frame, or undefined when the connection is closed. */
  next(): Promise<RawFrame | undefined>;
}

/** A frame from the server, which is never fragmented here. */
export interface RawFrame {
  readonly opcode: number;
  readonly payload: Uint8Array;
  /** The close code of a close frame. */
  readonly code: number | undefined;
}

/** A handshake that differs from the good one. */
export interface RawHandshake {
  readonly path?: string;
  readonly method?: string;
  /** Headers that replace the good ones; undefined leaves one out. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

/**
 * Connects and shakes hands.
 *
 * @param port The server's port on this machine.
 * @param authority Who signed its certificate.
 * @param handshake What differs from a good handshake.
 * @returns The connection.
 */
export async function rawWebSocket(
  port: number,
  { ca }: Pick<TestAuthority, "ca">,
  { path = "/echo", method = "GET", headers = {} }: RawHandshake = {},
): Promise<RawWebSocket> {
  const alpnProtocols = ["http/1.1"];
  const connection = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca], alpnProtocols });
  const fields = {
    "Host": `localhost:${port}`,
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": path === "/echo" ? "echo" : "postern.v1",
    ...headers,
  };
  const lines = Object.entries(fields).flatMap(([name, value]) => value === undefined ? [] : [`${name}: ${value}`]);
  await connection.write(new TextEncoder().encode(`${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`));
  let buffer = new Uint8Array(0);
  const more = async () => {
    const chunk = new Uint8Array(65_536);
    const read = await mustCome(connection.read(chunk), "bytes").catch((error) => {
      if (error instanceof Deno.errors.UnexpectedEof || error instanceof Deno.errors.ConnectionReset) return null;
      if (error instanceof Deno.errors.InvalidData || error instanceof Deno.errors.BrokenPipe) return null;
      throw error;
    });
    if (read === null) return false;
    const all = new Uint8Array(buffer.length + read);
    all.set(buffer);
    all.set(chunk.subarray(0, read), buffer.length);
    buffer = all;
    return true;
  };
  const headEnd = () => new TextDecoder("latin1").decode(buffer).indexOf("\r\n\r\n");
  while (headEnd() < 0 && await more());
  const head = new TextDecoder("latin1").decode(buffer.subarray(0, Math.max(headEnd(), 0)));
  buffer = buffer.slice(head.length + 4);
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0),
    head,
    async send(...bytes) {
      try {
        for (const piece of bytes) {
          for (let sent = 0; sent < piece.length;) sent += await connection.write(piece.subarray(sent));
        }
      } catch {
        // the server has closed it, which next() tells
      }
    },
    async next() {
      for (;;) {
        const frame = readFrame(buffer);
        if (frame) {
          buffer = buffer.slice(frame.bytes);
          if (frame.opcode !== 9 && frame.opcode !== 10) return frame;
        } else if (!await more()) return undefined;
      }
    },
    [Symbol.dispose]() {
      try {
        connection.close();
      } catch {
        // it is closed
      }
    },
  };
}

function readFrame(bytes: Uint8Array): RawFrame & { readonly bytes: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes[1]! & 0x7f;
  const head = short === 126 ? 4 : short === 127 ? 10 : 2;
  if (bytes.length < head) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = head === 4 ? view.getUint16(2) : head === 10 ? Number(view.getBigUint64(2)) : short;
  if (bytes.length < head + length) return undefined;
  const opcode = bytes[0]! & 0x0f;
  const payload = bytes.slice(head, head + length);
  const code = opcode === 8 && length >= 2 ? payload[0]! << 8 | payload[1]! : undefined;
  return { opcode, payload, code, bytes: head + length };
}

/** What a frame may have wrong. */
export interface FrameParts {
  /** The first byte: FIN, reserved bits, opcode. */
  readonly first: number;
  readonly payload?: Uint8Array;
  readonly isMasked?: boolean;
  /** The length that the header says, instead of the payload's. */
  readonly says?: number;
}

/**
 * Writes a frame, masked with zeros, which is as good as any mask to a server.
 *
 * @param parts What it is of.
 * @returns Its bytes.
 */
export function rawFrame({ first, payload = new Uint8Array(0), isMasked = true, says }: FrameParts): Uint8Array {
  const length = says ?? payload.length;
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const mask = isMasked ? 4 : 0;
  const bytes = new Uint8Array(head + mask + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, first);
  view.setUint8(1, (isMasked ? 0x80 : 0) | (head === 2 ? length : head === 4 ? 126 : 127));
  if (head === 4) view.setUint16(2, length);
  if (head === 10) view.setBigUint64(2, BigInt(length));
  bytes.set(payload, head + mask);
  return bytes;
}
