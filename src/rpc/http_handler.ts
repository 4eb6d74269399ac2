import { type Codec, CodecError } from "../codec/mod.ts";
import { within } from "../internal/within.ts";
import {
  ERROR_MEDIA_TYPE,
  PATH_PATTERN,
  PROTOCOL_VERSION,
  STATUS_OF_CODE,
  TIMEOUT_PATTERN,
  unaryMediaType,
} from "./connect_protocol.ts";
import { CallContext } from "./context.ts";
import { failureOf } from "./failure.ts";
import type { Incoming, Seal } from "./guard.ts";
import { assertOneLength, readBody, tooLarge } from "./http_body.ts";
import { assertNotCrossSite, type QueryMessage, readQuery } from "./http_get.ts";
import { type HttpHead, HttpRefusal, readHead } from "./http_head.ts";
import { PEER_CERTIFICATE, type PeerInfo } from "./peer.ts";
import { DEADLINE_EXCEEDED, RpcError } from "./rpc_error.ts";
import { admit, type Endpoint, invoke, NO_BODY, type ServerCore } from "./server_core.ts";

/**
 * Answers unary calls over HTTP, in the order in which this file reads: what is cheap and needs no trust comes first,
 * and nothing is decoded before the guard has let the call in.
 *
 * @see {@link https://connectrpc.com/docs/protocol#unary-request}
 */
export function httpHandler(core: ServerCore): (request: Request, info?: PeerInfo) => Promise<Response> {
  return async (request, info) => {
    const exchange: Exchange = { info, entered: false, endpoint: undefined, context: undefined, seal: undefined };
    try {
      core.traffic.enter();
      exchange.entered = true;
      return await answer(core, request, exchange);
    } catch (error) {
      return await refuse(core, request, error, exchange);
    } finally {
      exchange.context?.end();
      if (exchange.entered) core.traffic.leave(exchange.context);
    }
  };
}

/** What became known of a request on its way, for when it fails. */
interface Exchange {
  readonly info: PeerInfo | undefined;
  entered: boolean;
  endpoint: Endpoint | undefined;
  context: CallContext | undefined;
  seal: Seal | undefined;
}

async function answer(core: ServerCore, request: Request, exchange: Exchange): Promise<Response> {
  const { path, query } = locate(request.url, core.tlsTerminated);
  const endpoint = exchange.endpoint = core.endpoints.get(path);
  if (!endpoint && !PATH_PATTERN.test(path)) throw notFound();
  const head = readHead(request.headers, core.limits.maxHeaderBytes);
  const posted = expectFraming(request.method, head, query, core);
  const askedMs = askedMsOf(head);
  // What a method asks for of its own holds once the call is in: until then it would tell a stranger that it exists.
  const context = exchange.context = new CallContext(
    endpoint?.method,
    Math.min(askedMs, core.limits.callDeadlineMs),
    core.log,
    request,
  );

  let raw: Promise<Uint8Array> | undefined;
  let maxBytes = posted?.maxBytes ?? 0;
  const readOnce = () => raw ??= posted ? receive(core, request, head, maxBytes, context) : NO_BODY;
  const admitted = admit(core.guard, incomingOf(request, readOnce, exchange), context);
  const admission = admitted instanceof Promise ? await admitted : admitted;
  exchange.seal = admission.seal;
  if (!endpoint) throw notFound();
  context.allow(Math.min(askedMs, endpoint.deadlineMs));
  maxBytes = Math.min(maxBytes, endpoint.method.options.maxBodyBytes ?? maxBytes);

  const { codec, bytes } = posted
    ? { codec: posted, bytes: noLonger(await readOnce(), maxBytes) }
    : readGet(endpoint, request.method, head, query, core);
  if (posted) admission.checkBody?.(bytes);
  const value = await invoke(endpoint, admission, decode(codec, bytes), context);
  const body = codec.encode(value);
  if (posted && !admission.seal) return new Response(body as BodyInit, core.answers.get(codec));
  return await sealed(admission.seal, 200, unaryMediaType(codec.name), body, posted ? {} : UNSHARED);
}

/** The call as the guard sees it. */
function incomingOf(request: Request, body: () => Promise<Uint8Array>, exchange: Exchange): Incoming {
  return {
    method: exchange.endpoint?.method,
    request,
    carries: "body",
    body,
    certificate: exchange.info?.[PEER_CERTIFICATE],
    get correlationId() {
      return exchange.context!.correlationId;
    },
    sealRefusal(seal) {
      exchange.seal = seal;
    },
  };
}

/** Where a request wants to go; anything but TLS is refused before that is looked at. */
function locate(url: string, tlsTerminated: boolean): { path: string; query: string | undefined } {
  if (!tlsTerminated && !url.startsWith("https://")) {
    throw new RpcError("failed_precondition", "Cannot take the call: it came without TLS");
  }
  const start = url.indexOf("/", 8);
  const end = url.indexOf("?", start);
  return end < 0
    ? { path: url.slice(start), query: undefined }
    : { path: url.slice(start, end), query: url.slice(end + 1) };
}

/**
 * Checks what every call must be, whichever method it names, so that a stranger learns nothing of the methods.
 *
 * @returns The codec of a POST; undefined for a GET, whose encoding is in its query, and for verbs that call nothing.
 */
function expectFraming(verb: string, head: HttpHead, query: string | undefined, core: ServerCore): Codec | undefined {
  if (head.protocolVersion !== undefined && head.protocolVersion !== PROTOCOL_VERSION) {
    throw new RpcError(
      "invalid_argument",
      `Cannot take the call: the protocol's version must be "${PROTOCOL_VERSION}"`,
    );
  }
  // Deno makes the URL of whatever HTTP/1.1 has as its host, a path included.
  if (head.host !== undefined && !HOST_PATTERN.test(head.host)) {
    throw new RpcError("invalid_argument", "Cannot take the call: its host is not one");
  }
  if (verb !== "POST") return undefined;
  if (query !== undefined) throw new RpcError("invalid_argument", "Cannot take the call: a POST has no query");
  const contentType = head.contentType ?? "";
  const codec = core.codecs.get(contentType) ?? core.codecs.get(contentType.toLowerCase());
  if (!codec) throw new HttpRefusal(415, "invalid_argument", "Cannot read the message: its media type is not offered");
  if (head.contentEncoding !== undefined && head.contentEncoding !== "identity") {
    throw new HttpRefusal(415, "unimplemented", "Cannot read the message: compression is not supported");
  }
  assertOneLength(head);
  return codec;
}

function readGet(
  { method: { options } }: Endpoint,
  verb: string,
  head: HttpHead,
  query: string | undefined,
  core: ServerCore,
): QueryMessage {
  if (verb !== "GET" || !options.safe) {
    const allow = options.safe ? "GET, POST" : "POST";
    throw new HttpRefusal(405, "unimplemented", `Cannot call this method this way, use ${allow}`, {
      headers: { allow },
    });
  }
  assertNotCrossSite(head);
  return readQuery(query, core.codecs, options.maxBodyBytes);
}

const notFound = () => new HttpRefusal(404, "unimplemented", "There is no such method");

/** A host and perhaps a port, in a request's `host`. */
const HOST_PATTERN = /^[\w.\-:[\]]*$/;

/** How long the caller gives the call. */
function askedMsOf(head: HttpHead): number {
  if (head.timeoutMs === undefined) return Infinity;
  if (!TIMEOUT_PATTERN.test(head.timeoutMs)) {
    throw new RpcError("invalid_argument", "Cannot take the call: its timeout is not a number of milliseconds");
  }
  const askedMs = Number(head.timeoutMs);
  if (askedMs === 0) throw new RpcError("deadline_exceeded", DEADLINE_EXCEEDED);
  return askedMs;
}

/** A guard may have read a body before the method's own limit held. */
function noLonger(bytes: Uint8Array, maxBytes: number): Uint8Array {
  if (bytes.length <= maxBytes) return bytes;
  throw tooLarge(maxBytes);
}

/** The message's bytes, in the time that a body may take. */
function receive(
  { limits }: ServerCore,
  request: Request,
  head: HttpHead,
  maxBytes: number,
  context: CallContext,
): Promise<Uint8Array> {
  const reading = readBody(request, head.contentLength, maxBytes);
  return within(reading.bytes, () => Math.min(limits.receiveDeadlineMs, context.remainingMs), () => {
    reading.cancel();
    return new RpcError("deadline_exceeded", "Cannot read the message: it took too long to arrive");
  });
}

function decode(codec: Codec, bytes: Uint8Array): unknown {
  try {
    return codec.decode(bytes);
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new RpcError(cause.code === "limit" ? "resource_exhausted" : "invalid_argument", cause.message, { cause });
  }
}

/** Adds the guard's proof and makes the response. */
async function sealed(
  seal: Seal | undefined,
  status: number,
  contentType: string,
  body: string | Uint8Array,
  more: Readonly<Record<string, string>>,
): Promise<Response> {
  const proof = seal
    ? await within(Promise.resolve(seal({ status, contentType, body })), () => MAX_SEAL_MS, tooSlow)
    : undefined;
  return new Response(body as BodyInit, { status, headers: { "content-type": contentType, ...more, ...proof } });
}

/** The longest that a guard may take to prove an answer, in milliseconds. */
const MAX_SEAL_MS = 1_000;

const tooSlow = () => new Error("The guard took too long to prove an answer");

/** The answer to a call that failed, wherever it failed. */
async function refuse(
  core: ServerCore,
  request: Request,
  error: unknown,
  exchange: Exchange,
): Promise<Response> {
  const { context, endpoint, seal } = exchange;
  discard(request);
  const { wire, http } = await failureOf(error, { method: endpoint?.method, context }, core.log);
  const status = http?.status ?? STATUS_OF_CODE[wire.code];
  const headers = { ...UNSHARED, ...http?.headers };
  const body = JSON.stringify(wire);
  try {
    return await sealed(seal, status, ERROR_MEDIA_TYPE, body, headers);
  } catch (cause) {
    // A guard that cannot prove answers leaves errors unproven, and those a client counts as no answer at all.
    const { wire } = await failureOf(cause, { method: endpoint?.method, context }, core.log);
    return await sealed(undefined, STATUS_OF_CODE[wire.code], ERROR_MEDIA_TYPE, JSON.stringify(wire), headers);
  }
}

/**
 * Lets the rest of a small body pass, so that the connection can carry the next call: Deno closes it otherwise. A large
 * body is not worth that.
 */
function discard(request: Request): void {
  if (Number(request.headers.get("content-length") ?? Infinity) > MAX_DISCARDED) return;
  request.body?.cancel().catch(() => {}); // it may have been read already
}

/** In bytes. */
const MAX_DISCARDED = 1_048_576;

/**
 * For what a browser could be made to load from a page of another site: it is read as what it is, by nobody else, and
 * kept nowhere.
 */
const UNSHARED = {
  "cache-control": "no-store",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff",
} as const;
