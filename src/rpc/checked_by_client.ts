import { within } from "../internal/within.ts";
import { DEADLINE_EXCEEDED, RECEIVED, RpcError } from "./rpc_error.ts";
import { check, type SchemaResult, type Validate } from "./schema.ts";

/**
 * Checks a value on the client's side, at once where the schema waits for nothing.
 *
 * @param timeoutMs A schema that waits for something gets as long as the call.
 */
export function checked(validate: Validate, value: unknown, timeoutMs: number): SchemaResult | Promise<SchemaResult> {
  try {
    const result = check(validate, value);
    return result instanceof Promise ? within(result, () => timeoutMs, overdue).catch(failed) : result;
  } catch (cause) {
    return failed(cause);
  }
}

/** The error of a call whose time is up. */
export const overdue = (): RpcError => new RpcError("deadline_exceeded", DEADLINE_EXCEEDED, RECEIVED);

function failed(cause: unknown): never {
  if (cause instanceof RpcError && cause.received) throw cause;
  throw new RpcError("internal", "The schema of the contract failed", { cause, ...RECEIVED });
}
