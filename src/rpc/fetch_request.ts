import type { Codec } from "../codec/mod.ts";
import type { Call } from "./call.ts";
import { PROTOCOL_VERSION, PROTOCOL_VERSION_HEADER, TIMEOUT_HEADER, TRACEPARENT_HEADER } from "./connect_protocol.ts";
import type { Prover } from "./prover.ts";

/** Where calls go, and how. */
export interface Sending {
  readonly base: string;
  readonly prover: Prover;
  readonly codec: Codec;
  readonly send: (url: string, init: RequestInit) => Promise<Response>;
  readonly init: RequestInit;
}

/** The headers of a call, but for those of its proof. */
export function headersOf({ timeoutMs, origin }: Call, contentType: string): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {
    "content-type": contentType,
    [PROTOCOL_VERSION_HEADER]: PROTOCOL_VERSION,
  };
  if (timeoutMs !== Infinity) headers[TIMEOUT_HEADER] = String(Math.ceil(timeoutMs));
  if (origin?.traceparent !== undefined) headers[TRACEPARENT_HEADER] = origin.traceparent;
  return headers;
}
