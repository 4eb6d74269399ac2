/**
 * The Connect protocol's fixed words and tables, the one place that knows them.
 *
 * @see {@link https://connectrpc.com/docs/protocol}
 *
 * @module
 */
import type { RpcCode } from "./rpc_error.ts";

/** The version that the protocol's header and a GET's `connect` parameter state. */
export const PROTOCOL_VERSION = "1";
/** The header with the protocol's version. */
export const PROTOCOL_VERSION_HEADER = "connect-protocol-version";
/** The header with the time that remains, in milliseconds. */
export const TIMEOUT_HEADER = "connect-timeout-ms";
/** The header with the trace (W3C Trace Context). */
export const TRACEPARENT_HEADER = "traceparent";
/** A timeout is at most ten digits. */
export const TIMEOUT_PATTERN = /^\d{1,10}$/;
/** The media type of an error's body, whatever the codec of the messages. */
export const ERROR_MEDIA_TYPE = "application/json";
/** The media type of a unary message in the given encoding. */
export const unaryMediaType = (encoding: string): string => `application/${encoding}`;
/** The media type of a stream of messages in the given encoding. */
export const streamMediaType = (encoding: string): string => `application/connect+${encoding}`;
/** The flag of an envelope whose content is compressed. */
export const COMPRESSED = 0x01;
/** The flag of the envelope that ends a stream. */
export const END_STREAM = 0x02;
/** The flag of a block: envelopes and their proof, which is Postern's own and no part of Connect. */
export const BLOCK = 0x80;
/** The content of the last envelope of a stream that ended well. */
export const WELL_ENDED = "{}";
/** The header by which the answer to a protected streaming call says that it is whole, and no stream (RFC 9530). */
export const CONTENT_DIGEST_HEADER = "content-digest";
/** What a path looks like: a service and a method, nothing to normalize. */
export const PATH_PATTERN = /^\/[A-Za-z][\w.]{0,127}\/[A-Za-z]\w{0,63}$/;

/** The HTTP status that goes with each code. */
export const STATUS_OF_CODE: Readonly<Record<RpcCode, number>> = {
  canceled: 499,
  unknown: 500,
  invalid_argument: 400,
  deadline_exceeded: 504,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  resource_exhausted: 429,
  failed_precondition: 400,
  aborted: 409,
  out_of_range: 400,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  data_loss: 500,
  unauthenticated: 401,
};

/** The code for a response that is not Connect's: a proxy's, say. */
export function codeOfStatus(status: number): RpcCode {
  if (status === 400) return "internal";
  if (status === 401) return "unauthenticated";
  if (status === 403) return "permission_denied";
  if (status === 404) return "unimplemented";
  if (status === 429 || status === 502 || status === 503 || status === 504) return "unavailable";
  return "unknown";
}

/** An error as it is on the wire. */
export interface WireError {
  readonly code: RpcCode;
  readonly message: string;
  readonly details: readonly WireErrorDetail[];
}

/** One detail of an error: a type's name and its bytes in base64 without padding; `debug` is for people only. */
export interface WireErrorDetail {
  readonly type: string;
  readonly value: string;
  readonly debug?: unknown;
}

/**
 * The detail that carries the correlation id: google.rpc.RequestInfo, so that other Connect clients can read it.
 *
 * @see {@link https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto}
 */
export const REQUEST_INFO = "google.rpc.RequestInfo";

/** The correlation id as RequestInfo: field 1, a text of the id's length. */
export function requestInfo(id: string): WireErrorDetail {
  return {
    type: REQUEST_INFO,
    value: unpadded(btoa(`\n${String.fromCharCode(id.length)}${id}`)),
    debug: { requestId: id },
  };
}

/** The type of the detail by which a server asks for another proof: its value is how long it runs, in ms, as text. */
export const PROVE_AGAIN = "postern.v1.ProveAgain";

/** The type of the details that a method's contract gives for a code. */
export const detailsType = (service: string, method: string, code: string): string => `${service}.${method}.${code}`;

/** Base64 as Connect wants it in errors. */
export const unpadded = (base64: string): string => base64.replace(/=+$/, "");

/** The longest message of an error, in UTF-16 code units; what is longer is cut, on both sides. */
export const MAX_MESSAGE = 4096;
