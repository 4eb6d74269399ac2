// Somebody on the way changes what a proven stream is made of, in either direction.
import assert from "node:assert/strict";
import { test } from "node:test";
import { all, chain, channelGuard, channelProver, clientOf, proofOf, seal, streamServer } from "./_streams.ts";
import { envelope, joined, pieces, streamPost } from "./_envelopes.ts";
import { ProveAgainError, type Prover, RpcError } from "../../src/rpc/mod.ts";
import { rejection, type Words } from "./_rig.ts";

/** What becomes of the blocks on their way. */
type Attack = (blocks: Uint8Array<ArrayBuffer>[]) => Uint8Array<ArrayBuffer>[];

const flipped = (bytes: Uint8Array<ArrayBuffer>, at: number) => {
  const copy = bytes.slice();
  copy[at < 0 ? copy.length + at : at]! ^= 1;
  return copy;
};

const attacks: Readonly<Record<string, Attack>> = {
  "a bit of a message flipped": ([a, b, ...rest]) => [a!, flipped(b!, 15), ...rest],
  "a bit of a proof flipped": ([a, b, ...rest]) => [a!, flipped(b!, -1), ...rest],
  "the flag of a block flipped": ([a, b, ...rest]) => [a!, flipped(b!, 0), ...rest],
  "the length of a block flipped": ([a, b, ...rest]) => [a!, flipped(b!, 4), ...rest],
  "a block left out": ([a, _, ...rest]) => [a!, ...rest],
  "the first block left out": ([_, ...rest]) => rest,
  "a block said twice": ([a, b, ...rest]) => [a!, b!, b!, ...rest],
  "two blocks swapped": ([a, b, c, ...rest]) => [a!, c!, b!, ...rest],
  "a block added that proves nothing": ([a, ...rest]) => [
    a!,
    envelope(new TextDecoder().decode(envelope('{"text":"x"}')) + "0".repeat(16), 0x80),
    ...rest,
  ],
  "a plain message added": ([a, ...rest]) => [a!, envelope('{"text":"x"}'), ...rest],
  "a plain end in place of the rest": ([a, b]) => [a!, b!, envelope("{}", 0x02)],
  "a block without room for a proof": ([a, b]) => [a!, b!, envelope("short", 0x80)],
  "two blocks made one": ([a, b, ...rest]) => {
    const content = joined(a!.subarray(5), b!.subarray(5));
    return [envelope(String.fromCharCode(...content), 0x80), ...rest];
  },
  "the end cut off": (blocks) => blocks.slice(0, -1),
  "everything cut off": () => [],
  "the last byte cut off": (blocks) => [...blocks.slice(0, -1), blocks.at(-1)!.slice(0, -1)],
};

/** Messages that leave one by one, so that each is a block of its own. */
async function* slowly(...words: readonly string[]): AsyncGenerator<Words> {
  for (const text of words) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    yield { text };
  }
}

const WORDS = ["first", "second", "third", "fourth"];

for (const [name, attack] of Object.entries(attacks)) {
  test(`fetchTransport() trusts no answer with ${name}`, async () => {
    const { server } = streamServer({ down: () => slowly(...WORDS) }, { guard: channelGuard() });
    const fetch = async (url: string, init: RequestInit) => {
      const response = await server.fetch(new Request(url, init));
      const blocks = pieces(new Uint8Array(await response.arrayBuffer()));
      assert.ok(blocks.length >= 4, "each word is a block of its own");
      return new Response(joined(...attack(blocks)), { headers: response.headers });
    };
    const read: string[] = [];
    const client = clientOf(server, { prover: channelProver(), fetch });
    const error = await rejection((async () => {
      for await (const { text } of client.down({ text: "" })) read.push(text);
    })());
    assert.ok(["unavailable", "unauthenticated", "resource_exhausted"].includes(error.code), error.code);
    assert.deepEqual(read, WORDS.slice(0, read.length), "nothing was read that was not said");
    if (name.includes("cut off")) assert.equal(error.code, "unavailable");
  });

  test(`createServer() trusts no request with ${name}`, async () => {
    const heard: string[] = [];
    const { server } = streamServer({
      async up(messages) {
        for await (const { text } of messages) heard.push(text);
        return { text: "all" };
      },
    }, { guard: channelGuard() });
    const fetch = async (url: string, init: RequestInit) => {
      const request = new Request(url, init);
      const blocks = pieces(new Uint8Array(await request.arrayBuffer()));
      assert.ok(blocks.length >= 4, "each word is a block of its own");
      return await server.fetch(new Request(url, { ...init, body: joined(...attack(blocks)) }));
    };
    const error = await rejection(clientOf(server, { prover: channelProver(), fetch }).up(slowly(...WORDS)));
    const codes = ["invalid_argument", "unauthenticated", "resource_exhausted", "data_loss"];
    assert.ok(codes.includes(error.code), error.code);
    assert.match(error.correlationId ?? "", /\w/, "the server said so, provably");
    assert.deepEqual(heard, WORDS.slice(0, heard.length), "nothing was heard that was not said");
    if (name.includes("cut off")) assert.equal(error.code, "data_loss");
  });
}

test("fetchTransport() reads a proven stream whose blocks come in any chunks", async () => {
  const { server } = streamServer({ down: () => slowly(...WORDS) }, { guard: channelGuard() });
  const fetch = async (url: string, init: RequestInit) => {
    const response = await server.fetch(new Request(url, init));
    const bytes = new Uint8Array(await response.arrayBuffer());
    const body = new ReadableStream({
      start(controller) {
        for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
        controller.close();
      },
    });
    return new Response(body, { headers: response.headers });
  };
  assert.deepEqual(await all(clientOf(server, { prover: channelProver(), fetch }).down({ text: "" })), WORDS);
});

test("fetchTransport() trusts no answer to another's stream", async () => {
  const { server } = streamServer({}, { guard: channelGuard() });
  const fetch = async (url: string, init: RequestInit) => {
    const response = await server.fetch(new Request(url, init));
    const headers = new Headers(response.headers);
    headers.set("x-proof", "bm8=");
    return new Response(response.body, { headers });
  };
  const error = await rejection(all(clientOf(server, { prover: channelProver(), fetch }).down({ text: "abc" })));
  assert.equal(error.code, "unavailable");
});

test("fetchTransport() believes a proven refusal of a stream, and no other", async () => {
  const { server } = streamServer({}, { guard: channelGuard() });
  const refused = clientOf(server, { prover: channelProver("you") });
  assert.equal((await rejection(all(refused.down({ text: "abc" })))).code, "unauthenticated");
  const forged = (url: string, init: RequestInit) =>
    server.fetch(new Request(url, init)).then(async (response) => {
      const text = await response.text();
      return new Response(text.replace("unauthenticated", "permission_denied"), { headers: response.headers });
    });
  const cheated = clientOf(server, { prover: channelProver("you"), fetch: forged });
  assert.equal((await rejection(all(cheated.down({ text: "abc" })))).code, "unavailable");
});

test("fetchTransport() introduces itself before the stream where its prover asks for that", async () => {
  const bodies: number[] = [];
  const guard = channelGuard();
  const { server } = streamServer({}, {
    guard: {
      start() {},
      admit(incoming) {
        if (incoming.request?.headers.get("x-who") !== "new") return guard.admit(incoming);
        incoming.sealRefusal(seal);
        throw new ProveAgainError("unauthenticated", "Prove again", { ageMs: 1_000 });
      },
    },
  });
  const fetch = (url: string, init: RequestInit) => {
    bodies.push((init.body as Uint8Array | undefined)?.length ?? 0);
    return server.fetch(new Request(url, init));
  };
  const prover: Prover = {
    prove: () => ({
      ...proofOf("new", undefined),
      isIntroduction: true,
      again: () => proofOf("me", chain("client", "server")),
    }),
  };
  assert.deepEqual(await all(clientOf(server, { prover, fetch }).down({ text: "ab" })), ["a", "b"]);
  assert.equal(bodies[0], 0);
  assert.equal(bodies.length, 2);
});

test("fetchTransport() starts no stream whose prover proves answers and no blocks", async () => {
  const { server } = streamServer();
  const prover: Prover = { prove: () => proofOf("me", undefined) };
  assert.equal((await rejection(all(clientOf(server, { prover }).down({ text: "" })))).code, "failed_precondition");
});

test("createServer() answers no stream whose guard proves answers and no blocks", async () => {
  const { server } = streamServer({}, { guard: { start() {}, admit: () => ({ seal: () => ({}) }) } });
  assert.equal((await rejection(all(clientOf(server).down({ text: "" })))).code, "failed_precondition");
});

test("createServer() ends a stream whose channel proves nothing any more with the channel's error", async () => {
  const sealing = chain("server", "client");
  let blocks = 0;
  const channel = {
    ...sealing,
    seal(block: Uint8Array) {
      if (++blocks === 2) throw new RpcError("permission_denied", "The right was revoked");
      return sealing.seal(block);
    },
    open: chain("server", "client").open,
  };
  const { server } = streamServer({ down: () => slowly(...WORDS) }, { guard: channelGuard({ channel }) });
  const read: string[] = [];
  const error = await rejection((async () => {
    for await (const { text } of clientOf(server, { prover: channelProver() }).down({ text: "" })) read.push(text);
  })());
  assert.deepEqual([read, error.code], [["first"], "permission_denied"]);
});

test("createServer() takes no message that is spread over two blocks, though both are proven", async () => {
  const { server } = streamServer({}, { guard: channelGuard() });
  const { seal: prove } = chain("client", "server");
  const message = joined(envelope('{"text":"a"}'), envelope("{}", 0x02));
  const block = (part: Uint8Array) => {
    const bytes = joined(new Uint8Array(5), part, prove(part));
    bytes[0] = 0x80;
    bytes[4] = part.length + 16;
    return bytes;
  };
  const body = joined(block(message.subarray(0, 7)), block(message.subarray(7)));
  const response = await server.fetch(streamPost("up", body, { "x-who": "me" }));
  assert.match(await response.text(), /"code":"invalid_argument"/);
});
