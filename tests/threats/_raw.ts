/** HTTP/1.1 by hand over one TLS connection, so that a test can send what no client would. */
import { mustCome } from "../_patience.ts";

/** One response as it came. */
export interface RawResponse {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  /** Of a Connect error's body; undefined for any other. */
  readonly code: string | undefined;
}

/** One connection. */
export interface RawConnection extends Disposable {
  /** Sends text, as Latin-1 so that every byte can be written; false when the other side no longer takes any. */
  send(text: string): Promise<boolean>;
  /** The next response; undefined when the other side closed instead. */
  response(): Promise<RawResponse | undefined>;
  /** Sends and waits for one response. */
  exchange(text: string): Promise<RawResponse | undefined>;
  /** Says that nothing more comes, and keeps on reading. */
  end(): Promise<void>;
}

/** Opens one, as HTTP/1.1. */
export async function connectRaw({ port, ca }: { readonly port: number; readonly ca: string }): Promise<RawConnection> {
  const alpn = { caCerts: [ca], alpnProtocols: ["http/1.1"] };
  const socket = await Deno.connectTls({ hostname: "localhost", port, ...alpn });
  await socket.handshake();
  let buffered = "";
  let ended = false;
  let closed = false;
  const read = async (): Promise<boolean> => {
    if (ended) return false;
    const chunk = new Uint8Array(65_536);
    const size = await mustCome(socket.read(chunk), "an answer, or the end").catch(asEnd);
    if (size === null) ended = true;
    else buffered += latin1(chunk.subarray(0, size));
    return !ended;
  };
  const take = async (size: number): Promise<string | undefined> => {
    while (buffered.length < size) if (!await read()) return undefined;
    const taken = buffered.slice(0, size);
    buffered = buffered.slice(size);
    return taken;
  };
  const takeUntil = async (mark: string): Promise<string | undefined> => {
    while (!buffered.includes(mark)) if (!await read()) return undefined;
    return (await take(buffered.indexOf(mark) + mark.length))!.slice(0, -mark.length);
  };
  const chunkedBody = async (): Promise<string | undefined> => {
    let body = "";
    for (;;) {
      const size = Number.parseInt(await takeUntil("\r\n") ?? "", 16);
      const chunk = await take(size + 2);
      if (chunk === undefined) return undefined;
      if (size === 0) return body;
      body += chunk.slice(0, -2);
    }
  };
  const response = async (): Promise<RawResponse | undefined> => {
    const head = await takeUntil("\r\n\r\n");
    if (head === undefined) return undefined;
    const [start, ...lines] = head.split("\r\n");
    const headers = new Map(lines.map((line) => {
      const [name, ...value] = line.split(":");
      return [name.toLowerCase(), value.join(":").trim()] as const;
    }));
    const body = headers.get("transfer-encoding") === "chunked"
      ? await chunkedBody()
      : await take(Number(headers.get("content-length") ?? 0));
    return body === undefined ? undefined : { status: Number(start.split(" ")[1]), headers, body, code: codeOf(body) };
  };
  const send = async (text: string): Promise<boolean> => {
    const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
    try {
      for (let sent = 0; sent < bytes.length;) {
        sent += await mustCome(socket.write(bytes.subarray(sent)), "room to write");
      }
      return true;
    } catch (error) {
      asEnd(error);
      return false;
    }
  };
  return {
    send,
    response,
    async exchange(text) {
      await send(text);
      return await response();
    },
    end: () => socket.closeWrite(),
    [Symbol.dispose]() {
      if (!closed) socket.close();
      closed = true;
    },
  };
}

/** A request with a right `Host`, and a `Content-Length` where there is a body and no other length. */
export function request(
  line: string,
  headers: Readonly<Record<string, string>> = {},
  body = "",
): string {
  const given = { host: "localhost", ...(body ? { "content-length": String(body.length) } : {}), ...headers };
  return `${line} HTTP/1.1\r\n${
    Object.entries(given).map(([name, value]) => `${name}: ${value}\r\n`).join("")
  }\r\n${body}`;
}

/** A call of `hello`, right unless something is changed. */
export function post(
  path: string,
  body = '{"name":"Ada"}',
  headers: Readonly<Record<string, string>> = {},
): string {
  return request(`POST ${path}`, { "content-type": "application/json", ...headers }, body);
}

/** The honest call. */
export const HELLO: string = post("/greeter.v1/hello");

/** A connection that was reset, or ended without TLS's own goodbye, is at its end. */
function asEnd(error: unknown): null {
  if (
    error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.UnexpectedEof ||
    error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionAborted
  ) return null;
  throw error;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function codeOf(body: string): string | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return value && typeof value === "object" && "code" in value ? String(value.code) : undefined;
  } catch {
    return undefined;
  }
}
