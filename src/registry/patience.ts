import { untilAborted } from "../internal/until_aborted.ts";
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
  return within(untilAborted(promise, signal, ended), () => PATIENCE_MS, tooSlow);
}

const ended = (cause: unknown) =>
  new RegistryError("unreachable", "Cannot read the registry: the reading was ended", { cause });

const tooSlow = () => new RegistryError("unreachable", "Cannot use the registry: its store took too long to answer");
const PATIENCE_MS = 5_000;
