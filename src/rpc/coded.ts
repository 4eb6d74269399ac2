import { CodecError } from "../codec/mod.ts";
import { RECEIVED, type RpcCode, RpcError } from "./rpc_error.ts";

/** Runs a codec for a client; what it refuses is the caller's mistake where it encodes, the server's where it decodes. */
export function coded<Value>(run: () => Value, code: RpcCode): Value {
  try {
    return run();
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new RpcError(code, cause.message, { cause, ...RECEIVED });
  }
}
