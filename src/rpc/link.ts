import { type Channel, PROOF_BYTES } from "./channel.ts";
import type { Clock } from "./clock.ts";
import { FRAME, type FrameUser, MAX_FRAME_OVERHEAD, MAX_SHARED_BYTES, ProtocolError, readFrames } from "./frames.ts";
import { type FrameWriter, frameWriter, type Opening } from "./frame_writer.ts";
import type { Pipe } from "./pipe.ts";
import { RpcError } from "./rpc_error.ts";

/** Why a connection ends; browsers may only use 1000 and the codes from 4000 on. */
export const CLOSE = {
  done: { code: 1000, reason: "done" },
  protocol: { code: 4400, reason: "not the protocol" },
  refused: { code: 4401, reason: "not let in" },
  silent: { code: 4408, reason: "no answer in time" },
  tooLarge: { code: 4413, reason: "a message is too large" },
  notReading: { code: 4429, reason: "too much is queued" },
  ending: { code: 4503, reason: "about to end" },
} as const;

/** Why a connection ends. */
export interface CloseReason {
  readonly code: number;
  readonly reason: string;
}

/** The side of a connection that a {@linkcode Link} belongs to. */
export interface LinkUser extends Omit<FrameUser, "ping" | "pong"> {
  /** The connection is over; told once. */
  lost(): void;
  /** Called between the beats of the heart, every {@linkcode BEAT_MS}. */
  beat(): void;
}

/** What a link is made of. */
export interface LinkParts {
  readonly pipe: Pipe;
  /** What proves the messages; undefined for a connection that nobody proved. */
  readonly channel: Channel | undefined;
  readonly clock: Clock;
  /** The largest message of a call, in bytes. */
  readonly maxMessageBytes: number;
  /** How much may wait for a peer that takes nothing, in bytes. */
  readonly maxQueuedBytes: number;
}

/** One end of a connection, once both sides have proven who they are: frames out and in, and whether anybody is there. */
export interface Link {
  /** How many messages were sent: a frame that was written when it was the same has not left. */
  readonly sent: number;
  /** Whether messages of calls have to wait, because the other side does not take what was sent. */
  readonly clogged: boolean;
  open(id: number, opening: Opening): number;
  message(id: number, body: string | Uint8Array, ends: boolean): number;
  end(id: number): void;
  error(id: number, body: string): void;
  cancel(id: number): void;
  credit(id: number, messages: number, bytes: number): void;
  drain(): void;
  /**
   * Writes when the other side has taken enough, in the order in which it was asked for: one message for each call.
   *
   * @param size How much it will be, in bytes.
   * @param write Writes it; not called any more once the connection is over.
   * @returns What takes it back, for a call that ended before: what it holds must not wait for a peer that takes nothing.
   */
  later(size: number, write: () => void): () => void;
  /** A message came. */
  receive(message: Uint8Array | string): void;
  /** Sends what is written, and ends the connection; again does nothing. */
  close(reason: CloseReason): void;
  /** The pipe is closed. */
  closed(): void;
}

/** How many calls one connection may have under way, and at a server how many handlers that outlive theirs. */
export const MAX_CALLS_PER_CONNECTION = 128;
/** How long the other side may be silent before it is asked whether it is there, in milliseconds. */
export const BEAT_MS = 15_000;
/** After so many questions without an answer nobody is there. */
const MISSED_BEATS = 2;
/** Above this the other side does not take what it is sent, and nothing more is asked of generators, in bytes. */
const CLOGGED_BYTES = 1_048_576;
/** How often a clogged pipe is looked at, in milliseconds: pipes do not tell. */
const LOOK_MS = 5;
/** How long a peer may take nothing of a queue that is too large, in milliseconds. */
const PATIENCE_MS = 2_000;
/** How many turns without a new frame pass before what is written is sent, where frames come together. */
const QUIET_TURNS = 8;
/** The same where the last message had one frame only: who makes one call after the other waits for each. */
const QUIET_TURNS_ALONE = 2;

/** Makes one end of a connection; `user` is told of everything that comes in. */
export function link(parts: LinkParts, user: LinkUser): Link {
  const { pipe, channel, clock, maxMessageBytes, maxQueuedBytes } = parts;
  const line: Line = {
    pipe,
    channel,
    clock,
    user,
    maxQueuedBytes,
    maxBytes: maxMessageBytes + MAX_FRAME_OVERHEAD,
    spare: channel ? PROOF_BYTES : 0,
    out: frameWriter(),
    queue: new Set(),
    queued: 0,
    sent: 0,
    over: false,
    scheduled: false,
    seen: 0,
    quietTurns: 0,
    frames: 0,
    enoughTurns: QUIET_TURNS,
    turn: () => turn(line),
    unlooked: 0,
    clogged: false,
    looking: undefined,
    lastWaiting: 0,
    tookAt: 0,
    heard: true,
    missed: 0,
    stuckAt: 0,
    beating: undefined,
  };
  line.beating = clock.set(() => beat(line), BEAT_MS);
  return linkOf(line);
}

function linkOf(line: Line): Link {
  const { out } = line;
  const frames = framesOf(line);
  return {
    get sent() {
      return line.sent;
    },
    get clogged() {
      return line.clogged;
    },
    open: (id, opening) => line.over ? 0 : wrote(line, out.size, out.open(id, opening)),
    message: (id, body, ends) => line.over ? 0 : wrote(line, out.size, out.message(id, body, ends)),
    end: (id) => void wrote(line, out.size, out.end(id)),
    error: (id, body) => void wrote(line, out.size, out.error(id, body)),
    cancel: (id) => void wrote(line, out.size, out.cancel(id)),
    credit: (id, messages, bytes) => void wrote(line, out.size, out.credit(id, messages, bytes)),
    drain: () => signal(line, FRAME.drain),
    later(size, write) {
      const waiting = { size, write };
      if (line.over) return () => {};
      line.queue.add(waiting);
      line.queued += size;
      return () => {
        if (line.queue.delete(waiting)) line.queued -= size;
      };
    },
    receive: (message) => receive(line, frames, message),
    close(reason) {
      if (line.over) return;
      if (out.size > 0) send(line, out.size);
      stop(line, reason);
    },
    closed: () => stop(line, undefined),
  };
}

/** What a link knows. */
interface Line {
  readonly pipe: Pipe;
  readonly channel: Channel | undefined;
  readonly clock: Clock;
  readonly user: LinkUser;
  readonly maxQueuedBytes: number;
  /** The largest message that is taken. */
  readonly maxBytes: number;
  /** How much longer than its frames a message is. */
  readonly spare: number;
  readonly out: FrameWriter;
  /** Who waits for the other side to take something, and for how many bytes. */
  readonly queue: Set<{ readonly size: number; readonly write: () => void }>;
  queued: number;
  sent: number;
  over: boolean;
  /** Whether a turn is under way, after which what is written is sent; how much was written and for how many turns. */
  scheduled: boolean;
  seen: number;
  quietTurns: number;
  /** How many frames were written since a message was sent, and for how many turns that makes them wait for others. */
  frames: number;
  enoughTurns: number;
  readonly turn: () => void;
  /** The bytes that were sent since the pipe was last looked at. */
  unlooked: number;
  clogged: boolean;
  looking: unknown;
  /** How much was not taken at the last look, and when something was. */
  lastWaiting: number;
  tookAt: number;
  /** Whether anything came since the last beat, how many beats nothing did, and how much was not taken at the last one. */
  heard: boolean;
  missed: number;
  stuckAt: number;
  beating: unknown;
}

function signal(line: Line, type: number): void {
  wrote(line, line.out.size, line.out.signal(type));
}

/** The frame that begins at `start` is written, and leaves with the others of this turn. */
function wrote(line: Line, start: number, length: number): number {
  if (line.out.size + line.spare > MAX_SHARED_BYTES) {
    if (start > 0) send(line, start);
    if (line.out.size + line.spare > MAX_SHARED_BYTES) send(line, line.out.size);
  }
  line.frames++;
  if (line.scheduled || line.out.size === 0) return length;
  line.scheduled = true;
  line.seen = line.out.size;
  line.quietTurns = 0;
  TURN.then(line.turn);
  return length;
}

/** A microtask costs next to nothing, and answers to calls that came together are made within a few of them. */
function turn(line: Line): void {
  if (line.out.size !== line.seen) {
    line.seen = line.out.size;
    line.quietTurns = 0;
  } else line.quietTurns++;
  if (line.quietTurns < line.enoughTurns && !line.over) return void TURN.then(line.turn);
  line.scheduled = false;
  line.enoughTurns = line.frames > 1 ? QUIET_TURNS : QUIET_TURNS_ALONE;
  line.frames = 0;
  if (line.out.size > 0) send(line, line.out.size);
}

function send(line: Line, size: number): void {
  const message = line.out.take(size, line.spare);
  if (line.over) return;
  try {
    if (line.channel) message.set(line.channel.seal(message.subarray(0, size)), size);
  } catch {
    return stop(line, CLOSE.refused); // what the connection was let in for has ended
  }
  line.sent++;
  line.pipe.send(message);
  line.unlooked += message.length;
  if (line.unlooked >= MAX_SHARED_BYTES) look(line);
}

/** Sees how much the other side has not taken yet, and lets those write who wait for that. */
function look(line: Line): void {
  line.unlooked = 0;
  if (line.over) return;
  let waiting = line.pipe.bufferedBytes;
  if (waiting > line.maxQueuedBytes || isStalled(line, waiting)) return stop(line, CLOSE.notReading);
  line.clogged = waiting > CLOGGED_BYTES;
  for (const next of line.queue) {
    if (line.clogged || line.over) break;
    const { size, write } = next;
    line.queue.delete(next);
    line.queued -= size;
    waiting += size;
    write();
    line.clogged = waiting > CLOGGED_BYTES;
  }
  line.clogged ||= line.queue.size > 0;
  if (!line.clogged || line.looking !== undefined || line.over) return;
  line.looking = line.clock.set(() => {
    line.looking = undefined;
    look(line);
  }, LOOK_MS);
}

/** Whether a lot waits and nothing of it has been taken for some time. */
function isStalled(line: Line, waiting: number): boolean {
  const now = line.clock.now();
  if (waiting < line.lastWaiting || waiting + line.queued <= line.maxQueuedBytes) line.tookAt = now;
  line.lastWaiting = waiting;
  return now - line.tookAt > PATIENCE_MS;
}

function receive(line: Line, frames: FrameUser, message: Uint8Array | string): void {
  if (line.over) return;
  line.heard = true;
  try {
    if (typeof message === "string" || message.length < line.spare) throw new ProtocolError("A message that is none");
    if (message.length > line.maxBytes) return stop(line, CLOSE.tooLarge);
    const end = message.length - line.spare;
    const body = line.spare === 0 ? message : message.subarray(0, end);
    line.channel?.open(body, message.subarray(end));
    readFrames(body, frames);
  } catch (error) {
    stop(line, error instanceof RpcError ? CLOSE.refused : CLOSE.protocol);
  }
}

/** What comes after a frame that ended the connection is not looked at. */
function framesOf(line: Line): FrameUser {
  return {
    open: (id, frame) => line.over || line.user.open(id, frame),
    message: (id, bytes, ends) => line.over || line.user.message(id, bytes, ends),
    end: (id) => line.over || line.user.end(id),
    error: (id, body) => line.over || line.user.error(id, body),
    cancel: (id) => line.over || line.user.cancel(id),
    credit: (id, messages, bytes) => line.over || line.user.credit(id, messages, bytes),
    ping: () => line.over || signal(line, FRAME.pong),
    pong() {},
    drain: () => line.over || line.user.drain(),
  } as FrameUser;
}

function beat(line: Line): void {
  const stuck = line.clogged && line.pipe.bufferedBytes >= line.stuckAt && line.stuckAt > 0; // it asks, and takes no answer
  line.stuckAt = line.clogged ? line.pipe.bufferedBytes : 0;
  line.missed = line.heard && !stuck ? 0 : line.missed + 1;
  line.heard = false;
  if (line.missed > MISSED_BEATS) return stop(line, CLOSE.silent);
  line.beating = line.clock.set(() => beat(line), BEAT_MS);
  if (line.missed > 0) signal(line, FRAME.ping);
  line.user.beat();
}

function stop(line: Line, reason: CloseReason | undefined): void {
  if (line.over) return;
  line.over = true;
  line.clock.clear(line.beating);
  line.clock.clear(line.looking);
  line.queue.clear();
  if (reason) line.pipe.close(reason.code, reason.reason);
  line.user.lost();
}

const TURN = /* @__PURE__ */ Promise.resolve();
