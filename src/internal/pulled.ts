/** What gives the items of a sequence, one for each time it is asked. */
export interface Source<Value> {
  /** Gives the next item, or says that there is none; asked again only once it has answered. */
  pull(): IteratorResult<Value, undefined> | Promise<IteratorResult<Value, undefined>>;
  /** Told once: nobody wants more, because the sequence ended, failed, or was left. */
  close(): void;
}

/**
 * Makes an iterator that behaves as an async generator's does, at a fraction of its price for each item.
 *
 * It can be iterated once; who leaves it early closes its source without waiting for an item that is on its way.
 *
 * @param source What gives the items.
 */
export function pulled<Value>(source: Source<Value>): AsyncIterableIterator<Value, undefined> {
  let pending: Promise<unknown> | undefined;
  let closed = false;
  let taken = false;
  const close = () => {
    if (closed) return;
    closed = true;
    source.close();
  };
  const settle = (result: IteratorResult<Value, undefined>) => {
    pending = undefined;
    if (closed) return END; // it was left in the meantime
    if (result.done) close();
    return result;
  };
  const fail = (error: unknown) => {
    pending = undefined;
    close();
    throw error;
  };
  const next = (): Promise<IteratorResult<Value, undefined>> => {
    if (pending) return pending.then(next, next);
    if (closed) return Promise.resolve(END);
    try {
      const result = source.pull();
      if (!(result instanceof Promise)) return Promise.resolve(settle(result));
      const settled = result.then(settle, fail);
      pending = settled;
      return settled;
    } catch (error) {
      close();
      return Promise.reject(error);
    }
  };
  return {
    next,
    return() {
      close();
      return Promise.resolve(END);
    },
    [Symbol.asyncIterator]() {
      if (taken) throw new TypeError("Cannot iterate a stream twice");
      taken = true;
      return this;
    },
  };
}

const END: IteratorReturnResult<undefined> = /* @__PURE__ */ Object.freeze({ done: true, value: undefined });
