import type { Pipe, PipeUser } from "./pipe.ts";

/** A WebSocket, as far as it is needed: the web's own, and what runtimes and libraries have in its place. */
export interface WebSocketLike {
  /** What binary messages come as; set to `arraybuffer`. */
  binaryType: string;
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  /** How many bytes were handed over that have not left yet. */
  readonly bufferedAmount: number;
  /** The subprotocol that the server chose. */
  readonly protocol: string;
  /** Told when it is open. */
  onopen: unknown;
  /** Told of each message, as `data` of the event. */
  onmessage: unknown;
  /** Told when it is closed. */
  onclose: unknown;
  /** Told when it failed. */
  onerror: unknown;
  /** Sends a message. */
  send(message: string | Uint8Array<ArrayBuffer>): void;
  /** Closes it. */
  close(code?: number, reason?: string): void;
}

/**
 * Makes a {@linkcode Pipe} of a WebSocket, and connects it with the one who uses it.
 *
 * @param socket The WebSocket, open or about to be; its handlers are this function's from now on.
 * @param open Begins, once the socket is open.
 * @param failed Told instead of `open` when it never opens.
 */
export function webSocketPipe(
  socket: WebSocketLike,
  open: (pipe: Pipe) => PipeUser,
  failed: () => void = () => {},
): void {
  let user: PipeUser | undefined;
  let over = false; // Deno may tell twice that a socket is closed, and workerd of an error after it
  socket.binaryType = "arraybuffer"; // browsers, Deno's client and workerd would give Blobs
  const begin = () => {
    if (!over && !user) user = open(pipeOf(socket, end));
  };
  socket.onopen = begin;
  socket.onmessage = ({ data }: { readonly data: unknown }) => {
    if (over) return;
    if (typeof data === "string") user?.receive(data);
    else if (data instanceof ArrayBuffer) user?.receive(new Uint8Array(data));
    else if (data instanceof Uint8Array) user?.receive(data);
    else end();
  };
  socket.onclose = end;
  socket.onerror = (event: { preventDefault?(): void }) => {
    event?.preventDefault?.(); // Deno reports an error that nobody handled
    end();
  };
  if (socket.readyState === OPEN) begin();

  function end(): void {
    if (over) return;
    over = true;
    if (socket.readyState <= OPEN) closeQuietly(socket, 1000, "");
    if (user) user.closed();
    else failed();
  }
}

const OPEN = 1;

function pipeOf(socket: WebSocketLike, end: () => void): Pipe {
  return {
    get bufferedBytes() {
      return socket.bufferedAmount;
    },
    send(message) {
      try {
        if (socket.readyState === OPEN) socket.send(message);
      } catch {
        end();
      }
    },
    close(code, reason) {
      if (socket.readyState <= OPEN) closeQuietly(socket, code, reason);
    },
  };
}

/** A runtime may refuse a code, or to close what it has closed itself. */
function closeQuietly(socket: WebSocketLike, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // it is closed
  }
}
