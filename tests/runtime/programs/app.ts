/** The server of the programs; a stand-in of the same shape until the real one takes its place. */
import type { FetchServer } from "../../../src/runtime/runtime.ts";

/**
 * Makes a server that echoes bodies as they come, and drains as a Postern server does.
 *
 * @returns The server.
 */
export function createApp(): FetchServer & AsyncDisposable {
  let disposed = false;
  let inFlight = 0;
  let idle: (() => void) | undefined;
  const end = () => {
    if (--inFlight === 0) idle?.();
  };
  return {
    fetch(request) {
      if (disposed) return new Response("draining", { status: 503 });
      if (!request.body) return Response.json({ url: request.url, header: request.headers.get("x-test") });
      inFlight++;
      const body = request.body.pipeThrough(new TransformStream({ flush: end, cancel: end }));
      return new Response(body, { status: 201, headers: { "x-test": "echoed" } });
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      if (inFlight > 0) await new Promise<void>((resolve) => idle = resolve);
    },
  };
}
