/** The calls of the programs: a Postern client's, and beside them requests that show how bodies travel. */
import { anonymous, cbor, createClient, fetchTransport, RpcError } from "@postern/rpc";
import { Sampler } from "./app.ts";

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
    rpc: await attempt(() => hello(fetch, url)),
    rpcCbor: await attempt(() => mirror(fetch, url)),
    rpcError: await attempt(() => fail(fetch, url)),
    rpcDeadline: await attempt(() => deadline(fetch, url)),
    rpcRefusal: await attempt(() => refusal(fetch, url)),
  };
}

const clientOf = (fetch: Fetch, url: string, codec?: ReturnType<typeof cbor>) =>
  createClient(Sampler, fetchTransport(url, { prover: anonymous(), fetch, ...(codec && { codec }) }));

async function hello(fetch: Fetch, url: string): Promise<unknown> {
  const { text } = await clientOf(fetch, url).hello({ name: "Zoë 👋" });
  return text === "Hello, Zoë 👋!" || text;
}

async function mirror(fetch: Fetch, url: string): Promise<unknown> {
  const sent = { bytes: Uint8Array.of(0, 255), at: new Date(1_234_567_890_123), big: 2n ** 70n };
  const got = await clientOf(fetch, url, cbor()).mirror(sent);
  return got.big === sent.big && got.at.getTime() === sent.at.getTime() && `${got.bytes}` === "0,255" || got;
}

async function fail(fetch: Fetch, url: string): Promise<unknown> {
  const error = await errorOf(clientOf(fetch, url).fail({}));
  const whole = error.code === "out_of_range" && error.message === "There are not that many" && error.correlationId;
  return whole && JSON.stringify(error.details) === '{"left":3}' || error;
}

async function deadline(fetch: Fetch, url: string): Promise<unknown> {
  const error = await errorOf(clientOf(fetch, url).wait({}, { timeoutMs: 50 }));
  return error.code === "deadline_exceeded" || error;
}

/** A bad message past the client's own check, and the connection is good for another call. */
async function refusal(fetch: Fetch, url: string): Promise<unknown> {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: '{"name":"a","name":"b"}' };
  const response = await fetch(`${url}/sampler.v1/hello`, init);
  const { code } = await response.json();
  return response.status === 400 && code === "invalid_argument" && await hello(fetch, url) || response.status;
}

async function errorOf(call: Promise<unknown>): Promise<RpcError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof RpcError) return error;
    throw error;
  }
  throw new Error("the call did not fail");
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
