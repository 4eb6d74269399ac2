/**
 * Takes what a source gives: one answer for each time it was asked, a later one counts for nothing.
 *
 * Its functions stand alone, and throw nothing.
 */
export interface Taker<Value> {
  /** Here is the next item. */
  give(value: Value): void;
  /** There is none, and none will come. */
  end(): void;
  /** There is none because of an error; also when nobody asks at the moment. */
  fail(error: unknown): void;
}

/** What gives the items of a sequence. */
export interface Answering<Value> {
  /** Asks for the next item; asked again only after an answer. What it throws is an answer too. */
  pull(taker: Taker<Value>): void;
  /** Told once: nobody wants more, because the sequence ended, failed, or was left. */
  close(): void;
}

/** An iterator that can be asked without a promise. */
export interface Sequence<Value> extends AsyncIterableIterator<Value, undefined> {
  /** Asks for the next item; only once the one before was given, and by one who asks in no other way. */
  readonly [ASK]: (taker: Taker<Value>) => void;
}

const ASK: unique symbol = /* @__PURE__ */ Symbol("ask");

/**
 * Makes what asks an iterator for its next item: a {@linkcode sequence} answers without a promise, and perhaps at once.
 *
 * So who asks again whenever it is given something MUST NOT ask one sequence for another's items without end: each would be
 * a call inside of the last.
 *
 * @param iterator What is asked.
 * @param taker Takes the answers, those too that are thrown.
 * @returns Asks once; again only once there was an answer.
 */
export function asking<Value>(iterator: AsyncIterator<Value>, taker: Taker<Value>): () => void {
  const ask = (iterator as Partial<Sequence<Value>>)[ASK];
  if (ask) return () => ask(taker);
  const came = (next: IteratorResult<Value>) => next.done ? taker.end() : taker.give(next.value);
  return () => {
    try {
      iterator.next().then(came, taker.fail);
    } catch (error) {
      taker.fail(error);
    }
  };
}

/**
 * Makes an iterator that behaves as an async generator's does, at a fraction of its price: one promise for each item, and
 * none for who uses {@linkcode asking}.
 *
 * It can be iterated once; who leaves it early closes its source without waiting for an item that is on its way.
 *
 * @param source What gives the items.
 */
export function sequence<Value>(source: Answering<Value>): Sequence<Value> {
  const line: Line<Value> = {
    pending: undefined,
    resolve: undefined,
    reject: undefined,
    to: undefined,
    closed: false,
    failed: undefined,
  };
  const taker = takerOf(line, source);
  const pull = () => {
    try {
      source.pull(taker);
    } catch (error) {
      taker.fail(error);
    }
  };
  const ask = (resolve: Resolve<Value>, reject: Reject) => {
    line.resolve = resolve;
    line.reject = reject;
    pull();
  };
  const next = (): Promise<IteratorResult<Value, undefined>> => {
    if (line.resolve) return line.pending!.then(next, next);
    if (line.closed) return outcome(line);
    const asked = new Promise(ask);
    if (line.resolve) line.pending = asked; // it is answered already otherwise
    return asked;
  };
  let taken = false;
  return {
    next,
    [ASK](to) {
      if (line.closed) return tellOutcome(line, to);
      line.to = to;
      pull();
    },
    return() {
      taker.end();
      line.failed = undefined;
      return Promise.resolve(END);
    },
    [Symbol.asyncIterator]() {
      if (taken) throw new TypeError("Cannot iterate a stream twice");
      taken = true;
      return this;
    },
  };
}

type Resolve<Value> = (result: IteratorResult<Value, undefined>) => void;
type Reject = (error: unknown) => void;

/** Where a sequence stands. */
interface Line<Value> {
  /** What was asked for and is not there yet, and what answers it. */
  pending: Promise<IteratorResult<Value, undefined>> | undefined;
  resolve: Resolve<Value> | undefined;
  reject: Reject | undefined;
  /** Who asked without a promise, and has no answer yet. */
  to: Taker<Value> | undefined;
  closed: boolean;
  /** Why it ended, while nobody knows. */
  failed: { readonly error: unknown } | undefined;
}

function takerOf<Value>(line: Line<Value>, source: Answering<Value>): Taker<Value> {
  const settle = (result: IteratorResult<Value, undefined>) => {
    const { resolve } = line;
    line.pending = line.resolve = line.reject = undefined;
    resolve?.(result);
  };
  const close = () => {
    if (line.closed) return;
    line.closed = true;
    source.close();
  };
  const asker = () => {
    const { to } = line;
    line.to = undefined;
    return to;
  };
  return {
    give(value) {
      const to = asker();
      if (!to) settle(line.closed ? END : { done: false, value });
      else if (line.closed) to.end();
      else to.give(value);
    },
    end() {
      const to = asker();
      close();
      if (to) to.end();
      else settle(END);
    },
    fail(error) {
      if (line.closed) return;
      const to = asker();
      const { reject } = line;
      line.pending = line.resolve = line.reject = undefined;
      if (!reject && !to) line.failed = { error };
      close();
      if (to) to.fail(error);
      else reject?.(error);
    },
  };
}

/** How a sequence ended, for the first who asks. */
function outcome(line: { failed: Line<unknown>["failed"] }): Promise<IteratorReturnResult<undefined>> {
  const { failed } = line;
  line.failed = undefined;
  return failed ? Promise.reject(failed.error) : Promise.resolve(END);
}

function tellOutcome(line: { failed: Line<unknown>["failed"] }, to: Taker<unknown>): void {
  const { failed } = line;
  line.failed = undefined;
  if (failed) to.fail(failed.error);
  else to.end();
}

const END: IteratorReturnResult<undefined> = /* @__PURE__ */ Object.freeze({ done: true, value: undefined });
