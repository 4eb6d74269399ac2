/** A promise, and what settles it. */
export interface Resolvers<Value> {
  /** The promise. */
  readonly promise: Promise<Value>;
  /** Fulfills it. */
  readonly resolve: (value: Value) => void;
  /** Rejects it. */
  readonly reject: (error: unknown) => void;
}

/** As `Promise.withResolvers`, which Node 20 does not have. */
export function withResolvers<Value>(): Resolvers<Value> {
  let resolve!: (value: Value) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<Value>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  return { promise, resolve, reject };
}
