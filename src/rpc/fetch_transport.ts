import { type Codec, json } from "../codec/mod.ts";
import type { Call, Reply, Transport } from "./call.ts";
import { ERROR_MEDIA_TYPE, unaryMediaType } from "./connect_protocol.ts";
import { isStreaming, type Method } from "./contract.ts";
import { coded } from "./coded.ts";
import { mediaTypeOf, otherMediaType, receive, received } from "./fetch_answer.ts";
import { startDeadline } from "./fetch_deadline.ts";
import { headersOf, type Sending } from "./fetch_request.ts";
import type { Proof, Prover } from "./prover.ts";
import { receivedError } from "./received_error.ts";
import { ProveAgainError, RpcError } from "./rpc_error.ts";

/** How calls are made over HTTP. */
export interface FetchTransportOptions {
  /** What proves the requests and checks the responses. There is no default. */
  readonly prover: Prover;
  /** The encoding of the messages. @default {json()} */
  readonly codec?: Codec;
  /**
   * What sends the requests, in place of the runtime's own: one that trusts a certificate authority of yours, say, as
   * `createFetch` of a runtime's subpath makes it. An error of it that has, or whose `cause` has, the code of a connection
   * that was not made (`ECONNREFUSED`, `ENOTFOUND`, …) counts as: nothing was sent. @default {fetch}
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
  const { prover, codec = json(), fetch: send = globalThis.fetch } = options ?? {};
  const sending = { base: baseOf(url), prover, codec, send, init: withoutAmbientAuthority() };
  if (!prover) throw new TypeError("Cannot make calls without a prover, anonymous() is one");
  return async (call) => {
    if (isStreaming(call.method)) {
      const { fetchStream } = await import("./fetch_stream.ts"); // where it is used, for clients without streams
      return await fetchStream(call, sending);
    }
    const deadline = startDeadline(call);
    try {
      return await Promise.race([exchange(call, sending, deadline.signal), deadline.over]);
    } catch (cause) {
      throw received(cause);
    } finally {
      deadline.end();
    }
  };
}

function baseOf(given: string | URL): string {
  // The runtime's own error would show the URL, and what is in it.
  if (!URL.canParse(given)) throw new TypeError("Cannot make calls: this is not an absolute URL");
  const { protocol, username, password, search, hash, origin, pathname } = new URL(given);
  if (protocol !== "https:" || username || password || search || hash) {
    throw new TypeError(
      `Cannot make calls to this "${protocol}" URL: it must be "https:", without credentials, query or fragment`,
    );
  }
  return origin + pathname.replace(/\/$/, "");
}

async function exchange(call: Call, { base, prover, codec, send, init }: Sending, signal: AbortSignal): Promise<Reply> {
  const url = base + call.method.path;
  const contentType = unaryMediaType(codec.name);
  const body = coded(() => codec.encode(call.message), "invalid_argument");
  const headers = headersOf(call, contentType);
  let tookMs = 0;
  const attempt = async (proof: Proof) => {
    const sent = { ...headers, ...proof.headers };
    const sentAt = performance.now();
    const response = await send(url, { method: "POST", headers: sent, body: body as BodyInit, signal, ...init });
    tookMs = performance.now() - sentAt;
    return { message: await read(response, call.method, codec, proof) };
  };
  const proof = await prover.prove({ method: "POST", url, headers, body, call });
  try {
    return await attempt(proof);
  } catch (error) {
    if (!(error instanceof ProveAgainError) || !proof.verify || !proof.again) throw error;
    // A server that started after the call was sent cannot say what the one before it did with the call.
    const { safe, idempotent } = call.method.options;
    if (!safe && !idempotent && error.ageMs <= tookMs) throw error;
    return await attempt(await proof.again());
  }
}

/** What a runtime may add to a request, or do with a response, by itself: none of it. */
function withoutAmbientAuthority(): RequestInit {
  const init: RequestInit = { redirect: "manual" };
  // workerd has neither cookies nor these members, and throws when they are given.
  return "credentials" in Request.prototype ? { ...init, credentials: "omit", referrerPolicy: "no-referrer" } : init;
}

async function read(response: Response, method: Method, codec: Codec, proof: Proof): Promise<unknown> {
  const { status, headers } = response;
  const body = await receive(response, codec.maxBytes).catch((cause: RpcError) => {
    // Before an answer is proven, anybody on the way may have made it what it is.
    const isAnyones = proof.verify && cause instanceof RpcError;
    throw isAnyones ? new RpcError("unavailable", "Cannot trust the answer: it cannot be read", { cause }) : cause;
  });
  if (proof.verify) await proof.verify({ status, headers, body });
  const mediaType = mediaTypeOf(headers);
  if (status !== 200) throw await receivedError(method, status, mediaType === ERROR_MEDIA_TYPE ? body : undefined);
  if (mediaType === unaryMediaType(codec.name)) return coded(() => codec.decode(body), "internal");
  throw otherMediaType(mediaType, unaryMediaType(codec.name));
}
