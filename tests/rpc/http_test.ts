import { cbor, json } from "../../src/codec/mod.ts";
import type { RpcCode } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAnswers, assertLogged, echoServer, ORIGIN, post, postRaw, refusalOf } from "./_rig.ts";

const secret = "s3cret_value_of_the_caller";
const message = { text: secret };
const asJson = { "content-type": "application/json" };

interface Wrong {
  readonly name: string;
  readonly request: () => Request;
  readonly status: number;
  readonly code: RpcCode;
  /** What the message names. */
  readonly names: RegExp;
}

const get = (query: string, headers: Record<string, string> = {}, path = "/echo.v1/look") =>
  new Request(`${ORIGIN}${path}${query}`, { headers });
const query = (parameters: Record<string, string>) => `?${new URLSearchParams(parameters)}`;
const goodQuery = { connect: "v1", encoding: "json", message: JSON.stringify(message) };
const say = (headers: Record<string, string>) => () => post("/echo.v1/say", message, headers);
const verb = (method: string, path = "/echo.v1/say") => () => new Request(ORIGIN + path, { method, headers: asJson });

const wrongs: readonly Wrong[] = [
  // where
  ...[
    "/",
    "/echo.v1",
    "/echo.v1/",
    "/echo.v1/nothing",
    "/nothing.v1/say",
    "/echo.v1/say/",
    "//echo.v1/say",
    "/echo.v1//say",
    "/echo.v1/say/more",
    "/x/echo.v1/say",
    "/echo.v1/%73ay",
    "/echo%2Ev1/say",
    "/echo.v1%2Fsay",
    "/ECHO.v1/say",
    "/echo.v1/Say",
    "/echo.v1/toString",
    "/echo.v1/constructor",
    "/echo.v1/__proto__",
    "/__proto__/say",
    "/constructor/say",
    "/echo.v1/say;a=b",
    "/echo.v1/say%00",
    "/echo.v1/s%C3%A4y",
    `/echo.v1/${"a".repeat(65)}`,
    `/${"a".repeat(129)}/say`,
  ].map((path): Wrong => ({
    name: `the path ${path.slice(0, 30)}`,
    request: () => post(path, message),
    status: 404,
    code: "unimplemented",
    names: /no such method/,
  })),
  // how
  ...["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "QUERY"].map((method): Wrong => ({
    name: `the verb ${method}`,
    request: verb(method),
    status: 405,
    code: "unknown",
    names: /use POST/,
  })),
  {
    name: "a GET of a method that is not safe",
    request: () => get(query(goodQuery), {}, "/echo.v1/say"),
    status: 405,
    code: "unknown",
    names: /use POST/,
  },
  {
    name: "a query on a POST",
    request: () => post("/echo.v1/say?a=b", message),
    status: 400,
    code: "invalid_argument",
    names: /query/,
  },
  {
    name: "an empty query on a POST",
    request: () => post("/echo.v1/say?", message),
    status: 400,
    code: "invalid_argument",
    names: /query/,
  },
  // as what
  ...[
    "text/plain",
    "application/xml",
    "application/cbor",
    "application/grpc",
    "application/connect+json",
    "application/jsonx",
    "application/json2",
    "text/json",
    "json",
    "",
    "application/json; charset=latin1",
    "application/json, application/json",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "application/json;a=b",
    "toString",
    "__proto__",
  ].map((type): Wrong => ({
    name: `the media type "${type}"`,
    request: say({ "content-type": type }),
    status: 415,
    code: "unknown",
    names: /media type/,
  })),
  {
    name: "no media type at all",
    request: () => new Request(`${ORIGIN}/echo.v1/say`, { method: "POST", body: new TextEncoder().encode("{}") }),
    status: 415,
    code: "unknown",
    names: /media type/,
  },
  ...["gzip", "br", "deflate", "identity, gzip", "x", ""].filter(Boolean).map((encoding): Wrong => ({
    name: `the content encoding ${encoding}`,
    request: say({ "content-encoding": encoding }),
    status: 415,
    code: "unimplemented",
    names: /compression/,
  })),
  ...["2", "0", "1.0", "v1", "1, 1", "one"].map((version): Wrong => ({
    name: `the protocol version ${version}`,
    request: say({ "connect-protocol-version": version }),
    status: 400,
    code: "invalid_argument",
    names: /version/,
  })),
  ...["-1", "1.5", "1e3", "soon", "12345678901", "0x10", "1 ", "100, 100", "+1", "Infinity", "NaN", "１"].filter((t) =>
    t === t.trim() && !/[^\0-\xff]/.test(t)
  )
    .map((timeout): Wrong => ({
      name: `the timeout ${timeout}`,
      request: say({ "connect-timeout-ms": timeout }),
      status: 400,
      code: "invalid_argument",
      names: /timeout/,
    })),
  {
    name: "two lengths",
    request: say({ "content-length": "10", "transfer-encoding": "chunked" }),
    status: 400,
    code: "invalid_argument",
    names: /length/,
  },
  ...["-1", "abc", "1e3", "10, 10", "0x10", "1".repeat(16)].map((length): Wrong => ({
    name: `the length ${length}`,
    request: say({ "content-length": length }),
    status: 400,
    code: "invalid_argument",
    names: /Content-Length/,
  })),
  // what
  ...[
    "",
    "{",
    "{}}",
    '{"text":}',
    "\ufeff{}",
    '{"text":"a","text":"b"}',
    '{"__proto__":{}}',
    '{"text":"\\ud800"}',
    '{"text":1e999}',
  ]
    .map((body): Wrong => ({
      name: `the body ${JSON.stringify(body)}`,
      request: () => postRaw("/echo.v1/say", body),
      status: 400,
      code: "invalid_argument",
      names: /^Cannot decode the message/,
    })),
  {
    name: "a body that is not UTF-8",
    request: () => postRaw("/echo.v1/say", Uint8Array.of(0x22, 0xff, 0x22)),
    status: 400,
    code: "invalid_argument",
    names: /^Cannot decode the message/,
  },
  {
    name: "an empty message",
    request: () => post("/echo.v1/say", {}),
    status: 400,
    code: "invalid_argument",
    names: /"text"/,
  },
  // the query of a GET
  ...([
    ["no query", "", /encoding/],
    ["an empty query", "?", /encoding/],
    ["no encoding", query({ message: "{}" }), /encoding/],
    ["an encoding that is not offered", query({ ...goodQuery, encoding: "cbor" }), /encoding/],
    ["an encoding that objects inherit", query({ ...goodQuery, encoding: "toString" }), /encoding/],
    ["an encoding with a parameter", query({ ...goodQuery, encoding: "json; charset=utf-8" }), /encoding/],
    ["no message", query({ encoding: "json" }), /message/],
    ["an empty message", query({ encoding: "json", message: "" }), /Cannot decode/],
    ["another protocol", query({ ...goodQuery, connect: "v2" }), /protocol/],
    ["an unknown parameter", query({ ...goodQuery, [secret]: "1" }), /unknown parameter/],
    ["an inherited parameter", query({ ...goodQuery, constructor: "1" }), /unknown parameter/],
    ["a message that is given twice", `${query(goodQuery)}&message=${secret}`, /"message" is given twice/],
    ["an encoding that is given twice", `${query(goodQuery)}&encoding=json`, /"encoding" is given twice/],
    ["a message that is not base64url", query({ ...goodQuery, base64: "1", message: `!${secret}` }), /base64/],
    ["a base64 that is neither", query({ ...goodQuery, base64: "2" }), /base64/],
    ["a message that is not UTF-8", "?encoding=json&message=%7B%22text%22%3A%22%FF%22%7D", /UTF-8|Cannot/],
    ["a message of another shape", query({ ...goodQuery, message: "{}" }), /"text"/],
  ] as const).map(([name, search, names]): Wrong => ({
    name: `a GET with ${name}`,
    request: () => get(search),
    status: 400,
    code: "invalid_argument",
    names,
  })),
  {
    name: "a GET with compression",
    request: () => get(query({ ...goodQuery, compression: "gzip" })),
    status: 501,
    code: "unimplemented",
    names: /compression/,
  },
  ...["cross-site", "same-site", "none, cross-site", "anything"].map((site): Wrong => ({
    name: `a GET from a page that is ${site}`,
    request: () => get(query(goodQuery), { "sec-fetch-site": site }),
    status: 403,
    code: "permission_denied",
    names: /another site/,
  })),
  {
    name: "a method that the guard keeps shut",
    request: () => post("/echo.v1/hidden", message),
    status: 403,
    code: "permission_denied",
    names: /Cannot call this method/,
  },
  {
    name: "a request without TLS",
    request: () => new Request("http://echo.test/echo.v1/say", { method: "POST", body: "{}", headers: asJson }),
    status: 400,
    code: "failed_precondition",
    names: /without TLS/,
  },
];

for (const { name, request, status, code, names } of wrongs) {
  test(`createServer().fetch refuses ${name}`, async () => {
    const { server, calls, entries } = echoServer();
    const refusal = await refusalOf(await server.fetch(request()));
    assert.deepEqual([refusal.status, refusal.code], [status, code], refusal.text);
    assert.match(refusal.message, names);
    assert.ok(!refusal.text.includes("s3cret"), refusal.text);
    assert.deepEqual(refusal.details, []);
    assert.deepEqual(calls, [], "nothing was called");
    assert.equal(assertLogged(entries, refusal).level, "info");
    await assertAnswers(server);
  });
}

test("createServer().fetch names the verbs it takes in a 405", async () => {
  const { server } = echoServer();
  const { headers } = await refusalOf(await server.fetch(verb("PUT")()));
  assert.equal(headers.get("allow"), "POST");
});

test("createServer().fetch marks an error as nobody else's to read or keep", async () => {
  const { headers } = await refusalOf(await echoServer().server.fetch(verb("PUT")()));
  assert.equal(headers.get("cache-control"), "no-store");
  assert.equal(headers.get("cross-origin-resource-policy"), "same-origin");
  assert.equal(headers.get("x-content-type-options"), "nosniff");
});

const types = [
  "application/json",
  "application/json;charset=utf-8",
  "application/json; charset=utf-8",
  "Application/JSON; Charset=UTF-8",
];
for (const type of types) {
  test(`createServer().fetch takes the media type "${type}"`, async () => {
    const response = await echoServer().server.fetch(post("/echo.v1/say", message, { "content-type": type }));
    assert.deepEqual(await response.json(), message);
  });
}

for (
  const headers of [
    { "connect-protocol-version": "1" },
    { "connect-timeout-ms": "1000" },
    { "connect-timeout-ms": "9999999999" },
    { "content-encoding": "identity" },
    { "accept-encoding": "gzip", "connect-accept-encoding": "gzip", accept: "text/plain" },
    { "x-forwarded-proto": "http", "x-http-method-override": "GET", "content-length": "37" },
  ]
) {
  test(`createServer().fetch takes the headers ${JSON.stringify(headers)}`, async () => {
    assert.equal((await echoServer().server.fetch(post("/echo.v1/say", message, headers as never))).status, 200);
  });
}

const base64 = btoa(JSON.stringify({ text: "?>~" })).replaceAll("+", "-").replaceAll("/", "_");
const gets: readonly (readonly [name: string, search: string, text: string])[] = [
  ["a message as text", query({ ...goodQuery, message: '{"text":"é&="}' }), "é&="],
  [
    "a message in base64url without padding",
    query({ encoding: "json", base64: "1", message: base64.replaceAll("=", "") }),
    "?>~",
  ],
  ["a message in base64url with padding", query({ encoding: "json", base64: "1", message: base64 }), "?>~"],
  ["no protocol named", query({ encoding: "json", message: '{"text":"a"}' }), "a"],
  ["no compression", query({ ...goodQuery, message: '{"text":"a"}', compression: "identity" }), "a"],
];
for (const [name, search, text] of gets) {
  test(`createServer().fetch answers a GET with ${name}`, async () => {
    const { server, calls } = echoServer();
    const response = await server.fetch(get(search));
    assert.deepEqual(await response.json(), { text });
    assert.deepEqual(calls, [{ text }]);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    assert.equal(response.headers.get("cross-origin-resource-policy"), "same-origin");
    assert.equal(response.headers.get("cache-control"), "no-store");
  });
}

test("createServer().fetch answers a GET in CBOR", async () => {
  const { server } = echoServer({ codecs: [json(), cbor()] });
  const bytes = cbor().encode({ text: "a" }) as Uint8Array;
  const response = await server.fetch(
    get(query({ encoding: "cbor", base64: "1", message: btoa(String.fromCharCode(...bytes)) })),
  );
  assert.equal(response.headers.get("content-type"), "application/cbor");
  assert.deepEqual(cbor().decode(new Uint8Array(await response.arrayBuffer())), { text: "a" });
});

for (const site of ["same-origin", "none"]) {
  test(`createServer().fetch answers a GET from a page that is ${site}`, async () => {
    assert.equal((await echoServer().server.fetch(get(query(goodQuery), { "sec-fetch-site": site }))).status, 200);
  });
}

test("createServer().fetch answers on http: where a proxy ends TLS, and only there", async () => {
  const request = () =>
    new Request("http://a/echo.v1/say", { method: "POST", body: JSON.stringify(message), headers: asJson });
  assert.equal((await echoServer({ tlsTerminated: true }).server.fetch(request())).status, 200);
  assert.equal((await echoServer({ tlsTerminated: false }).server.fetch(request())).status, 400);
  assert.equal((await echoServer().server.fetch(request())).status, 400);
});

test("createServer().fetch finds the path after any host and port", async () => {
  const { server } = echoServer();
  for (const origin of ["https://a", "https://echo.test:8443", "https://[::1]:1", "https://xn--bcher-kva.test"]) {
    const request = new Request(`${origin}/echo.v1/say`, {
      method: "POST",
      body: JSON.stringify(message),
      headers: asJson,
    });
    assert.equal((await server.fetch(request)).status, 200, origin);
  }
});

test("createServer().fetch gives each refusal an id of its own", async () => {
  const { server } = echoServer();
  const refusals = await Promise.all([1, 2, 3].map(async () => refusalOf(await server.fetch(post("/x.v1/y", {})))));
  assert.equal(new Set(refusals.map(({ correlationId }) => correlationId)).size, 3);
});

test("createServer().fetch answers a body that breaks off with canceled, and calls nothing", async () => {
  const { server, calls, entries } = echoServer();
  const broken = new ReadableStream({ pull: (controller) => controller.error(new Error(secret)) });
  const refusal = await refusalOf(await server.fetch(postRaw("/echo.v1/say", broken)));
  assert.deepEqual([refusal.status, refusal.code, calls.length], [499, "canceled", 0]);
  assert.ok(!refusal.text.includes(secret));
  assertLogged(entries, refusal);
});
