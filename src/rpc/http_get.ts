import type { Codec } from "../codec/mod.ts";
import { fromBase64 } from "../internal/base64.ts";
import type { HttpHead } from "./http_head.ts";
import { PROTOCOL_VERSION, unaryMediaType } from "./connect_protocol.ts";
import { RpcError } from "./rpc_error.ts";

/** The message of a call by GET. */
export interface QueryMessage {
  readonly codec: Codec;
  readonly bytes: Uint8Array;
}

/**
 * Reads the message of a GET from its query: `encoding` and `message`, and perhaps `base64`, `connect`, `compression`.
 *
 * @see {@link https://connectrpc.com/docs/protocol#unary-get-request}
 * @throws {RpcError} A parameter is missing, unknown, given twice, or not what it must be.
 */
export function readQuery(
  query: string | undefined,
  codecs: ReadonlyMap<string, Codec>,
  maxBytes: number | undefined,
): QueryMessage {
  const given = parameters(query ?? "");
  const { message } = given;
  const codec = /^\w+$/.test(given.encoding ?? "") ? codecs.get(unaryMediaType(given.encoding!)) : undefined;
  if (!codec) throw new RpcError("invalid_argument", "Cannot read the query: its encoding is not offered");
  if (message === undefined) throw new RpcError("invalid_argument", "Cannot read the query: it has no message");
  if ((given.connect ?? `v${PROTOCOL_VERSION}`) !== `v${PROTOCOL_VERSION}`) {
    throw new RpcError("invalid_argument", `Cannot read the query: the protocol must be "v${PROTOCOL_VERSION}"`);
  }
  if ((given.compression ?? "identity") !== "identity") {
    throw new RpcError("unimplemented", "Cannot read the query: compression is not supported");
  }
  if ((given.base64 ?? "1") !== "1") throw new RpcError("invalid_argument", "Cannot read the query: base64 must be 1");
  const bytes = given.base64 ? fromBase64(message) : new TextEncoder().encode(message);
  if (!bytes) throw new RpcError("invalid_argument", "Cannot read the query: its message is not base64url");
  const limit = Math.min(codec.maxBytes, maxBytes ?? Infinity);
  if (bytes.length > limit) {
    throw new RpcError("resource_exhausted", `Cannot read the message: it is over ${limit} bytes`);
  }
  return { codec, bytes };
}

const NAMES = ["connect", "encoding", "message", "base64", "compression"] as const;

/** The parameters, each at most once; a name that is not known is refused, as a member of a message is. */
function parameters(query: string): { readonly [Name in typeof NAMES[number]]?: string } {
  const given: Partial<Record<typeof NAMES[number], string>> = {};
  for (const pair of query ? query.split("&") : []) {
    const [key, ...value] = pair.split("=");
    const name = NAMES.find((each) => each === key);
    if (!name) throw new RpcError("invalid_argument", "Cannot read the query: it has an unknown parameter");
    if (given[name] !== undefined) {
      throw new RpcError("invalid_argument", `Cannot read the query: "${name}" is given twice`);
    }
    given[name] = unescaped(value.join("="));
  }
  return given;
}

/** `URLSearchParams` would replace what is not UTF-8 and say nothing. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch (cause) {
    throw new RpcError("invalid_argument", "Cannot read the query: it is not UTF-8 in percent encoding", { cause });
  }
}

/**
 * Refuses a GET that a page of another site made the browser send; such a page can send no other kind of call.
 *
 * @see {@link https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header}
 */
export function assertNotCrossSite({ fetchSite }: HttpHead): void {
  if (fetchSite === undefined || fetchSite === "same-origin" || fetchSite === "none") return;
  throw new RpcError("permission_denied", "Cannot take the call: a page of another site sent it");
}
