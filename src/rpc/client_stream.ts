import { letGo } from "../internal/let_go.ts";
import { pulled } from "../internal/pulled.ts";
import { asking, sequence, type Taker } from "../internal/sequence.ts";
import { MAX_TIMER } from "../internal/within.ts";
import type { Call, Transport } from "./call.ts";
import { checked } from "./checked_by_client.ts";
import type { CallOptions } from "./client.ts";
import type { Method } from "./contract.ts";
import { CANCELED, DEADLINE_EXCEEDED, RECEIVED, RpcError } from "./rpc_error.ts";
import { mismatch } from "./schema.ts";

/**
 * Makes the function of a client that calls a streaming method.
 *
 * A call that answers with a stream is made when the stream is iterated, once; leaving the iteration ends the call.
 */
export function streaming(
  method: Method,
  transport: Transport,
): (message: unknown, options?: CallOptions) => unknown {
  if (!method.streamsOutput) {
    return async (messages, options) => {
      const { call, blame } = await begin(method, messages, options);
      const reply = await transport(call).catch((error) => Promise.reject(blame(error)));
      return await accepted(method, reply.message);
    };
  }
  return (message, options) => answersOf(method, message, options, transport);
}

/** The answers to one call, which is made when the first of them is asked for. */
function answersOf(method: Method, message: unknown, options: CallOptions | undefined, transport: Transport) {
  const leaving = new AbortController();
  let answers: AsyncIterator<unknown> | undefined;
  let blame: Begun["blame"] | undefined;
  const start = async () => {
    const signal = options?.signal ? AbortSignal.any([options.signal, leaving.signal]) : leaving.signal;
    const begun = await begin(method, message, { ...options, signal });
    blame = begun.blame;
    const reply = await transport(begun.call);
    if (!reply.messages) throw new RpcError("internal", "The transport answered with no stream", RECEIVED);
    answers = reply.messages[Symbol.asyncIterator]();
  };
  let to: Taker<unknown>;
  let ask: () => void;
  const fail = (error: unknown) => to.fail(blame ? blame(error) : error);
  const give = (answer: unknown) => {
    try {
      const value = accepted(method, answer);
      if (value instanceof Promise) value.then(to.give, fail);
      else to.give(value);
    } catch (error) {
      fail(error);
    }
  };
  const begun = () => {
    ask = asking(answers!, { give, end: () => to.end(), fail });
    ask();
  };
  return sequence({
    pull(taker) {
      to = taker;
      if (answers) ask();
      else start().then(begun, fail);
    },
    close() {
      if (answers) void letGo(answers);
      leaving.abort(); // the transport may still be on its way to the server
    },
  });
}

/** A call that is about to be made, and what tells whose fault its failure is. */
interface Begun {
  readonly call: Call;
  /** What the caller handed over counts, where that made the call fail. */
  blame(error: unknown): unknown;
}

async function begin(method: Method, sent: unknown, options: CallOptions = {}): Promise<Begun> {
  const { signal, origin } = options;
  const timeoutMs = Math.min(options.timeoutMs ?? Infinity, origin?.remainingMs ?? Infinity);
  if (!(timeoutMs > 0)) throw new RpcError("deadline_exceeded", DEADLINE_EXCEEDED, RECEIVED);
  if (signal?.aborted) throw new RpcError("canceled", CANCELED, { cause: signal.reason, ...RECEIVED });
  const rest = {
    method,
    timeoutMs: timeoutMs > MAX_TIMER ? Infinity : timeoutMs,
    ...signal && { signal },
    ...origin && { origin },
  };
  if (!method.streamsInput) {
    const input = await checked(method.validateInput, sent, timeoutMs);
    if (input.issues) throw new RpcError("invalid_argument", mismatch("The message", input.issues), RECEIVED);
    return { call: { ...rest, message: sent }, blame: (error) => error };
  }
  const fault: Fault = { error: undefined };
  return {
    call: { ...rest, message: undefined, messages: outgoing(method, sent as AsyncIterable<unknown>, timeoutMs, fault) },
    blame: (error) => fault.error ?? error,
  };
}

/** What was wrong with the messages that a caller handed over. */
interface Fault {
  error: RpcError | undefined;
}

/** The caller's messages, each checked before it leaves. */
function outgoing(
  method: Method,
  messages: AsyncIterable<unknown>,
  timeoutMs: number,
  fault: Fault,
): AsyncIterable<unknown> {
  const iterator = messages[Symbol.asyncIterator]();
  const checkedItem = async (next: IteratorResult<unknown>): Promise<IteratorResult<unknown, undefined>> => {
    if (next.done) return END;
    const { issues } = await checked(method.validateInput, next.value, timeoutMs);
    if (!issues) return item(next.value);
    throw fault.error = new RpcError("invalid_argument", mismatch("The message", issues), RECEIVED);
  };
  const failed = (cause: unknown): never => {
    throw fault.error = new RpcError("canceled", "The messages to send ended with an error", { cause, ...RECEIVED });
  };
  return pulled({
    pull: () => iterator.next().catch(failed).then(checkedItem),
    close: () => void letGo(iterator),
  });
}

/** One answer as the contract has it; at once where the schema waits for nothing. */
function accepted(method: Method, answer: unknown): unknown {
  const result = checked(method.validateOutput, answer, MAX_TIMER);
  const take = ({ value, issues }: { readonly value?: unknown; readonly issues?: unknown }) => {
    if (issues) throw new RpcError("internal", mismatch("The answer", issues as never), RECEIVED);
    return value;
  };
  return result instanceof Promise ? result.then(take) : take(result);
}

const item = (value: unknown): IteratorYieldResult<unknown> => ({ done: false, value });

const END: IteratorReturnResult<undefined> = /* @__PURE__ */ Object.freeze({ done: true, value: undefined });
