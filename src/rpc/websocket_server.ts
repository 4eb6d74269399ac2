import { within } from "../internal/within.ts";
import type { Codec } from "../codec/mod.ts";
import { type Clock, systemClock } from "./clock.ts";
import { ERROR_MEDIA_TYPE, STATUS_OF_CODE } from "./connect_protocol.ts";
import { failureOf } from "./failure.ts";
import { doorkeeper } from "./doorkeeper.ts";
import { SUBPROTOCOL } from "./hello.ts";
import { PEER_CERTIFICATE, type PeerInfo } from "./peer.ts";
import type { Pipe, PipeUser, Upgrade } from "./pipe.ts";
import { RpcError } from "./rpc_error.ts";
import type { ServerCore } from "./server_core.ts";
import { assertUpgrade } from "./upgrade_request.ts";
import { asOrigin } from "./web_origin.ts";
import { MAX_FRAME_OVERHEAD } from "./frames.ts";

/** How connections are taken. */
export interface WebSocketUpgradeOptions {
  /** The web pages that may connect, by their origin, as `https://app.example.org`. @default {[]} */
  readonly origins?: readonly string[];
  /** @default {the runtime's own} */
  readonly clock?: Clock;
}

/** The way in for connections. */
export interface WebSocketUpgrade {
  /** Says to a request that wants to become a WebSocket what becomes of it; never rejects. */
  upgrade(request: Request, info?: PeerInfo): Upgrade | Promise<Upgrade>;
  /** Takes no more connections, and waits until the calls on those there are have been answered and they are closed. */
  drain(): Promise<void>;
}

/** How many connections a server holds at once. */
export const MAX_CONNECTIONS = 1_024;
/** How long a connection that was ended may take to close, in milliseconds; then it takes nobody's place any more. */
const CLOSING_MS = 1_000;
/** How many of those there may be: one costs a socket, and its client the same. */
const MAX_LINGERING = 16_384;

/**
 * Takes connections that speak `postern.v1`: many calls over one WebSocket.
 *
 * @throws {TypeError} An origin is none.
 */
export function webSocketUpgrade(core: ServerCore, options: WebSocketUpgradeOptions = {}): WebSocketUpgrade {
  const { clock = systemClock } = options;
  const origins = new Set((options.origins ?? []).map(asOrigin));
  const places: Places = { connections: new Set(), lingering: new Set() };
  const isFull = () => places.connections.size >= MAX_CONNECTIONS || places.lingering.size >= MAX_LINGERING;
  const codecs = new Map<string, Codec>([...core.codecs.values()].map((codec) => [codec.name, codec]));
  const maxMessageBytes = Math.max(...[...codecs.values()].map((codec) => codec.maxBytes)) + MAX_FRAME_OVERHEAD;
  let draining = false;
  return {
    upgrade(request, info) {
      try {
        if (draining || core.traffic.draining) {
          throw new RpcError("unavailable", "Cannot connect: the server is about to end");
        }
        assertUpgrade(request, core, origins);
        if (isFull()) throw tooMany();
      } catch (error) {
        return refusal(error, core);
      }
      const { url } = request;
      const certificate = info?.[PEER_CERTIFICATE];
      return {
        protocol: SUBPROTOCOL,
        maxMessageBytes,
        open(pipe) {
          if (!draining && !isFull()) return connect(places, { pipe, core, codecs, url, certificate, clock });
          pipe.close(4503, "no place");
          return NOBODY;
        },
      };
    },
    async drain() {
      draining = true;
      await Promise.all([...places.connections].map((each) => each.drain()));
    },
  };
}

/** The connections of a server. */
interface Places {
  readonly connections: Set<Connected>;
  /** Those that were ended and whose other side does not say that it is: Deno cannot cut them. */
  readonly lingering: Set<Connected>;
}

interface Connected {
  drain(): Promise<void>;
}

function connect({ connections, lingering }: Places, parts: Parameters<typeof doorkeeper>[0]): PipeUser {
  const { pipe, clock } = parts;
  let gone: () => void;
  const closed = new Promise<void>((resolve) => {
    gone = resolve;
  });
  let ending: unknown;
  const end = (code: number, reason: string) => {
    pipe.close(code, reason);
    ending ??= clock.set(() => {
      if (connections.delete(connected)) lingering.add(connected);
    }, CLOSING_MS);
  };
  const user = doorkeeper({ ...parts, pipe: endedBy(pipe, end) });
  const connected: Connected = {
    async drain() {
      await user.drain();
      await within(closed, () => CLOSING_MS, () => undefined).catch(() => {});
    },
  };
  connections.add(connected);
  return {
    receive: user.receive,
    closed() {
      connections.delete(connected);
      lingering.delete(connected);
      clock.clear(ending);
      user.closed();
      gone();
    },
  };
}

/** The same pipe, of which the end is noticed. */
function endedBy(pipe: Pipe, close: Pipe["close"]): Pipe {
  return {
    get bufferedBytes() {
      return pipe.bufferedBytes;
    },
    send: (message) => pipe.send(message),
    close,
  };
}

const NOBODY: PipeUser = { receive() {}, closed() {} };

const tooMany = () => new RpcError("unavailable", "Cannot connect: there are too many connections");

async function refusal(error: unknown, core: ServerCore): Promise<Response> {
  const { wire, http } = await failureOf(error, { method: undefined, context: undefined }, core.log);
  const status = http?.status ?? STATUS_OF_CODE[wire.code];
  const headers = { "content-type": ERROR_MEDIA_TYPE, "cache-control": "no-store", ...http?.headers };
  return new Response(JSON.stringify(wire), { status, headers });
}
