import type { Codec } from "../codec/mod.ts";
import { CallContext } from "./context.ts";
import { decodeMessage } from "./decode_message.ts";
import { PATH_PATTERN } from "./connect_protocol.ts";
import { isStreaming } from "./contract.ts";
import { failureOf } from "./failure.ts";
import { type OpenFrame, ProtocolError } from "./frames.ts";
import type { Admission, Guard, Incoming } from "./guard.ts";
import { tooLarge } from "./http_body.ts";
import { inTime } from "./http_stream.ts";
import { type Inbox, inbox } from "./inbox.ts";
import type { Link } from "./link.ts";
import { type Outlet, outlet } from "./outlet.ts";
import type { PeerCertificate } from "./peer.ts";
import { CANCELED, RpcError } from "./rpc_error.ts";
import { admit, type Endpoint, invoke, invokeStream, NO_BODY, type ServerCore } from "./server_core.ts";

/** What the calls of a connection share. */
export interface ServedConnectionParts {
  readonly core: ServerCore;
  /** Admits each call. */
  readonly guard: Guard;
  readonly codec: Codec;
  /** Where the server is, as its client wrote it: `https:`, host, perhaps a port. */
  readonly origin: string;
  readonly certificate: PeerCertificate | undefined;
}

/** Where a call is served. */
export interface ServedCallPlace {
  readonly parts: ServedConnectionParts;
  readonly link: Link;
  /**
   * The caller knows that the call is over, or said so.
   *
   * @param outlived What of it still runs, and so keeps its place.
   */
  over(id: number, outlived: Promise<unknown> | undefined): void;
}

/**
 * One call on a connection: what is known of it. What happens to it is told to the functions of this file, because
 * functions of its own would be a good part of what a small call costs.
 */
export interface ServedCall {
  readonly id: number;
  readonly frame: OpenFrame;
  readonly place: ServedCallPlace;
  readonly core: ServerCore;
  readonly link: Link;
  readonly endpoint: Endpoint | undefined;
  readonly context: CallContext;
  readonly whole: Uint8Array | undefined;
  received: Inbox | undefined;
  /** Takes back an answer that waits for the caller to read. */
  unqueue: (() => void) | undefined;
  answers: Outlet | undefined;
  /** Ends the waiting for the last answer. */
  stopped: (() => void) | undefined;
  /** Settles when nothing of it runs any more. */
  running: Promise<void> | undefined;
  /** Whether it has a place in the server. */
  entered: boolean;
  /** Whether the caller waits no more. */
  over: boolean;
  /** Whether its place was given back. */
  left: boolean;
  /** Whether the caller has sent everything. */
  ended: boolean;
}

/** Answers one call, in the order in which calls over HTTP are answered: nothing is decoded before the guard let it in. */
export function serveCall(id: number, frame: OpenFrame, place: ServedCallPlace): ServedCall {
  const { parts: { core }, link } = place;
  const endpoint = core.endpoints.get(frame.path);
  const deadlineMs = Math.min(frame.timeoutMs, core.limits.callDeadlineMs);
  const own: ServedCall = {
    id,
    frame,
    place,
    core,
    link,
    endpoint,
    context: new CallContext(endpoint?.method, deadlineMs, core.log, NOBODY),
    // A whole message that came with its call needs no stream around it.
    whole: endpoint && !isStreaming(endpoint.method) && frame.ends ? frame.message : undefined,
    received: undefined,
    unqueue: undefined,
    answers: undefined,
    stopped: undefined,
    running: undefined,
    entered: false,
    over: false,
    left: false,
    ended: frame.ends,
  };
  if (!own.whole) {
    own.received = receivedMessages(own);
    if (frame.message) own.received.push(frame.message);
    if (frame.ends) own.received.end();
  }
  own.running = answer(own);
  return own;
}

async function answer(own: ServedCall): Promise<void> {
  try {
    own.core.traffic.enter();
    own.entered = true;
    if (!own.endpoint && !PATH_PATTERN.test(own.frame.path)) throw notFound();
    const admitted = admit(
      own.place.parts.guard,
      incomingOf(own.frame, own.endpoint, own.context, own.place.parts),
      own.context,
    );
    const admission = admitted instanceof Promise ? await admitted : admitted;
    if (own.over) return;
    if (!own.endpoint) throw notFound();
    own.context.allow(Math.min(own.frame.timeoutMs, own.endpoint.deadlineMs));
    if (!own.whole) {
      // It is asked about a whole body, which there is none of where a message comes by itself.
      if (admission.checkBody && !isStreaming(own.endpoint.method)) throw notWhole();
      return await answerMessages(own, own.endpoint, admission);
    }
    const checking = admission.checkBody?.(own.whole);
    if (checking) await own.context.wait(checking);
    write(
      own,
      own.place.parts.codec.encode(await invoke(own.endpoint, admission, decode(own, own.whole), own.context)),
    );
  } catch (error) {
    await fail(own, error);
  }
}

/** The one answer of a unary call. */
function write(own: ServedCall, body: string | Uint8Array): void {
  if (own.over) return;
  if (own.link.clogged) own.unqueue = own.link.later(body.length, send);
  else send();

  function send(): void {
    if (own.over) return;
    own.link.message(own.id, body, true);
    leave(own);
  }
}

async function answerMessages(own: ServedCall, endpoint: Endpoint, admission: Admission): Promise<void> {
  const { receiveDeadlineMs, stallMs } = own.core.limits;
  const received = endpoint.method.streamsInput
    ? own.received!
    : inTime(own.received![Symbol.asyncIterator](), receiveDeadlineMs);
  const messages = await invokeStream(endpoint, admission, received, own.context);
  await new Promise<void>((resolve) => {
    own.stopped = resolve;
    own.answers = outlet(messages, {
      link: own.link,
      id: own.id,
      stallMs,
      encode: (message) => own.place.parts.codec.encode(message),
      ended() {
        own.link.end(own.id);
        leave(own);
        resolve();
      },
      failed: (error) => void fail(own, error).then(resolve),
    });
    if (!own.over) return;
    own.answers.stop(); // the call ended before there were answers, when nobody could end this waiting
    resolve();
  });
}

function receivedMessages(own: ServedCall): Inbox {
  return inbox({
    decode: (bytes) => decode(own, bytes),
    credit: (messages, bytes) => own.link.credit(own.id, messages, bytes),
    left() {},
  });
}

function decode(own: ServedCall, bytes: Uint8Array): unknown {
  const maxBytes = own.endpoint?.method.options.maxBodyBytes ?? Infinity;
  if (bytes.length > maxBytes) throw tooLarge(maxBytes);
  return decodeMessage(own.place.parts.codec, bytes);
}

/** A message of the caller's came. */
export function takeMessage(own: ServedCall, bytes: Uint8Array, ends: boolean): void {
  if (own.ended) throw new ProtocolError("A message after the end");
  own.received!.push(bytes);
  if (ends) endMessages(own);
}

/** The caller has sent everything. */
export function endMessages(own: ServedCall): void {
  if (own.ended) throw new ProtocolError("An end after the end");
  own.ended = true;
  own.received!.end();
}

/** The caller takes more messages. */
export function takeCredit(own: ServedCall, messages: number, bytes: number): void {
  if (!own.answers) throw new ProtocolError("Credit for what was not sent");
  own.answers.credit(messages, bytes);
}

/** Nobody waits for its answer. */
export function cancelCall(own: ServedCall): void {
  if (own.over) return;
  own.over = true;
  own.context.cancel();
  own.received?.fail(new RpcError("canceled", CANCELED));
  own.answers?.stop();
  own.stopped?.();
  own.unqueue?.();
  if (own.running) own.context.outlive(own.running);
  leave(own);
}

async function fail(own: ServedCall, error: unknown): Promise<void> {
  if (own.over) return;
  const { wire } = await failureOf(error, { method: own.endpoint?.method, context: own.context }, own.core.log);
  if (own.over) return;
  own.link.error(own.id, JSON.stringify(wire));
  leave(own);
}

/** Once: writing the last of an answer may end the connection, and so the call, before it returns. */
function leave(own: ServedCall): void {
  if (own.left) return;
  own.left = true;
  own.over = true;
  own.received?.fail(undefined);
  own.context.end();
  if (own.entered) own.core.traffic.leave(own.context);
  own.place.over(own.id, own.context.outlived);
}

/** The call as the guard sees it. */
function incomingOf(
  frame: OpenFrame,
  endpoint: Endpoint | undefined,
  context: CallContext,
  { origin, certificate }: ServedConnectionParts,
): Incoming {
  const { headers } = frame;
  return {
    method: endpoint?.method,
    request: {
      method: "POST",
      url: origin + frame.path,
      headers: headers ? { get: (name) => headers.get(name.toLowerCase()) ?? null } : NO_HEADERS,
    },
    carries: endpoint && isStreaming(endpoint.method) ? "stream" : "body",
    body: noBody,
    certificate,
    get correlationId() {
      return context.correlationId;
    },
    sealRefusal: nothing, // the connection proves everything on it
  };
}

const noBody = () => NO_BODY;
const nothing = () => {};

const notWhole = () => new RpcError("invalid_argument", "Cannot take the call: its message must come with it");

const notFound = () => new RpcError("unimplemented", "There is no such method");

/** The end of a call is told to its context directly. */
const NOBODY = {};

const NO_HEADERS: Pick<Headers, "get"> = { get: () => null };
