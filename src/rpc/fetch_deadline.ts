import { MAX_TIMER } from "../internal/within.ts";
import type { Call } from "./call.ts";
import { CANCELED, DEADLINE_EXCEEDED, RECEIVED, RpcError } from "./rpc_error.ts";

/** How long an exchange goes on. */
export interface FetchDeadline {
  /** Aborts the exchange when it is over before its end. */
  readonly signal: AbortSignal;
  /** Rejects then, with the same error. */
  readonly over: Promise<never>;
  /** Breaks the exchange off. */
  giveUp(error: RpcError): void;
  /** The exchange has ended: nothing aborts it any more. */
  end(): void;
}

/** Ends the exchange when the time is up or the caller cancels, also where what it waits for does not listen. */
export function startDeadline({ timeoutMs, signal: outer }: Pick<Call, "timeoutMs" | "signal">): FetchDeadline {
  const controller = new AbortController();
  let reject: (error: RpcError) => void;
  const over = new Promise<never>((_, refuse) => {
    reject = refuse;
  });
  const giveUp = (error: RpcError) => {
    reject(error);
    controller.abort(error);
  };
  const cancel = () => giveUp(new RpcError("canceled", CANCELED, { cause: outer?.reason, ...RECEIVED }));
  const expire = () => giveUp(new RpcError("deadline_exceeded", DEADLINE_EXCEEDED, RECEIVED));
  const timer = timeoutMs <= MAX_TIMER ? setTimeout(expire, timeoutMs) : undefined;
  if (outer?.aborted) cancel();
  outer?.addEventListener("abort", cancel);
  return {
    signal: controller.signal,
    over,
    giveUp,
    end() {
      clearTimeout(timer);
      outer?.removeEventListener("abort", cancel);
    },
  };
}
