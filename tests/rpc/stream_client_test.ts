// A client of streams, against answers that no server of ours gives.
import assert from "node:assert/strict";
import { test } from "node:test";
import { json } from "../../src/codec/mod.ts";
import { createClient, type Middleware, RpcError, type Transport } from "../../src/rpc/mod.ts";
import { rejection, type Words } from "./_rig.ts";
import { chunks, END, envelope, joined } from "./_envelopes.ts";
import { all, clientOf, Streams, streamServer, texts } from "./_streams.ts";

const message = (text: string) => envelope(JSON.stringify({ text }));
const STREAM = { "content-type": "application/connect+json" };

/** A client that every request is answered the same. */
function answering(body: BodyInit | null, status = 200, headers: Readonly<Record<string, string>> = STREAM) {
  return clientOf({ fetch: () => Promise.resolve(new Response(body, { status, headers })) });
}

test("createClient() makes no call for a stream that nobody iterates", () => {
  const transport: Transport = () => assert.fail("the transport was reached");
  createClient(Streams, transport).down({ text: "a" });
});

test("createClient() throws when a stream is iterated twice", async () => {
  const answers = clientOf(streamServer().server).down({ text: "ab" });
  assert.deepEqual(await all(answers), ["a", "b"]);
  await assert.rejects(all(answers), TypeError);
});

test("createClient() says nothing of a deadline where a stream has none", async () => {
  const sent: Headers[] = [];
  const { server } = streamServer();
  const client = clientOf({
    fetch(request) {
      sent.push(request.headers);
      return server.fetch(request);
    },
  });
  await all(client.down({ text: "a" }));
  await all(client.down({ text: "a" }, { timeoutMs: 1_000 }));
  assert.deepEqual(sent.map((headers) => headers.get("connect-timeout-ms")), [null, "1000"]);
  assert.deepEqual(sent.map((headers) => headers.get("content-type")), Array(2).fill("application/connect+json"));
});

const bad: readonly (readonly [what: string, body: BodyInit | null, code: string, read: readonly string[]])[] = [
  ["no end", message("a"), "internal", ["a"]],
  ["no body", null, "internal", []],
  ["half a message", message("abc").slice(0, -1), "internal", []],
  ["something after its end", joined(envelope("{}", END), message("a")), "internal", []],
  ["an end that is no JSON", envelope("{", END), "internal", []],
  ["an end that is a list", envelope("[]", END), "internal", []],
  ["a message that is no JSON", joined(envelope("{"), envelope("{}", END)), "internal", []],
  ["a message that is not the contract's", joined(message("a"), envelope('{"text":1}')), "internal", ["a"]],
  ["an unknown flag", joined(message("a"), envelope("{}", 8)), "internal", ["a"]],
  ["a compressed message", envelope("{}", 1), "internal", []],
  ["a message over the limit", envelope("", 0, 2_000_000), "resource_exhausted", []],
  ["an error without a code", envelope('{"error":{}}', END), "unknown", []],
  ["an error of a code", envelope('{"error":{"code":"aborted"}}', END), "aborted", []],
];
for (const [what, body, code, expected] of bad) {
  test(`createClient() throws ${code} for an answer with ${what}`, async () => {
    const read: string[] = [];
    const error = await rejection((async () => {
      for await (const { text } of answering(body).down({ text: "" })) read.push(text);
    })());
    assert.deepEqual([read, error.code, error.received], [expected, code, true]);
  });
}

for (
  const [what, body, status, headers, code] of [
    ["another media type", "{}", 200, { "content-type": "application/json" }, "unknown"],
    ["the status of a proxy", "<html>", 503, { "content-type": "text/html" }, "unavailable"],
    ["an error of HTTP", '{"code":"unimplemented"}', 404, { "content-type": "application/json" }, "unimplemented"],
    ["a redirect", null, 307, { location: "https://elsewhere.test" }, "unknown"],
  ] as const
) {
  test(`createClient() throws ${code} for an answer with ${what}`, async () => {
    assert.equal((await rejection(all(answering(body, status, headers).down({ text: "" })))).code, code);
  });
}

test("createClient() throws unavailable for an answer that breaks off", async () => {
  const body = new ReadableStream({
    pull(controller) {
      controller.error(new Error("reset"));
    },
  });
  assert.equal((await rejection(all(answering(body).down({ text: "" })))).code, "unavailable");
});

for (
  const [what, parts] of [
    ["no message", [envelope("{}", END)]],
    ["two messages", [message("a"), message("b"), envelope("{}", END)]],
  ] as const
) {
  test(`createClient() throws unimplemented for ${what} where the contract has one answer`, async () => {
    assert.equal((await rejection(answering(chunks(...parts)).up(texts("a")))).code, "unimplemented");
  });
}

test("createClient() sends nothing after a message that is not the contract's", async () => {
  const heard: string[] = [];
  const { server } = streamServer({
    async up(messages) {
      for await (const { text } of messages) heard.push(text);
      return { text: "" };
    },
  });
  async function* sent() {
    yield { text: "a" };
    yield { text: 1 } as unknown as Words;
    yield { text: "b" };
  }
  for (const client of [clientOf(server), createClient(Streams, server.call)]) {
    const error = await rejection(client.up(sent()));
    assert.deepEqual([error.code, error.message], [
      "invalid_argument",
      'The message does not match the contract at "text"',
    ]);
  }
  assert.ok(!heard.includes("b"));
});

test("createClient() throws canceled when what the caller sends throws, with the error as the cause", async () => {
  const mistake = new Error("the file is gone");
  async function* sent() {
    yield { text: "a" };
    throw mistake;
  }
  const { server } = streamServer();
  for (const client of [clientOf(server), createClient(Streams, server.call)]) {
    const error = await rejection(client.up(sent()));
    assert.deepEqual([error.code, error.cause], ["canceled", mistake]);
    assert.equal((await rejection(all(client.both(sent())))).cause, mistake);
  }
});

test("createClient() sends no message that its codec refuses", async () => {
  const client = clientOf(streamServer().server, { codec: json({ maxBytes: 100 }) });
  const long = { text: "a".repeat(200) };
  async function* sent() {
    yield await Promise.resolve(long);
  }
  assert.equal((await rejection(client.up(sent()))).code, "invalid_argument");
  assert.equal((await rejection(all(client.down(long)))).code, "invalid_argument");
});

test("createClient() ends a stream for a message of the handler's that the codec refuses", async () => {
  const { server } = streamServer({ down: () => texts("a", "b".repeat(200)) }, { codecs: [json({ maxBytes: 100 })] });
  const error = await rejection(all(clientOf(server).down({ text: "" })));
  assert.equal(error.code, "internal");
});

test("middleware wraps streaming calls, on either side", async () => {
  const seen: string[] = [];
  const noting = (side: string): Middleware => async (call, next) => {
    seen.push(`${side} ${call.method.name} ${call.messages ? "stream" : "message"}`);
    const reply = await next(call);
    seen.push(`${side} ${reply.messages ? "stream" : "message"}`);
    return reply;
  };
  const { server } = streamServer({}, { middleware: [noting("server")] });
  const transport: Transport = (call) => server.call(call);
  const client = createClient(Streams, transport, { middleware: [noting("client")] });
  assert.deepEqual(await all(client.down({ text: "ab" })), ["a", "b"]);
  assert.deepEqual(await client.up(texts("a")), { text: "a" });
  assert.deepEqual(seen, [
    ...["client down message", "server down message", "server stream", "client stream"],
    ...["client up stream", "server up stream", "server message", "client message"],
  ]);
});

test("createClient() makes no streaming call whose signal has aborted, or whose time is up, before", async () => {
  const client = createClient(Streams, () => assert.fail("the transport was reached"));
  assert.equal((await rejection(all(client.down({ text: "" }, { signal: AbortSignal.abort() })))).code, "canceled");
  assert.equal((await rejection(client.up(texts(), { timeoutMs: 0 }))).code, "deadline_exceeded");
});

test("createServer() still serves the unary methods of a service that has streams", async () => {
  assert.deepEqual(await clientOf(streamServer().server).plain({ text: "a" }), { text: "a" });
});

test("guard.decide is asked about every message of a stream", async () => {
  const decided: unknown[] = [];
  const decide = (words: unknown) => {
    decided.push(words);
    if ((words as Words).text === "b") throw new RpcError("permission_denied", "Not that one");
  };
  const { server } = streamServer({}, { guard: { start() {}, admit: () => ({ decide }) } });
  assert.equal((await rejection(clientOf(server).up(texts("a", "b", "c")))).code, "permission_denied");
  assert.deepEqual(decided, [{ text: "a" }, { text: "b" }]);
});
