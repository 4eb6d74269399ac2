/** What the mutual TLS server programs share: say who called at `/peer`, be the app elsewhere, and drain at SIGTERM. */
import process from "node:process";
import { PEER_CERTIFICATE } from "../../../src/rpc/mod.ts";
import type { FetchServer, ServeOptions, Serving } from "../../../src/runtime/runtime.ts";
import { createApp } from "./app.ts";

/** What `/peer` answers. */
export interface PeerAnswer {
  /** The certificate as the server sees it, null for none. */
  readonly peer: { readonly thumbprint: string; readonly ids: readonly string[]; readonly forwarded: boolean } | null;
  /** Names of the request's headers that begin with `client`. */
  readonly headers: readonly string[];
  /** How many requests the server has seen, this one included. */
  readonly count: number;
}

/**
 * Serves with the options in the first argument until SIGTERM, and then leaves the process to end by itself.
 *
 * @param serve The runtime's `serve`.
 */
export async function runServer(serve: (app: FetchServer, options: ServeOptions) => Promise<Serving>): Promise<void> {
  const app = createApp();
  let count = 0;
  const server: FetchServer = {
    fetch(request, info) {
      count++;
      if (new URL(request.url).pathname !== "/peer") return app.fetch(request);
      const headers = [...request.headers.keys()].filter((name) => name.startsWith("client"));
      return Response.json({ peer: info?.[PEER_CERTIFICATE] ?? null, headers, count } satisfies PeerAnswer);
    },
    // The listener alone must drain a server that has no disposal of its own.
    ...!process.env.WITHOUT_DISPOSAL && { [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() },
  };
  const serving = await serve(server, JSON.parse(process.argv[2]));
  const drain = async () => {
    process.off("SIGTERM", drain);
    const disposed = serving[Symbol.asyncDispose]();
    console.log("draining");
    await disposed;
    await serving.finished;
    console.log("drained");
  };
  process.on("SIGTERM", drain);
  console.log(`ready ${serving.port}`);
}
