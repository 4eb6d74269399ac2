import { type Pipe, type Upgrade, type WebSocketLike, webSocketPipe } from "../rpc/mod.ts";

/** An upgrade that a server did not refuse. */
export type AcceptedUpgrade = Exclude<Upgrade, Response>;

/**
 * Begins a connection on a WebSocket of a runtime, and bounds its messages.
 *
 * @param socket The WebSocket, open or about to be.
 * @param upgrade What the server said.
 * @param closed Told once, when it is closed or did not open.
 */
export function acceptWebSocket(socket: WebSocketLike, upgrade: AcceptedUpgrade, closed: () => void = () => {}): void {
  const open = (pipe: Pipe) => {
    const user = upgrade.open(pipe);
    let isOver = false;
    return {
      receive(message: Uint8Array | string) {
        if (isOver) return;
        // A text has at least as many bytes as code units, and the few texts of a connection are short.
        if (message.length <= upgrade.maxMessageBytes) return user.receive(message);
        isOver = true;
        pipe.close(1009, "Too large");
      },
      closed() {
        user.closed();
        closed();
      },
    };
  };
  webSocketPipe(socket, open, closed);
}
