import { type Codec, CodecError } from "../codec/mod.ts";
import { RpcError } from "./rpc_error.ts";

/**
 * Decodes what a caller sent.
 *
 * @throws {RpcError} `resource_exhausted` over one of the codec's limits, `invalid_argument` for what it cannot read.
 */
export function decodeMessage(codec: Codec, bytes: Uint8Array): unknown {
  try {
    return codec.decode(bytes);
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new RpcError(cause.code === "limit" ? "resource_exhausted" : "invalid_argument", cause.message, { cause });
  }
}
