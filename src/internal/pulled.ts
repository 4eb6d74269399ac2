import { sequence, type Taker } from "./sequence.ts";

/** What gives the items of a sequence, one for each time it is asked. */
export interface Source<Value> {
  /** Gives the next item, or says that there is none; asked again only once it has answered. */
  pull(): IteratorResult<Value, undefined> | Promise<IteratorResult<Value, undefined>>;
  /** Told once: nobody wants more, because the sequence ended, failed, or was left. */
  close(): void;
}

/** Makes a {@linkcode sequence} of what gives its items by returning them. */
export function pulled<Value>(source: Source<Value>): AsyncIterableIterator<Value, undefined> {
  return sequence<Value>({
    pull(taker) {
      const result = source.pull();
      if (result instanceof Promise) result.then((next) => take(next, taker), taker.fail);
      else take(result, taker);
    },
    close: () => source.close(),
  });
}

function take<Value>(next: IteratorResult<Value, undefined>, taker: Taker<Value>): void {
  if (next.done) taker.end();
  else taker.give(next.value);
}
