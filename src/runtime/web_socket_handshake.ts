import { createHash, randomBytes } from "node:crypto";

/** What a client asks a server for. */
export interface HandshakeRequest {
  /** The request, to be written as it is. */
  readonly head: string;
  /**
   * Reads what the server answered.
   *
   * @param head The answer's head, without the empty line.
   * @returns The subprotocol that the server chose, or undefined when it did not become a WebSocket as RFC 6455 says.
   */
  read(head: string): string | undefined;
}

/**
 * Makes the request that begins a WebSocket.
 *
 * @param url Where to.
 * @param protocols The subprotocols to offer, which the caller has checked to be tokens.
 * @returns The request, and how to read its answer.
 * @see RFC 6455, section 4.1
 */
export function handshakeRequest(url: URL, protocols: readonly string[]): HandshakeRequest {
  const key = randomBytes(16).toString("base64");
  const head = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${url.host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
    ...protocols.length > 0 ? [`Sec-WebSocket-Protocol: ${protocols.join(", ")}`] : [],
  ].join("\r\n") + "\r\n\r\n";
  return { head, read: (answer) => readAnswer(answer, acceptOf(key), protocols) };
}

/**
 * Makes the answer of a server that takes a WebSocket.
 *
 * @param key The client's `Sec-WebSocket-Key`.
 * @param protocol The subprotocol to choose.
 * @returns The answer, to be written as it is.
 * @see RFC 6455, section 4.2.2
 */
export function handshakeAnswer(key: string, protocol: string): string {
  return [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${acceptOf(key)}`,
    `Sec-WebSocket-Protocol: ${protocol}`,
  ].join("\r\n") + "\r\n\r\n";
}

function acceptOf(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

function readAnswer(head: string, accept: string, protocols: readonly string[]): string | undefined {
  const [status, ...lines] = head.split("\r\n");
  if (!/^HTTP\/1\.1 101(?: |$)/.test(status!)) return undefined;
  const headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(line.slice(0, Math.max(colon, 0)))) return undefined;
    try {
      headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    } catch {
      return undefined;
    }
  }
  // What was sent twice is joined by a comma here, and so equals nothing.
  const isUpgraded = headers.get("upgrade")?.toLowerCase() === "websocket" &&
    headers.get("connection")?.toLowerCase().split(/\s*,\s*/).includes("upgrade") &&
    headers.get("sec-websocket-accept") === accept && !headers.has("sec-websocket-extensions");
  if (!isUpgraded) return undefined;
  const protocol = headers.get("sec-websocket-protocol");
  if (protocol === null) return protocols.length === 0 ? "" : undefined;
  return protocols.includes(protocol) ? protocol : undefined;
}
