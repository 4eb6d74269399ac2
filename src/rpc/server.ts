import { type Codec, json } from "../codec/mod.ts";
import { type Call, type Middleware, type Transport, wrap } from "./call.ts";
import { streamMediaType, unaryMediaType } from "./connect_protocol.ts";
import type { CallContext } from "./context.ts";
import { isStreaming, type Method, type Service } from "./contract.ts";
import type { Guard } from "./guard.ts";
import { httpHandler } from "./http_handler.ts";
import type { Implementation } from "./implement.ts";
import type { PeerInfo } from "./peer.ts";
import type { Upgrade } from "./pipe.ts";
import { inProcess } from "./in_process.ts";
import { assertLimit, type ServerLimits, serverLimits } from "./limits.ts";
import { type Log, logToConsole, note } from "./log.ts";
import { type Endpoint, type Framing, type ServerCore, traffic } from "./server_core.ts";
import { asOrigin } from "./web_origin.ts";
import type { WebSocketUpgrade } from "./websocket_server.ts";

/** How a server is built. */
export interface ServerOptions {
  /** Who may call what. There is no default. */
  readonly guard: Guard;
  /** The encodings that are offered. @default {[json()]} */
  readonly codecs?: readonly Codec[];
  /** What wraps every admitted call; the first is the outermost. @default {[]} */
  readonly middleware?: readonly Middleware[];
  /** What the server refuses to go beyond. */
  readonly limits?: ServerLimits;
  /** Where the server's log goes. @default {one line of JSON for each entry on the error output} */
  readonly log?: Log;
  /**
   * Whether a trusted proxy, or the platform, ends TLS before a request gets here.
   *
   * Without it a request whose URL is not `https:` is refused, so that a server put on a plain port by mistake serves
   * nobody.
   *
   * @default {false}
   */
  readonly tlsTerminated?: boolean;
  /**
   * The web pages that may open a WebSocket, by their origin, as `https://app.example.org`; browsers let every page try.
   *
   * @default {[]}
   */
  readonly origins?: readonly string[];
}

/**
 * A server: what answers requests, wherever they come from.
 *
 * `export default` it under `deno serve`, Bun or workerd, give it to `serve` of a runtime's subpath, or mount its
 * `fetch` in any router. Disposing it lets nobody in any more and waits until every call is answered.
 */
export interface Server extends AsyncDisposable {
  /** Answers one request, of which a listener may know more than it says; never rejects. */
  readonly fetch: (request: Request, info?: PeerInfo) => Promise<Response>;
  /**
   * Says to a request that wants to become a WebSocket what becomes of it; never rejects. `serve` of a runtime's subpath
   * does the rest.
   */
  readonly upgrade: (request: Request, info?: PeerInfo) => Upgrade | Promise<Upgrade>;
  /** Calls the server from the same process, through the same guard, contract and middleware. */
  readonly call: Transport;
  /** The contracts that it serves. */
  readonly services: readonly Service[];
  /** Whether it is about to end. */
  readonly draining: boolean;
}

/**
 * Builds a server from the implementations of its services.
 *
 * @example The smallest server
 * ```ts
 * import { createServer, implement, publicOnly, rpc, service } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 *
 * export default createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
 *   guard: publicOnly(["greeter.v1/hello"]),
 * });
 * ```
 *
 * @param implementations One, or several of different services.
 * @param options The guard, and what else differs from the defaults.
 * @returns The server; it listens nowhere by itself.
 * @throws {TypeError} There is no guard, the guard names what is not served, or a service or codec is given twice.
 * @throws {RangeError} A limit is not a whole number from 1 to 2,147,483,647.
 */
export function createServer(
  implementations: Implementation | readonly Implementation[],
  options: ServerOptions,
): Server {
  const given = [implementations].flat();
  const services = given.map((each) => each.service);
  if (!options?.guard) throw new TypeError("Cannot build a server without a guard, publicOnly() is one");
  const log = options.log ?? logToConsole;
  const guarding = options.guard.start(services, (event) => {
    note(log, { level: "info", event, correlationId: "start" });
  });
  const limits = serverLimits(options.limits);
  const codecs = options.codecs ?? [json()];
  const core: ServerCore = {
    endpoints: endpointsOf(given, options.middleware ?? [], limits.callDeadlineMs),
    codecs: codecsByMediaType(codecs),
    framings: framings(codecs),
    answers: new Map(codecs.map((each) => [each, { headers: { "content-type": unaryMediaType(each.name) } }])),
    guard: options.guard,
    limits,
    log,
    tlsTerminated: options.tlsTerminated ?? false,
    traffic: traffic(limits.maxConcurrentCalls),
  };
  const origins = (options.origins ?? []).map(asOrigin);
  // Loaded where it is used, because many servers never see a WebSocket.
  let loading: Promise<WebSocketUpgrade> | undefined;
  const sockets = () =>
    loading ??= import("./websocket_server.ts").then((module) => module.webSocketUpgrade(core, { origins }));
  return {
    fetch: httpHandler(core),
    upgrade: async (request, info) => await (await sockets()).upgrade(request, info),
    call: inProcess(core),
    services,
    get draining() {
      return core.traffic.draining;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([core.traffic.drain(), loading?.then((each) => each.drain())]);
      guarding?.[Symbol.dispose]();
    },
  };
}

function endpointsOf(
  implementations: readonly Implementation[],
  middleware: readonly Middleware[],
  callDeadlineMs: number,
): ReadonlyMap<string, Endpoint> {
  const endpoints = new Map<string, Endpoint>();
  for (const { service, handlers } of implementations) {
    for (const method of Object.values(service.methods)) {
      if (endpoints.has(method.path)) throw new TypeError(`Cannot serve "${service.name}" twice`);
      const { maxBodyBytes, callDeadlineMs: own } = method.options;
      if (maxBodyBytes !== undefined) assertLimit("maxBodyBytes", maxBodyBytes);
      if (own !== undefined) assertLimit("callDeadlineMs", own);
      const run = wrapped(method, handlers.get(method.name)!, middleware);
      const deadlineMs = own ?? (isStreaming(method) ? Infinity : callDeadlineMs);
      endpoints.set(method.path, { method, run, deadlineMs });
    }
  }
  return endpoints;
}

/** The handler itself, or the handler inside the middleware; most servers have none, and then nothing is allocated. */
function wrapped(
  method: Method,
  handler: (message: unknown, context: CallContext) => unknown,
  middleware: readonly Middleware[],
): Endpoint["run"] {
  if (middleware.length === 0) return handler;
  const { streamsInput, streamsOutput } = method;
  const outermost = wrap(middleware, async (call) => {
    const answer = await handler(streamsInput ? call.messages : call.message, call.context as CallContext);
    return streamsOutput ? { message: undefined, messages: answer as AsyncIterable<unknown> } : { message: answer };
  });
  return async (input, context) => {
    const call: Call = {
      method,
      ...streamsInput ? { message: undefined, messages: input as AsyncIterable<unknown> } : { message: input },
      context,
      timeoutMs: context.remainingMs,
      get signal() {
        return context.signal;
      },
    };
    const reply = await outermost(call);
    return streamsOutput ? reply.messages : reply.message;
  };
}

function codecsByMediaType(codecs: readonly Codec[]): ReadonlyMap<string, Codec> {
  const byType = new Map<string, Codec>();
  for (const codec of codecs) {
    const mediaType = unaryMediaType(codec.name);
    if (byType.has(mediaType)) throw new TypeError(`Cannot build a server with two codecs named "${codec.name}"`);
    for (const spelling of spellings(mediaType)) byType.set(spelling, codec);
  }
  if (byType.size === 0) throw new TypeError("Cannot build a server without a codec");
  return byType;
}

function framings(codecs: readonly Codec[]): ReadonlyMap<string, Framing> {
  const all = codecs.flatMap((codec) => [
    { codec, streams: false, mediaType: unaryMediaType(codec.name) },
    { codec, streams: true, mediaType: streamMediaType(codec.name) },
  ]);
  return new Map(all.flatMap((each) => spellings(each.mediaType).map((spelling) => [spelling, each])));
}

const spellings = (mediaType: string): readonly string[] =>
  ["", ";charset=utf-8", "; charset=utf-8"].map((parameter) => mediaType + parameter);
