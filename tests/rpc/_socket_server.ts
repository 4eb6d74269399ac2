import { cbor, json } from "../../src/codec/mod.ts";
import { type Guard, type Implementation, type LogEntry, publicOnly } from "../../src/rpc/mod.ts";
import type { PipeUser } from "../../src/rpc/pipe.ts";
import { isStreaming } from "../../src/rpc/contract.ts";
import { defaultServerLimits } from "../../src/rpc/limits.ts";
import { type ServerCore, traffic } from "../../src/rpc/server_core.ts";
import { type WebSocketUpgrade, webSocketUpgrade } from "../../src/rpc/websocket_server.ts";
import { HANDSHAKE, type PlayedPipe, playedPipe, type VirtualClock, virtualClock } from "./_sockets.ts";
import assert from "node:assert/strict";

/** The way in to a server whose clock the test moves. */
export interface SocketServer extends WebSocketUpgrade {
  readonly core: ServerCore;
  readonly clock: VirtualClock;
  readonly entries: LogEntry[];
}

export function socketServer(implementation: Implementation, guard?: Guard): SocketServer {
  const entries: LogEntry[] = [];
  const clock = virtualClock();
  const { service: { methods, name }, handlers } = implementation;
  const own = guard ?? publicOnly(Object.keys(methods).map((each) => `${name}/${each}`));
  own.start([implementation.service], () => {});
  const endpoints = Object.values(methods).map((method) =>
    [method.path, {
      method,
      run: handlers.get(method.name)!,
      deadlineMs: isStreaming(method) ? Infinity : 30_000,
    }] as const
  );
  const core = {
    endpoints: new Map(endpoints),
    codecs: new Map([["application/json", json()], ["application/cbor", cbor()]]),
    answers: new Map(),
    guard: own,
    limits: defaultServerLimits,
    log: (entry: LogEntry) => void entries.push(entry),
    tlsTerminated: false,
    traffic: traffic(10_000),
  } as unknown as ServerCore;
  return { core, clock, entries, ...webSocketUpgrade(core, { clock, origins: ["https://app.test"] }) };
}

/** The request of a client that does everything right, changed. */
export function upgradeRequest(
  changes: { readonly url?: string; readonly method?: string; readonly headers?: Readonly<Record<string, string>> } =
    {},
): Request {
  const { url = "https://counter.test/postern.v1", method = "GET", headers } = changes;
  const given = { ...HANDSHAKE, "sec-websocket-protocol": "postern.v1", ...headers };
  // Some runtimes take no forbidden headers into a Request, and one has to look like it came from a network.
  const request = new Request(url, { method });
  Object.defineProperty(request, "headers", { value: new Headers(Object.entries(given).filter(([, each]) => each)) });
  return request;
}

/** A connection of which the test plays the client. */
export interface PlayedClient extends PlayedPipe {
  readonly user: PipeUser;
}

export async function connected(server: Pick<WebSocketUpgrade, "upgrade">): Promise<PlayedClient> {
  const upgrade = await server.upgrade(upgradeRequest());
  assert.ok(!(upgrade instanceof Response), "the upgrade was refused");
  const played = playedPipe();
  return Object.assign(played, { user: upgrade.open(played.pipe) });
}
