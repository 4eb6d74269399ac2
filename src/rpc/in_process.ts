import type { Call, Reply, Transport } from "./call.ts";
import { CallContext } from "./context.ts";
import { failureOf } from "./failure.ts";
import type { Incoming } from "./guard.ts";
import { CANCELED, RpcError } from "./rpc_error.ts";
import { admit, type Endpoint, invoke, NO_BODY, type ServerCore } from "./server_core.ts";

/** The way in for callers of the same process: no bytes, but the same guard, contract and middleware. */
export function inProcess(core: ServerCore): Transport {
  return async (call) => {
    const endpoint = core.endpoints.get(call.method.path);
    const method = endpoint?.method; // the server's own contract counts, not the caller's
    const deadlineMs = Math.min(call.timeoutMs, endpoint?.deadlineMs ?? call.timeoutMs);
    const context = new CallContext(method, deadlineMs, core.log, call);
    let entered = false;
    try {
      core.traffic.enter();
      entered = true;
      return await untilGone(answer(core, endpoint, call, context), call.signal, context);
    } catch (error) {
      const { wire, correlationId, details } = await failureOf(error, { method, context }, core.log);
      throw new RpcError(wire.code, wire.message, { details, correlationId, received: true });
    } finally {
      context.end();
      if (entered) core.traffic.leave(context);
    }
  };
}

async function answer(
  core: ServerCore,
  endpoint: Endpoint | undefined,
  { message, origin }: Call,
  context: CallContext,
): Promise<Reply> {
  const incoming: Incoming = {
    method: endpoint?.method,
    request: undefined,
    carries: "body",
    body: () => NO_BODY,
    origin,
    get correlationId() {
      return context.correlationId;
    },
    sealRefusal() {}, // nobody is between the two
  };
  const admitted = admit(core.guard, incoming, context);
  const admission = admitted instanceof Promise ? await admitted : admitted;
  if (!endpoint) throw new RpcError("unimplemented", "There is no such method");
  return { message: await invoke(endpoint, admission, message, context) };
}

/** A caller that cancels is not kept waiting by a handler that does not listen. */
function untilGone(reply: Promise<Reply>, signal: AbortSignal | undefined, context: CallContext): Promise<Reply> {
  if (!signal) return reply;
  return new Promise((resolve, reject) => {
    const cancel = () => {
      context.outlived ??= reply;
      reject(new RpcError("canceled", CANCELED));
    };
    if (signal.aborted) cancel();
    signal.addEventListener("abort", cancel, { once: true });
    reply.then(resolve, reject).finally(() => signal.removeEventListener("abort", cancel));
  });
}
