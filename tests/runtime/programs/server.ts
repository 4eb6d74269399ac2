/** What the server programs of Deno, Bun and Node share: serve, say so, and drain at SIGTERM. */
import process from "node:process";
import type { FetchServer, ServeOptions, Serving } from "../../../src/runtime/runtime.ts";
import { createApp } from "./app.ts";

/**
 * Serves the app with the options in the first argument until SIGTERM, and then leaves the process to end by itself.
 *
 * @param serve The runtime's `serve`.
 */
export async function runServer(serve: (app: FetchServer, options: ServeOptions) => Promise<Serving>): Promise<void> {
  const app = createApp();
  // The listener alone must drain a server that has no disposal of its own.
  const server = process.env.WITHOUT_DISPOSAL ? { fetch: app.fetch } : app;
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
  console.log(`ready ${JSON.stringify({ port: serving.port, url: serving.url })}`);
}
