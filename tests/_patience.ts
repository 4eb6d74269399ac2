/** Makes a failed test of one that would hang. No test asserts on it: it is far longer than anything takes. */
export const PATIENCE_MS = 20_000;

/**
 * Waits for what must come.
 *
 * @param promise What must come.
 * @param what What it is, for the error when it does not.
 */
export async function mustCome<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`It never came: ${what}`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
