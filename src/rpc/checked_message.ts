import { isPromiseLike } from "../internal/promise.ts";
import type { CallContext } from "./context.ts";
import type { Method } from "./contract.ts";
import type { Admission } from "./guard.ts";
import { MASKED_MESSAGE, RpcError } from "./rpc_error.ts";
import { check, mismatch, type SchemaResult } from "./schema.ts";

/**
 * Checks one message of a stream against the contract, and asks the guard about it.
 *
 * @returns The message as the contract has it; at once where schema and guard wait for nothing.
 * @throws {RpcError} The message is not what the contract says, or the guard refuses it.
 */
export function checkedInput(method: Method, admission: Admission, message: unknown): unknown {
  // An object without required members would take an empty list.
  if (Array.isArray(message)) throw new RpcError("invalid_argument", mismatch("The message", []));
  const decided = ({ value, issues }: SchemaResult): unknown => {
    if (issues) throw new RpcError("invalid_argument", mismatch("The message", issues));
    if (!admission.decide) return value;
    const decision: unknown = admission.decide(value);
    if (!isPromiseLike(decision)) return assertNothing(decision), value;
    return Promise.resolve(decision).then((answer) => (assertNothing(answer), value));
  };
  const checked = check(method.validateInput, message);
  return checked instanceof Promise ? checked.then(decided) : decided(checked);
}

/** Asks the guard to decide on a message; where it takes its time, no longer than the call may take. */
export function decide(admission: Admission, message: unknown, context: CallContext): void | Promise<void> {
  const decision: unknown = admission.decide!(message);
  return isPromiseLike(decision) ? context.wait(decision).then(assertNothing) : assertNothing(decision);
}

function assertNothing(decision: unknown): void {
  if (decision !== undefined) throw new TypeError("Cannot admit the call: a decision is thrown, not returned");
}

/**
 * Checks one message of the handler's against the contract.
 *
 * @returns The message as the contract has it; at once where the schema waits for nothing.
 * @throws {RpcError} It is the handler's mistake, so the caller is told nothing of it.
 */
export function checkedOutput(method: Method, answer: unknown): unknown {
  assertPlain(answer);
  const accepted = ({ value, issues }: SchemaResult): unknown => {
    if (!issues) return value;
    throw new RpcError("internal", MASKED_MESSAGE, { cause: mismatch("The handler's answer", issues) });
  };
  const checked = check(method.validateOutput, answer);
  return checked instanceof Promise ? checked.then(accepted) : accepted(checked);
}

/** Refuses what a handler meant to throw. */
export function assertPlain(answer: unknown): void {
  if (answer instanceof Error || answer instanceof Response) {
    throw new TypeError("A handler returned an error or a Response: errors are thrown, answers are plain data");
  }
}
