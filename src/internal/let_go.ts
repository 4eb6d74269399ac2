/** Tells an iterator that nobody wants more; what it throws then is nobody's business. */
export async function letGo(iterator: AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.();
  } catch {
    // What iterated it has ended already, and its outcome is known.
  }
}
