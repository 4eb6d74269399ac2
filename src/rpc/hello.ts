import { json } from "../codec/mod.ts";
import { ProtocolError } from "./frames.ts";

/** The subprotocol, and the last part of the path where it is spoken. */
export const SUBPROTOCOL = "postern.v1";
/** The media type that a server states for a connection it lets in. */
export const CONNECTION_MEDIA_TYPE = "application/postern.v1";
/** The largest first message of either side, in UTF-16 code units: nobody has proven anything yet. */
export const MAX_HELLO = 16_384;

/** What a client says first: the head of the request that a connection is, and the encoding of the messages. */
export interface ClientHello {
  /** The headers that prove the client, by their lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** The codec's name. */
  readonly codec: string;
}

/** What a server answers. */
export interface ServerHello {
  /** As of an HTTP response: 200 lets the client in. */
  readonly status: number;
  /** The headers, those that prove the answer among them, by their lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty where the client is let in, else the error as JSON. */
  readonly body: string;
}

/**
 * Reads a client's first message.
 *
 * @throws {ProtocolError} It is none.
 */
export function readClientHello(message: Uint8Array | string): ClientHello {
  const { headers, codec, ...more } = readObject(message);
  if (!isHeaders(headers) || typeof codec !== "string" || Object.keys(more).length > 0) throw notHello();
  return { headers, codec };
}

/**
 * Reads a server's first message.
 *
 * @throws {ProtocolError} It is none.
 */
export function readServerHello(message: Uint8Array | string): ServerHello {
  const { status, headers, body } = readObject(message);
  const isStatus = Number.isInteger(status) && (status as number) >= 200 && (status as number) <= 599;
  if (!isStatus || !isHeaders(headers) || typeof body !== "string") throw notHello();
  return { status: status as number, headers, body };
}

function readObject(message: Uint8Array | string): Readonly<Record<string, unknown>> {
  if (typeof message !== "string" || message.length > MAX_HELLO) throw notHello();
  try {
    const value = HELLO_CODEC.decode(new TextEncoder().encode(message));
    if (typeof value === "object" && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch {
    // not JSON
  }
  throw notHello();
}

function isHeaders(value: unknown): value is Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.entries(value).every(([name, text]) =>
    HEADER_NAME.test(name) && HEADER_VALUE.test(String(text)) && typeof text === "string"
  );
}

const HEADER_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
const HEADER_VALUE = /^[\x20-\x7e]*$/;

const HELLO_CODEC = /* @__PURE__ */ json({ maxBytes: MAX_HELLO * 3, maxDepth: 2, maxItems: 64 });

const notHello = () => new ProtocolError("A first message that is none");
