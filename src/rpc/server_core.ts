import type { Codec } from "../codec/mod.ts";
import { isPromiseLike } from "../internal/promise.ts";
import { assertPlain, decide } from "./checked_message.ts";
import type { CallContext } from "./context.ts";
import type { Method } from "./contract.ts";
import type { Admission, Guard, Incoming } from "./guard.ts";
import type { ServerLimits } from "./limits.ts";
import type { Log } from "./log.ts";
import { MASKED_MESSAGE, RpcError } from "./rpc_error.ts";
import { check, mismatch } from "./schema.ts";

/** One method that a server answers. */
export interface Endpoint {
  readonly method: Method;
  /** The longest a call of it may take, in milliseconds; Infinity for streams whose contract does not say. */
  readonly deadlineMs: number;
  /** The handler, with the server's middleware around it: takes the message or the stream of them. */
  readonly run: (message: unknown, context: CallContext) => unknown;
}

/** What the body of a POST is: one message, or the envelopes of a stream, in an encoding. */
export interface Framing {
  readonly codec: Codec;
  readonly streams: boolean;
}

/** What the parts of a server share. */
export interface ServerCore {
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  /** The codecs by each spelling of their media type. */
  readonly codecs: ReadonlyMap<string, Codec>;
  /** What the body of a POST may be, by each spelling of its media type. */
  readonly framings: ReadonlyMap<string, Framing>;
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

/** Asks the guard; whatever it answers that is no admission is a refusal. */
export function admit(guard: Guard, incoming: Incoming, context: CallContext): Admission | Promise<Admission> {
  const admitted: unknown = guard.admit(incoming);
  const enter = (answer: unknown) => {
    const admission = asAdmission(answer);
    context.admit(admission);
    return admission;
  };
  return isPromiseLike(admitted) ? context.wait(Promise.resolve(admitted).then(enter)) : enter(admitted);
}

function asAdmission(admitted: unknown): Admission {
  if (typeof admitted === "object" && admitted !== null) return admitted;
  throw new TypeError("Cannot admit the call: the guard answered with something else than an admission");
}

/**
 * Takes the decoded message of a unary call through the contract to the handler, and the answer back: the part of it that
 * is the same over a network and within a process.
 *
 * @returns The answer as the contract has it.
 * @throws {RpcError} The message is not what the contract says, the guard refuses it, or the time is up.
 */
export async function invoke(
  { method, run }: Endpoint,
  admission: Admission,
  message: unknown,
  context: CallContext,
): Promise<unknown> {
  // An object without required members would take an empty list.
  if (Array.isArray(message)) throw new RpcError("invalid_argument", mismatch("The message", []));
  const input = check(method.validateInput, message);
  const { value, issues } = input instanceof Promise ? await context.wait(input) : input;
  if (issues) throw new RpcError("invalid_argument", mismatch("The message", issues));
  const deciding = admission.decide && decide(admission, value, context);
  if (deciding) await deciding;
  let answer = run(value, context);
  if (isPromiseLike(answer)) answer = await context.wait(answer, { keepsItsPlace: true });
  assertPlain(answer);
  const output = check(method.validateOutput, answer);
  const checked = output instanceof Promise ? await context.wait(output) : output;
  if (!checked.issues) return checked.value;
  throw new RpcError("internal", MASKED_MESSAGE, { cause: mismatch("The handler's answer", checked.issues) });
}

/** The body of a call that has none. */
export const NO_BODY: Promise<Uint8Array> = /* @__PURE__ */ Promise.resolve(/* @__PURE__ */ new Uint8Array());

export { invokeStream } from "./invoke_stream.ts";
