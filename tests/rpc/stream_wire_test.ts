// What streams look like to a client that is not ours.
import assert from "node:assert/strict";
import { test } from "node:test";
import { json } from "../../src/codec/mod.ts";
import { post, refusalOf } from "./_rig.ts";
import { chunks, END, ended, envelope, joined, read, streamPost } from "./_envelopes.ts";
import { all, PUBLIC, streamServer, texts } from "./_streams.ts";
import { publicOnly } from "../../src/rpc/mod.ts";

const message = (text: string) => envelope(JSON.stringify({ text }));

test("createServer() answers with the envelopes of Connect, what is ready in one chunk", async () => {
  const { server } = streamServer();
  const response = await server.fetch(streamPost("down", message("abc")));
  const got: Uint8Array[] = [];
  for await (const chunk of response.body! as unknown as AsyncIterable<Uint8Array>) got.push(chunk);
  assert.equal(got.length, 1);
  assert.deepEqual(read(got[0]!), [
    { flags: 0, text: '{"text":"a"}' },
    { flags: 0, text: '{"text":"b"}' },
    { flags: 0, text: '{"text":"c"}' },
    { flags: END, text: "{}" },
  ]);
});

test("createServer() sends a message at once when the next one is not ready", async () => {
  let go = () => {};
  const ready = new Promise<void>((resolve) => go = resolve);
  const { server } = streamServer({
    async *down() {
      yield { text: "a" };
      await ready;
      yield { text: "b" };
    },
  });
  const reader = (await server.fetch(streamPost("down", message("")))).body!.getReader();
  assert.deepEqual(read((await reader.read()).value!), [{ flags: 0, text: '{"text":"a"}' }]);
  go();
  assert.deepEqual(read((await reader.read()).value!).map(({ flags }) => flags), [0, END]);
  assert.equal((await reader.read()).done, true);
});

test("createServer() makes chunks of 64 KiB of many messages", async () => {
  const { server } = streamServer({ down: () => texts(...Array.from({ length: 20_000 }, () => "0123456789")) });
  const response = await server.fetch(streamPost("down", message("")));
  const sizes: number[] = [];
  for await (const chunk of response.body! as unknown as AsyncIterable<Uint8Array>) sizes.push(chunk.length);
  assert.ok(sizes.length > 3 && sizes.length < 12, `${sizes.length} chunks`);
  assert.ok(sizes.every((size) => size < 65_536 + 100));
});

test("createServer() reads a stream whose chunks end anywhere", async () => {
  const { server } = streamServer();
  const body = joined(message("a"), message("ñ"), message("c".repeat(3_000)));
  const single = chunks(...Array.from(body, (byte) => new Uint8Array([byte])));
  assert.deepEqual(await ended(await server.fetch(streamPost("up", single))), {
    texts: ["añ" + "c".repeat(3_000)],
    code: undefined,
  });
});

const broken: readonly (readonly [what: string, method: "down" | "up", body: Uint8Array<ArrayBuffer>, code: string])[] =
  [
    ["no message", "down", new Uint8Array(), "unimplemented"],
    ["two messages", "down", joined(message("a"), message("b")), "unimplemented"],
    ["a compressed message", "up", envelope("{}", 1), "internal"],
    ["an unknown flag", "up", envelope("{}", 4), "invalid_argument"],
    ["a block", "up", envelope("{}", 0x80), "invalid_argument"],
    ["an end, which only answers have", "up", joined(message("a"), envelope("{}", END)), "invalid_argument"],
    ["a message that ends early", "up", message("abc").slice(0, -1), "invalid_argument"],
    ["a head that ends early", "up", new Uint8Array([0, 0, 0]), "invalid_argument"],
    ["a message that is not JSON", "up", envelope("{"), "invalid_argument"],
    ["a message that is not the contract's", "up", envelope('{"text":1}'), "invalid_argument"],
    ["a list", "up", envelope("[]"), "invalid_argument"],
    ["a length over the limit", "up", envelope("{}", 0, 1_000_001), "resource_exhausted"],
    ["the largest length there is", "up", envelope("{}", 0, 0xffffffff), "resource_exhausted"],
  ];
for (const [what, method, body, code] of broken) {
  test(`createServer() ends a stream with ${code} when the request has ${what}`, async () => {
    const codecs = [json({ maxBytes: 1_000_000 })];
    const { server, entries } = streamServer({}, { codecs });
    assert.deepEqual(await ended(await server.fetch(streamPost(method, body))), { texts: [], code });
    assert.equal(entries.length, 1);
  });
}

test("createServer() ends a stream for a message that is refused, whatever the handler makes of it", async () => {
  const { server } = streamServer({
    async *both(messages) {
      try {
        await all(messages);
      } catch {
        // as if nothing had been
      }
      yield { text: "done" };
    },
  });
  const body = joined(message("a"), envelope('{"text":1}'));
  assert.deepEqual(await ended(await server.fetch(streamPost("both", body))), { texts: [], code: "invalid_argument" });
});

test("createServer() refuses a stream's message over the method's own limit before it is complete", async () => {
  const { server } = streamServer();
  const endless = new ReadableStream({ start: (controller) => controller.enqueue(envelope("", 0, 2_000_000)) });
  assert.equal((await ended(await server.fetch(streamPost("up", endless)))).code, "resource_exhausted");
});

for (
  const [what, request] of [
    ["a unary method with a stream", () => streamPost("plain", message("a"))],
    ["a streaming method with one message", () => post("/streams.v1/down", { text: "a" })],
    ["an unknown encoding", () => streamPost("down", message("a"), { "content-type": "application/connect+proto" })],
  ] as const
) {
  test(`createServer() answers 415 to a call of ${what}`, async () => {
    assert.equal((await refusalOf(await streamServer().server.fetch(request()))).status, 415);
  });
}

test("createServer() answers 404 to a stream for a method that is not there", async () => {
  assert.equal((await refusalOf(await streamServer().server.fetch(streamPost("none", message("a"))))).status, 404);
});

test("createServer() answers 405 to a GET of a streaming method", async () => {
  const refusal = await refusalOf(await streamServer().server.fetch(new Request("https://echo.test/streams.v1/down")));
  assert.deepEqual([refusal.status, refusal.headers.get("allow")], [405, "POST"]);
});

for (
  const [what, headers, code] of [
    ["a compressed stream", { "connect-content-encoding": "gzip" }, "unimplemented"],
    ["a timeout that is none", { "connect-timeout-ms": "soon" }, "invalid_argument"],
    ["a timeout that is over", { "connect-timeout-ms": "0" }, "deadline_exceeded"],
  ] as const
) {
  test(`createServer() refuses ${what} by the last envelope`, async () => {
    const response = await streamServer().server.fetch(streamPost("down", message("a"), headers));
    assert.deepEqual(await ended(response), { texts: [], code });
  });
}

test("createServer() refuses by the last envelope what the guard does not let in", async () => {
  const { server, entries } = streamServer({}, { guard: publicOnly(PUBLIC.filter((name) => !name.endsWith("down"))) });
  const response = await server.fetch(streamPost("down", message("a")));
  assert.deepEqual(await ended(response), { texts: [], code: "permission_denied" });
  assert.equal(entries.length, 1);
});
