import { acceptWebSocket } from "./accept_web_socket.ts";
import { type CheckedServeOptions, type Handling, isUpgrade, type Listener } from "./serving.ts";

/**
 * How long answers get to leave before the listener closes, in milliseconds: `shutdown()` cuts what an HTTP/2 connection
 * has not sent yet, and nothing tells when that is done. A client that reads more slowly loses the rest.
 */
const FLUSH_MS = 1_000;
/**
 * Deno's own timer of a silent WebSocket, which is off: a connection has a heartbeat of its own, and the timer goes on for up to
 * a minute after a connection was closed, and keeps the process that long.
 */
const NO_IDLE_TIMER = 0;

/**
 * Listens with `Deno.serve` for HTTP/2 and HTTP/1.1 over TLS.
 *
 * @param options Where and with what certificate.
 * @param handling What it does with requests.
 * @returns The listener.
 */
export function listenOnDeno(options: CheckedServeOptions, handling: Handling): Listener {
  const { cert, key, port, hostname } = options;
  const cutting = new AbortController();
  const { signal } = cutting;
  const active = activity();
  const sockets = new Set<WebSocket>();
  let giveUp: (() => void) | undefined;
  const onListen = () => {}; // the default prints a line
  const server = Deno.serve({ hostname, port, cert, key, signal, onListen }, async (request, info) => {
    active.begin();
    const response = await respond(request, handling, { active, sockets });
    if (isStream(response)) info.completed.then(active.end, active.end); // a promise that nobody handles may reject
    else active.end();
    return response;
  });
  return {
    port: server.addr.port,
    async close() {
      // Once it shuts down, Deno cannot cut any more and throws where nobody can catch it; so all answers come first.
      await active.idle(signal);
      const since = performance.now() - active.endedAt;
      if (since < FLUSH_MS && !signal.aborted) await new Promise((done) => setTimeout(done, FLUSH_MS - since));
      // A request that never ends would keep it from shutting down.
      const late = new Promise<void>((resolve) => giveUp = resolve);
      await Promise.race([server.shutdown(), late]);
    },
    cut() {
      for (const socket of sockets) socket.close();
      if (!giveUp) return cutting.abort();
      giveUp(); // what is left stays until its client lets go, or the program ends itself
    },
  };
}

interface Activity {
  /** When something ended last. */
  readonly endedAt: number;
  begin(): void;
  end(): void;
  /** Waits until nothing is active, or the signal aborts. */
  idle(signal: AbortSignal): Promise<void>;
}

function activity(): Activity {
  let active = 0;
  let endedAt = -Infinity;
  let idle: () => void = () => {};
  return {
    get endedAt() {
      return endedAt;
    },
    begin() {
      active++;
    },
    end() {
      endedAt = performance.now();
      if (--active === 0) idle();
    },
    async idle(signal) {
      if (active === 0 || signal.aborted) return;
      await new Promise<void>((resolve) => {
        idle = resolve;
        signal.addEventListener("abort", () => resolve());
      });
    },
  };
}

async function respond(
  request: Request,
  { answer, upgrade }: Handling,
  { active, sockets }: { readonly active: Activity; readonly sockets: Set<WebSocket> },
): Promise<Response> {
  if (!upgrade || !isUpgrade(request)) return await answer(request);
  const outcome = await upgrade(request);
  if (outcome instanceof Response) return outcome;
  try {
    const options = { protocol: outcome.protocol, idleTimeout: NO_IDLE_TIMER };
    const { socket, response } = Deno.upgradeWebSocket(request, options);
    active.begin(); // until the connection is closed
    sockets.add(socket);
    acceptWebSocket(socket, outcome, () => {
      sockets.delete(socket);
      active.end();
    });
    return response;
  } catch {
    return new Response(null, { status: 400 }); // not a handshake to Deno
  }
}

/** A call's answer that is still being sent after `answer()` has given it; what else is asked for costs every request. */
function isStream(response: Response): boolean {
  return response.headers.get("content-type")?.startsWith("application/connect+") === true;
}
