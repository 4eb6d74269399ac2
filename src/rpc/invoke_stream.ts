import { letGo } from "../internal/let_go.ts";
import { isPromiseLike } from "../internal/promise.ts";
import { asking, sequence, type Taker } from "../internal/sequence.ts";
import { untilAborted } from "../internal/until_aborted.ts";
import { checkedInput, checkedOutput } from "./checked_message.ts";
import type { CallContext } from "./context.ts";
import type { Admission } from "./guard.ts";
import { RpcError } from "./rpc_error.ts";
import type { Endpoint } from "./server_core.ts";

/**
 * Takes the decoded messages of a call through the contract to the handler, and what it answers back: the part of a
 * streaming call that is the same over a network and within a process.
 *
 * Each message is checked, and the guard asked about it, when the handler asks for it; a message that is refused ends the
 * call, whatever the handler makes of it. The call's deadline and the end of its context's signal end everything, and who
 * leaves the answers before their end cancels the context.
 *
 * @param messages What the caller sends, unchecked; closed when the call ends. A method without a stream of them takes
 * exactly one.
 * @returns The checked answers, for one reader: exactly one for a method that does not answer with a stream.
 * @throws {RpcError} The call is refused, or fails before there is an answer.
 * @see {@link https://connectrpc.com/docs/protocol#streaming-rpcs}
 */
export async function invokeStream(
  endpoint: Endpoint,
  admission: Admission,
  messages: AsyncIterable<unknown>,
  context: CallContext,
): Promise<AsyncIterable<unknown>> {
  const signal = context.watch();
  const running: Running = { endpoint, admission, context, answers: undefined, refused: undefined, ended: false };
  const input = inputOf(running, messages);
  const end = () => {
    if (running.ended) return;
    running.ended = true;
    signal.removeEventListener("abort", end);
    void letGo(input);
    release(running);
  };
  signal.addEventListener("abort", end);
  try {
    const { method, run } = endpoint;
    const argument = method.streamsInput ? input : await only(input);
    if (signal.aborted) throw signal.reason;
    const answer = run(argument, context);
    if (method.streamsOutput) return outputOf(running, await settled(answer, context), end);
    const message = await settled(checkedOutput(method, await settled(answer, context)), context);
    if (running.refused) throw running.refused.error;
    return one(message, end);
  } catch (error) {
    end();
    throw running.refused ? running.refused.error : error;
  }
}

/** A streaming call and what has to be let go of when it ends. */
interface Running {
  readonly endpoint: Endpoint;
  readonly admission: Admission;
  readonly context: CallContext;
  /** What the handler answers, until it has ended by itself. */
  answers: AsyncIterator<unknown> | undefined;
  /** Why the caller's messages were not taken any further, which no handler can undo. */
  refused: { readonly error: unknown } | undefined;
  ended: boolean;
}

/** The caller's messages as the handler gets them. */
function inputOf(running: Running, messages: AsyncIterable<unknown>): AsyncIterableIterator<unknown> {
  const { endpoint: { method }, admission, context: { signal } } = running;
  const source = messages[Symbol.asyncIterator]();
  let to: Taker<unknown>;
  const refuse = (error: unknown) => {
    running.refused ??= { error };
    to.fail(error);
  };
  // Errors are caught here, because a promise more for each message is a good part of what a small one costs.
  const give = (message: unknown) => {
    try {
      const value = checkedInput(method, admission, message);
      if (value instanceof Promise) value.then(to.give, refuse);
      else to.give(value);
    } catch (error) {
      refuse(error);
    }
  };
  const ask = asking(source, { give, end: () => to.end(), fail: refuse });
  const abort = () => to?.fail(signal.reason);
  signal.addEventListener("abort", abort);
  return sequence({
    pull(taker) {
      to = taker;
      if (signal.aborted) return taker.fail(signal.reason);
      ask();
    },
    close() {
      signal.removeEventListener("abort", abort);
      void letGo(source);
    },
  });
}

/** The one message of a method that takes no stream. */
async function only(input: AsyncIterator<unknown>): Promise<unknown> {
  const first = await input.next();
  if (first.done) throw new RpcError("unimplemented", "Cannot call this method: it takes one message, none came");
  const second = await input.next();
  if (!second.done) throw new RpcError("unimplemented", "Cannot call this method: it takes one message, more came");
  return first.value;
}

/** The handler's messages as they leave. */
function outputOf(running: Running, answer: unknown, end: () => void): AsyncIterable<unknown> {
  const { endpoint: { method }, admission, context, context: { signal } } = running;
  const answers = running.answers = iteratorOf(answer);
  if (running.ended) release(running); // the call ended before there were any
  let to: Taker<unknown> | undefined;
  const over = (error: unknown) => to?.fail(running.refused ? running.refused.error : error);
  const accept = (next: IteratorResult<unknown>) => {
    if (next.done) running.answers = undefined; // it has ended by itself
    if (running.refused) return over(undefined);
    if (next.done) return to!.end();
    try {
      admission.assertHolds?.();
      const value = checkedOutput(method, next.value);
      if (value instanceof Promise) value.then(to!.give, over);
      else to!.give(value);
    } catch (error) {
      over(error);
    }
  };
  const threw = (error: unknown) => {
    running.answers = undefined;
    over(error);
  };
  const abort = () => over(signal.reason);
  signal.addEventListener("abort", abort);
  return sequence({
    pull(taker) {
      to = taker;
      if (signal.aborted) return over(signal.reason);
      answers.next().then(accept, threw);
    },
    close() {
      signal.removeEventListener("abort", abort);
      if (running.answers) context.cancel(); // the handler has not ended by itself
      end();
    },
  });
}

function iteratorOf(answer: unknown): AsyncIterator<unknown> {
  const iterate = (answer as Partial<AsyncIterable<unknown>> | undefined)?.[Symbol.asyncIterator];
  if (typeof iterate === "function") return iterate.call(answer as AsyncIterable<unknown>);
  throw new TypeError("A handler answered with no stream where its contract has one");
}

/** The one answer of a method that gives no stream. */
function one(message: unknown, close: () => void): AsyncIterable<unknown> {
  let given = false;
  return sequence({
    pull(taker) {
      if (given) return taker.end();
      given = true;
      taker.give(message);
    },
    close,
  });
}

/** What a handler answers, no later than the call ends; what outlives that keeps its place in the server. */
async function settled(answer: unknown, context: CallContext): Promise<unknown> {
  if (!isPromiseLike(answer)) return answer;
  const promise = Promise.resolve(answer);
  return await untilAborted(promise, context.signal, (reason) => {
    context.outlived ??= promise;
    return reason;
  });
}

/** Lets go of what the handler still answers, without waiting for code that may never come back. */
function release({ answers, context }: Running): void {
  if (!answers?.return) return;
  const leaving = letGo(answers);
  context.outlived ??= leaving; // it keeps its place until its `finally` is through
}
