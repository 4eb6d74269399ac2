import { type Codec, json } from "../codec/mod.ts";
import { type Random, secureRandom } from "../internal/random.ts";
import { type Alarm, alarm } from "./alarm.ts";
import type { Transport } from "./call.ts";
import { type ClientCall, clientCall, expireCall, failCall } from "./client_call.ts";
import { type ClientConnection, clientConnection, type ClientConnectionParts } from "./client_connection.ts";
import { type Clock, systemClock } from "./clock.ts";
import { openPipe, type OpenWebSocket } from "./open_pipe.ts";
import { SUBPROTOCOL } from "./hello.ts";
import type { Prover } from "./prover.ts";
import { NotSentError, RECEIVED, type RpcError } from "./rpc_error.ts";

/** How calls are made over a WebSocket. */
export interface WebSocketTransportOptions {
  /** What proves the connection and its calls, and checks the server. There is no default. */
  readonly prover: Prover;
  /** The encoding of the messages. @default {json()} */
  readonly codec?: Codec;
  /**
   * What opens a WebSocket, in place of the web's own: one that trusts a certificate authority of yours, say.
   *
   * @default {new WebSocket(url, protocols)}
   */
  readonly open?: OpenWebSocket;
  /** Tells the time. @default {the runtime's own} */
  readonly clock?: Clock;
  /** Spreads the attempts of many clients to connect again. @default {the runtime's cryptographic source} */
  readonly random?: Random;
}

/**
 * Makes calls over one WebSocket that all of them share, in the protocol `postern.v1`.
 *
 * The connection is opened when the first call is made, and again when it is gone and there is another call; more than 128
 * calls at once open a second one. Nothing is taken up again: a call that was under way when its connection went fails as
 * `unavailable`, and one of which no byte had left as a {@linkcode NotSentError}.
 *
 * @example A client of a server elsewhere
 * ```ts
 * import { anonymous, createClient, rpc, service, webSocketTransport } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * await using transport = webSocketTransport("wss://localhost:8443", { prover: anonymous() });
 * const greeter = createClient(Greeter, transport);
 * ```
 *
 * @param url Where the server is: `wss:`, a host, perhaps a port and the path under which it is mounted.
 * @param options The prover, and what else differs from the defaults.
 * @returns The transport; disposing it ends the connection and the calls on it.
 * @throws {TypeError} The URL is not `wss:`, or holds credentials, a query or a fragment; or there is no prover.
 */
export function webSocketTransport(
  url: string | URL,
  options: WebSocketTransportOptions,
): Transport & AsyncDisposable {
  const { prover, codec = json(), clock = systemClock, random = secureRandom() } = options ?? {};
  const open = options?.open ?? ((url, protocols) => new WebSocket(url, protocols));
  const { socket, proven } = addressOf(url);
  if (!prover) throw new TypeError("Cannot make calls without a prover, anonymous() is one");
  const pool: Pool = {
    parts: { url: proven, prover, codec, clock, open: (user) => openPipe(open, socket, user) },
    random,
    alarm: alarm<ClientCall>(clock, expireCall),
    connections: new Set(),
    closings: new Set(),
    failures: 0,
    notBefore: -Infinity,
    failure: undefined,
    disposed: false,
  };
  const shared = { codec, clock, alarm: pool.alarm };
  const transport: Transport = (call) =>
    new Promise((resolve, reject) => {
      try {
        if (pool.disposed) throw new NotSentError("The transport was closed", RECEIVED);
        place(pool, clientCall(call, shared, { resolve, reject }));
      } catch (error) {
        reject(error);
      }
    });
  return Object.assign(transport, { [Symbol.asyncDispose]: () => dispose(pool) });
}

/** What is known of all connections. */
interface Pool {
  readonly parts: ClientConnectionParts;
  readonly random: Random;
  readonly alarm: Alarm<ClientCall>;
  /** Those that are not over; what drains is among them. */
  readonly connections: Set<ClientConnection>;
  /** Settle when those that were opened are closed. */
  readonly closings: Set<Promise<void>>;
  /** How many attempts failed since the last that did not, when the next one may be made, and why. */
  failures: number;
  notBefore: number;
  failure: RpcError | undefined;
  disposed: boolean;
}

function place(pool: Pool, call: ClientCall): void {
  for (const each of pool.connections) if (each.isFree) return each.take(call);
  // A server that is not there is not asked at every call.
  if (pool.failure && pool.parts.clock.now() < pool.notBefore) failCall(call, pool.failure);
  else connect(pool).take(call);
}

function connect(pool: Pool): ClientConnection {
  let over = false;
  const made: { connection?: ClientConnection } = {};
  let gone: () => void;
  const closed = new Promise<void>((resolve) => {
    gone = resolve;
  });
  pool.closings.add(closed);
  const connection = clientConnection(pool.parts, {
    entered() {
      pool.failures = 0;
      pool.failure = undefined;
    },
    failed(error) {
      const longestMs = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** pool.failures++);
      pool.notBefore = pool.parts.clock.now() + longestMs / 2 + pool.random.below(longestMs / 2);
      pool.failure = error;
    },
    over() {
      over = true; // perhaps before there is a connection
      if (made.connection) pool.connections.delete(made.connection);
    },
    closed() {
      gone();
      pool.closings.delete(closed);
    },
  });
  made.connection = connection;
  if (!over) pool.connections.add(connection);
  return connection;
}

async function dispose(pool: Pool): Promise<void> {
  pool.disposed = true;
  for (const connection of [...pool.connections]) connection.close();
  pool.alarm.clear();
  let timer: unknown;
  const patience = new Promise<void>((resolve) => {
    timer = pool.parts.clock.set(resolve, CLOSING_MS);
  });
  await Promise.race([Promise.all(pool.closings), patience]);
  pool.parts.clock.clear(timer);
}

/** How long a connection that was ended may take to close, in milliseconds. */
const CLOSING_MS = 1_000;
/** How long nobody is asked after the first attempt that failed, in milliseconds, at most. */
const MIN_BACKOFF_MS = 200;
/** The same after many. */
const MAX_BACKOFF_MS = 12_800;

/** Where the WebSocket is, and the same place as the server's checks know it. */
function addressOf(given: string | URL): { readonly socket: string; readonly proven: string } {
  // The runtime's own error would show the URL, and what is in it.
  if (!URL.canParse(given)) throw new TypeError("Cannot make calls: this is not an absolute URL");
  const { protocol, username, password, search, hash, host, pathname } = new URL(given);
  if (protocol !== "wss:" || username || password || search || hash) {
    throw new TypeError(
      `Cannot make calls to this "${protocol}" URL: it must be "wss:", without credentials, query or fragment`,
    );
  }
  const place = `//${host}${pathname.replace(/\/$/, "")}/${SUBPROTOCOL}`;
  return { socket: `wss:${place}`, proven: `https:${place}` };
}
