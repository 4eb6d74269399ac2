import { within } from "../internal/within.ts";
import type { RegistryReadOptions } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";

/**
 * Waits for a store, but not for ever: a client may wait for an answer that never comes.
 *
 * @param promise What is waited for.
 * @param options What ends the waiting.
 * @throws {RegistryError} `unreachable`: it took longer than 5 s, or the signal aborted.
 */
export function patiently<Value>(promise: Promise<Value>, { signal }: RegistryReadOptions = {}): Promise<Value> {
  return within(signal ? untilAbort(promise, signal) : promise, () => PATIENCE_MS, tooSlow);
}

function untilAbort<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(
        new RegistryError("unreachable", "Cannot read the registry: the reading was ended", { cause: signal.reason }),
      );
    };
    const settle = () => signal.removeEventListener("abort", abort);
    promise.then(resolve, reject).then(settle);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
  });
}

const tooSlow = () => new RegistryError("unreachable", "Cannot use the registry: its store took too long to answer");
const PATIENCE_MS = 5_000;
