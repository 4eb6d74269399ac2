import { letGo } from "../internal/let_go.ts";
import { ProtocolError } from "./frames.ts";
import { WINDOW_BYTES, WINDOW_MESSAGES } from "./inbox.ts";
import type { Link } from "./link.ts";
import { RpcError } from "./rpc_error.ts";

/** What an outlet needs of its call. */
export interface OutletParts {
  readonly link: Link;
  /** The number of the call. */
  readonly id: number;
  readonly encode: (message: unknown) => string | Uint8Array;
  /** How long the other side may take nothing, in milliseconds. @default {for ever} */
  readonly stallMs?: number;
  /** All are sent. */
  readonly ended: () => void;
  /** There is no next message but an error. */
  readonly failed: (error: unknown) => void;
}

/** The messages of one call in one direction, as they go out. */
export interface Outlet {
  /**
   * The other side can take more.
   *
   * @throws {ProtocolError} That is more than it can have taken.
   */
  credit(messages: number, bytes: number): void;
  /** No more are wanted: lets go of where they come from. */
  stop(): void;
}

/** Sends messages, each only when the other side has room for it and the connection takes more. */
export function outlet(messages: AsyncIterable<unknown>, parts: OutletParts): Outlet {
  const own: Own = {
    parts,
    messages,
    freeMessages: WINDOW_MESSAGES,
    freeBytes: WINDOW_BYTES,
    stopped: false,
    wake: undefined,
    go: undefined,
    iterator: undefined,
  };
  void run(own);
  return {
    credit(more, bytes) {
      own.freeMessages += more;
      own.freeBytes += bytes;
      if (own.freeMessages > WINDOW_MESSAGES || own.freeBytes > WINDOW_BYTES) {
        throw new ProtocolError("More credit than taken");
      }
      if (own.freeMessages > 0 && own.freeBytes > 0) own.wake?.();
    },
    stop() {
      if (own.stopped) return;
      own.stopped = true;
      own.wake?.();
      own.go?.();
      if (own.iterator) void letGo(own.iterator);
    },
  };
}

/** What is known of an outlet. */
interface Own {
  readonly parts: OutletParts;
  readonly messages: AsyncIterable<unknown>;
  /** What the other side takes. */
  freeMessages: number;
  freeBytes: number;
  stopped: boolean;
  /** Called when there is credit. */
  wake: (() => void) | undefined;
  /** Called when it is this call's turn. */
  go: (() => void) | undefined;
  iterator: AsyncIterator<unknown> | undefined;
}

async function run(own: Own): Promise<void> {
  const { link, id, encode, ended, failed } = own.parts;
  try {
    own.iterator = own.messages[Symbol.asyncIterator]();
    for (;;) {
      if (own.freeMessages <= 0 || own.freeBytes <= 0) await credited(own);
      if (own.stopped) return;
      const next = await own.iterator.next();
      if (own.stopped) return;
      if (next.done) break;
      const body = encode(next.value);
      if (link.clogged) await turnOf(own, body.length);
      if (own.stopped) return;
      own.freeMessages--;
      own.freeBytes -= link.message(id, body, false);
    }
  } catch (error) {
    if (own.stopped) return;
    own.stopped = true;
    if (own.iterator) void letGo(own.iterator);
    return failed(error);
  }
  own.stopped = true;
  ended();
}

function credited(own: Own): Promise<void> {
  const { stallMs } = own.parts;
  return new Promise((resolve, reject) => {
    const stalled = () => reject(new RpcError("deadline_exceeded", "Nobody reads the stream"));
    const timer = stallMs === undefined ? undefined : setTimeout(stalled, stallMs);
    own.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** Those who wait write one after the other, and one message each. */
function turnOf(own: Own, size: number): Promise<void> {
  return new Promise((resolve) => {
    const unqueue = own.parts.link.later(size, resolve);
    own.go = () => {
      unqueue();
      resolve();
    };
  });
}
