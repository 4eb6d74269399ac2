/** Gives the least of what is in it first, in the logarithm of their number. */
export interface Heap<Value> {
  /** How many there are. */
  readonly size: number;
  /** Puts one in. */
  push(value: Value): void;
  /** The least, which stays. */
  peek(): Value | undefined;
  /** The least, which is taken out. */
  pop(): Value | undefined;
  /** Leaves out all others. */
  keep(wanted: (value: Value) => boolean): void;
}

/**
 * Makes a heap.
 *
 * @param rank What is compared; it must not change while a value is in.
 */
export function heap<Value>(rank: (value: Value) => number): Heap<Value> {
  let values: Value[] = [];
  const swap = (one: number, two: number) => [values[one], values[two]] = [values[two]!, values[one]!];
  const isLess = (one: number, two: number) => rank(values[one]!) < rank(values[two]!);
  const sink = (from: number) => {
    for (let at = from;;) {
      const left = 2 * at + 1;
      if (left >= values.length) return;
      const least = left + 1 < values.length && isLess(left + 1, left) ? left + 1 : left;
      if (!isLess(least, at)) return;
      swap(least, at);
      at = least;
    }
  };
  return {
    get size() {
      return values.length;
    },
    push(value) {
      let at = values.push(value) - 1;
      for (let above = (at - 1) >> 1; at > 0 && isLess(at, above); above = (at - 1) >> 1) {
        swap(at, above);
        at = above;
      }
    },
    peek: () => values[0],
    pop() {
      const least = values[0];
      const last = values.pop();
      if (values.length > 0) {
        values[0] = last!;
        sink(0);
      }
      return least;
    },
    keep(wanted) {
      values = values.filter(wanted);
      for (let at = (values.length >> 1) - 1; at >= 0; at--) sink(at);
    },
  };
}
