// The attacker tries to use up a server by connections and streams: by number, by size, by saying nothing, by not reading.
import assert from "node:assert/strict";
import { test } from "node:test";
import { allow, policy, protect, prove } from "../../src/auth/mod.ts";
import { frameWriter } from "../../src/rpc/frame_writer.ts";
import { implement, publicOnly, rpc, service, stream } from "../../src/rpc/mod.ts";
import { DOMAIN, WEB } from "../auth/_world.ts";
import { rejection, soon, Text, type Words } from "../rpc/_rig.ts";
import { connected, socketServer } from "../rpc/_socket_server.ts";
import { settle } from "../rpc/_sockets.ts";
import { httpClient, readAll, slowly, socketClient, streaming, type StreamsClient } from "./_streaming.ts";

const OTHER = `spiffe://${DOMAIN}/other`;
const EITHER = [allow({ caller: [WEB, OTHER], call: "streams.v1/*" })];

/** A stream that stays open until it is told to end. */
async function held(client: StreamsClient) {
  let end: () => void = () => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  async function* words(): AsyncGenerator<Words> {
    yield { text: "a" };
    await ended;
  }
  const answers = client.both(words())[Symbol.asyncIterator]();
  await answers.next();
  return {
    async end() {
      end();
      return await answers.next();
    },
    leave: () => answers.return!(),
  };
}

test("T15 one caller has no more streams under way than its limit, by whatever ways, and another is served beside it", async () => {
  const it = await streaming({ rules: EITHER, protecting: { maxConcurrentCallsPerCaller: 3 } });
  const [http, one, two] = [httpClient(it), socketClient(it), socketClient(it)];
  const streams = [await held(http.client), await held(one.client), await held(two.client)];
  for (const { client } of [http, one, two]) {
    for (const { error } of [await readAll(client.down({ text: "a" })), await readAll(client.both(slowly("a")))]) {
      assert.equal((error as { code: string }).code, "resource_exhausted");
    }
    assert.equal((await rejection(client.up(slowly("a")))).code, "resource_exhausted");
    assert.equal((await rejection(client.plain({ text: "a" }))).code, "resource_exhausted");
  }
  const other = httpClient({ ...it, web: await it.world.join(OTHER) });
  assert.deepEqual((await readAll(other.client.down({ text: "ab" }))).texts, ["a", "b"]);
  // Whichever way a stream ends, its place is free again.
  assert.deepEqual(await streams[0]!.end(), { done: true, value: undefined });
  assert.deepEqual(await one.client.up(slowly("a")), { text: "a" });
  await streams[1]!.leave();
  await one.transport[Symbol.asyncDispose]();
  await two.transport[Symbol.asyncDispose]();
  await settle(8);
  const again = [await held(http.client), await held(http.client), await held(http.client)];
  assert.equal((await rejection(http.client.plain({ text: "a" }))).code, "resource_exhausted");
  for (const each of again) await each.end();
});

test("T15 a stream that was cut gives its caller's place back", async () => {
  const it = await streaming({ protecting: { maxConcurrentCallsPerCaller: 1 } });
  const { client, between } = httpClient(it);
  assert.deepEqual(await client.up(slowly("warm")), { text: "warm" });
  for (let round = 0; round < 5; round++) {
    for (const direction of ["request", "response"] as const) {
      between[direction] = (block, index) => index === 1 ? "cut" : block ? [block] : [];
      const { error } = await soon(readAll(client.both(slowly("a", "b", "c"))));
      assert.ok(error);
      delete between[direction];
      await settle(4);
      assert.deepEqual((await readAll(client.down({ text: "a" }))).texts, ["a"]);
    }
  }
});

const N = service("hold.v1", { hold: rpc(Text, stream(Text)), plain: rpc(Text, Text) });
const handlers = {
  async *hold({ text }: Words, { signal }: { readonly signal: AbortSignal }) {
    yield { text };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  },
  plain: (message: Words) => message,
};
const holding = () => socketServer(implement(N, handlers as never), publicOnly(["hold.v1/hold", "hold.v1/plain"]));
const HELLO = JSON.stringify({ headers: {}, codec: "json" });

function open(id: number, method: string, message: string): Uint8Array<ArrayBuffer> {
  const writer = frameWriter();
  writer.open(id, { path: `/hold.v1/${method}`, timeoutMs: Infinity, headers: undefined, message });
  return writer.take(writer.size, 0);
}

test("T15 connections that say nothing, or only half of it, are ended after 10 s and hold nothing", async () => {
  const server = holding();
  const all = await Promise.all(Array.from({ length: 1_000 }, () => connected(server)));
  assert.equal(server.clock.waiting, 1_000);
  server.clock.pass(9_999);
  assert.ok(all.every(({ closes }) => closes.length === 0));
  server.clock.pass(1);
  assert.ok(all.every(({ closes }) => closes[0]?.code === 4408));
  for (const { user } of all) user.closed();
  assert.equal(server.clock.waiting, 0);
  const honest = await connected(server);
  honest.user.receive(HELLO);
  await settle();
  assert.equal(JSON.parse(honest.sent[0] as string).status, 200);
});

test("T15 a hello that only introduces buys no second 10 s", async () => {
  const it = await streaming();
  const guard = protect({
    identity: await it.world.join(`spiffe://${DOMAIN}/hold`, { serves: ["hold.v1"] }),
    trust: it.world.trust,
    policy: policy([allow({ caller: WEB, call: "hold.v1/*" })]),
    now: it.world.now,
  });
  const server = socketServer(implement(N, handlers as never), guard);
  const client = await connected(server);
  const prover = prove({
    identity: it.web,
    trust: it.world.trust,
    peer: `spiffe://${DOMAIN}/hold`,
    now: it.world.now,
  });
  const url = "https://counter.test/postern.v1";
  const { headers } = await prover.prove({ method: "GET", url, headers: {}, body: undefined, call: undefined });
  server.clock.pass(9_000);
  client.user.receive(JSON.stringify({ headers, codec: "json" }));
  await settle(8);
  assert.equal(JSON.parse(client.sent[0] as string).status, 503, client.sent[0] as string);
  assert.equal(client.closes.length, 0, "it may prove itself once more");
  server.clock.pass(1_000);
  assert.equal(client.closes[0]?.code, 4408);
});

test("T15 a first message over 16 KiB ends the connection, and a later one over its codec's limit", async () => {
  const server = holding();
  const [large, later] = [await connected(server), await connected(server)];
  large.user.receive(JSON.stringify({ headers: { x: "y".repeat(16_384) }, codec: "json" }));
  later.user.receive(HELLO);
  await settle();
  assert.deepEqual(large.closes.map(({ code }) => code), [4400]);
  assert.deepEqual(later.closes, []);
  later.user.receive(new Uint8Array(1_048_576 + 65_536 + 1));
  assert.deepEqual(later.closes.map(({ code }) => code), [4413]);
  assert.deepEqual([large.sent.length, later.sent.length], [0, 1]);
});

test("T15 the 129th call at once ends its connection, and another connection is served", async () => {
  const server = holding();
  const one = await connected(server);
  one.user.receive(HELLO);
  await settle(20);
  for (let id = 1; id <= 129; id++) one.user.receive(open(id, "hold", '{"text":"a"}'));
  await settle(20);
  assert.deepEqual(one.closes.map(({ code }) => code), [4400]);
  const other = await connected(server);
  other.user.receive(HELLO);
  await settle(20);
  other.user.receive(open(1, "plain", '{"text":"honest"}'));
  await settle(20);
  assert.match(new TextDecoder().decode(other.sent[1] as Uint8Array), /honest/);
  one.user.closed();
  other.user.closed();
});

test("T15 a server takes no more streams than its calls, by all ways together, and frees each place", async () => {
  const it = await streaming({ serving: { limits: { maxConcurrentCalls: 4 } } });
  const [http, socket] = [httpClient(it), socketClient(it)];
  const streams = [
    await held(http.client),
    await held(http.client),
    await held(socket.client),
    await held(socket.client),
  ];
  assert.equal((await rejection(socket.client.plain({ text: "a" }))).code, "resource_exhausted");
  // Before anything is known of who calls, a refusal is proven by nobody.
  assert.equal((await rejection(http.client.plain({ text: "a" }))).code, "unavailable");
  for (const each of streams) await each.end();
  await settle(4);
  assert.deepEqual(await http.client.plain({ text: "a" }), { text: "a" });
  assert.deepEqual(await socket.client.plain({ text: "a" }), { text: "a" });
  await socket.transport[Symbol.asyncDispose]();
});

test("T15 T20 a hello for one server is none for another", async () => {
  const it = await streaming({ protecting: { audiences: ["https://one.test"] } });
  const other = await streaming({ at: it.world, protecting: { audiences: ["https://other.test"] } });
  const { client, net, transport } = socketClient(it, undefined, { audience: "https://one.test" });
  await client.up(slowly("a"));
  const hellos = net.wires[0]!.toServer.log.filter((each) => typeof each === "string");
  assert.equal(hellos.length, 2);
  for (const hello of hellos) {
    const played = await connected({ upgrade: other.server.upgrade });
    played.user.receive(hello);
    await settle();
    assert.equal(JSON.parse(played.sent[0] as string).status, 401);
    assert.ok(played.closes.length > 0);
  }
  assert.ok(other.audit.events.every(({ reason }) => reason === "wrong_audience"), JSON.stringify(other.audit.events));
  assert.equal(other.audit.events.length, 2);
  await transport[Symbol.asyncDispose]();
});
