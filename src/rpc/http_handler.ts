import { isPromiseLike } from "../internal/promise.ts";
import { within } from "../internal/within.ts";
import {
  ERROR_MEDIA_TYPE,
  PATH_PATTERN,
  PROTOCOL_VERSION,
  STATUS_OF_CODE,
  streamMediaType,
  TIMEOUT_PATTERN,
  unaryMediaType,
} from "./connect_protocol.ts";
import { CallContext } from "./context.ts";
import { decodeMessage } from "./decode_message.ts";
import { failureOf } from "./failure.ts";
import { isStreaming } from "./contract.ts";
import type { Admission, Incoming, OutgoingResponse, Seal } from "./guard.ts";
import { assertOneLength, readBody, tooLarge } from "./http_body.ts";
import { assertNotCrossSite, type QueryMessage, readQuery } from "./http_get.ts";
import { assertHost, type HttpHead, HttpRefusal, readHead } from "./http_head.ts";
import { PEER_CERTIFICATE, type PeerInfo } from "./peer.ts";
import { DEADLINE_EXCEEDED, RpcError } from "./rpc_error.ts";
import { proven } from "./proven.ts";
import { admit, type Endpoint, type Framing, invoke, NO_BODY, type ServerCore } from "./server_core.ts";

/**
 * Answers calls over HTTP, in the order in which this file reads: what is cheap and needs no trust comes first,
 * and nothing is decoded before the guard has let the call in.
 *
 * @see {@link https://connectrpc.com/docs/protocol#unary-request}
 */
export function httpHandler(core: ServerCore): (request: Request, info?: PeerInfo) => Promise<Response> {
  return async (request, info) => {
    const exchange: Exchange = {
      info,
      entered: false,
      endpoint: undefined,
      framing: undefined,
      context: undefined,
      seal: undefined,
      streaming: false,
    };
    try {
      core.traffic.enter();
      exchange.entered = true;
      return await answer(core, request, exchange);
    } catch (error) {
      return await refuse(core, request, error, exchange);
    } finally {
      if (!exchange.streaming) leave(core, exchange);
    }
  };
}

/** The caller has its answer, or the last of it. */
function leave(core: ServerCore, { context, entered }: Exchange): void {
  context?.end();
  if (entered) core.traffic.leave(context);
}

/** What became known of a request on its way, for when it fails. */
interface Exchange {
  readonly info: PeerInfo | undefined;
  entered: boolean;
  endpoint: Endpoint | undefined;
  /** What its body is; undefined for a verb that has none. */
  framing: Framing | undefined;
  context: CallContext | undefined;
  seal: Seal | undefined;
  /** Whether the answer goes on when its head has left. */
  streaming: boolean;
}

async function answer(core: ServerCore, request: Request, exchange: Exchange): Promise<Response> {
  const { path, query } = locate(request.url, core.tlsTerminated);
  const endpoint = exchange.endpoint = core.endpoints.get(path);
  if (!endpoint && !PATH_PATTERN.test(path)) throw notFound();
  const head = readHead(request.headers, core.limits.maxHeaderBytes);
  const framing = exchange.framing = expectFraming(request.method, head, query, core);
  const posted = framing?.codec;
  if (framing?.streams) assertIdentity(head);
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
  const readOnce = () =>
    raw ??= posted && !framing!.streams ? receive(core, request, head, maxBytes, context) : NO_BODY;
  const admitted = admit(core.guard, incomingOf(request, head, readOnce, exchange), context);
  const admission = admitted instanceof Promise ? await admitted : admitted;
  exchange.seal = admission.seal;
  if (!endpoint) throw notFound();
  context.allow(Math.min(askedMs, endpoint.deadlineMs));
  if (framing && framing.streams !== isStreaming(endpoint.method)) throw notOffered();
  if (framing?.streams) return await answerStream(core, request, admission, exchange);
  maxBytes = Math.min(maxBytes, endpoint.method.options.maxBodyBytes ?? maxBytes);

  const { codec, bytes } = posted
    ? { codec: posted, bytes: noLonger(await readOnce(), maxBytes) }
    : readGet(endpoint, request.method, head, query, core);
  const checking = posted && admission.checkBody?.(bytes);
  if (isPromiseLike(checking)) await context.wait(checking);
  const value = await invoke(endpoint, admission, decodeMessage(codec, bytes), context);
  const body = codec.encode(value);
  if (posted && !admission.seal) return new Response(body as BodyInit, core.answers.get(codec));
  const contentType = unaryMediaType(codec.name);
  return await sealed(admission.seal, { status: 200, contentType, body }, posted ? undefined : UNSHARED);
}

/** Proves the head of a stream that was let in, and leaves the call to what follows it. */
async function answerStream(
  core: ServerCore,
  request: Request,
  admission: Admission,
  exchange: Exchange,
): Promise<Response> {
  const { assertProvable, streamedAnswer } = await import("./http_stream.ts"); // where it is used, for servers without
  const [endpoint, context, { codec }] = [exchange.endpoint!, exchange.context!, exchange.framing!];
  assertProvable(admission);
  const contentType = streamMediaType(codec.name);
  const proof = admission.seal && await proven(admission.seal, { status: 200, contentType, body: undefined });
  const headers = { "content-type": contentType, ...UNSHARED, ...proof };
  exchange.streaming = true;
  const call = { endpoint, admission, codec, context, leave: () => leave(core, exchange) };
  return new Response(streamedAnswer(core, request, call), { headers });
}

/** The call as the guard sees it. */
function incomingOf(
  { method, url }: Request,
  { all }: HttpHead,
  body: () => Promise<Uint8Array>,
  exchange: Exchange,
): Incoming {
  return {
    method: exchange.endpoint?.method,
    request: { method, url, headers: all },
    carries: exchange.framing?.streams ? "stream" : "body",
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
 * @returns What a POST carries; undefined for a GET, whose encoding is in its query, and for verbs that call nothing.
 */
function expectFraming(verb: string, head: HttpHead, query: string | undefined, core: ServerCore): Framing | undefined {
  if (head.protocolVersion !== undefined && head.protocolVersion !== PROTOCOL_VERSION) {
    throw new RpcError(
      "invalid_argument",
      `Cannot take the call: the protocol's version must be "${PROTOCOL_VERSION}"`,
    );
  }
  assertHost(head);
  if (verb !== "POST") return undefined;
  if (query !== undefined) throw new RpcError("invalid_argument", "Cannot take the call: a POST has no query");
  const contentType = head.contentType ?? "";
  const framing = core.framings.get(contentType) ?? core.framings.get(contentType.toLowerCase());
  if (!framing) throw notOffered();
  if (head.contentEncoding !== undefined && head.contentEncoding !== "identity") {
    throw new HttpRefusal(415, "unimplemented", "Cannot read the message: compression is not supported");
  }
  assertOneLength(head);
  return framing;
}

/** A stream says in a header of its own how its messages are compressed. */
function assertIdentity({ streamEncoding }: HttpHead): void {
  if (streamEncoding === undefined || streamEncoding === "identity") return;
  throw new RpcError("unimplemented", "Cannot read the stream: compression is not supported");
}

function readGet(
  { method }: Endpoint,
  verb: string,
  head: HttpHead,
  query: string | undefined,
  core: ServerCore,
): QueryMessage {
  const takesGet = method.options.safe && !isStreaming(method);
  if (verb !== "GET" || !takesGet) {
    const allow = takesGet ? "GET, POST" : "POST";
    throw new HttpRefusal(405, "unknown", `Cannot call this method this way, use ${allow}`, {
      headers: { allow },
    });
  }
  assertNotCrossSite(head);
  return readQuery(query, core.codecs, method.options.maxBodyBytes);
}

const notOffered = () => new HttpRefusal(415, "unknown", "Cannot read the message: its media type is not offered");

const notFound = () => new HttpRefusal(404, "unimplemented", "There is no such method");

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

/** Adds the guard's proof and makes the response; at once where the proof is. */
function sealed(
  seal: Seal | undefined,
  answer: OutgoingResponse,
  more: Readonly<Record<string, string>> | undefined,
): Response | Promise<Response> {
  const { status, contentType, body } = answer;
  const respond = (proof: Readonly<Record<string, string>> | undefined) =>
    new Response(body as BodyInit, { status, headers: { "content-type": contentType, ...more, ...proof } });
  const proof = seal && proven(seal, answer);
  return proof instanceof Promise ? proof.then(respond) : respond(proof);
}

/** The answer to a call that failed, wherever it failed. */
async function refuse(
  core: ServerCore,
  request: Request,
  error: unknown,
  exchange: Exchange,
): Promise<Response> {
  const { seal } = exchange;
  discard(request);
  const { headers: own, ...answer } = await refusalOf(core, error, exchange);
  const headers = { ...UNSHARED, ...own };
  try {
    return await sealed(seal, answer, headers);
  } catch (cause) {
    // A guard that cannot prove answers leaves errors unproven, and those a client counts as no answer at all.
    return await sealed(undefined, await refusalOf(core, cause, exchange), headers);
  }
}

/** The refusal as its caller expects it: a stream's is its last envelope, but for what HTTP has a status of its own for. */
async function refusalOf(core: ServerCore, error: unknown, { endpoint, context, framing }: Exchange) {
  const { wire, http } = await failureOf(error, { method: endpoint?.method, context }, core.log);
  if (framing?.streams && !http) {
    const { endWith } = await import("./http_stream.ts");
    return { status: 200, contentType: streamMediaType(framing.codec.name), body: endWith(wire), headers: {} };
  }
  const status = http?.status ?? STATUS_OF_CODE[wire.code];
  return { status, contentType: ERROR_MEDIA_TYPE, body: JSON.stringify(wire), headers: http?.headers };
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
