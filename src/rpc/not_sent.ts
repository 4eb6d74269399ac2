/**
 * Whether a request failed before its connection was there, so that nobody can have seen any of it.
 *
 * Runtimes say it each in its own way: Bun by the error's code, Node by that of its cause, Deno in the words of the library
 * that it is built on. Where a runtime does not say it, as workerd, the answer is no.
 *
 * @param error What `fetch` rejected with.
 */
export function isNotSent(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    if (NO_CONNECTION.has((at as { readonly code?: unknown }).code as string)) return true;
    if (at.message.includes(": client error (Connect): ")) return true;
  }
  return false;
}

const NO_CONNECTION: ReadonlySet<string> = /* @__PURE__ */ new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);
