import { isIP } from "node:net";
import { connect, type ConnectionOptions } from "node:tls";
import type { WebSocketLike } from "../rpc/mod.ts";
import { type NodeSocket, type SocketWebSocket, socketWebSocket } from "./socket_web_socket.ts";
import { type HandshakeRequest, handshakeRequest } from "./web_socket_handshake.ts";

/** What is used of a socket of `node:tls` that connects. */
export interface TlsSocket extends NodeSocket {
  setNoDelay(noDelay: boolean): unknown;
  on(event: "data", then: (chunk: Uint8Array) => void): unknown;
  on(event: "close" | "end" | "error" | "secureConnect", then: () => void): unknown;
}

type Listener = ((event: object) => void) | null;

/** How long connecting may take. */
const CONNECT_MS = 10_000;
const MAX_HEAD_BYTES = 16_384;
/** Far above any limit of ours, which answers first. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const [CONNECTING, CLOSED] = [0, 3] as const;

/**
 * Opens a WebSocket over TLS.
 *
 * @param url Where to, `wss:` or `https:`.
 * @param protocols The subprotocols to offer.
 * @param dial Connects, and verifies the server's certificate.
 * @returns The WebSocket, which connects.
 * @throws {TypeError} For a URL that is not of TLS, or a subprotocol that is not a token.
 */
export function tlsWebSocket(
  url: string | URL,
  protocols: readonly string[],
  dial: (host: string, port: number) => TlsSocket,
): WebSocketLike {
  const target = checkTarget(url, protocols);
  const request = handshakeRequest(target, protocols);
  const socket = dial(target.hostname.replace(/^\[|\]$/g, ""), Number(target.port || 443));
  let inner: SocketWebSocket | undefined;
  let closed = false;
  const tell = (event: "onopen" | "onmessage" | "onclose" | "onerror", about: object) =>
    (webSocket[event] as Listener)?.(about);
  const over = (about: object) => {
    if (closed) return;
    closed = true;
    if (!inner) tell("onerror", {});
    tell("onclose", about);
  };
  shakeHands(socket, request, (protocol, rest) => {
    inner = socketWebSocket(socket, { isClient: true, maxMessageBytes: MAX_MESSAGE_BYTES, protocol });
    inner.onmessage = (event: object) => tell("onmessage", event);
    inner.onclose = over;
    tell("onopen", {});
    inner.receive(rest);
    return inner.receive;
  });
  socket.on("close", () => inner || over({ code: 1006, reason: "" }));
  const webSocket: WebSocketLike = {
    binaryType: "arraybuffer",
    onopen: null,
    onmessage: null,
    onclose: null,
    onerror: null,
    get readyState() {
      return closed ? CLOSED : inner?.readyState ?? CONNECTING;
    },
    get bufferedAmount() {
      return socket.writableLength;
    },
    get protocol() {
      return inner?.protocol ?? "";
    },
    send(message) {
      if (!inner) throw new TypeError("Cannot send: the WebSocket is not open yet");
      inner.send(message);
    },
    close(code, reason) {
      if (inner) inner.close(code, reason);
      else socket.destroy();
    },
  };
  return webSocket;
}

type Opened = (protocol: string, rest: Uint8Array) => (chunk: Uint8Array) => void;

/** Asks for the WebSocket, and cuts a server that answers too late, too much or anything else than it must. */
function shakeHands(socket: TlsSocket, request: HandshakeRequest, opened: Opened): void {
  let head = "";
  const patience = setTimeout(() => socket.destroy(), CONNECT_MS);
  const read = (chunk: Uint8Array) => {
    const before = head.length;
    head += String.fromCharCode(...chunk.subarray(0, MAX_HEAD_BYTES + 1));
    const end = head.indexOf("\r\n\r\n");
    if (end < 0 && head.length <= MAX_HEAD_BYTES) return;
    const protocol = end < 0 ? undefined : request.read(head.slice(0, end));
    if (protocol === undefined) return void socket.destroy();
    clearTimeout(patience);
    receive = opened(protocol, chunk.subarray(end + 4 - before));
  };
  let receive: (chunk: Uint8Array) => void = read;
  socket.on("secureConnect", () => {
    socket.setNoDelay(true);
    socket.write(new TextEncoder().encode(request.head));
  });
  socket.on("data", (chunk) => receive(chunk));
  socket.on("error", () => socket.destroy());
  socket.on("end", () => socket.destroy());
  socket.on("close", () => clearTimeout(patience));
}

/**
 * Connects with `node:tls`.
 *
 * @param trust Whom to trust, and the certificate to show.
 * @returns What connects.
 */
export function dialWithNode(trust: ConnectionOptions): (host: string, port: number) => TlsSocket {
  return (host, port) =>
    connect({
      ...trust,
      host,
      port,
      ...isIP(host) === 0 && { servername: host },
      ALPNProtocols: ["http/1.1"],
      minVersion: "TLSv1.3",
      rejectUnauthorized: true,
    }) as unknown as TlsSocket;
}

function checkTarget(url: string | URL, protocols: readonly string[]): URL {
  const target = new URL(url);
  if (!["wss:", "https:"].includes(target.protocol)) throw new TypeError("Cannot connect: the URL must be of wss:");
  if (target.username || target.password || target.hash) {
    throw new TypeError("Cannot connect: the URL must have neither credentials nor a fragment");
  }
  for (const protocol of protocols) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(protocol)) throw new TypeError("Cannot connect: a subprotocol must be a token");
  }
  return target;
}
