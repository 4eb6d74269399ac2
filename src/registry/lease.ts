/**
 * A lease that ends once, however often it is disposed.
 *
 * @param end What ends it.
 */
export function leaseOf(end: () => void | Promise<void>): AsyncDisposable {
  let ended: Promise<void> | undefined;
  return { [Symbol.asyncDispose]: () => ended ??= Promise.resolve(end()) };
}
