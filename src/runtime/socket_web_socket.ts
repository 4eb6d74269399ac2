import type { WebSocketLike } from "../rpc/mod.ts";
import { encodeFrame, frameReader, OPCODE, type ReceivedMessage } from "./web_socket_frames.ts";

/** What is used of a socket of `node:net`. */
export interface NodeSocket {
  /** How many bytes are waiting to be sent. */
  readonly writableLength: number;
  write(bytes: Uint8Array): unknown;
  end(): unknown;
  destroy(): unknown;
  on(event: "data", then: (chunk: Uint8Array) => void): unknown;
  on(event: "close" | "end" | "error", then: () => void): unknown;
}

/** Which end of a connection this is, and what it takes. */
export interface SocketWebSocketOptions {
  /** Whether this end asked for the connection: clients mask what they write. */
  readonly isClient: boolean;
  /** The largest message to take, in bytes. */
  readonly maxMessageBytes: number;
  /** The subprotocol that was chosen. */
  readonly protocol: string;
}

/** A WebSocket on a socket whose handshake is done. */
export interface SocketWebSocket extends WebSocketLike {
  /** Takes bytes that came behind the handshake. */
  receive(chunk: Uint8Array): void;
}

type Listener = ((event: object) => void) | null;

const [OPEN, CLOSING, CLOSED] = [1, 2, 3] as const;
/** A peer that does not answer a close frame for this long is cut. */
const CLOSE_MS = 2_000;
/** Pings of a peer that reads no answers are not answered. */
const MAX_UNREAD_BYTES = 65_536;
/** How long something else may take to acknowledge what came, in milliseconds. */
const ACKNOWLEDGE_MS = 1;
const NOTHING = new Uint8Array(0);

/**
 * A WebSocket on a socket of `node:tls`.
 *
 * For clients, because Deno's own leaves Nagle's algorithm on and so waits 44 ms for an acknowledgement inside of each
 * message over 1,024 bytes, and Node's offers compression; for servers, because `node:http2` has none.
 *
 * @param socket The socket, whose `setNoDelay()` was called; its data goes to `receive` from now on.
 * @param options Which end this is.
 * @returns The WebSocket, open.
 * @see RFC 6455
 */
export function socketWebSocket(socket: NodeSocket, options: SocketWebSocketOptions): SocketWebSocket {
  const { isClient, protocol, maxMessageBytes } = options;
  const reader = frameReader(!isClient, maxMessageBytes);
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const wire = wireOf(socket, isClient, (why) => (webSocket.onclose as Listener)?.(why));
  const take = ({ opcode, payload }: ReceivedMessage): void => {
    if (opcode === OPCODE.close) return wire.closedBy(readClose(payload));
    if (opcode === OPCODE.ping) return wire.pong(payload);
    if (opcode === OPCODE.pong || wire.readyState !== OPEN) return;
    const data = opcode === OPCODE.text ? decode(text, payload) : payload;
    if (data === undefined) return wire.fail(1007, "Not UTF-8");
    (webSocket.onmessage as Listener)?.({ data });
  };
  const webSocket: SocketWebSocket = {
    binaryType: "arraybuffer",
    protocol,
    onopen: null,
    onmessage: null,
    onclose: null,
    onerror: null,
    receive(chunk) {
      if (wire.isOver) return;
      wire.heard();
      reader.push(chunk);
      for (let next = reader.next(); next && !wire.isOver; next = reader.next()) {
        if ("fault" in next) return wire.fail(next.fault, next.reason);
        take(next);
      }
      if (isClient) wire.acknowledge(reader.isPartial);
    },
    get readyState() {
      return wire.readyState;
    },
    get bufferedAmount() {
      return socket.writableLength;
    },
    send(message) {
      if (typeof message === "string") wire.write(OPCODE.text, new TextEncoder().encode(message));
      else wire.write(OPCODE.binary, message);
    },
    close: (code = 1000, reason = "") => wire.close(code, reason),
  };
  return webSocket;
}

interface Ending {
  readonly code: number;
  readonly reason: string;
}

/** What is written, and how it ends. */
interface Wire {
  readonly readyState: number;
  /** Whether nothing is read any more. */
  readonly isOver: boolean;
  write(opcode: number, payload: Uint8Array): void;
  /** Answers a ping. */
  pong(payload: Uint8Array): void;
  /** Bytes came. */
  heard(): void;
  /** Acknowledges what came, at once or soon. */
  acknowledge(now: boolean): void;
  close(code: number, reason: string): void;
  /** The other side closes it. */
  closedBy(ending: Ending): void;
  /** Closes it for what the other side did; nothing that comes afterwards is read. */
  fail(code: number, reason: string): void;
}

function wireOf(socket: NodeSocket, isClient: boolean, closed: (ending: Ending) => void): Wire {
  let readyState: number = OPEN;
  let ending: Ending | undefined;
  let cutting: ReturnType<typeof setTimeout> | undefined;
  const write = (opcode: number, payload: Uint8Array) => {
    if (readyState !== OPEN) return;
    acknowledger.wrote();
    socket.write(encodeFrame(opcode, payload, isClient));
  };
  const acknowledger = createAcknowledger(() => write(OPCODE.pong, NOTHING));
  const close = (code: number, reason: string) => {
    if (readyState !== OPEN) return;
    write(OPCODE.close, closePayload(code, reason));
    readyState = CLOSING;
    cutting = setTimeout(() => socket.destroy(), CLOSE_MS);
  };
  const end = (code: number, why: Ending) => {
    ending = why;
    close(code, why.reason);
    socket.end();
  };
  socket.on("error", () => socket.destroy());
  socket.on("end", () => socket.destroy());
  socket.on("close", () => {
    if (readyState === CLOSED) return;
    readyState = CLOSED;
    acknowledger.stop();
    clearTimeout(cutting);
    closed(ending ?? { code: 1006, reason: "" });
  });
  return {
    get readyState() {
      return readyState;
    },
    get isOver() {
      return ending !== undefined || readyState === CLOSED;
    },
    write,
    pong(payload) {
      if (socket.writableLength < MAX_UNREAD_BYTES) write(OPCODE.pong, payload);
    },
    heard: acknowledger.heard,
    acknowledge: acknowledger.acknowledge,
    close,
    closedBy: (why) => end(why.code === 1005 ? 1000 : why.code, why),
    fail: (code, reason) => end(code, { code, reason }),
  };
}

interface Acknowledger {
  heard(): void;
  wrote(): void;
  acknowledge(now: boolean): void;
  stop(): void;
}

/**
 * Deno's server leaves Nagle's algorithm on: of what takes two writes, the second waits until the first is acknowledged,
 * which TCP does for 40 ms only along with something else. So an empty pong, which nobody asked for and nobody answers
 * (RFC 6455, section 5.5.3), follows what came if nothing else does.
 */
function createAcknowledger(send: () => void): Acknowledger {
  let hasWritten = true; // since bytes came last
  let timer: ReturnType<typeof setTimeout> | undefined;
  const sendOnce = () => {
    if (!hasWritten) send();
  };
  return {
    heard() {
      hasWritten = false;
    },
    wrote() {
      hasWritten = true;
    },
    acknowledge(now) {
      if (now) return sendOnce();
      if (hasWritten) return;
      timer ??= setTimeout(() => {
        timer = undefined;
        sendOnce();
      }, ACKNOWLEDGE_MS);
    },
    stop() {
      hasWritten = true;
      clearTimeout(timer);
    },
  };
}

function decode(text: TextDecoder, payload: Uint8Array): string | undefined {
  try {
    return text.decode(payload);
  } catch {
    return undefined;
  }
}

function closePayload(code: number, reason: string): Uint8Array {
  const words = new TextEncoder().encode(reason).subarray(0, 123);
  const payload = new Uint8Array(2 + words.length);
  new DataView(payload.buffer).setUint16(0, code);
  payload.set(words, 2);
  return payload;
}

/** A close frame without a code, or with one that must not be sent, counts as none. */
function readClose(payload: Uint8Array): Ending {
  const code = payload.length >= 2 ? payload[0]! << 8 | payload[1]! : 1005;
  const isAllowed = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code) || code >= 3000 && code <= 4999;
  return { code: isAllowed ? code : 1005, reason: new TextDecoder().decode(payload.subarray(2)) };
}
