/** What the protected server programs of Deno, Bun and Node share: serve until the process is ended, and say where. */
import process from "node:process";
import type { FetchServer, ServeOptions, Serving } from "../../../src/runtime/runtime.ts";
import { createProtectedApp, type ProtectedAppInput } from "./protected_app.ts";

/** What a protected server program is given. */
export interface ProtectedServerInput extends ProtectedAppInput {
  /** Where it listens, and with which certificate. */
  readonly serving: ServeOptions;
}

/**
 * Serves as the first argument says.
 *
 * @param serve The runtime's `serve`.
 */
export async function runServer(serve: (app: FetchServer, options: ServeOptions) => Promise<Serving>): Promise<void> {
  const { serving, ...input }: ProtectedServerInput = JSON.parse(process.argv[2]);
  const { port } = await serve(await createProtectedApp(input), serving);
  console.log(`ready ${JSON.stringify({ port })}`);
}
