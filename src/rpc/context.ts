import { MAX_TIMER, within } from "../internal/within.ts";
import type { Origin } from "./call.ts";
import type { Method } from "./contract.ts";
import type { Admission } from "./guard.ts";
import { type Log, note } from "./log.ts";
import { DEADLINE_EXCEEDED, RpcError } from "./rpc_error.ts";
import { childOf, readTraceparent } from "./trace.ts";

/** Who calls, as the guard found out. */
export interface Caller {
  /** The SPIFFE id, such as `spiffe://example.org/orders`. */
  readonly id: string;
  /** The roles that its authority gave it. */
  readonly roles: readonly string[];
  /** The attributes that its authority gave it. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** A right that a caller showed and that was verified. */
export interface Right {
  /** Who issued it and through whom it came, its present holder last; each step was signed by the one before. */
  readonly path: readonly string[];
  /** What it allows: methods, and constraints on their arguments. */
  readonly tools: Readonly<Record<string, unknown>>;
  /** The ids of its tokens. */
  readonly tokenIds: readonly string[];
  /** When it ends, in milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** What a handler is told of the call beside its message. */
export interface Context {
  /** Who calls, proven; undefined where the method is open to anyone and the caller proved nothing. */
  readonly caller: Caller | undefined;
  /**
   * The identities that the call came through, its caller last; empty where the caller proved nothing.
   *
   * The caller is proven. For those before it the caller vouches with its signature: decide on the caller, note the rest.
   */
  readonly chain: readonly string[];
  /** The right that the caller showed, where it showed one. */
  readonly capability: Right | undefined;
  /** The trace that this call belongs to, as W3C Trace Context writes it. */
  readonly traceparent: string;
  /** The method that is called. */
  readonly method: Method;
  /** The id under which this call is logged, and which a caller is given with an error. */
  readonly correlationId: string;
  /**
   * Aborts when nobody waits for the answer any more: the deadline is over, or the caller is gone.
   *
   * That a caller has gone is only seen where the runtime tells: Deno, Bun and Node do, workerd does with the
   * compatibility flag `enable_request_signal`. The deadline is seen everywhere.
   */
  readonly signal: AbortSignal;
  /** How long the call may still take, in milliseconds; 0 when the time is up, Infinity for a stream without a deadline. */
  readonly remainingMs: number;
  /**
   * Notes something in the server's log, under the call's correlation id; called as `context.log(…)`.
   *
   * @param event What happened, in constant words.
   * @param fields What goes with it.
   */
  log(event: string, fields?: Readonly<Record<string, unknown>>): void;
  /**
   * Makes calls part of this one: they end when it ends, have no more time than it has left, belong to its trace, say
   * who it came through, and may use the right that was handed on with it. What its caller proved itself with stays here.
   *
   * @param client A client made by `createClient`.
   * @returns The same client, its calls bound to this one.
   */
  call<Client extends object>(client: Client): Client;
}

/**
 * The one context.
 *
 * A class, though the project has none but errors: getters on a prototype are free until they are used, and most calls
 * use none of them.
 */
export class CallContext implements Context {
  readonly method: Method;
  /** The handler's promise, once the deadline was over before it settled. */
  outlived: Promise<unknown> | undefined;
  #deadlineMs: number;
  readonly #log: Log;
  readonly #waiter: { readonly signal?: AbortSignal };
  readonly #startedAt = performance.now();
  #id: string | undefined;
  #expired = false; // the clock is no witness: a timer may fire a little early
  #controller: AbortController | undefined;
  #admission: Admission | undefined;
  #traceparent: string | undefined;
  #ended = false;
  #handling: Promise<unknown> | undefined; // what goes on after the deadline
  #canceled = false;
  #forget: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param waiter Whose signal says that nobody waits any more; it is read only when a handler asks, because reading a
   * request's signal doubles what a small call costs on Deno.
   */
  constructor(method: Method | undefined, deadlineMs: number, log: Log, waiter: { readonly signal?: AbortSignal }) {
    this.method = method!; // a handler has a method, and nobody else looks
    this.#deadlineMs = deadlineMs;
    this.#log = log;
    this.#waiter = waiter;
  }

  get caller(): Caller | undefined {
    return this.#admission?.caller;
  }

  get chain(): readonly string[] {
    const { caller, origin } = this.#admission ?? {};
    return caller ? [...origin?.callers ?? [], caller.id] : [];
  }

  get capability(): Right | undefined {
    return this.#admission?.capability;
  }

  get traceparent(): string {
    return this.#traceparent ??= childOf(readTraceparent(this.#admission?.origin?.traceparent));
  }

  get correlationId(): string {
    return this.#id ??= crypto.randomUUID();
  }

  get remainingMs(): number {
    return Math.max(0, this.#deadlineMs - (performance.now() - this.#startedAt));
  }

  get signal(): AbortSignal {
    if (this.#controller) return this.#controller.signal;
    const controller = this.#controller = new AbortController();
    const waiting = this.#waiter.signal;
    const cancel = () => this.cancel();
    if (this.#canceled || waiting?.aborted) cancel();
    if (this.#expired || this.remainingMs === 0) this.expire();
    if (this.#ended) return controller.signal; // nothing will tell any more, and nobody would take the listener away
    waiting?.addEventListener("abort", cancel, { once: true });
    this.#forget = () => waiting?.removeEventListener("abort", cancel);
    return controller.signal;
  }

  log(event: string, fields?: Readonly<Record<string, unknown>>): void {
    const method = this.method.path.slice(1);
    note(this.#log, { level: "info", event, correlationId: this.correlationId, method, fields: fields ?? {} });
  }

  call<Client extends object>(client: Client): Client {
    const bound = Object.entries(client).map(([name, method]) => [name, this.#bind(method)]);
    return Object.fromEntries(bound) as Client;
  }

  #bind(method: (message: unknown, options?: CallLimits) => unknown) {
    const { delegation } = this.#admission?.origin ?? {};
    return (message: unknown, options: CallLimits = {}) =>
      method(message, {
        ...options,
        origin: {
          traceparent: childOf(this.traceparent),
          callers: this.chain,
          remainingMs: this.remainingMs,
          delegation,
        },
        signal: options.signal ? AbortSignal.any([this.signal, options.signal]) : this.signal,
      });
  }

  /**
   * Waits for a part of the call, no longer than the call may take.
   *
   * @param pending What is waited for.
   * @param options Whether the call keeps its place in the server until that has settled: a handler that outlives its
   * deadline goes on using memory.
   */
  wait<Value>(pending: PromiseLike<Value>, options?: { readonly keepsItsPlace: boolean }): Promise<Value> {
    const promise = Promise.resolve(pending);
    return within(promise, () => this.remainingMs, () => {
      if (options?.keepsItsPlace) this.outlived = this.#handling = promise;
      return this.expire();
    });
  }

  /** Its caller has left, and it still runs: its place is free when it ends, and a handler that outlives its deadline too. */
  outlive(running: Promise<unknown>): void {
    const handling = () => this.#handling;
    this.outlived ??= running.then(handling, handling);
  }

  /** The time is up: tells the handler, and makes the error for the caller. */
  expire(): RpcError {
    const error = new RpcError("deadline_exceeded", DEADLINE_EXCEEDED);
    this.#expired = true;
    this.#controller?.abort(error);
    return error;
  }

  /** The caller is gone: tells the handler. */
  cancel(): void {
    this.#canceled = true;
    this.#controller?.abort(new RpcError("canceled", "The caller is gone"));
  }

  /** From now on the end of the call's time is told by itself: between a stream's messages nobody waits for it. */
  watch(): AbortSignal {
    const { signal, remainingMs } = this;
    if (!this.#ended && remainingMs <= MAX_TIMER) this.#timer ??= setTimeout(() => this.expire(), remainingMs);
    return signal;
  }

  /** From now on the call has as long as its method says, and no longer than its caller. */
  allow(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs;
  }

  /** The guard has let the call in. */
  admit(admission: Admission): void {
    this.#admission = admission;
    if (this.#ended) admission.end?.(); // it came when nobody waited for it any more
  }

  /** The call is answered: a caller that goes away from now on is none of the handler's business. */
  end(): void {
    this.#ended = true;
    this.#forget?.();
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    const end = () => this.#admission?.end?.();
    if (this.outlived) this.outlived.then(end, end); // its handler still runs, and so its place is not free
    else end();
  }
}

/** The part of a client's call options that a context narrows. */
interface CallLimits {
  readonly signal?: AbortSignal;
  readonly origin?: Origin;
}
