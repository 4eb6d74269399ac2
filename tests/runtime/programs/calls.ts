/** The calls of the programs; stand-ins of the same shape until the real client takes their place. */

/** How a runtime sends a request. */
export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

/**
 * Calls a server in every way that must work between any two runtimes.
 *
 * @param fetch The client runtime's fetch.
 * @param url The server.
 * @returns `ok` or what went wrong, by call.
 */
export async function runCalls(fetch: Fetch, url: string): Promise<Record<string, string>> {
  return {
    get: await attempt(() => get(fetch, url)),
    post: await attempt(() => post(fetch, url)),
    stream: await attempt(() => stream(fetch, url)),
  };
}

async function get(fetch: Fetch, url: string): Promise<unknown> {
  const response = await fetch(`${url}/a?b=c`, { headers: { "x-test": "sent" }, redirect: "manual" });
  const { url: seen, header } = await response.json();
  return response instanceof Response && seen === `${url}/a?b=c` && header === "sent" || seen;
}

async function post(fetch: Fetch, url: string): Promise<unknown> {
  const body = "é".repeat(50_000);
  const response = await fetch(url, { method: "POST", body });
  const text = await response.text();
  return response.status === 201 && response.headers.get("x-test") === "echoed" && text === body || response.status;
}

/** The reply to each message arrives before the next message is sent. */
async function stream(fetch: Fetch, url: string): Promise<unknown> {
  const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const writer = writable.getWriter();
  const pending = fetch(url, { method: "POST", body: readable, duplex: "half" } as RequestInit);
  const seen: string[] = [];
  const encoder = new TextEncoder();
  let written = writer.write(encoder.encode("one"));
  const reader = (await pending).body!.pipeThrough(new TextDecoderStream()).getReader();
  seen.push((await reader.read()).value ?? "end");
  await written;
  written = writer.write(encoder.encode("two"));
  seen.push((await reader.read()).value ?? "end");
  await written;
  await writer.close();
  seen.push((await reader.read()).value ?? "end");
  return seen.join() === "one,two,end" || seen.join();
}

async function attempt(call: () => Promise<unknown>): Promise<string> {
  try {
    const result = await call();
    return result === true ? "ok" : `unexpected: ${result}`;
  } catch (error) {
    return `failed: ${error}`;
  }
}
