// Listens without TLS on whichever runtime this is, for HTTP and for WebSockets.
import type { Server } from "@postern/rpc";
import type { Upgrade } from "@postern/rpc/rpc";
import { acceptWebSocket } from "../../src/runtime/accept_web_socket.ts";
import { type BunSocket, bunSocketHandlers } from "../../src/runtime/bun_web_socket.ts";

/** What a contestant does. */
export interface Contender {
  fetch(request: Request): Response | Promise<Response>;
  readonly upgrade?: Server["upgrade"];
  /** For a control: answers each text on a WebSocket with another. */
  readonly echo?: (text: string) => string;
}

/** What is used of Bun, whose types are not on JSR. */
interface BunServer {
  readonly port: number;
  upgrade(request: Request, options: { readonly data: unknown; readonly headers?: Record<string, string> }): boolean;
}

const { Bun } = globalThis as unknown as {
  readonly Bun?: { readonly argv: readonly string[]; serve(options: object): BunServer };
};

export const args: readonly string[] = Bun ? Bun.argv.slice(2) : Deno.args;

export function listen(contender: Contender): void {
  if (Bun) onBun(contender);
  else onDeno(contender);
}

const isUpgrade = (request: Request) => request.method === "GET" && request.headers.get("upgrade") === "websocket";

function onDeno({ fetch, upgrade, echo }: Contender): void {
  const onListen = ({ port }: { readonly port: number }) => console.log(port);
  Deno.serve({ port: 0, hostname: "127.0.0.1", onListen }, async (request) => {
    if (!isUpgrade(request)) return await fetch(request);
    const accepted = upgrade && await upgrade(request) as Exclude<Upgrade, Response>;
    const { socket, response } = Deno.upgradeWebSocket(request, accepted ? { protocol: accepted.protocol } : {});
    if (accepted) acceptWebSocket(socket, accepted);
    else socket.onmessage = ({ data }) => socket.send(echo!(data));
    return response;
  });
}

function onBun({ fetch, upgrade, echo }: Contender): void {
  const websocket = echo
    ? { message: (socket: BunSocket, text: string) => void socket.send(echo(text)) }
    : bunSocketHandlers(new Set());
  const server = Bun!.serve({
    port: 0,
    hostname: "127.0.0.1",
    websocket,
    async fetch(request: Request) {
      if (!isUpgrade(request)) return await fetch(request);
      const data = await upgrade?.(request);
      const headers = data && { "sec-websocket-protocol": (data as { readonly protocol: string }).protocol };
      server.upgrade(request, { data, ...headers && { headers } });
    },
  });
  console.log(server.port);
}
