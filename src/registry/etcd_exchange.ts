import { RegistryError } from "./registry_error.ts";

/** How requests are sent, as in `fetchTransport`. */
export type EtcdFetch = (url: string, init: RequestInit) => Promise<Response>;

/** A request to etcd. */
export interface EtcdRequest {
  /** Where to. */
  readonly url: string;
  /** What is said. */
  readonly message: unknown;
  /** Who says it; undefined for nobody. */
  readonly token: string | undefined;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Sends a request; no redirect is followed, because it would take the token to where somebody else wants it. */
export async function post(send: EtcdFetch, { url, message, token, signal }: EtcdRequest): Promise<Response> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (token !== undefined) headers["authorization"] = token;
  const init: RequestInit = { method: "POST", headers, body: JSON.stringify(message), signal, redirect: "manual" };
  // workerd has neither cookies nor these members, and throws when they are given.
  if ("credentials" in Request.prototype) Object.assign(init, { credentials: "omit", referrerPolicy: "no-referrer" });
  const response = await send(url, init).catch((cause) => {
    throw unreachable("it cannot be reached", cause);
  });
  if (response.type !== "opaqueredirect" && (response.status < 300 || response.status >= 400)) return response;
  release(response);
  throw unreachable("its answer is a redirect, which is never followed");
}

/** Lets go of a body that nobody wants. */
export function release(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/** The body of an answer, which is read no further than so many bytes. */
export async function readAll(response: Response, maxBytes: number, signal: AbortSignal): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  for await (const chunk of chunks(response, signal)) {
    length += chunk.length;
    if (length > maxBytes) throw new RegistryError("too_many", "Cannot read the registry: its answer is too long");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The lines of an answer that goes on and on, none of them longer than so many bytes. */
export async function* readLines(response: Response, maxBytes: number, signal: AbortSignal): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pieces: string[] = [];
  let length = 0;
  for await (const chunk of chunks(response, signal)) {
    const [first, ...others] = decoder.decode(chunk, { stream: true }).split("\n") as [string, ...string[]];
    length += first.length;
    pieces.push(first);
    for (const other of others) {
      const line = pieces.join("");
      pieces = [other];
      length = other.length;
      if (line !== "") yield line;
    }
    if (length > maxBytes) throw new RegistryError("too_many", "Cannot read the registry: its answer is too long");
  }
}

async function* chunks({ body }: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  if (!body) return;
  const reader = body.getReader();
  const cancel = () => void reader.cancel().catch(() => {});
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel);
  try {
    while (true) {
      const { done, value } = await reader.read().catch((cause) => {
        throw unreachable("its answer broke off", cause);
      });
      if (done) return;
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}

/** JSON, or an error that does not show what it is instead. */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw unreachable("its answer is not JSON");
  }
}

/** What is thrown where etcd cannot be asked. */
export function unreachable(why: string, cause?: unknown): RegistryError {
  return new RegistryError("unreachable", `Cannot use the registry: ${why}`, cause === undefined ? {} : { cause });
}

/**
 * Runs something that has to be over in time, whether it listens to its signal or not.
 *
 * @param maxMs How long it may take, in milliseconds.
 * @param outer Ends it earlier.
 * @param run What runs; its signal aborts when it is over, too.
 */
export async function inTime<Value>(
  maxMs: number,
  outer: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const controller = new AbortController();
  let giveUp: (error: RegistryError) => void;
  const over = new Promise<never>((_, reject) => giveUp = reject);
  const end = (why: string) => {
    giveUp(unreachable(why));
    controller.abort();
  };
  const cancel = () => end("the reading was ended");
  const timer = setTimeout(() => end("it took too long to answer"), maxMs);
  outer?.addEventListener("abort", cancel);
  if (outer?.aborted) cancel();
  try {
    return await Promise.race([over, run(controller.signal)]);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", cancel);
    controller.abort();
  }
}
