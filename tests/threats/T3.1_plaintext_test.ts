import {
  anonymous,
  createClient,
  createServer,
  fetchTransport,
  implement,
  type LogEntry,
  publicOnly,
  rpc,
  RpcError,
  service,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

// The attacker listens, or has a call go where he listens: an address without TLS, a redirect, a port opened by mistake.

const Message = v.strictObject({ text: v.string() });
const Echo = service("echo.v1", { say: rpc(Message, Message, { safe: true }) });
const message = { text: "private" };
const prover = anonymous();

function echo(tlsTerminated?: boolean) {
  const entries: LogEntry[] = [];
  const calls: unknown[] = [];
  const say = (given: { text: string }) => {
    calls.push(given);
    return given;
  };
  const server = createServer(implement(Echo, { say }), {
    guard: publicOnly(["echo.v1/say"]),
    log: (entry) => void entries.push(entry),
    ...(tlsTerminated === undefined ? {} : { tlsTerminated }),
  });
  return { server, entries, calls };
}

/** A client whose requests are noted and answered. */
function client(url: string, answer: (request: Request) => Promise<Response>) {
  const sent: RequestInit[] = [];
  const fetch = (to: string, init: RequestInit) => {
    sent.push(init);
    return answer(new Request(to, { method: "POST", headers: init.headers ?? {}, body: init.body ?? null }));
  };
  return { echo: createClient(Echo, fetchTransport(url, { prover, fetch })), sent };
}

const addresses = [
  "http://echo.test",
  "http://localhost",
  "http://127.0.0.1:8080",
  "http://[::1]",
  "HtTp://echo.test",
  " http://echo.test",
  "ws://echo.test",
  "wss://echo.test",
  "ftp://echo.test",
];
for (const url of addresses) {
  test(`T3.1 T20 T24 fetchTransport() refuses the address "${url}" and calls the same host over https:`, async () => {
    const { server } = echo();
    assert.throws(
      () => client(url, server.fetch),
      (error: Error) => error instanceof TypeError && /"https:"/.test(error.message),
    );
    const host = new URL(url).host;
    assert.deepEqual(await client(`https://${host}`, server.fetch).echo.say(message), message);
  });
}

for (const status of [301, 302, 303, 307, 308]) {
  for (const location of ["http://echo.test/echo.v1/say", "https://evil.test/echo.v1/say", "//evil.test"]) {
    test(`T3.1 T20 T24 fetchTransport() follows no redirect ${status} to ${location}`, async () => {
      const { server } = echo();
      const { echo: caught, sent } = client(
        "https://echo.test",
        () => Promise.resolve(new Response(null, { status, headers: { location } })),
      );
      await assert.rejects(caught.say(message), (error: unknown) => {
        assert.ok(error instanceof RpcError);
        assert.deepEqual([error.code, error.received], ["unknown", true]);
        return /redirect/.test(error.message) && !error.message.includes("evil");
      });
      assert.equal(sent.length, 1);
      assert.equal(sent[0]?.redirect, "manual", "the runtime is told not to follow it either");
      assert.deepEqual(await client("https://echo.test", server.fetch).echo.say(message), message);
    });
  }
}

const plain: readonly (readonly [name: string, request: () => Request])[] = [
  ["a POST", () => new Request("http://echo.test/echo.v1/say", post())],
  ["a POST to loopback", () => new Request("http://localhost:8080/echo.v1/say", post())],
  [
    "a POST that says a proxy had TLS",
    () => new Request("http://echo.test/echo.v1/say", post({ "x-forwarded-proto": "https", forwarded: "proto=https" })),
  ],
  [
    "a GET",
    () =>
      new Request(`http://echo.test/echo.v1/say?encoding=json&message=${encodeURIComponent(JSON.stringify(message))}`),
  ],
  ["a path that is none", () => new Request("http://echo.test/", post())],
  ["an https: address inside the path", () => new Request("http://echo.test/https://echo.test/echo.v1/say", post())],
];

function post(headers: Record<string, string> = {}): RequestInit {
  return { method: "POST", body: JSON.stringify(message), headers: { "content-type": "application/json", ...headers } };
}

for (const [name, request] of plain) {
  for (const tlsTerminated of [undefined, false]) {
    test(`T3.1 T24 createServer() refuses ${name} that came without TLS (tlsTerminated: ${tlsTerminated})`, async () => {
      const { server, entries, calls } = echo(tlsTerminated);
      const response = await server.fetch(request());
      const wire = await response.json();
      assert.deepEqual([response.status, wire.code, wire.message], [
        400,
        "failed_precondition",
        "Cannot take the call: it came without TLS",
      ]);
      assert.deepEqual([entries.length, entries[0]?.correlationId], [1, wire.details[0].debug.requestId]);
      assert.deepEqual(calls, []);
      const honest = await server.fetch(new Request("https://echo.test/echo.v1/say", post()));
      assert.deepEqual([honest.status, await honest.json()], [200, message]);
    });
  }
}

test("T3.1 T24 createServer() answers http: only where somebody says that TLS ends before it", async () => {
  const { server } = echo(true);
  for (const scheme of ["http", "https"]) {
    const response = await server.fetch(new Request(`${scheme}://echo.test/echo.v1/say`, post()));
    assert.deepEqual([response.status, await response.json()], [200, message]);
  }
});
