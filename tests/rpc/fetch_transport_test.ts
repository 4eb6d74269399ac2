import { cbor, json } from "../../src/codec/mod.ts";
import { createClient, fetchTransport, type RpcCode } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertLogged, Echo, echoServer, gate, post, refusalOf, rejection } from "./_rig.ts";
import { answered, client, message, prover, type Sent, typed } from "./_stub_fetch.ts";

const urls: readonly (readonly [url: string, why: RegExp])[] = [
  ["http://echo.test", /"https:"/],
  ["http://localhost:8443", /"https:"/],
  ["http://127.0.0.1", /"https:"/],
  ["HTTP://echo.test", /"https:"/],
  ["ws://echo.test", /"https:"/],
  ["wss://echo.test", /"https:"/],
  ["ftp://echo.test", /"https:"/],
  ["file:///etc/passwd", /"https:"/],
  ["data:text/plain,x", /"https:"/],
  ["blob:https://echo.test/x", /"https:"/],
  ["javascript:alert(1)", /"https:"/],
  ["https://user@echo.test", /credentials/],
  ["https://user:s3cret@echo.test", /credentials/],
  ["https://:s3cret@echo.test", /credentials/],
  ["https://echo.test?a=s3cret", /query/],
  ["https://echo.test/path?a=s3cret", /query/],
  ["https://echo.test/#s3cret", /fragment/],
  ["", /.*/],
  ["echo.test", /.*/],
  ["//echo.test", /.*/],
];
for (const [url, why] of urls) {
  test(`fetchTransport() refuses the URL "${url}"`, () => {
    for (const given of URL.canParse(url) ? [url, new URL(url)] : [url]) {
      assert.throws(() => fetchTransport(given, { prover }), (error: Error) => {
        assert.ok(error instanceof TypeError);
        assert.match(error.message, why);
        return !error.message.includes("s3cret");
      });
    }
  });
}

test("fetchTransport() sends a call as Connect's protocol has it", async () => {
  const { echo, requests } = client(() => answered());
  assert.deepEqual(await echo.say(message, { timeoutMs: 1_234 }), message);
  const [{ url, init, headers }] = requests as [Sent];
  assert.equal(url, "https://echo.test/echo.v1/say");
  assert.equal(init.method, "POST");
  assert.equal(init.body, '{"text":"a"}');
  assert.equal(headers.get("content-type"), "application/json");
  assert.equal(headers.get("connect-protocol-version"), "1");
  assert.match(headers.get("connect-timeout-ms") ?? "", /^\d{1,4}$/);
  assert.ok(Number(headers.get("connect-timeout-ms")) <= 1_234);
});

test("fetchTransport() lets the runtime add nothing: no cookies, no redirects, no referrer", async () => {
  const { echo, requests } = client(() => answered());
  await echo.say(message);
  const [{ init }] = requests as [Sent];
  assert.equal(init.redirect, "manual");
  if ("credentials" in Request.prototype) { // workerd has neither
    assert.equal(init.credentials, "omit");
    assert.equal(init.referrerPolicy, "no-referrer");
  }
});

for (
  const [url, to] of [
    ["https://echo.test/", "https://echo.test/echo.v1/say"],
    ["https://echo.test:8443", "https://echo.test:8443/echo.v1/say"],
    ["https://echo.test/api", "https://echo.test/api/echo.v1/say"],
    ["https://echo.test/api/", "https://echo.test/api/echo.v1/say"],
    ["https://ECHO.test", "https://echo.test/echo.v1/say"],
    ["https://[::1]:8443", "https://[::1]:8443/echo.v1/say"],
  ] as const
) {
  test(`fetchTransport() calls ${to} for the base ${url}`, async () => {
    const { echo, requests } = client(() => answered(), {}, url);
    await echo.say(message);
    assert.equal(requests[0]?.url, to);
  });
}

test("fetchTransport() speaks the codec it is given", async () => {
  const codec = cbor();
  const body = codec.encode({ text: "b" }) as Uint8Array<ArrayBuffer>;
  const { echo, requests } = client(() => new Response(body, { headers: { "content-type": "application/cbor" } }), {
    codec,
  });
  assert.deepEqual(await echo.say(message), { text: "b" });
  assert.equal(requests[0]?.headers.get("content-type"), "application/cbor");
  assert.deepEqual(codec.decode(requests[0]?.init.body as Uint8Array), message);
});

test("fetchTransport() calls a server through its fetch, answers and errors alike", async () => {
  const { server, entries } = echoServer();
  const { echo } = client(({ url, init }) =>
    server.fetch(new Request(url, { method: init.method, headers: init.headers, body: init.body } as RequestInit))
  );
  assert.deepEqual(await echo.say(message), message);
  const error = await rejection(echo.hidden(message));
  assert.deepEqual([error.code, error.message, error.received], ["permission_denied", "Cannot call this method", true]);
  assertLogged(entries, error);
});

for (const status of [300, 301, 302, 303, 304, 307, 308]) {
  test(`fetchTransport() follows no redirect: ${status}`, async () => {
    const { echo, requests } = client(() =>
      new Response(null, { status, headers: { location: "https://evil.test/" } })
    );
    const error = await rejection(echo.say(message));
    assert.deepEqual([error.code, error.received], ["unknown", true]);
    assert.match(error.message, /redirect/);
    assert.equal(requests.length, 1);
  });
}

test("fetchTransport() takes a browser's opaque redirect for what it is", async () => {
  const opaque = { type: "opaqueredirect", status: 0, headers: new Headers(), body: null, ok: false };
  const error = await rejection(client(() => opaque).echo.say(message));
  assert.equal(error.code, "unknown");
  assert.match(error.message, /redirect/);
});

const chunks = (count: number, size: number, onCancel = () => {}) => {
  let sent = 0;
  return new ReadableStream({
    pull: (controller) => sent++ < count ? controller.enqueue(new Uint8Array(size).fill(0x20)) : controller.close(),
    cancel: onCancel,
  });
};
const unreadable: readonly (readonly [name: string, make: () => unknown, code: RpcCode, why: RegExp])[] = [
  ["over the codec's limit", () => typed(chunks(3, 400_000)), "resource_exhausted", /over 1048576 bytes/],
  [
    "declared to be over the limit",
    () => typed("{}", 200, { "content-length": "1048577" }),
    "resource_exhausted",
    /over 1048576 bytes/,
  ],
  [
    "over the limit while it declares less",
    () => typed(" ".repeat(1_048_577), 200, { "content-length": "5" }),
    "resource_exhausted",
    /over 1048576/,
  ],
  ["an error over the limit", () => typed(chunks(3, 400_000), 500), "resource_exhausted", /over 1048576 bytes/],
  ["of another media type", () => typed('{"text":"a"}', 200, { "content-type": "text/html" }), "unknown", /media type/],
  ["of no media type", () => new Response(new TextEncoder().encode('{"text":"a"}')), "unknown", /media type/],
  [
    "of a stream's media type",
    () => typed('{"text":"a"}', 200, { "content-type": "application/connect+json" }),
    "unknown",
    /media type/,
  ],
  ["not JSON", () => typed("<html>s3cret"), "internal", /Cannot decode/],
  ["with a name written twice", () => typed('{"text":"a","text":"b"}'), "internal", /Cannot decode/],
  ["empty", () => typed(null), "internal", /Cannot decode/],
  ["of another shape", () => typed('{"text":7}'), "internal", /"text"/],
  [
    "broken off",
    () => typed(new ReadableStream({ pull: (c) => c.error(new TypeError("s3cret")) })),
    "unavailable",
    /Cannot reach/,
  ],
  [
    "no answer at all",
    () => Promise.reject(new TypeError("s3cret: connection refused")),
    "unavailable",
    /Cannot reach/,
  ],
  ["thrown null", () => Promise.reject(null), "unavailable", /Cannot reach/],
];
for (const [name, make, code, why] of unreadable) {
  test(`fetchTransport() answers ${code} for an answer that is ${name}`, async () => {
    const error = await rejection(client(make).echo.say(message));
    assert.equal(error.code, code);
    assert.match(error.message, why);
    assert.ok(!error.message.includes("s3cret"));
    assert.equal(error.received, true, "a server must not pass it on as its own words");
  });
}

for (const headers of [{}, { "content-length": "9999999" }]) {
  test(`fetchTransport() lets go of an answer that is too large ${JSON.stringify(headers)}`, async () => {
    let canceled = false;
    const body = chunks(1_000, 100_000, () => canceled = true);
    const error = await rejection(client(() => typed(body, 200, headers)).echo.say(message));
    assert.equal(error.code, "resource_exhausted");
    for (let turn = 0; turn < 20; turn++) await undefined;
    assert.ok(canceled);
  });
}

test("fetchTransport() takes an answer of exactly the limit", async () => {
  const codec = json({ maxBytes: 20 });
  const body = `{"text":"${"a".repeat(9)}"}`;
  assert.equal(body.length, 20);
  assert.deepEqual(await client(() => typed(body), { codec }).echo.say(message), { text: "a".repeat(9) });
  assert.equal(
    (await rejection(client(() => typed(`${body} `), { codec }).echo.say(message))).code,
    "resource_exhausted",
  );
});

test("fetchTransport() goes by what a compressed answer becomes, not by its length", async () => {
  const response = typed('{"text":"a"}', 200, { "content-encoding": "gzip", "content-length": "3" });
  const large = typed(" ".repeat(1_048_577), 200, { "content-encoding": "gzip", "content-length": "3" });
  assert.deepEqual(await client(() => response).echo.say(message), message);
  assert.equal((await rejection(client(() => large).echo.say(message))).code, "resource_exhausted");
});

const types = ["application/json; charset=utf-8", "application/json;charset=utf-8"];
for (const type of [...types, "Application/JSON ; charset=utf-8", "APPLICATION/JSON"]) {
  test(`fetchTransport() takes an answer of the media type "${type}"`, async () => {
    assert.deepEqual(await client(() => answered("a", { "content-type": type })).echo.say(message), message);
  });
}

test("fetchTransport() refuses to send what the codec cannot carry, before anything leaves", async () => {
  const { echo, requests } = client(() => answered());
  assert.equal((await rejection(echo.say({ text: "\ud800" }))).code, "invalid_argument");
  assert.equal((await rejection(echo.say({ text: "a".repeat(1_048_577) }))).code, "invalid_argument");
  assert.equal(requests.length, 0);
});

/** A fetch that answers nothing and heeds its signal, as every runtime's does. */
const silent = (started = gate()) => ({ init }: Sent) => {
  started.open();
  return new Promise((_, reject) => {
    const { signal } = init;
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
};

test("fetchTransport() gives up when the time is up", async () => {
  const error = await rejection(client(silent()).echo.say(message, { timeoutMs: 15 }));
  assert.deepEqual([error.code, error.received], ["deadline_exceeded", true]);
});

test("fetchTransport() gives up when the caller cancels, and keeps the reason", async () => {
  const [controller, started, reason] = [new AbortController(), gate(), new Error("enough")];
  const call = rejection(client(silent(started)).echo.say(message, { signal: controller.signal }));
  await started.opened;
  controller.abort(reason);
  const error = await call;
  assert.deepEqual([error.code, error.cause], ["canceled", reason]);
});

test("fetchTransport() gives up when the caller cancelled before the transport was reached", async () => {
  const controller = new AbortController();
  const fetch = (url: string, init: RequestInit) =>
    silent()({ url, init, headers: new Headers() }) as Promise<Response>;
  const late = createClient(Echo, fetchTransport("https://echo.test", { prover, fetch }), {
    timeoutMs: 200,
    middleware: [async (call, next) => {
      controller.abort();
      return await next(call);
    }],
  });
  assert.equal((await rejection(late.say(message, { signal: controller.signal }))).code, "canceled");
});

test("fetchTransport() gives up while an answer's body is on its way", async () => {
  const { echo } = client(({ init }) =>
    typed(
      new ReadableStream({ start: (c) => init.signal?.addEventListener("abort", () => c.error(init.signal?.reason)) }),
    )
  );
  assert.equal((await rejection(echo.say(message, { timeoutMs: 15 }))).code, "deadline_exceeded");
});

test("fetchTransport() gives up on a prover that takes too long", async () => {
  const { transport } = client(() => answered(), { prover: { prove: () => new Promise(() => {}) } });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const call = transport({ method: Echo.methods.say, message, timeoutMs: 15 });
  const late = new Promise((_, reject) => timer = setTimeout(reject, 60, new Error("it waits for ever")));
  assert.equal((await rejection(Promise.race([call, late]))).code, "deadline_exceeded");
  clearTimeout(timer);
});

for (const [timeoutMs, header] of [[1, "1"], [0.2, "1"], [1_500.5, "1501"], [Infinity, "2147483647"]] as const) {
  test(`fetchTransport() tells the server of the timeout ${timeoutMs} as ${header}`, async () => {
    const { echo, requests } = client(() => answered());
    await echo.say(message, { timeoutMs });
    assert.equal(requests[0]?.headers.get("connect-timeout-ms"), header);
  });
}

test("createServer() does not pass an answer that was too large on as its own words", async () => {
  const { echo } = client(() => typed(chunks(3, 400_000)));
  const { server } = echoServer({}, (given) => echo.say(given));
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message)));
  assert.deepEqual([refusal.code, refusal.message], ["internal", "The call failed inside the service"]);
});
