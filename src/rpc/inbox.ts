import { pulled } from "../internal/pulled.ts";
import { ProtocolError } from "./frames.ts";

/** How many messages of a call may be on their way in one direction. */
export const WINDOW_MESSAGES = 32;
/** How many bytes of them; the last of the messages may go beyond. */
export const WINDOW_BYTES = 1_048_576;

/** What an inbox needs of its call. */
export interface InboxParts {
  /** Decodes one message, when it is taken. */
  readonly decode: (bytes: Uint8Array) => unknown;
  /** Lets the other side send as much again. */
  readonly credit: (messages: number, bytes: number) => void;
  /** The reader left before the end. */
  readonly left: () => void;
}

/** The messages of one call in one direction, as they come in, for one reader. */
export interface Inbox extends AsyncIterable<unknown> {
  /**
   * One more came.
   *
   * @throws {ProtocolError} It is more than the other side may send, or comes after the end.
   */
  push(bytes: Uint8Array): void;
  /** There are no more; where there is an error, the reader gets it after what came before. */
  end(error?: unknown): void;
  /** It is over now, whatever the reader has not taken yet. */
  fail(error: unknown): void;
}

/**
 * Keeps what the reader has not taken yet, which is never more than a window: the other side gets new credit when the
 * reader has taken half of it, so a reader that stops stops its writer and nobody else.
 */
export function inbox(parts: InboxParts): Inbox {
  const own: Own = {
    parts,
    kept: [],
    first: 0,
    reader: undefined,
    ending: undefined,
    freeMessages: WINDOW_MESSAGES,
    freeBytes: WINDOW_BYTES,
    takenMessages: 0,
    takenBytes: 0,
  };
  const messages = pulled({
    pull: () => pull(own),
    close() {
      const early = !own.ending;
      fail(own, undefined);
      if (early) parts.left();
    },
  });
  return {
    push: (bytes) => push(own, bytes),
    end: (error) => end(own, error),
    fail: (error) => fail(own, error),
    [Symbol.asyncIterator]: () => messages[Symbol.asyncIterator](),
  };
}

/** What is known of an inbox. */
interface Own {
  readonly parts: InboxParts;
  /** What came and was not taken, from `first` on. */
  readonly kept: Uint8Array[];
  first: number;
  /** Who waits for the next message. */
  reader: Reader | undefined;
  ending: Ending | undefined;
  /** What the other side may still send. */
  freeMessages: number;
  freeBytes: number;
  /** What was taken and not given back as credit. */
  takenMessages: number;
  takenBytes: number;
}

function push(own: Own, bytes: Uint8Array): void {
  if (own.freeMessages <= 0 || own.freeBytes <= 0) throw new ProtocolError("A message without credit");
  own.freeMessages--;
  own.freeBytes -= bytes.length;
  if (own.ending?.isOver) return; // nobody reads
  if (own.ending) throw new ProtocolError("A message after the end");
  if (!own.reader) return void own.kept.push(compact(bytes));
  const { resolve, reject } = own.reader;
  own.reader = undefined;
  try {
    resolve(taken(own, bytes));
  } catch (error) {
    reject(error);
  }
}

function pull(own: Own): Promise<IteratorResult<unknown, undefined>> | IteratorResult<unknown, undefined> {
  if (own.first < own.kept.length) {
    const bytes = own.kept[own.first++]!;
    if (own.first === own.kept.length) own.kept.length = own.first = 0;
    return taken(own, bytes);
  }
  if (own.ending) {
    const { error } = own.ending;
    own.ending = OVER;
    if (error !== undefined) throw error;
    return END;
  }
  return new Promise((resolve, reject) => {
    own.reader = { resolve, reject };
  });
}

/** The reader takes a message: the other side may send another. */
function taken(own: Own, bytes: Uint8Array): IteratorResult<unknown, undefined> {
  const value = own.parts.decode(bytes);
  own.takenMessages++;
  own.takenBytes += bytes.length;
  const due = own.takenMessages * 2 >= WINDOW_MESSAGES || own.takenBytes * 2 >= WINDOW_BYTES;
  if (due && !own.ending) {
    own.parts.credit(own.takenMessages, own.takenBytes);
    own.freeMessages += own.takenMessages;
    own.freeBytes += own.takenBytes;
    own.takenMessages = own.takenBytes = 0;
  }
  return { done: false, value };
}

function end(own: Own, error?: unknown): void {
  if (own.ending?.isOver) return;
  if (own.ending) throw new ProtocolError("An end after the end");
  own.ending = { error, isOver: false };
  if (!own.reader) return;
  const { resolve, reject } = own.reader;
  own.reader = undefined;
  own.ending = OVER;
  if (error !== undefined) reject(error);
  else resolve(END);
}

function fail(own: Own, error: unknown): void {
  if (own.ending?.isOver) return;
  own.kept.length = own.first = 0;
  own.ending = { error, isOver: true };
  if (!own.reader) return;
  const { resolve, reject } = own.reader;
  own.reader = undefined;
  if (error !== undefined) reject(error);
  else resolve(END);
}

interface Reader {
  readonly resolve: (result: IteratorResult<unknown, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

interface Ending {
  readonly error: unknown;
  /** Whether what was kept is dropped, and what still comes too. */
  readonly isOver: boolean;
}

/** A small message that came with others would keep them all. */
function compact(bytes: Uint8Array): Uint8Array {
  return bytes.length * 2 < bytes.buffer.byteLength ? bytes.slice() : bytes;
}

const OVER: Ending = { error: undefined, isOver: true };
const END: IteratorReturnResult<undefined> = /* @__PURE__ */ Object.freeze({ done: true, value: undefined });
