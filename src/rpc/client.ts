import { MAX_TIMER } from "../internal/within.ts";
import { type Middleware, type Origin, type Transport, wrap } from "./call.ts";
import { checked, overdue } from "./checked_by_client.ts";
import { streaming } from "./client_stream.ts";
import {
  isStreaming,
  type Method,
  type MethodDeclaration,
  type MethodDeclarations,
  type Received,
  type Sent,
  type Service,
  type Stream,
} from "./contract.ts";
import { assertLimit } from "./limits.ts";
import { CANCELED, RECEIVED, RpcError } from "./rpc_error.ts";
import { mismatch } from "./schema.ts";

/** What one call asks for beyond the client's own settings. */
export interface CallOptions {
  /** How long the call may take, in milliseconds. @default {the client's; of a streaming call, for ever} */
  readonly timeoutMs?: number;
  /** Cancels the call, here and at the server, when it aborts. */
  readonly signal?: AbortSignal;
  /** What the call is part of; `Context.call` sets it. @default {nothing} */
  readonly origin?: Origin;
}

/** How a client is built. */
export interface ClientOptions {
  /** How long a unary call may take where it does not say, in milliseconds. @default {30_000} */
  readonly timeoutMs?: number;
  /** What wraps every call; the first is the outermost. @default {[]} */
  readonly middleware?: readonly Middleware[];
}

/** One method as a client has it. */
export type ClientMethod<Declared extends MethodDeclaration> = (
  message: Sent<Declared["input"]>,
  options?: CallOptions,
) => Declared["output"] extends Stream ? Received<Declared["output"]> : Promise<Received<Declared["output"]>>;

/** A client: a plain object with one function for each method of the contract. */
export type Client<Methods extends MethodDeclarations> = {
  readonly [Name in keyof Methods]: ClientMethod<Methods[Name]>;
};

/**
 * Makes a client of a contract.
 *
 * What is sent is checked against the contract before a byte leaves, and what comes back before it is handed on.
 *
 * @example Call a server of the same process
 * ```ts
 * import { createClient, createServer, implement, publicOnly, rpc, service } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * const server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
 *   guard: publicOnly(["greeter.v1/hello"]),
 * });
 *
 * const greeter = createClient(Greeter, server.call);
 * const { text } = await greeter.hello({ name: "Ada" });
 * if (text !== "Hello, Ada!") throw new Error(text);
 * ```
 *
 * @param service The contract.
 * @param transport What takes the calls: `fetchTransport(…)` to a server elsewhere, `server.call` to one in this process.
 * @param options Timeout and middleware.
 * @returns The client. Its functions reject with an `RpcError`, unless middleware or a transport of yours throws other
 * things.
 * @throws {RangeError} The timeout is not a whole number from 1 to 2,147,483,647.
 */
export function createClient<Methods extends MethodDeclarations>(
  service: Service<Methods>,
  transport: Transport,
  options: ClientOptions = {},
): Client<Methods> {
  const { timeoutMs = 30_000, middleware = [] } = options;
  assertLimit("timeoutMs", timeoutMs);
  const through = wrap(middleware, transport);
  const methods = Object.values<Method>(service.methods).map((method) => [
    method.name,
    isStreaming(method) ? streaming(method, through) : unary(method, through, timeoutMs),
  ]);
  return Object.freeze(Object.fromEntries(methods)) as Client<Methods>;
}

type UnaryFunction = (message: unknown, options?: CallOptions) => Promise<unknown>;

function unary(method: Method, transport: Transport, defaultTimeoutMs: number): UnaryFunction {
  return async (message, options) => {
    const ownMs = Math.min(options?.timeoutMs ?? defaultTimeoutMs, MAX_TIMER);
    const timeoutMs = Math.min(ownMs, options?.origin?.remainingMs ?? ownMs);
    if (!(timeoutMs > 0)) throw overdue();
    const { signal, origin } = options ?? {};
    if (signal?.aborted) throw new RpcError("canceled", CANCELED, { cause: signal.reason, ...RECEIVED });
    const input = await checked(method.validateInput, message, timeoutMs);
    if (input.issues) throw new RpcError("invalid_argument", mismatch("The message", input.issues), RECEIVED);
    const call = signal ? { method, message, timeoutMs, signal } : { method, message, timeoutMs };
    const reply = await transport(origin ? { ...call, origin } : call);
    const output = await checked(method.validateOutput, reply.message, timeoutMs);
    if (output.issues) throw new RpcError("internal", mismatch("The answer", output.issues), RECEIVED);
    return output.value;
  };
}
