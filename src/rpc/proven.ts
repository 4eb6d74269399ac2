import { isPromiseLike } from "../internal/promise.ts";
import { within } from "../internal/within.ts";
import type { OutgoingResponse, Seal } from "./guard.ts";

/** What proves a response; at once where the guard waits for nothing, and in a second at most. */
export function proven(
  seal: Seal,
  response: OutgoingResponse,
): Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>> {
  const proof = seal(response);
  return isPromiseLike(proof) ? within(Promise.resolve(proof), () => MAX_SEAL_MS, tooSlow) : proof;
}

/** The longest that a guard may take to prove an answer, in milliseconds. */
const MAX_SEAL_MS = 1_000;

const tooSlow = () => new Error("The guard took too long to prove an answer");
