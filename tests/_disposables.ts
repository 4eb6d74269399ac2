/** As `AsyncDisposableStack`, which Node 20 does not have: what is used last ends first. */
export interface Disposables extends AsyncDisposable {
  /** Has something end with the others. */
  use<Value extends AsyncDisposable>(value: Value): Value;
  /** Has something done at the end. */
  defer(end: () => unknown): void;
}

export function disposables(): Disposables {
  const ends: (() => unknown)[] = [];
  return {
    use(value) {
      ends.push(() => value[Symbol.asyncDispose]());
      return value;
    },
    defer: (end) => void ends.push(end),
    async [Symbol.asyncDispose]() {
      for (let end = ends.pop(); end; end = ends.pop()) await end();
    },
  };
}
