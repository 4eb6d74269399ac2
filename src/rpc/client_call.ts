import { type Codec, CodecError } from "../codec/mod.ts";
import type { Alarm } from "./alarm.ts";
import type { Call, Reply } from "./call.ts";
import type { Clock } from "./clock.ts";
import { type Inbox, inbox } from "./inbox.ts";
import type { Link } from "./link.ts";
import { type Outlet, outlet } from "./outlet.ts";
import { CANCELED, DEADLINE_EXCEEDED, RECEIVED, type RpcCode, RpcError } from "./rpc_error.ts";

/** One call on the client's side. */
export interface ClientCall {
  readonly call: Call;
  /** When its time is up, by the clock. */
  readonly deadlineAt: number;
  /** The one message, encoded; undefined where a stream is sent. */
  readonly body: string | Uint8Array | undefined;
  /** Whether it is over. */
  readonly over: boolean;
  /** It waits to be opened; `forget` is called where it ends before. */
  queued(forget: () => void): void;
  /** It was opened on a connection, under a number. */
  opened(place: OpenedCall): void;
  /** A message of the answer came. */
  message(bytes: Uint8Array, ends: boolean): void;
  /** The answer is complete. */
  end(): void;
  /** The server takes more messages. */
  credit(messages: number, bytes: number): void;
  /** The server said that it failed: what came before is still to be read. */
  failed(error: RpcError): void;
  /** Its time is up. */
  expire(): void;
  /** It is over now. */
  fail(error: RpcError): void;
}

/** Where a call is made. */
export interface OpenedCall {
  readonly id: number;
  readonly link: Link;
  /** The caller left: the server is told, and nothing of the call is looked at any more. */
  abandon(): void;
}

/** What calls share. */
export interface ClientCallParts {
  readonly codec: Codec;
  readonly clock: Clock;
  readonly alarm: Alarm<ClientCall>;
}

/** The two functions that settle what the transport promised. */
export interface Settle {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Begins a call: its message is encoded, its deadline runs.
 *
 * @throws {RpcError} It was canceled, or its message cannot be encoded.
 */
export function clientCall(call: Call, parts: ClientCallParts, settle: Settle): ClientCall {
  const { method, signal } = call;
  if (signal?.aborted) throw canceled(signal);
  const body = method.streamsInput ? undefined : encode(parts.codec, call.message);
  const own: Own = {
    call,
    parts,
    settle,
    over: false,
    each: undefined,
    abort: undefined,
    abandon: undefined,
    answers: undefined,
    sending: undefined,
    answer: undefined,
  };
  const each = own.each = handleOf(own, body);
  if (each.deadlineAt !== Infinity) parts.alarm.add(each);
  if (signal) {
    own.abort = () => leave(own, canceled(signal));
    signal.addEventListener("abort", own.abort);
  }
  return each;
}

/** What is known of one call. */
interface Own {
  readonly call: Call;
  readonly parts: ClientCallParts;
  readonly settle: Settle;
  over: boolean;
  each: ClientCall | undefined;
  abort: (() => void) | undefined;
  /** Tells who has the call, or the server, that it is over. */
  abandon: (() => void) | undefined;
  /** The messages of the answer, where it is a stream of them. */
  answers: Inbox | undefined;
  sending: Outlet | undefined;
  /** The one message of the answer, where it is one. */
  answer: { readonly message: unknown } | undefined;
}

function handleOf(own: Own, body: ClientCall["body"]): ClientCall {
  const { call, parts } = own;
  return {
    call,
    deadlineAt: parts.clock.now() + call.timeoutMs,
    body,
    get over() {
      return own.over;
    },
    queued(forget) {
      own.abandon = forget;
    },
    opened: (where) => opened(own, where),
    message: (bytes, ends) => message(own, bytes, ends),
    end: () => end(own),
    credit: (messages, bytes) => own.sending?.credit(messages, bytes),
    failed(error) {
      if (own.over) return;
      own.answers?.end(error);
      finish(own);
      own.settle.reject(error);
    },
    expire: () => leave(own, new RpcError("deadline_exceeded", DEADLINE_EXCEEDED, RECEIVED)),
    fail: (error) => fail(own, error),
  };
}

/** It is over now, whatever of it has not been read. */
function fail(own: Own, error: RpcError): void {
  if (own.over) return;
  own.answers?.fail(error);
  finish(own);
  own.settle.reject(error);
}

function opened(own: Own, where: OpenedCall): void {
  const { id, link } = where;
  own.abandon = where.abandon;
  if (own.call.method.streamsInput) {
    own.sending = outlet(own.call.messages!, {
      link,
      id,
      encode: (message) => encode(own.parts.codec, message),
      ended: () => link.end(id),
      failed: (error) => leave(own, asReceived(error)),
    });
  }
  if (!own.call.method.streamsOutput) return;
  own.answers = inbox({
    decode: (bytes) => decode(own.parts.codec, bytes),
    credit: (messages, bytes) => link.credit(id, messages, bytes),
    left: () => leave(own, undefined),
  });
  own.settle.resolve({ message: undefined, messages: own.answers });
}

function message(own: Own, bytes: Uint8Array, ends: boolean): void {
  if (own.answers) own.answers.push(bytes);
  else if (own.answer) {
    return leave(own, new RpcError("unimplemented", "Cannot read the answer: it is more than one", RECEIVED));
  } else {
    try {
      own.answer = { message: decode(own.parts.codec, bytes) };
    } catch (error) {
      return leave(own, error as RpcError);
    }
  }
  if (ends) end(own);
}

function end(own: Own): void {
  own.abandon = undefined; // the server has forgotten it
  if (own.answers) own.answers.end();
  finish(own);
  if (own.answers) return;
  if (own.answer) own.settle.resolve(own.answer);
  else own.settle.reject(new RpcError("unimplemented", "Cannot read the answer: there is none", RECEIVED));
}

/** The call ends on this side: the server is told. */
function leave(own: Own, error: RpcError | undefined): void {
  if (own.over) return;
  if (error) fail(own, error);
  else finish(own);
  own.abandon?.();
}

function finish(own: Own): void {
  if (own.over) return;
  own.over = true;
  own.parts.alarm.delete(own.each!);
  if (own.abort) own.call.signal?.removeEventListener("abort", own.abort);
  own.sending?.stop();
}

function canceled(signal: AbortSignal): RpcError {
  return new RpcError("canceled", CANCELED, { cause: signal.reason, ...RECEIVED });
}

function encode(codec: Codec, message: unknown): string | Uint8Array {
  return coded(() => codec.encode(message), "invalid_argument");
}

function decode(codec: Codec, bytes: Uint8Array): unknown {
  return coded(() => codec.decode(bytes), "internal");
}

/** What a codec refuses is the caller's mistake where it encodes, the server's where it decodes. */
function coded<Value>(run: () => Value, code: RpcCode): Value {
  try {
    return run();
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new RpcError(code, cause.message, { cause, ...RECEIVED });
  }
}

/** The caller's own messages ended with an error. */
function asReceived(cause: unknown): RpcError {
  if (cause instanceof RpcError && cause.received) return cause;
  return new RpcError("canceled", "The messages to send ended with an error", { cause, ...RECEIVED });
}
