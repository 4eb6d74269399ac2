import {
  anonymous,
  type Client,
  createClient,
  createServer,
  type Handlers,
  implement,
  publicOnly,
  rpc,
  RpcError,
  type Server,
  type ServerOptions,
  service,
  stream,
} from "../../src/rpc/mod.ts";
import { cbor, type Codec, json } from "../../src/codec/mod.ts";
import { webSocketTransport, type WebSocketTransportOptions } from "../../src/rpc/websocket_transport.ts";
import { aborted, collect, gate, rejection } from "./_rig.ts";
import { type Network, network, settle, type Wire } from "./_sockets.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const N = v.strictObject({ n: v.number() });
const Out = v.object({ n: v.number() });
const Counter = service("counter.v1", {
  double: rpc(N, Out, { errors: { not_found: v.strictObject({ last: v.number() }) } }),
  upTo: rpc(N, stream(Out), { errors: { not_found: v.strictObject({ last: v.number() }) } }),
  sum: rpc(stream(N), Out),
  both: rpc(stream(N), stream(Out)),
});
type Methods = (typeof Counter)["methods"];

interface Rig extends AsyncDisposable {
  readonly client: Client<Methods>;
  readonly server: Server;
  readonly net: Network;
  readonly entries: ReturnType<typeof collect>["entries"];
}

function rig(
  handlers: Partial<Handlers<Methods>> = {},
  options: Partial<ServerOptions> & Partial<WebSocketTransportOptions> & { readonly prepare?: (wire: Wire) => void } =
    {},
): Rig {
  const { log, entries } = collect();
  const { codec = json(), prover = anonymous(), prepare, clock, random, ...rest } = options;
  const server = createServer(
    implement(Counter, {
      double: ({ n }) => ({ n: 2 * n }),
      async *upTo({ n }) {
        for (let i = 1; i <= n; i++) yield { n: i };
      },
      async sum(messages) {
        let n = 0;
        for await (const each of messages) n += each.n;
        return { n };
      },
      async *both(messages) {
        for await (const { n } of messages) yield { n: 2 * n };
      },
      ...handlers,
    }),
    {
      guard: publicOnly(["counter.v1/double", "counter.v1/upTo", "counter.v1/sum", "counter.v1/both"]),
      codecs: [json(), cbor()],
      log,
      ...rest,
    },
  );
  const net = network(server, prepare);
  const transport = webSocketTransport("wss://counter.test", {
    prover,
    codec,
    open: net.open,
    ...(clock && { clock }),
    ...(random && { random }),
  });
  return {
    client: createClient(Counter, transport),
    server,
    net,
    entries,
    [Symbol.asyncDispose]: async () => {
      await transport[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

async function* numbers(...all: readonly number[]): AsyncGenerator<{ n: number }> {
  for (const n of all) yield { n };
}

async function all(messages: AsyncIterable<{ n: number }>): Promise<number[]> {
  const list: number[] = [];
  for await (const { n } of messages) list.push(n);
  return list;
}

const codecs: readonly (() => Codec)[] = [json, cbor];

for (const codec of codecs) {
  const { name } = codec();

  test(`webSocketTransport() makes calls of all four shapes in ${name} over one connection`, async () => {
    await using it = rig({}, { codec: codec() });
    assert.deepEqual(await it.client.double({ n: 4 }), { n: 8 });
    assert.deepEqual(await all(it.client.upTo({ n: 100 })), Array.from({ length: 100 }, (_, i) => i + 1));
    assert.deepEqual(await it.client.sum(numbers(1, 2, 3)), { n: 6 });
    assert.deepEqual(await all(it.client.both(numbers(...Array(70).fill(5)))), Array(70).fill(10));
    assert.deepEqual(await it.client.sum(numbers()), { n: 0 });
    assert.equal(it.net.wires.length, 1);
  });
}

test("webSocketTransport() answers 32 calls that are made together in one message each way", async () => {
  await using it = rig();
  await it.client.double({ n: 1 });
  const { toServer, toClient } = it.net.wires[0]!;
  const [before, answered] = [toServer.log.length, toClient.log.length];
  const answers = await Promise.all(Array.from({ length: 32 }, (_, n) => it.client.double({ n })));
  assert.deepEqual(answers.map(({ n }) => n), Array.from({ length: 32 }, (_, n) => 2 * n));
  assert.equal(toServer.log.length - before, 1);
  assert.equal(toClient.log.length - answered, 1);
});

test("webSocketTransport() gives the code and the details of an error after the first messages", async () => {
  await using it = rig({
    async *upTo({ n }) {
      yield { n: 1 };
      throw new RpcError("not_found", "There is no more", { details: { last: n } });
    },
  });
  const seen: number[] = [];
  const error = await rejection((async () => {
    for await (const { n } of it.client.upTo({ n: 7 })) seen.push(n);
  })());
  assert.deepEqual(seen, [1]);
  assert.equal(error.code, "not_found");
  assert.equal(error.message, "There is no more");
  assert.deepEqual(error.details, { last: 7 });
  assert.equal(error.correlationId, it.entries.at(-1)?.correlationId);
  assert.equal(error.received, true);
});

test("webSocketTransport() masks what a handler did not mean to say", async () => {
  await using it = rig({
    double() {
      throw new Error("secret");
    },
  });
  const error = await rejection(it.client.double({ n: 1 }));
  assert.equal(error.code, "internal");
  assert.doesNotMatch(JSON.stringify(it.net.wires[0]!.toClient.log.map(String)), /secret/);
});

test("webSocketTransport() cancels the handler when the reader leaves", async () => {
  const left = gate();
  const signaled = gate();
  await using it = rig({
    async *upTo(_, ctx) {
      void aborted(ctx.signal).then(() => signaled.open());
      try {
        for (let n = 1;; n++) yield { n };
      } finally {
        left.open();
      }
    },
  });
  for await (const { n } of it.client.upTo({ n: 0 })) if (n === 3) break;
  await left.opened;
  await signaled.opened;
  assert.deepEqual(await it.client.double({ n: 1 }), { n: 2 });
});

test("webSocketTransport() cancels a unary call that its caller gives up", async () => {
  const signaled = gate();
  await using it = rig({
    async double(_, ctx) {
      await aborted(ctx.signal);
      signaled.open();
      return { n: 0 };
    },
  });
  const controller = new AbortController();
  const failed = rejection(it.client.double({ n: 1 }, { signal: controller.signal }));
  await settle();
  controller.abort();
  assert.equal((await failed).code, "canceled");
  await signaled.opened;
});

test("webSocketTransport() refuses methods that the guard keeps shut, and those that are not there", async () => {
  await using it = rig({}, { guard: publicOnly(["counter.v1/double"]) });
  assert.equal((await rejection(it.client.sum(numbers(1)))).code, "permission_denied");
  assert.equal((await rejection(all(it.client.upTo({ n: 1 })))).code, "permission_denied");
  assert.deepEqual(await it.client.double({ n: 1 }), { n: 2 });
});
