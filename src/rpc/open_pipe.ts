import { SUBPROTOCOL } from "./hello.ts";
import type { Pipe, PipeUser } from "./pipe.ts";
import { type WebSocketLike, webSocketPipe } from "./web_socket_pipe.ts";

/** Opens a WebSocket. */
export type OpenWebSocket = (url: string, protocols: string[]) => WebSocketLike | Promise<WebSocketLike>;

/** What is told of a pipe that is opened. */
export interface OpenPipeUser {
  /** It is open. */
  opened(pipe: Pipe): PipeUser;
  /** It never was, or the server does not speak the protocol. */
  failed(cause: unknown): void;
}

/** Opens a pipe to a server. */
export function openPipe(open: OpenWebSocket, url: string, { opened, failed }: OpenPipeUser): void {
  const start = (socket: WebSocketLike) => {
    webSocketPipe(socket, (pipe) => {
      // Deno's client does not mind a server that chose none of the protocols it was offered.
      if (socket.protocol === SUBPROTOCOL) return opened(pipe);
      pipe.close(1000, "another protocol");
      failed(new Error("The server does not speak the protocol"));
      return NOBODY;
    }, () => failed(new Error("The WebSocket did not open")));
  };
  try {
    const socket = open(url, [SUBPROTOCOL]);
    if ("then" in socket) socket.then(start).catch(failed);
    else start(socket);
  } catch (cause) {
    failed(cause);
  }
}

const NOBODY: PipeUser = { receive() {}, closed() {} };
