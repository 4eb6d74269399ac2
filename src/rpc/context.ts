import { within } from "../internal/within.ts";
import type { Method } from "./contract.ts";
import { type Log, note } from "./log.ts";
import { DEADLINE_EXCEEDED, RpcError } from "./rpc_error.ts";

/** What a handler is told of the call beside its message. */
export interface Context {
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
  /** How long the call may still take, in milliseconds; 0 when the time is up. */
  readonly remainingMs: number;
  /**
   * Notes something in the server's log, under the call's correlation id.
   *
   * @param event What happened, in constant words.
   * @param fields What goes with it.
   */
  log(event: string, fields?: Readonly<Record<string, unknown>>): void;
  /**
   * Makes calls part of this one: they end when it ends, and have no more time than it has left.
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
  readonly #deadlineMs: number;
  readonly #log: Log;
  readonly #waiter: { readonly signal?: AbortSignal };
  readonly #startedAt = performance.now();
  #id: string | undefined;
  #expired = false; // the clock is no witness: a timer may fire a little early
  #controller: AbortController | undefined;
  #ended = false;
  #forget: (() => void) | undefined;

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
    const cancel = () => controller.abort(new RpcError("canceled", "The caller is gone"));
    if (waiting?.aborted) cancel();
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
    return (message: unknown, options: CallLimits = {}) =>
      method(message, {
        ...options,
        timeoutMs: Math.min(this.remainingMs, options.timeoutMs ?? Infinity),
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
      if (options?.keepsItsPlace) this.outlived = promise;
      return this.expire();
    });
  }

  /** The time is up: tells the handler, and makes the error for the caller. */
  expire(): RpcError {
    const error = new RpcError("deadline_exceeded", DEADLINE_EXCEEDED);
    this.#expired = true;
    this.#controller?.abort(error);
    return error;
  }

  /** The call is answered: a caller that goes away from now on is none of the handler's business. */
  end(): void {
    this.#ended = true;
    this.#forget?.();
  }
}

/** The part of a client's call options that a context narrows. */
interface CallLimits {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}
