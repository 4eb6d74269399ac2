import type { TlsSocket } from "./tls_web_socket.ts";

/** Where a socket goes. */
export interface DenoTlsTarget {
  readonly host: string;
  readonly port: number;
  /** Certificates of authorities to trust in addition, as PEM. */
  readonly caCerts: readonly string[];
}

type Told = (chunk: Uint8Array) => void;

const READ_BYTES = 65_536;

/**
 * Connects over TLS with Nagle's algorithm off.
 *
 * `Deno.startTls` is the one way to that: `Deno.connectTls` and `fetch` leave it on, and `node:tls` trusts another list of
 * authorities, which takes `--allow-sys` to read.
 *
 * @param target Where to.
 * @returns What looks like a socket of `node:tls`, which connects.
 */
export function denoTlsSocket(target: DenoTlsTarget): TlsSocket {
  const listeners = new Map<string, Told[]>();
  const tell = (event: string, chunk: Uint8Array = NOTHING) => {
    for (const told of listeners.get(event) ?? []) told(chunk);
  };
  let connection: Deno.TlsConn | undefined;
  let isOver = false;
  const destroy = () => {
    if (isOver) return;
    isOver = true;
    closeQuietly(connection);
    queueMicrotask(() => tell("close"));
  };
  const writer = createWriter(() => connection!, destroy);
  const run = async () => {
    const tcp = await Deno.connect({ hostname: target.host, port: target.port });
    if (isOver) return tcp.close();
    tcp.setNoDelay(true);
    const tls = { hostname: target.host, caCerts: [...target.caCerts], alpnProtocols: ["http/1.1"] };
    connection = await Deno.startTls(tcp, tls);
    if (isOver) return closeQuietly(connection);
    await connection.handshake();
    tell("secureConnect");
    const buffer = new Uint8Array(READ_BYTES);
    for (let read; !isOver && (read = await connection.read(buffer)) !== null;) tell("data", buffer.slice(0, read));
  };
  run().catch(() => {}).finally(destroy);
  return {
    get writableLength() {
      return writer.waitingBytes;
    },
    write: writer.write,
    end: writer.end,
    destroy,
    setNoDelay() {},
    on(event: string, then: Told) {
      listeners.set(event, [...listeners.get(event) ?? [], then]);
    },
  };
}

const NOTHING = new Uint8Array(0);

interface Writer {
  readonly waitingBytes: number;
  write(bytes: Uint8Array): void;
  end(): void;
}

/** Writes one piece after the other, and in one what came while another was being written. */
function createWriter(connection: () => Deno.TlsConn, over: () => void): Writer {
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let isWriting = false;
  let isEnding = false;
  const pump = async () => {
    while (waiting.length > 0) {
      const all = joined(waiting);
      waiting = [];
      for (let written = 0; written < all.length;) written += await connection().write(all.subarray(written));
      waitingBytes -= all.length;
    }
    isWriting = false;
    if (isEnding) over();
  };
  return {
    get waitingBytes() {
      return waitingBytes;
    },
    write(bytes) {
      if (isEnding) return;
      waiting.push(bytes);
      waitingBytes += bytes.length;
      if (isWriting) return;
      isWriting = true;
      pump().catch(over);
    },
    end() {
      isEnding = true;
      if (!isWriting) over();
    },
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const all = new Uint8Array(parts.reduce((bytes, part) => bytes + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}

function closeQuietly(connection: Deno.TlsConn | undefined): void {
  try {
    connection?.close();
  } catch {
    // it is closed
  }
}
