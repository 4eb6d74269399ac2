import type { Context } from "./context.ts";
import type { Method } from "./contract.ts";

/** What a call is part of: made of a handler's own call by `Context.call`. */
export interface Origin {
  /** The trace, as W3C Trace Context writes it. */
  readonly traceparent?: string | undefined;
  /** The identities that it came through, the first caller first. */
  readonly callers: readonly string[];
  /** How long what it is part of has left, in milliseconds. */
  readonly remainingMs?: number | undefined;
  /** A right that was handed to this service for calls of its own. */
  readonly delegation?: { reveal(): string } | undefined;
}

/** One call on its way to a handler. */
export interface Call {
  /** The method that is called. */
  readonly method: Method;
  /** The one message, where the method takes one. */
  readonly message: unknown;
  /** The messages, where the method takes a stream. */
  readonly messages?: AsyncIterable<unknown>;
  /** How long the call may still take, in milliseconds; Infinity for a stream without a deadline. */
  readonly timeoutMs: number;
  /** Cancels the call when it aborts. */
  readonly signal?: AbortSignal;
  /** What it is part of; undefined for a call that begins something. */
  readonly origin?: Origin | undefined;
  /** What the handler will be given; set on the server's side only. */
  readonly context?: Context;
}

/** What came back from a call. */
export interface Reply {
  /** The one message, where the method answers with one. */
  readonly message: unknown;
  /** The messages, where the method answers with a stream. */
  readonly messages?: AsyncIterable<unknown>;
}

/**
 * Takes a call somewhere and brings back the reply: a network, a server in the same process, a test's stub.
 *
 * An implementation MUST reject with an {@linkcode RpcError} when the call fails, MUST give up when `signal` aborts or
 * `timeoutMs` is over, and MUST NOT retry.
 */
export type Transport = (call: Call) => Promise<Reply>;

/**
 * Wraps calls, on either side.
 *
 * An implementation MUST call `next` at most once unless the call is safe or idempotent, and MUST let through errors
 * that it does not handle.
 */
export type Middleware = (call: Call, next: Transport) => Promise<Reply>;

/**
 * Puts middleware around a transport.
 *
 * @param middleware The first in the list is the outermost: it sees the call first and the reply last.
 * @param transport What the innermost one calls.
 * @returns A transport that goes through all of them.
 */
export function wrap(middleware: readonly Middleware[], transport: Transport): Transport {
  return middleware.reduceRight<Transport>((next, layer) => (call) => layer(call, next), transport);
}
