import type { WebSocketLike } from "../rpc/mod.ts";
import { type AcceptedUpgrade, acceptWebSocket } from "./accept_web_socket.ts";

/** What is used of a WebSocket of Bun's server, whose types are not on JSR. */
export interface BunSocket {
  /** What the server said to the upgrade. */
  readonly data: AcceptedUpgrade;
  readonly readyState: number;
  binaryType: string;
  /** Gives how many bytes it sent, -1 when they wait, and 0 when they were dropped. */
  send(message: string | Uint8Array): number;
  getBufferedAmount(): number;
  close(code?: number, reason?: string): void;
  terminate(): void;
}

/** How Bun is told to treat WebSockets; one set for all connections of a listener. */
export interface BunSocketHandlers {
  readonly maxPayloadLength: number;
  readonly backpressureLimit: number;
  readonly closeOnBackpressureLimit: boolean;
  readonly idleTimeout: number;
  readonly sendPings: boolean;
  readonly perMessageDeflate: boolean;
  open(socket: BunSocket): void;
  message(socket: BunSocket, message: string | Uint8Array): void;
  close(socket: BunSocket, code: number, reason: string): void;
}

type Listener = ((event: object) => void) | null;

/** Each connection's own limit is lower; this is what Bun reads before anyone can say no. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** The connection's own bound comes first; beyond this one Bun drops messages without a word. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;
/** The longest that Bun knows; a connection's own heartbeat comes first. */
const IDLE_SECONDS = 960;

/**
 * Makes the handlers for the WebSockets of a listener.
 *
 * @param open Where the open ones are kept, to be cut.
 * @returns The handlers.
 */
export function bunSocketHandlers(open: Set<BunSocket>): BunSocketHandlers {
  const webSockets = new WeakMap<BunSocket, WebSocketLike>();
  return {
    maxPayloadLength: MAX_MESSAGE_BYTES,
    backpressureLimit: MAX_BUFFERED_BYTES,
    closeOnBackpressureLimit: true,
    idleTimeout: IDLE_SECONDS,
    sendPings: false,
    perMessageDeflate: false,
    open(socket) {
      open.add(socket);
      socket.binaryType = "uint8array";
      const webSocket = webSocketOf(socket);
      webSockets.set(socket, webSocket);
      acceptWebSocket(webSocket, socket.data);
    },
    message(socket, data) {
      (webSockets.get(socket)?.onmessage as Listener)?.({ data });
    },
    close(socket, code, reason) {
      open.delete(socket);
      (webSockets.get(socket)?.onclose as Listener)?.({ code, reason });
    },
  };
}

/** The web's shape around one of Bun's. */
function webSocketOf(socket: BunSocket): WebSocketLike {
  return {
    binaryType: "uint8array",
    protocol: socket.data.protocol,
    onopen: null,
    onmessage: null,
    onclose: null,
    onerror: null,
    get readyState() {
      return socket.readyState;
    },
    get bufferedAmount() {
      return socket.getBufferedAmount();
    },
    send(message) {
      if (socket.send(message) === 0 && message.length > 0) socket.terminate();
    },
    close: (code, reason) => socket.close(code, reason),
  };
}
