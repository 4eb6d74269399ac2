import type { Codec } from "../codec/mod.ts";
import { coded } from "./coded.ts";
import type { Alarm } from "./alarm.ts";
import type { Call, Reply } from "./call.ts";
import type { Clock } from "./clock.ts";
import { type Inbox, inbox } from "./inbox.ts";
import type { Link } from "./link.ts";
import { type Outlet, outlet } from "./outlet.ts";
import { CANCELED, DEADLINE_EXCEEDED, RECEIVED, RpcError } from "./rpc_error.ts";

/**
 * One call on the client's side: what is known of it. What happens to it is told to the functions of this file, because
 * functions of its own would be a good part of what a small call costs.
 */
export interface ClientCall {
  readonly call: Call;
  readonly parts: ClientCallParts;
  readonly settle: Settle;
  /** When its time is up, by the clock. */
  readonly deadlineAt: number;
  /** The one message, encoded; undefined where a stream is sent. */
  readonly body: string | Uint8Array | undefined;
  /** Its number on its connection, once it was opened there. */
  id: number;
  /** How many messages had left its connection when it was written: where none left since, neither did it. */
  sentBefore: number;
  /** Whether it is over. */
  over: boolean;
  /** Who has to know that it is over. */
  holder: CallHolder | undefined;
  abort: (() => void) | undefined;
  /** The messages of the answer, where it is a stream of them. */
  answers: Inbox | undefined;
  sending: Outlet | undefined;
  /** The one message of the answer, where it is one. */
  answer: { readonly message: unknown } | undefined;
}

/** Who has a call that waits, or that was sent. */
export interface CallHolder {
  /** The caller left: nothing of the call is looked at any more, and the server is told where it knows of it. */
  abandon(call: ClientCall): void;
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
  const own: ClientCall = {
    call,
    parts,
    settle,
    deadlineAt: parts.clock.now() + call.timeoutMs,
    body: method.streamsInput ? undefined : encode(parts.codec, call.message),
    id: 0,
    sentBefore: 0,
    over: false,
    holder: undefined,
    abort: undefined,
    answers: undefined,
    sending: undefined,
    answer: undefined,
  };
  if (own.deadlineAt !== Infinity) parts.alarm.add(own);
  if (signal) {
    own.abort = () => leaveCall(own, canceled(signal));
    signal.addEventListener("abort", own.abort);
  }
  return own;
}

/** The server said that it failed: what came before is still to be read. */
export function callFailed(own: ClientCall, error: RpcError): void {
  if (own.over) return;
  own.answers?.end(error);
  finish(own);
  own.settle.reject(error);
}

/** Its time is up. */
export function expireCall(own: ClientCall): void {
  leaveCall(own, new RpcError("deadline_exceeded", DEADLINE_EXCEEDED, RECEIVED));
}

/** It is over now, whatever of it has not been read. */
export function failCall(own: ClientCall, error: RpcError): void {
  if (own.over) return;
  own.answers?.fail(error);
  finish(own);
  own.settle.reject(error);
}

/** It was opened on a connection, under its number. */
export function callOpened(own: ClientCall, link: Link, holder: CallHolder): void {
  const { id } = own;
  own.holder = holder;
  if (own.call.method.streamsInput) {
    own.sending = outlet(own.call.messages!, {
      link,
      id,
      encode: (message) => encode(own.parts.codec, message),
      ended: () => link.end(id),
      failed: (error) => leaveCall(own, asReceived(error)),
    });
  }
  if (!own.call.method.streamsOutput) return;
  own.answers = inbox({
    decode: (bytes) => decode(own.parts.codec, bytes),
    credit: (messages, bytes) => link.credit(id, messages, bytes),
    left: () => leaveCall(own, undefined),
  });
  own.settle.resolve({ message: undefined, messages: own.answers });
}

/** A message of the answer came. */
export function takeAnswer(own: ClientCall, bytes: Uint8Array, ends: boolean): void {
  if (own.answers) own.answers.push(bytes);
  else if (own.answer) {
    return leaveCall(own, new RpcError("unimplemented", "Cannot read the answer: it is more than one", RECEIVED));
  } else {
    try {
      own.answer = { message: decode(own.parts.codec, bytes) };
    } catch (error) {
      return leaveCall(own, error as RpcError);
    }
  }
  if (ends) endCall(own);
}

/** The answer is complete. */
export function endCall(own: ClientCall): void {
  own.holder = undefined; // the server has forgotten it
  if (own.answers) own.answers.end();
  finish(own);
  if (own.answers) return;
  if (own.answer) own.settle.resolve(own.answer);
  else own.settle.reject(new RpcError("unimplemented", "Cannot read the answer: there is none", RECEIVED));
}

/** The call ends on this side: the server is told. */
function leaveCall(own: ClientCall, error: RpcError | undefined): void {
  if (own.over) return;
  if (error) failCall(own, error);
  else finish(own);
  own.holder?.abandon(own);
}

function finish(own: ClientCall): void {
  if (own.over) return;
  own.over = true;
  own.parts.alarm.delete(own);
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

/** The caller's own messages ended with an error. */
function asReceived(cause: unknown): RpcError {
  if (cause instanceof RpcError && cause.received) return cause;
  return new RpcError("canceled", "The messages to send ended with an error", { cause, ...RECEIVED });
}
