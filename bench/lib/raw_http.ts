// A client that costs next to nothing: it writes a request to a socket and counts what comes back.

/** What came back. */
export interface Counted {
  readonly status: number;
  readonly headers: Headers;
  /** The body of an answer that says how long it is; what is streamed is counted and dropped. */
  readonly body: Uint8Array | undefined;
  readonly bytes: number;
}

/** Makes one request on a connection of its own, and reads until the server closes it. */
export async function rawRequest(
  port: number,
  path: string,
  init: { readonly method: string; readonly headers: Record<string, string>; readonly body: Uint8Array },
): Promise<Counted> {
  using connection = await Deno.connect({ port, hostname: "127.0.0.1" });
  const given = { ...init.headers, host: "127.0.0.1", connection: "close", "content-length": `${init.body.length}` };
  const lines = Object.entries(given).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await send(connection, new TextEncoder().encode(`${init.method} ${path} HTTP/1.1\r\n${lines}\r\n`));
  await send(connection, init.body);
  const buffer = new Uint8Array(262_144);
  let bytes = 0;
  let start = "";
  for (let read = await connection.read(buffer); read !== null; read = await connection.read(buffer)) {
    if (start.length < MAX_START) start += latin1.decode(buffer.subarray(0, read));
    bytes += read;
  }
  const end = start.indexOf("\r\n\r\n");
  const [first, ...rest] = start.slice(0, end).split("\r\n");
  const headers = new Headers(rest.map((line) => line.split(": ", 2) as [string, string]));
  const body = headers.has("content-length")
    ? Uint8Array.from(start.slice(end + 4), (c) => c.charCodeAt(0))
    : undefined;
  return { status: Number(first!.split(" ")[1]), headers, body, bytes: bytes - end - 4 };
}

async function send(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
}

const MAX_START = 32_768;
const latin1 = new TextDecoder("latin1");
