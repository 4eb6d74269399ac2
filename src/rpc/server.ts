import { type Codec, json } from "../codec/mod.ts";
import { type Call, type Middleware, type Transport, wrap } from "./call.ts";
import { unaryMediaType } from "./connect_protocol.ts";
import type { CallContext } from "./context.ts";
import type { Method, Service } from "./contract.ts";
import type { Guard } from "./guard.ts";
import { httpHandler } from "./http_handler.ts";
import type { Implementation } from "./implement.ts";
import type { PeerInfo } from "./peer.ts";
import { inProcess } from "./in_process.ts";
import { assertLimit, type ServerLimits, serverLimits } from "./limits.ts";
import { type Log, logToConsole } from "./log.ts";
import { type Endpoint, type ServerCore, traffic } from "./server_core.ts";

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
  const guarding = options.guard.start(services);
  const limits = serverLimits(options.limits);
  const codecs = options.codecs ?? [json()];
  const core: ServerCore = {
    endpoints: endpointsOf(given, options.middleware ?? [], limits.callDeadlineMs),
    codecs: codecsByMediaType(codecs),
    answers: new Map(codecs.map((each) => [each, { headers: { "content-type": unaryMediaType(each.name) } }])),
    guard: options.guard,
    limits,
    log: options.log ?? logToConsole,
    tlsTerminated: options.tlsTerminated ?? false,
    traffic: traffic(limits.maxConcurrentCalls),
  };
  return {
    fetch: httpHandler(core),
    call: inProcess(core),
    services,
    get draining() {
      return core.traffic.draining;
    },
    async [Symbol.asyncDispose]() {
      await core.traffic.drain();
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
      endpoints.set(method.path, { method, run, deadlineMs: own ?? callDeadlineMs });
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
  const outermost = wrap(middleware, async (call) => ({
    message: await handler(call.message, call.context as CallContext),
  }));
  return async (message, context) => {
    const call: Call = {
      method,
      message,
      context,
      timeoutMs: context.remainingMs,
      get signal() {
        return context.signal;
      },
    };
    return (await outermost(call)).message;
  };
}

function codecsByMediaType(codecs: readonly Codec[]): ReadonlyMap<string, Codec> {
  const byType = new Map<string, Codec>();
  for (const codec of codecs) {
    const mediaType = unaryMediaType(codec.name);
    if (byType.has(mediaType)) throw new TypeError(`Cannot build a server with two codecs named "${codec.name}"`);
    for (const parameter of ["", ";charset=utf-8", "; charset=utf-8"]) byType.set(mediaType + parameter, codec);
  }
  if (byType.size === 0) throw new TypeError("Cannot build a server without a codec");
  return byType;
}
