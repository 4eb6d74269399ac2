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
    const { code, syscall } = at as { readonly code?: unknown; readonly syscall?: unknown };
    if (NO_CONNECTION.has(code as string) || syscall === "connect") return true;
    if (DENO_CONNECT.test(at.message)) return true;
  }
  return false;
}

/** From its beginning: further on, errors repeat what the other side says (HTTP/2 GOAWAY). */
const DENO_CONNECT = /^error sending request for url \(\S+\): client error \(Connect\): /;

const NO_CONNECTION: ReadonlySet<string> = /* @__PURE__ */ new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
]);
