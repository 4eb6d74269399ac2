import assert from "node:assert/strict";
import { test } from "node:test";
import { countConnections } from "./_counting_proxy.ts";
import { connectRaw, HELLO, post, request } from "./_raw.ts";
import { type Refusal, SMALL, UNREAD } from "./_refusals.ts";
import { SERVED, type Served, startTarget } from "./_target.ts";

const METHOD = "/greeter.v1/hello";

for (const runtime of SERVED) {
  test(`T4.2 T22 serve() on ${runtime} keeps an HTTP/1.1 connection usable after each ordinary refusal`, async () => {
    await assertUsableOverHttp1(runtime, SMALL);
  });

  test(`T4.2 T22 serve() on ${runtime} keeps an HTTP/1.1 connection usable after a refusal that left a body unread`, async () => {
    await assertUsableOverHttp1(runtime, UNREAD);
  });

  test(`T4.2 T22 serve() on ${runtime} answers what was pipelined behind a refusal`, async () => {
    await using target = await startTarget(runtime);
    using connection = await connectRaw(target);
    await connection.send(SMALL.map((refusal) => textOf(refusal) + HELLO).join(""));
    for (const { name, status, code } of SMALL) {
      const refused = await connection.response();
      assert.deepEqual([refused?.status, refused?.code], [status, code], name);
      assert.equal((await connection.response())?.status, 200, `the call behind: ${name}`);
    }
    assert.equal((await target.tally()).hellos, SMALL.length);
  });

  test(`T4.2 T22 serve() on ${runtime} keeps an HTTP/2 connection usable after each ordinary refusal`, async () => {
    await using target = await startTarget(runtime);
    assert.equal(await negotiated(target), "h2");
    await using proxy = countConnections(target.port);
    const refusals = [...SMALL, ...UNREAD];
    for (const { name, verb, path, headers, body, status, code } of refusals) {
      const refused = await target.fetch(proxy.url + path, { method: verb, headers, ...(body ? { body } : {}) });
      assert.deepEqual([refused.status, (await refused.json()).code], [status, code], name);
      const honest = await target.fetch(proxy.url + METHOD, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"name":"Ada"}',
      });
      assert.equal(honest.status, 200, `the call after: ${name}`);
      await honest.body?.cancel();
    }
    assert.equal(proxy.connections(), 1, "all over one connection");
    assert.equal((await target.tally()).hellos, refusals.length);
  });

  test(`T4.2 T22 serve() on ${runtime} calls nothing for a path that is not a method's, letter by letter`, async () => {
    await using target = await startTarget(runtime);
    const reached: string[] = [];
    let normalized = 0;
    let connection = await connectRaw(target);
    for (const path of PATHS) {
      const answer = await connection.exchange(post(path));
      if (answer?.status === 404) assert.equal(answer.code, "unimplemented", path);
      if (answer?.status === 200 && runtime === "bun" && isNormalizedToMethod(path)) normalized++;
      else if ((answer?.status ?? 400) < 400) reached.push(path);
      if (answer?.status === 404 || answer?.status === 200) continue;
      connection[Symbol.dispose](); // the runtime itself refused, which ends the connection
      connection = await connectRaw(target);
    }
    connection[Symbol.dispose]();
    assert.deepEqual(reached, []);
    assert.equal(await target.honest(), 200);
    assert.equal((await target.tally()).hellos, 1 + normalized);
  });

  test(`T4.2 T22 serve() on ${runtime} takes no request whose end two parties could see in different places`, async () => {
    await using target = await startTarget(runtime);
    const reached: string[] = [];
    let counted = 0;
    for (const [name, text] of Object.entries(AMBIGUOUS)) {
      using connection = await connectRaw(target);
      await connection.send(text);
      // Whatever comes, until the server closes or has answered the request and what could be taken for a second one.
      const answers = [await connection.response(), await connection.exchange(HELLO)];
      if ((answers[0]?.status ?? 400) < 400) reached.push(name);
      // Where the connection goes on, it goes on with the honest call and nothing else.
      const { hellos } = await target.tally();
      const honest = answers[1]?.status === 200 ? 1 : 0;
      assert.equal(hellos - counted, honest, `handler calls of: ${name}`);
      counted = hellos;
    }
    assert.deepEqual(reached, []);
    assert.equal(await target.honest(), 200);
  });

  test(`T4.2 T22 serve() on ${runtime} makes one call at most of what it reads leniently`, async () => {
    await using target = await startTarget(runtime);
    for (const [name, { text, takenBy }] of Object.entries(LENIENT)) {
      const before = (await target.tally()).hellos;
      using connection = await connectRaw(target);
      const answer = await connection.exchange(text);
      const calls = (await target.tally()).hellos - before;
      const taken = takenBy.includes(runtime);
      assert.equal(answer?.status === 200, taken, `${name}: ${answer?.status}`);
      assert.equal(calls, taken ? 1 : 0, `handler calls of: ${name}`);
    }
    assert.equal(await target.honest(), 200);
  });

  test(`T4.2 T22 serve() on ${runtime} refuses what is no HTTP, and stays up`, async () => {
    await using target = await startTarget(runtime);
    for (const [name, text] of Object.entries(MALFORMED)) {
      using connection = await connectRaw(target);
      const answer = await connection.exchange(text);
      assert.ok(!answer || answer.status >= 400, `${name}: ${answer?.status}`);
    }
    assert.equal((await target.tally()).hellos, 0);
    assert.equal(await target.honest(), 200);
  });
}

test("T4.2 T22 serve() on deno does not take a path from the host header", async () => {
  await using target = await startTarget("deno");
  const reached: string[] = [];
  for (const [host, path, code] of HOSTS) {
    using connection = await connectRaw(target);
    const answer = await connection.exchange(post(path, BODY, { host }));
    if ((answer?.status ?? 400) < 400) reached.push(`${host} ${path}`);
    if (code) assert.equal(answer?.code, code, host); // else the runtime itself may refuse
  }
  assert.deepEqual(reached, []);
  assert.equal((await target.tally()).hellos, 0);
  assert.equal(await target.honest(), 200);
});

async function assertUsableOverHttp1(runtime: Served, refusals: readonly Refusal[]): Promise<void> {
  await using target = await startTarget(runtime);
  using connection = await connectRaw(target);
  for (const refusal of refusals) {
    const refused = await connection.exchange(textOf(refusal));
    assert.deepEqual([refused?.status, refused?.code], [refusal.status, refusal.code], refusal.name);
    assert.equal((await connection.exchange(HELLO))?.status, 200, `the call after: ${refusal.name}`);
  }
  assert.equal((await target.tally()).hellos, refusals.length);
}

function textOf({ verb, path, headers, body }: Refusal): string {
  const length: Readonly<Record<string, string>> = verb === "POST" && !body ? { "content-length": "0" } : {};
  return request(`${verb} ${path}`, { ...headers, ...length }, body);
}

async function negotiated({ port, ca }: { readonly port: number; readonly ca: string }): Promise<string | null> {
  const alpnProtocols = ["h2", "http/1.1"];
  using socket = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca], alpnProtocols });
  return (await socket.handshake()).alpnProtocol;
}

/** Hosts which, with the path behind them, would name the method, and what we answer. */
const HOSTS: readonly (readonly [host: string, path: string, code?: string])[] = [
  ["localhost/greeter.v1", "/hello", "invalid_argument"],
  ["evil.example:443/greeter.v1", "/hello", "invalid_argument"],
  [`localhost${METHOD}#`, "/x"],
  [`localhost${METHOD}#`, METHOD],
  ["user@localhost", METHOD],
];

/** Bun resolves dots and backslashes before anybody sees the path, so the call is the one that the result names. */
function isNormalizedToMethod(path: string): boolean {
  const url = `https://localhost${path}`;
  return URL.canParse(url) && new URL(url).pathname === METHOD;
}

const PATHS: readonly string[] = [
  ...["/greeter.v1/../greeter.v1/hello", "/./greeter.v1/hello", "/greeter.v1/./hello", "/x/../greeter.v1/hello"],
  ...["/%2e%2e/greeter.v1/hello", "/%2E%2e/greeter.v1/hello", "/x/%2e%2e/greeter.v1/hello", "/%2e/greeter.v1/hello"],
  ...["/greeter.v1/x/../hello", "/greeter.v1/hello/.", "/greeter.v1/hello/..", "/..;/greeter.v1/hello", "/.../x/hello"],
  ...[
    "/greeter%2ev1/hello",
    "/greeter.v1%2fhello",
    "/greeter.v1/%68ello",
    "/greeter.v1%5chello",
    "/%67reeter.v1/hello",
  ],
  ...["//greeter.v1/hello", "/greeter.v1//hello", "/greeter.v1/hello/", "/greeter.v1/hello//", "///greeter.v1/hello"],
  ...["\\greeter.v1\\hello", "/greeter.v1\\hello", "\\\\greeter.v1\\hello", "/\\greeter.v1/hello"],
  ...[
    "/greeter.v1/hello;x",
    "/greeter.v1;x=1/hello",
    "/;/greeter.v1/hello",
    "/greeter.v1/hello#x",
    "/greeter.v1/hello%23",
  ],
  ...["/Greeter.v1/hello", "/greeter.v1/HELLO", "/GREETER.V1/HELLO", "/greeter.V1/hello"],
  ...[
    "/greeter.v1/hell\xc3\xb6",
    "/\xef\xbc\x8fgreeter.v1/hello",
    "/greeter\xe2\x80\xa4v1/hello",
    "/greeter.v1/hello\xff",
  ],
  ...[
    "/greeter.v1/hello%00",
    "/greeter.v1/hello%20",
    "/greeter.v1/hello%3F",
    "/greeter.v1/hello%0d%0a",
    "/greeter.v1/hello.",
  ],
  ...[
    "/greeter.v1/constructor",
    "/greeter.v1/__proto__",
    "/constructor/hello",
    "/__proto__/hello",
    "/greeter.v1/toString",
  ],
  ...[
    "/",
    "/greeter.v1",
    "/greeter.v1/",
    "/rpc/greeter.v1/hello",
    "/greeter.v1/hello/hello",
    `/${"a".repeat(3000)}/hello`,
  ],
];

const JSON_TYPE = { "content-type": "application/json" };
const BODY = '{"name":"Ada"}';
const CHUNKED_BODY = `e\r\n${BODY}\r\n0\r\n\r\n`;

/** A call with the given framing, whose body is another call where a server takes the first length for the whole. */
function framed(headers: Readonly<Record<string, string>>, body: string): string {
  return request(`POST ${METHOD}`, { ...JSON_TYPE, ...headers }) + body;
}

const AMBIGUOUS: Readonly<Record<string, string>> = {
  "both lengths": framed({ "content-length": "14", "transfer-encoding": "chunked" }, CHUNKED_BODY),
  "both lengths, the other order": framed({ "transfer-encoding": "chunked", "content-length": "14" }, CHUNKED_BODY),
  "CL.TE": framed({ "content-length": "5", "transfer-encoding": "chunked" }, `0\r\n\r\n${HELLO}`),
  "TE.CL": framed({ "transfer-encoding": "chunked", "content-length": "4" }, `e\r\n${BODY}\r\n0\r\n\r\n${HELLO}`),
  "two codings": framed({ "transfer-encoding": "identity, chunked" }, CHUNKED_BODY),
  "Transfer-Encoding twice": framed({ "transfer-encoding": "chunked", "Transfer-Encoding": "chunked" }, CHUNKED_BODY),
  "an unknown coding": framed({ "transfer-encoding": "xchunked" }, CHUNKED_BODY),
  "chunked is not the last": framed({ "transfer-encoding": "chunked, identity" }, CHUNKED_BODY),
  "a coding in quotes": framed({ "transfer-encoding": '"chunked"' }, CHUNKED_BODY),
  "Content-Length twice": framed({ "content-length": "14", "Content-Length": "14" }, BODY),
  "two Content-Lengths": framed({ "content-length": "14", "Content-Length": "0" }, BODY),
  "a list of lengths": framed({ "content-length": "14, 14" }, BODY),
  "a length with a sign": framed({ "content-length": "+14" }, BODY),
  "a negative length": framed({ "content-length": "-1" }, BODY),
  "a hexadecimal length": framed({ "content-length": "0xe" }, BODY),
  "a length with a space": framed({ "content-length": "1 4" }, BODY),
  "a length past 2^64": framed({ "content-length": "18446744073709551630" }, BODY),
  "a length that is too short": framed({ "content-length": "9" }, BODY),
  "a chunk size past 2^64": framed({ "transfer-encoding": "chunked" }, `1000000000000000e\r\n${BODY}\r\n0\r\n\r\n`),
  "a chunk extension with a bare LF": framed({ "transfer-encoding": "chunked" }, `e;a\nb\r\n${BODY}\r\n0\r\n\r\n`),
  "a chunk that runs on": framed({ "transfer-encoding": "chunked" }, `e\r\n${BODY}XX0\r\n\r\n`),
};

/** Read in one way only, and so no way in, though a stricter server refuses it; the runtimes differ. */
const LENIENT: Readonly<Record<string, { readonly text: string; readonly takenBy: readonly Served[] }>> = {
  "bare LF at each line's end": { text: HELLO.replaceAll("\r\n", "\n"), takenBy: ["deno"] },
  "one bare LF": { text: HELLO.replace("localhost\r\n", "localhost\n"), takenBy: ["deno"] },
  "no Host": { text: HELLO.replace("host: localhost\r\n", ""), takenBy: ["deno"] },
  "two Hosts": { text: post(METHOD, BODY, { Host: "evil.example" }), takenBy: [] },
  "a target with another host": { text: post(`https://evil.example${METHOD}`), takenBy: ["deno", "bun", "node"] },
  "a target with http:": { text: post(`http://evil.example${METHOD}`), takenBy: ["bun"] },
  "a target with ftp:": { text: post(`ftp://evil.example${METHOD}`), takenBy: [] },
  "chunked in HTTP/1.0": {
    text: framed({ "transfer-encoding": "chunked" }, CHUNKED_BODY).replace("HTTP/1.1", "HTTP/1.0"),
    takenBy: ["node"],
  },
  "HTTP/2.0 by name": { text: HELLO.replace("HTTP/1.1", "HTTP/2.0"), takenBy: ["node"] },
};

const MALFORMED: Readonly<Record<string, string>> = {
  "obs-fold": post(METHOD, BODY, { "x-a": "b\r\n c" }),
  "obs-fold of a length": post(METHOD, BODY, { "content-length": "1\r\n 4" }),
  "NUL in a header": post(METHOD, BODY, { "x-a": "b\0c" }),
  "NUL in a name": post(METHOD, BODY, { "x\0a": "b" }),
  "NUL in the path": post(`${METHOD}\0`),
  "bare CR in a header": post(METHOD, BODY, { "x-a": "b\rc" }),
  "a space before the colon": post(METHOD, BODY, { "x-a ": "b" }),
  "a header without a name": post(METHOD, BODY, { "": "b" }),
  "a header without a colon": HELLO.replace("host: localhost", "host localhost"),
  "a tab in the path": post(`${METHOD}\t`),
  "a space in the path": post(`${METHOD} x`),
  "no path": post(""),
  "a target that is an authority": post("evil.example:443"),
  "a target that is an asterisk": post("*"),
  "HTTP/0.9": `GET ${METHOD}\r\n\r\n`,
  "no HTTP at all": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
};
