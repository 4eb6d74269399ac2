/** What the protected client programs share: call each server, and say what came of it. */
import process from "node:process";
import type { FetchOptions, RuntimeFetch, RuntimeWebSocket } from "../../../src/runtime/runtime.ts";
import type { Fetch } from "./calls.ts";
import type { Member } from "./protected_app.ts";
import { memberOf } from "./protected_app.ts";
import { type ProtectedPeer, runProtectedCalls } from "./protected_calls.ts";
import { runProtectedStreams } from "./protected_streams.ts";

/** What a protected client program is asked to do. */
export interface ProtectedClientInput {
  /** Whom TLS is to trust. */
  readonly caCerts: readonly string[];
  /** Who it is. */
  readonly member: Member;
  /** The chain of its right to charge from 1 to 100 cents. */
  readonly right: string;
  /** Servers, by name. */
  readonly peers: Readonly<Record<string, ProtectedPeer>>;
  /** Whether it is to make streaming calls too, over HTTP and over a WebSocket. @default {false} */
  readonly streams?: boolean;
}

/** `ok` or what went wrong, by server and call. */
export type ProtectedClientOutput = Record<string, Record<string, string>>;

/**
 * Does what a protected client program is asked.
 *
 * @param fetch The runtime's fetch.
 * @param open The runtime's WebSockets.
 * @param input What to do.
 * @returns What came of it.
 */
export async function runJobs(
  fetch: Fetch,
  open: RuntimeWebSocket,
  input: ProtectedClientInput,
): Promise<ProtectedClientOutput> {
  const { peers, right, member } = input;
  const self = { ...await memberOf(member), right };
  const output: ProtectedClientOutput = {};
  for (const [name, peer] of Object.entries(peers)) {
    output[name] = await runProtectedCalls(fetch, peer, self);
    if (input.streams) Object.assign(output[name], await runProtectedStreams({ fetch, open }, peer, self));
  }
  return output;
}

/**
 * Does what the first argument says and prints what came of it.
 *
 * @param createFetch The runtime's `createFetch`.
 * @param createWebSocket The runtime's `createWebSocket`.
 */
export async function runClient(
  createFetch: (options: FetchOptions) => RuntimeFetch,
  createWebSocket: (options: FetchOptions) => RuntimeWebSocket,
): Promise<void> {
  const input: ProtectedClientInput = JSON.parse(process.argv[2]);
  const { caCerts } = input;
  const fetch = createFetch({ caCerts });
  console.log(`result ${JSON.stringify(await runJobs(fetch, createWebSocket({ caCerts }), input))}`);
  fetch[Symbol.dispose]();
}
