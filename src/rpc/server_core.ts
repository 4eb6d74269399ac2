import type { Codec } from "../codec/mod.ts";
import { within } from "../internal/within.ts";
import type { Reply } from "./call.ts";
import type { CallContext } from "./context.ts";
import type { Method } from "./contract.ts";
import type { Admission, Guard } from "./guard.ts";
import type { ServerLimits } from "./limits.ts";
import type { Log } from "./log.ts";
import { RpcError } from "./rpc_error.ts";
import { check, mismatch } from "./schema.ts";

/** One method that a server answers. */
export interface Endpoint {
  readonly method: Method;
  /** The longest a call of it may take, in milliseconds. */
  readonly deadlineMs: number;
  /** The handler, with the server's middleware around it. */
  readonly run: (message: unknown, context: CallContext, signal?: AbortSignal) => unknown;
}

/** What the parts of a server share. */
export interface ServerCore {
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  /** The codecs by each spelling of their media type. */
  readonly codecs: ReadonlyMap<string, Codec>;
  /** How the answer to a POST begins, by codec: made once, because headers are a good part of what a small call costs. */
  readonly answers: ReadonlyMap<Codec, ResponseInit>;
  readonly guard: Guard;
  readonly limits: Required<ServerLimits>;
  readonly log: Log;
  readonly tlsTerminated: boolean;
  readonly traffic: Traffic;
}

/** Counts the calls of a server: how many run, how many are still to be answered. */
export interface Traffic {
  /** Takes a place; throws when there is none left or the server is about to end. */
  enter(): void;
  /** The caller has its answer; a handler that is still running keeps its place until it ends. */
  leave(context: CallContext | undefined): void;
  readonly draining: boolean;
  /** Lets nobody in any more, and waits until everyone who is in is answered. */
  drain(): Promise<void>;
}

/** The traffic of one server. */
export function traffic(maxConcurrentCalls: number): Traffic {
  let running = 0;
  let unanswered = 0;
  let draining = false;
  let empty: () => void;
  const emptied = new Promise<void>((resolve) => {
    empty = resolve;
  });
  const release = () => {
    running--;
  };
  return {
    get draining() {
      return draining;
    },
    enter() {
      if (draining) throw new RpcError("unavailable", "Cannot take the call: the server is about to end");
      if (running >= maxConcurrentCalls) {
        throw new RpcError("resource_exhausted", "Cannot take the call: too many calls are under way");
      }
      running++;
      unanswered++;
    },
    leave(context) {
      if (context?.outlived) context.outlived.then(release, release);
      else release();
      if (--unanswered === 0 && draining) empty();
    },
    drain() {
      draining = true;
      if (unanswered === 0) empty();
      return emptied;
    },
  };
}

/**
 * Takes a decoded message through the contract to the handler, and the answer back: the part of a call that is the
 * same over a network and within a process.
 *
 * @returns The answer as the contract has it.
 * @throws {RpcError} The message is not what the contract says, the guard refuses it, or the time is up.
 */
export async function invoke(
  endpoint: Endpoint,
  admission: Admission,
  message: unknown,
  context: CallContext,
  signal?: AbortSignal,
): Promise<unknown> {
  const { method } = endpoint;
  if (method.streamsInput || method.streamsOutput) {
    throw new RpcError("unimplemented", "Cannot call this method: streams are not served yet");
  }
  // An object without required members would take an empty list.
  if (Array.isArray(message)) throw new RpcError("invalid_argument", mismatch("The message", []));
  const input = check(method.validateInput, message);
  const { value, issues } = input instanceof Promise ? await input : input;
  if (issues) throw new RpcError("invalid_argument", mismatch("The message", issues));
  if (admission.decide) await admission.decide(value);
  let answer = endpoint.run(value, context, signal);
  if (isPromiseLike(answer)) answer = await untilDeadline(answer, context);
  const output = check(method.validateOutput, answer);
  const checked = output instanceof Promise ? await output : output;
  if (checked.issues) {
    const cause = mismatch("The handler's answer", checked.issues);
    throw new RpcError("internal", "The call failed inside the service", { cause });
  }
  return checked.value;
}

/** A handler that outlives its deadline is answered for, and keeps its place until it ends. */
function untilDeadline(answer: PromiseLike<unknown>, context: CallContext): Promise<unknown> {
  const pending = Promise.resolve(answer);
  return within(pending, () => context.remainingMs, () => {
    context.outlived = pending;
    return context.expire();
  });
}

export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** What middleware sees where a handler was wrapped. */
export function replyOf(answer: unknown): Reply | Promise<Reply> {
  return isPromiseLike(answer) ? Promise.resolve(answer).then((message) => ({ message })) : { message: answer };
}
