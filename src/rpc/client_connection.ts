import type { Codec } from "../codec/mod.ts";
import { isPromiseLike } from "../internal/promise.ts";
import {
  callFailed,
  type CallHolder,
  callOpened,
  type ClientCall,
  endCall,
  failCall,
  takeAnswer,
} from "./client_call.ts";
import type { Clock } from "./clock.ts";
import { TRACEPARENT_HEADER } from "./connect_protocol.ts";
import { ProtocolError } from "./frames.ts";
import { introduce } from "./introduce.ts";
import { CLOSE, type CloseReason, type Link, link, MAX_CALLS_PER_CONNECTION } from "./link.ts";
import type { OpenPipeUser } from "./open_pipe.ts";
import type { Pipe, PipeUser } from "./pipe.ts";
import type { Proof, Prover } from "./prover.ts";
import { receivedError } from "./received_error.ts";
import { NotSentError, RECEIVED, RpcError } from "./rpc_error.ts";

/** One connection on the client's side, from its beginning on. */
export interface ClientConnection {
  /** Whether it takes one more call. */
  readonly isFree: boolean;
  /** Makes a call on it, at once or as soon as the server has let the client in. */
  take(call: ClientCall): void;
  /** Ends it, and every call on it. */
  close(): void;
}

/** What a connection is made of. */
export interface ClientConnectionParts {
  /** The URL under which the server knows it, `https:`. */
  readonly url: string;
  readonly prover: Prover;
  readonly codec: Codec;
  readonly clock: Clock;
  /** Opens the pipe. */
  readonly open: (user: OpenPipeUser) => void;
}

/** What a connection tells the one who has it. */
export interface ClientConnectionUser {
  /** The server has let the client in. */
  entered(): void;
  /** There is no connection, or the server did not let the client in. */
  failed(error: RpcError): void;
  /** It is over; told once. */
  over(): void;
  /** The pipe is closed; told once, and not where it never opened. */
  closed(): void;
}

/** How long a server may take to let a client in, in milliseconds. */
const HELLO_MS = 10_000;
/** A server that sends so much before it was heard is none, in messages. */
const MAX_EARLY = 16;
/** The last number of a call; after it comes another connection. */
const MAX_ID = 2 ** 32 - 1;

/** Connects, introduces the client, and makes calls. */
export function clientConnection(parts: ClientConnectionParts, user: ClientConnectionUser): ClientConnection {
  const own: Own = {
    parts,
    user,
    calls: new Map(),
    waiting: new Set(),
    queue: { abandon: (call) => void own.waiting.delete(call) },
    opened: { abandon: (call) => abandon(own, call.id) },
    early: [],
    timer: parts.clock.set(() => refused(own, new NotSentError(SILENT, RECEIVED)), HELLO_MS),
    state: "greeting",
    pipe: undefined,
    connection: undefined,
    proof: {},
    answer: undefined,
    lastId: 0,
    reason: undefined,
  };
  parts.open({ opened: (pipe) => opened(own, pipe), failed: (cause) => unreachable(own, cause) });
  return {
    get isFree() {
      if (own.state === "open" && own.proof.isUsable?.() === false) retire(own);
      const isTaking = own.state === "greeting" || own.state === "open";
      return isTaking && own.calls.size + own.waiting.size < MAX_CALLS_PER_CONNECTION && own.lastId < MAX_ID;
    },
    take(call) {
      if (own.state === "over") failCall(call, own.reason ?? unsent());
      else if (own.state === "open") make(own, call);
      else wait(own, call);
    },
    close() {
      if (own.connection) own.connection.close(CLOSE.done);
      else end(own, CLOSE.done, new NotSentError(CLOSED, RECEIVED));
    },
  };
}

/** What is known of one connection. */
interface Own {
  readonly parts: ClientConnectionParts;
  readonly user: ClientConnectionUser;
  /** The calls under way, by their numbers. */
  readonly calls: Map<number, ClientCall>;
  /** The calls that have not been written. */
  readonly waiting: Set<ClientCall>;
  /** What is told of calls that their callers leave, before they were written and after. */
  readonly queue: CallHolder;
  readonly opened: CallHolder;
  /** What came before the server's hello was verified. */
  readonly early: (Uint8Array | string)[];
  readonly timer: unknown;
  state: "greeting" | "open" | "retired" | "over";
  pipe: Pipe | undefined;
  connection: Link | undefined;
  proof: Proof;
  /** Takes the server's hello. */
  answer: ((message: Uint8Array | string) => void) | undefined;
  lastId: number;
  /** Why it was never open. */
  reason: RpcError | undefined;
}

function opened(own: Own, given: Pipe): PipeUser {
  own.pipe = given;
  if (own.state === "over") own.pipe.close(CLOSE.done.code, CLOSE.done.reason);
  else {
    const { url, prover, codec } = own.parts;
    introduce({ url, prover, codec: codec.name, exchange: (hello) => exchange(own, hello) })
      .then((proof) => enter(own, proof)).catch((error) => refused(own, error));
  }
  return { receive: (message) => receive(own, message), closed: () => closed(own) };
}

function unreachable(own: Own, cause: unknown): void {
  refused(own, new NotSentError(UNREACHABLE, { cause, ...RECEIVED }));
}

function wait(own: Own, call: ClientCall): void {
  own.waiting.add(call);
  call.holder = own.queue;
}

function exchange(own: Own, hello: string): Promise<Uint8Array | string> {
  own.pipe!.send(hello);
  return new Promise((resolve) => {
    own.answer = resolve;
  });
}

function receive(own: Own, message: Uint8Array | string): void {
  if (own.connection) return own.connection.receive(message);
  const answered = own.answer;
  own.answer = undefined;
  if (answered) answered(message);
  else if (own.early.push(message) > MAX_EARLY) refused(own, new ProtocolError("Too much before the beginning"));
}

function closed(own: Own): void {
  if (own.connection) own.connection.closed();
  else unreachable(own, undefined);
  own.user.closed();
}

function enter(own: Own, accepted: Proof): void {
  if (own.state === "over") return;
  own.parts.clock.clear(own.timer);
  own.state = "open";
  own.proof = accepted;
  const { channel } = accepted;
  own.connection = link(
    {
      pipe: own.pipe!,
      channel,
      clock: own.parts.clock,
      maxMessageBytes: own.parts.codec.maxBytes,
      maxQueuedBytes: Infinity,
    },
    {
      open: fromClientsOnly,
      cancel: fromClientsOnly,
      message: (id, bytes, ends) => onMessage(own, id, bytes, ends),
      end: (id) => ended(own, id),
      error: (id, body) => onError(own, id, body),
      credit: (id, messages, bytes) => known(own, id)?.sending?.credit(messages, bytes),
      drain: () => retire(own),
      beat() {},
      lost: () => end(own, undefined, undefined),
    },
  );
  own.user.entered();
  const first = [...own.waiting];
  own.waiting.clear();
  for (const call of first) make(own, call);
  for (const message of own.early) own.connection?.receive(message);
  own.early.length = 0;
}

/** Nobody was let in. */
function refused(own: Own, cause: unknown): void {
  if (own.state !== "greeting") return;
  const error = cause instanceof RpcError ? asNotSent(cause) : new NotSentError(NOT_POSTERN, { cause, ...RECEIVED });
  own.user.failed(error);
  end(own, CLOSE.refused, error);
}

/** Proves a call, where that is asked for, and sends it. */
function make(own: Own, call: ClientCall): void {
  if (call.over) return;
  if (!own.proof.headersFor) return send(own, call, undefined);
  wait(own, call);
  const failed = (error: unknown) => {
    own.waiting.delete(call);
    failCall(
      call,
      error instanceof RpcError ? asReceived(error) : new NotSentError(UNPROVEN, { cause: error, ...RECEIVED }),
    );
    leave(own);
  };
  const proven = (headers: Readonly<Record<string, string>>) => {
    if (own.waiting.delete(call)) send(own, call, headers);
  };
  try {
    const headers = own.proof.headersFor(call.call);
    if (isPromiseLike(headers)) Promise.resolve(headers).then(proven, failed);
    else proven(headers);
  } catch (error) {
    failed(error);
  }
}

function send(own: Own, call: ClientCall, proven: Readonly<Record<string, string>> | undefined): void {
  if (call.over) return leave(own);
  if (own.state === "over") return failCall(call, unsent()); // one before it ended the connection
  if (!own.connection!.clogged) return write(own, call, proven);
  wait(own, call);
  own.connection!.later(call.body?.length ?? 0, () => {
    if (own.waiting.delete(call)) write(own, call, proven);
    else leave(own);
  });
}

function write(own: Own, call: ClientCall, proven: Readonly<Record<string, string>> | undefined): void {
  const { method, origin } = call.call;
  const trace = origin?.traceparent;
  const headers = trace === undefined ? proven : { [TRACEPARENT_HEADER]: trace, ...proven };
  const timeoutMs = call.deadlineAt - own.parts.clock.now();
  const id = ++own.lastId; // before it is written: that may let another call be written, and may end everything
  call.id = id;
  call.sentBefore = own.connection!.sent;
  own.calls.set(id, call);
  try {
    own.connection!.open(id, { path: method.path, timeoutMs, headers, message: call.body });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    own.lastId--;
    own.calls.delete(id);
    return failCall(call, new NotSentError(UNPROVEN, { cause, ...RECEIVED }));
  }
  if (!call.over) callOpened(call, own.connection!, own.opened);
}

function onMessage(own: Own, id: number, bytes: Uint8Array, ends: boolean): void {
  const call = ends ? over(own, id) : known(own, id);
  if (call) takeAnswer(call, bytes, ends);
}

function ended(own: Own, id: number): void {
  const call = over(own, id);
  if (call) endCall(call);
}

function onError(own: Own, id: number, body: Uint8Array): void {
  const call = over(own, id);
  if (!call) return;
  receivedError(call.call.method, 500, body).then((error) => callFailed(call, error), () => failCall(call, lost()));
}

function known(own: Own, id: number): ClientCall | undefined {
  if (id > own.lastId) throw new ProtocolError("A call that was not opened");
  return own.calls.get(id); // undefined where it was abandoned, which the server may not have known
}

/** The server is done with the call. */
function over(own: Own, id: number): ClientCall | undefined {
  const call = known(own, id);
  own.calls.delete(id);
  leave(own);
  return call;
}

function abandon(own: Own, id: number): void {
  if (!own.calls.delete(id)) return;
  own.connection!.cancel(id);
  leave(own);
}

/** It takes no more calls, because the server says so or its proof grows old: those under way are still answered. */
function retire(own: Own): void {
  if (own.state === "open") own.state = "retired";
  leave(own);
}

/** Whoever is last closes a connection that takes no more calls. */
function leave(own: Own): void {
  if (own.state === "retired" && own.calls.size + own.waiting.size === 0) own.connection!.close(CLOSE.done);
}

/** Everything under way fails; what has not left can be made again. */
function end(own: Own, close: CloseReason | undefined, error: RpcError | undefined): void {
  if (own.state === "over") return;
  own.state = "over";
  own.parts.clock.clear(own.timer);
  own.reason = error;
  if (close) own.pipe?.close(close.code, close.reason);
  if (!own.pipe) own.user.closed(); // it never opened, or what opens is closed at once
  own.user.over();
  for (const call of own.waiting) failCall(call, error ?? unsent());
  for (const call of own.calls.values()) {
    failCall(call, own.connection!.sent === call.sentBefore ? unsent() : lost());
  }
  own.waiting.clear();
  own.calls.clear();
}

function fromClientsOnly(): never {
  throw new ProtocolError("A frame that only clients send");
}

const lost = () => new RpcError("unavailable", "The connection was lost", RECEIVED);
const unsent = () => new NotSentError("The connection was lost", RECEIVED);

const CLOSED = "The transport was closed";
const SILENT = "Cannot reach the server: it did not answer in time";
const UNREACHABLE = "Cannot reach the server";
const NOT_POSTERN = "Cannot talk with the server: it speaks another protocol";
const UNPROVEN = "Cannot prove the call";

function asReceived(error: RpcError): RpcError {
  return error.received ? error : new RpcError(error.code, error.message, { cause: error, ...RECEIVED });
}

/** No call has left before the client was let in. */
function asNotSent(error: RpcError): RpcError {
  return error.code === "unavailable"
    ? new NotSentError(error.message, { cause: error, ...RECEIVED })
    : asReceived(error);
}
