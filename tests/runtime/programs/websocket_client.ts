/** What the WebSocket client programs share: call each server, and say what came of it. */
import process from "node:process";
import type { FetchOptions, RuntimeWebSocket } from "../../../src/runtime/runtime.ts";
import { runCalls, type WebSocketInput } from "./websocket_calls.ts";

/**
 * Does what a WebSocket client program is asked.
 *
 * @param open The runtime's `createWebSocket()`.
 * @param input What to do.
 * @returns `ok` or what went wrong, by server.
 */
export async function runJobs(open: RuntimeWebSocket, input: WebSocketInput): Promise<Record<string, string>> {
  const output: Record<string, string> = {};
  for (const [name, url] of Object.entries(input.call)) output[name] = await runCalls(open, url);
  return output;
}

/**
 * Does what the first argument says and prints what came of it.
 *
 * @param createWebSocket The runtime's.
 */
export async function runClient(createWebSocket: (options: FetchOptions) => RuntimeWebSocket): Promise<void> {
  const input: WebSocketInput = JSON.parse(process.argv[2]);
  console.log(`result ${JSON.stringify(await runJobs(createWebSocket({ caCerts: input.caCerts }), input))}`);
}
