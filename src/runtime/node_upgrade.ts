import { type AcceptedUpgrade, acceptWebSocket } from "./accept_web_socket.ts";
import { type NodeSocket, socketWebSocket } from "./socket_web_socket.ts";
import { handshakeAnswer } from "./web_socket_handshake.ts";

/** A request of Node's that asks for an upgrade. */
export interface UpgradeRequest {
  readonly url?: string | undefined;
  readonly method?: string | undefined;
  readonly rawHeaders: readonly string[];
}

/** A socket whose HTTP is over. */
export interface UpgradedSocket extends NodeSocket {
  setNoDelay(noDelay: boolean): unknown;
  setTimeout(timeoutMs: number): unknown;
}

/**
 * Makes a web request of one of Node's.
 *
 * @param incoming The request.
 * @returns The request, or undefined when it is not one.
 */
export function upgradeRequest({ url, method = "GET", rawHeaders }: UpgradeRequest): Request | undefined {
  try {
    const headers = new Headers();
    for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
    if (!url?.startsWith("/")) return undefined;
    return new Request(`https://${headers.get("host")}${url}`, { method, headers });
  } catch {
    return undefined;
  }
}

/**
 * Begins a WebSocket on a socket.
 *
 * @param socket The socket.
 * @param request The request, whose handshake the server has checked.
 * @param accepted What the server said, and what came behind the request.
 */
export function acceptOnSocket(
  socket: UpgradedSocket,
  request: Request,
  accepted: { readonly upgrade: AcceptedUpgrade; readonly rest: Uint8Array },
): void {
  const { upgrade, rest } = accepted;
  const { protocol, maxMessageBytes } = upgrade;
  socket.setTimeout(0); // the connection has a heartbeat of its own
  socket.setNoDelay(true);
  socket.write(new TextEncoder().encode(handshakeAnswer(request.headers.get("sec-websocket-key") ?? "", protocol)));
  const webSocket = socketWebSocket(socket, { isClient: false, maxMessageBytes, protocol });
  socket.on("data", webSocket.receive);
  acceptWebSocket(webSocket, upgrade);
  webSocket.receive(rest);
}

/**
 * Refuses an upgrade and ends the connection.
 *
 * @param socket The socket.
 * @param response The refusal.
 */
export async function refuseOnSocket(socket: UpgradedSocket, response: Response): Promise<void> {
  const body = new Uint8Array(await response.arrayBuffer());
  const lines = [`HTTP/1.1 ${response.status} ${response.statusText || "Refused"}`];
  for (const [name, value] of response.headers) {
    if (name !== "content-length" && name !== "connection") lines.push(`${name}: ${value}`);
  }
  const head = new TextEncoder().encode(
    [...lines, `content-length: ${body.length}`, "connection: close"].join("\r\n") + "\r\n\r\n",
  );
  const all = new Uint8Array(head.length + body.length);
  all.set(head);
  all.set(body, head.length);
  socket.on("error", () => socket.destroy());
  // Who does not close its end would keep the socket: none of Node's limits hold after an upgrade.
  const cutting = setTimeout(() => socket.destroy(), LEAVING_MS);
  socket.on("close", () => clearTimeout(cutting));
  socket.write(all);
  socket.end();
}

/** How long a client that was refused may take to read that and to close, in milliseconds. */
const LEAVING_MS = 2_000;
