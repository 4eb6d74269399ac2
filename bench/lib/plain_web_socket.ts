// The WebSocket that our runtime entry gives to clients on Deno, but without TLS: the benches compare calls, and Deno's own
// WebSocket waits 44 ms inside of messages over 1,024 bytes.
import { type TlsSocket, tlsWebSocket } from "../../src/runtime/tls_web_socket.ts";

export function openPlain(url: string, protocols: readonly string[]): ReturnType<typeof tlsWebSocket> {
  return tlsWebSocket(url, protocols, dial);
}

type Told = (chunk: Uint8Array) => void;

/** Connects without TLS, and says that it is secure. */
function dial(hostname: string, port: number): TlsSocket {
  const listeners = new Map<string, Told[]>();
  const tell = (event: string, chunk = new Uint8Array()) => listeners.get(event)?.forEach((told) => told(chunk));
  let connection: Deno.TcpConn | undefined;
  let waiting: Uint8Array[] = [];
  let isWriting = false;
  const run = async () => {
    connection = await Deno.connect({ hostname, port });
    connection.setNoDelay(true);
    tell("secureConnect");
    const buffer = new Uint8Array(65_536);
    for (let read; (read = await connection.read(buffer)) !== null;) tell("data", buffer.slice(0, read));
  };
  const write = async () => {
    isWriting = true;
    for (let all = waiting; all.length > 0; all = waiting) {
      waiting = [];
      for (const bytes of all) for (let at = 0; at < bytes.length;) at += await connection!.write(bytes.subarray(at));
    }
    isWriting = false;
  };
  run().catch(() => {}).finally(() => tell("close"));
  return {
    writableLength: 0,
    write(bytes: Uint8Array) {
      waiting.push(bytes);
      if (!isWriting) void write();
    },
    end: () => connection?.close(),
    destroy: () => connection?.close(),
    setNoDelay() {},
    on: (event: string, then: Told) => listeners.set(event, [...listeners.get(event) ?? [], then]),
  };
}
