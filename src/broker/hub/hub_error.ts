import { RpcError } from "../../rpc/mod.ts";
import { REASON_OF_CODE } from "./broker_contract.ts";
import { BrokerError } from "../broker_error.ts";

/** Turns what became of a call to a hub into what a broker throws. */
export function hubError(cause: unknown): unknown {
  if (!(cause instanceof RpcError)) return cause;
  return new BrokerError(REASON_OF_CODE[cause.code] ?? "unreachable", cause.message, { cause });
}
