import { type Codec, CodecError, json } from "../codec/mod.ts";
import type { Call, Reply, Transport } from "./call.ts";
import {
  ERROR_MEDIA_TYPE,
  PROTOCOL_VERSION,
  PROTOCOL_VERSION_HEADER,
  TIMEOUT_HEADER,
  unaryMediaType,
} from "./connect_protocol.ts";
import { readBody } from "./http_body.ts";
import type { Method } from "./contract.ts";
import type { Proof, Prover } from "./prover.ts";
import { receivedError } from "./received_error.ts";
import { CANCELED, DEADLINE_EXCEEDED, type RpcCode, RpcError } from "./rpc_error.ts";

/** How calls are made over HTTP. */
export interface FetchTransportOptions {
  /** What proves the requests and checks the responses. There is no default. */
  readonly prover: Prover;
  /** The encoding of the messages. @default {json()} */
  readonly codec?: Codec;
  /**
   * What sends the requests, in place of the runtime's own: one that trusts a certificate authority of yours, say, as
   * `createFetch` of a runtime's subpath makes it. @default {fetch}
   */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/**
 * Makes calls over HTTPS, in the Connect protocol.
 *
 * There is no way to make them without TLS, and no redirect is ever followed: it would carry the call, and what proves
 * it, to where somebody else wants it.
 *
 * @example A client of a server elsewhere
 * ```ts
 * import { anonymous, createClient, fetchTransport, rpc, service } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * const greeter = createClient(Greeter, fetchTransport("https://localhost:8443", { prover: anonymous() }));
 * ```
 *
 * @param url Where the server is: `https:`, a host, perhaps a port and the path under which it is mounted.
 * @param options The prover, and what else differs from the defaults.
 * @returns The transport.
 * @throws {TypeError} The URL is not `https:`, or holds credentials, a query or a fragment; or there is no prover.
 * @see {@link https://connectrpc.com/docs/protocol#unary-request}
 */
export function fetchTransport(url: string | URL, options: FetchTransportOptions): Transport {
  const base = baseOf(new URL(url));
  const { prover, codec = json(), fetch: send = globalThis.fetch } = options ?? {};
  if (!prover) throw new TypeError("Cannot make calls without a prover, anonymous() is one");
  return async (call) => {
    const deadline = startDeadline(call);
    try {
      return await exchange(call, { base, prover, codec, send, signal: deadline.signal });
    } catch (cause) {
      throw deadline.error() ?? (cause instanceof RpcError ? cause : unreachable(cause));
    } finally {
      deadline.end();
    }
  };
}

function baseOf({ protocol, username, password, search, hash, origin, pathname }: URL): string {
  if (protocol !== "https:" || username || password || search || hash) {
    throw new TypeError(
      `Cannot make calls to this "${protocol}" URL: it must be "https:", without credentials, query or fragment`,
    );
  }
  return origin + pathname.replace(/\/$/, "");
}

interface Sending {
  readonly base: string;
  readonly prover: Prover;
  readonly codec: Codec;
  readonly send: (url: string, init: RequestInit) => Promise<Response>;
  readonly signal: AbortSignal;
}

async function exchange(call: Call, { base, prover, codec, send, signal }: Sending): Promise<Reply> {
  const url = base + call.method.path;
  const contentType = unaryMediaType(codec.name);
  const body = coded(() => codec.encode(call.message), "invalid_argument");
  const proof = await prover.prove({ method: "POST", url, contentType, body });
  const response = await send(url, {
    method: "POST",
    headers: {
      "content-type": contentType,
      [PROTOCOL_VERSION_HEADER]: PROTOCOL_VERSION,
      [TIMEOUT_HEADER]: String(Math.ceil(call.timeoutMs)),
      ...proof.headers,
    },
    body: body as BodyInit,
    signal,
    ...WITHOUT_AMBIENT_AUTHORITY,
  });
  return { message: await read(response, call.method, codec, proof) };
}

/** Runs a codec; what it refuses is the caller's mistake where it encodes, the server's where it decodes. */
function coded<Value>(run: () => Value, code: RpcCode): Value {
  try {
    return run();
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new RpcError(code, cause.message, { cause, ...RECEIVED });
  }
}

/** What a runtime may add to a request, or do with a response, by itself: none of it. */
const WITHOUT_AMBIENT_AUTHORITY: RequestInit = {
  redirect: "manual",
  // workerd has neither cookies nor this member, and throws when it is given
  ...("credentials" in Request.prototype ? { credentials: "omit", referrerPolicy: "no-referrer" } as const : {}),
};

async function read(response: Response, method: Method, codec: Codec, proof: Proof): Promise<unknown> {
  const { status, headers } = response;
  if (response.type === "opaqueredirect" || (status >= 300 && status < 400)) {
    await response.body?.cancel();
    throw new RpcError("unknown", "Cannot read the answer: it is a redirect, which is never followed", RECEIVED);
  }
  // The length of a compressed body says nothing of what it becomes.
  const length = headers.has("content-encoding") ? null : headers.get("content-length");
  const body = await readBody(response, length, codec.maxBytes);
  if (proof.verify) await proof.verify({ status, headers, body });
  const mediaType = (headers.get("content-type") ?? "").split(";", 1)[0];
  if (status !== 200) throw await receivedError(method, status, mediaType === ERROR_MEDIA_TYPE ? body : undefined);
  if (mediaType === unaryMediaType(codec.name)) return coded(() => codec.decode(body), "internal");
  throw new RpcError("unknown", "Cannot read the answer: its media type is another", RECEIVED);
}

/** Aborts the request when the time is up or the caller cancels, and knows afterwards which it was. */
function startDeadline({ timeoutMs, signal: outer }: Call) {
  const controller = new AbortController();
  const { signal } = controller;
  const expire = () => controller.abort(new RpcError("deadline_exceeded", DEADLINE_EXCEEDED, RECEIVED));
  const cancel = () => controller.abort(new RpcError("canceled", CANCELED, { cause: outer?.reason, ...RECEIVED }));
  const timer = setTimeout(expire, timeoutMs);
  outer?.addEventListener("abort", cancel);
  return {
    signal,
    error: () => signal.aborted ? signal.reason as RpcError : undefined,
    end() {
      clearTimeout(timer);
      outer?.removeEventListener("abort", cancel);
    },
  };
}

const RECEIVED = { received: true };

function unreachable(cause: unknown): RpcError {
  return new RpcError("unavailable", "Cannot reach the server", { cause, ...RECEIVED });
}
