// Reads a watch of a registry, one snapshot after another.
import type { Registry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { mustCome } from "../_patience.ts";

/** A watcher that reads one snapshot after another. */
export interface Watching extends AsyncDisposable {
  /** The next snapshot. */
  next(): Promise<readonly string[]>;
  /** Reads on until a snapshot has these records and no other. */
  until(records: readonly string[]): Promise<void>;
  /** Reads on while something ends it; fails where it does not end, or not without an error. */
  ends(end: () => void): Promise<void>;
  abort(): void;
}

/** Watches a service until the test is over. */
export function watch(registry: Registry, service: string): Watching {
  const ending = new AbortController();
  const iterator = registry.watch(service, { signal: ending.signal })[Symbol.asyncIterator]();
  const read = () => mustCome(iterator.next(), `a snapshot of ${service}`);
  const next = async () => {
    const { done, value } = await read();
    assert.ok(!done, "The watch ended by itself");
    return value;
  };
  return {
    next,
    async until(records) {
      const wanted = [...records].sort().join();
      while ([...await next()].sort().join() !== wanted);
    },
    async ends(end) {
      // What came before the end may still be read.
      const reading = read();
      end();
      for (let result = await reading; !result.done;) result = await read();
    },
    abort: () => ending.abort(),
    async [Symbol.asyncDispose]() {
      ending.abort();
      await mustCome(Promise.resolve(iterator.return?.()), "the end of a watch");
    },
  };
}
