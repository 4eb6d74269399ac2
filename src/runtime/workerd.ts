/**
 * Postern on workerd and Cloudflare Workers, which listen, end TLS and keep keys by configuration.
 *
 * @example A worker
 * ```ts ignore
 * import { worker } from "@postern/rpc/workerd";
 *
 * export default worker(server);
 * ```
 *
 * @module
 */
import type { WebSocketLike } from "../rpc/mod.ts";
import { acceptWebSocket } from "./accept_web_socket.ts";
import type { FetchServer, RuntimeWebSocket } from "./runtime.ts";
import { handlingOf, isUpgrade } from "./serving.ts";

export { type HashProvider, nobleHash as nativeHash } from "../internal/hash.ts";
export type { FetchServer, RuntimeWebSocket } from "./runtime.ts";

/** What a worker's module exports as its default. */
export interface Worker {
  /** Answers one request. */
  fetch(request: Request): Promise<Response>;
}

interface WorkerdWebSocket extends WebSocketLike {
  accept(): void;
}

declare const WebSocketPair: new () => { readonly 0: WorkerdWebSocket; readonly 1: WorkerdWebSocket };

/**
 * Makes of a server what workerd calls, with WebSockets.
 *
 * @param server What answers requests.
 * @returns The default export of a worker's module.
 */
export function worker(server: FetchServer): Worker {
  const { answer, upgrade } = handlingOf(server);
  return {
    async fetch(request) {
      if (!upgrade || !isUpgrade(request)) return await answer(request);
      const outcome = await upgrade(request);
      if (outcome instanceof Response) return outcome;
      const { 0: theirs, 1: ours } = new WebSocketPair();
      ours.accept();
      acceptWebSocket(ours, outcome);
      // workerd would compress what is secret for a client that offers it; an extension that it does not know turns that
      // off, and is not sent.
      const headers = { "sec-websocket-protocol": outcome.protocol, "sec-websocket-extensions": "none" };
      return new Response(null, { status: 101, headers, webSocket: theirs } as ResponseInit);
    },
  };
}

/**
 * Opens WebSockets for `webSocketTransport`, which trust what workerd's configuration says.
 *
 * @returns What opens them.
 */
export function createWebSocket(): RuntimeWebSocket {
  return (url, protocols = []) => new WebSocket(url, [...protocols]) as WebSocketLike;
}
