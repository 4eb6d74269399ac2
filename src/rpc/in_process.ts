import { pulled } from "../internal/pulled.ts";
import type { Call, Reply, Transport } from "./call.ts";
import { CallContext } from "./context.ts";
import { isStreaming, type Method } from "./contract.ts";
import { failureOf } from "./failure.ts";
import type { Incoming } from "./guard.ts";
import { CANCELED, RpcError } from "./rpc_error.ts";
import { admit, type Endpoint, invoke, invokeStream, NO_BODY, type ServerCore } from "./server_core.ts";

/** The way in for callers of the same process: no bytes, but the same guard, contract and middleware. */
export function inProcess(core: ServerCore): Transport {
  return async (call) => {
    const endpoint = core.endpoints.get(call.method.path);
    const method = endpoint?.method; // the server's own contract counts, not the caller's
    const deadlineMs = Math.min(call.timeoutMs, endpoint?.deadlineMs ?? call.timeoutMs);
    const context = new CallContext(method, deadlineMs, core.log, call);
    let entered = false;
    const leave = () => {
      context.end();
      if (entered) core.traffic.leave(context);
    };
    try {
      core.traffic.enter();
      entered = true;
      const reply = await untilGone(answer(core, endpoint, call, context), call.signal, context);
      if (!reply.messages) return leave(), reply;
      return { message: undefined, messages: toTheEnd(core, reply.messages, context, leave) };
    } catch (error) {
      leave();
      throw await failed(core, method, error, context);
    }
  };
}

/** What a caller of the same process is told of a failure. */
async function failed(
  core: ServerCore,
  method: Method | undefined,
  error: unknown,
  context: CallContext,
): Promise<RpcError> {
  const { wire, correlationId, details } = await failureOf(error, { method, context }, core.log);
  return new RpcError(wire.code, wire.message, { details, correlationId, received: true });
}

async function answer(
  core: ServerCore,
  endpoint: Endpoint | undefined,
  call: Call,
  context: CallContext,
): Promise<Reply> {
  const incoming: Incoming = {
    method: endpoint?.method,
    request: undefined,
    carries: endpoint && isStreaming(endpoint.method) ? "stream" : "body",
    body: () => NO_BODY,
    origin: call.origin,
    get correlationId() {
      return context.correlationId;
    },
    sealRefusal() {}, // nobody is between the two
  };
  const admitted = admit(core.guard, incoming, context);
  const admission = admitted instanceof Promise ? await admitted : admitted;
  if (!endpoint) throw new RpcError("unimplemented", "There is no such method");
  const { method } = endpoint;
  if (!isStreaming(method)) return { message: await invoke(endpoint, admission, call.message, context) };
  const answers = await invokeStream(endpoint, admission, messagesOf(call), context);
  if (method.streamsOutput) return { message: undefined, messages: answers };
  const only = await answers[Symbol.asyncIterator]().next();
  return { message: only.value };
}

/** What a caller sends, in whichever form its contract has it. */
function messagesOf({ message, messages }: Call): AsyncIterable<unknown> {
  return messages ?? (async function* () {
    yield await Promise.resolve(message);
  })();
}

/** The answers, until whose end the call has its place in the server. */
function toTheEnd(
  core: ServerCore,
  answers: AsyncIterable<unknown>,
  context: CallContext,
  leave: () => void,
): AsyncIterable<unknown> {
  const iterator = answers[Symbol.asyncIterator]();
  const fail = async (error: unknown) => {
    throw await failed(core, context.method, error, context);
  };
  return pulled({
    pull: () => iterator.next().catch(fail) as Promise<IteratorResult<unknown, undefined>>,
    close() {
      void iterator.return?.();
      leave();
    },
  });
}

/** A caller that cancels is not kept waiting by a handler that does not listen. */
function untilGone(reply: Promise<Reply>, signal: AbortSignal | undefined, context: CallContext): Promise<Reply> {
  if (!signal) return reply;
  return new Promise((resolve, reject) => {
    const cancel = () => {
      context.outlive(reply);
      reject(new RpcError("canceled", CANCELED));
    };
    if (signal.aborted) cancel();
    signal.addEventListener("abort", cancel, { once: true });
    reply.then(resolve, reject).finally(() => signal.removeEventListener("abort", cancel));
  });
}
