/** What the WebSocket server programs of Deno, Bun and Node share: serve, say so, and drain at SIGTERM. */
import process from "node:process";
import type { FetchServer, ServeOptions, Serving } from "../../../src/runtime/runtime.ts";
import { createApp } from "./websocket_app.ts";

/**
 * Serves the app with the options in the first argument until SIGTERM, and then leaves the process to end by itself.
 *
 * @param serve The runtime's `serve`.
 */
export async function runServer(serve: (app: FetchServer, options: ServeOptions) => Promise<Serving>): Promise<void> {
  const serving = await serve(createApp(), JSON.parse(process.argv[2]));
  const drain = async () => {
    process.off("SIGTERM", drain);
    await serving[Symbol.asyncDispose]();
    console.log("drained");
  };
  process.on("SIGTERM", drain);
  console.log(`ready ${JSON.stringify({ port: serving.port })}`);
}
