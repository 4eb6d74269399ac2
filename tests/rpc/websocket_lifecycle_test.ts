import {
  anonymous,
  createClient,
  createServer,
  implement,
  NotSentError,
  publicOnly,
  rpc,
  type RpcError,
  service,
  stream,
} from "../../src/rpc/mod.ts";
import { frameWriter } from "../../src/rpc/frame_writer.ts";
import { webSocketPipe } from "../../src/rpc/web_socket_pipe.ts";
import { webSocketTransport } from "../../src/rpc/websocket_transport.ts";
import { collect, gate, rejection } from "./_rig.ts";
import { connected, socketServer } from "./_socket_server.ts";
import { network, settle, virtualClock, wire } from "./_sockets.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const N = v.strictObject({ n: v.number() });
const Counter = service("counter.v1", {
  double: rpc(N, v.object({ n: v.number() })),
  wait: rpc(N, v.object({ n: v.number() })),
  upTo: rpc(N, stream(v.object({ n: v.number() }))),
});

const Text = v.strictObject({ text: v.string() });
const Large = service("large.v1", { say: rpc(Text, Text) });

function rig() {
  const go = gate();
  const handled: number[] = [];
  const implementation = implement(Counter, {
    double({ n }) {
      handled.push(n);
      return { n: 2 * n };
    },
    async wait(message) {
      handled.push(message.n);
      await go.opened;
      return message;
    },
    async *upTo({ n }) {
      for (let i = 1; i <= n; i++) yield { n: i };
    },
  });
  const server = createServer(implementation, {
    guard: publicOnly(["counter.v1/double", "counter.v1/wait", "counter.v1/upTo"]),
    log: collect().log,
  });
  const net = network(server);
  const clock = virtualClock();
  const random = { below: () => 0 };
  const transport = webSocketTransport("wss://counter.test", { prover: anonymous(), open: net.open, clock, random });
  return { go, handled, implementation, server, net, clock, transport, client: createClient(Counter, transport) };
}

const dispose = (it: ReturnType<typeof rig>) => it.transport[Symbol.asyncDispose]();

test("webSocketTransport() opens no connection before the first call", async () => {
  const it = rig();
  await settle(12);
  assert.equal(it.net.wires.length, 0);
  await dispose(it);
});

test("webSocketTransport() refuses URLs that are not wss:, and to be without a prover", () => {
  const prover = anonymous();
  for (
    const url of ["ws://a.test", "https://a.test", "wss://u:p@a.test", "wss://a.test/?q", "wss://a.test/#f", "a.test"]
  ) {
    assert.throws(() => webSocketTransport(url, { prover }), TypeError);
  }
  assert.throws(() => webSocketTransport("wss://a.test", {} as never), TypeError);
});

test("webSocketTransport() connects again after its connection was lost, and takes nothing up again", async () => {
  const it = rig();
  const under = rejection(it.client.wait({ n: 1 }));
  await settle(12);
  it.net.wires[0]!.cut();
  const error = await under;
  assert.equal(error.code, "unavailable");
  assert.ok(!(error instanceof NotSentError), "the server had it");
  assert.deepEqual(await it.client.double({ n: 2 }), { n: 4 });
  assert.equal(it.net.wires.length, 2);
  assert.deepEqual(it.handled, [1, 2]);
  await dispose(it);
});

test("webSocketTransport() says of a call that did not leave that it was not sent", async () => {
  const it = rig();
  await it.client.double({ n: 1 });
  const wire = it.net.wires[0]!;
  const failed = rejection(it.transport({ method: Counter.methods.double, message: { n: 2 }, timeoutMs: 1_000 }));
  (wire.client.onclose as (event: object) => void)({}); // before this turn's frames leave
  assert.ok(await failed instanceof NotSentError);
  assert.deepEqual(it.handled, [1]);
  await dispose(it);
});

test("webSocketTransport() fails calls fast while the server cannot be reached, and asks again ever more rarely", async () => {
  const it = rig();
  it.net.down = true;
  const asked: number[] = [];
  for (let ms = 0; ms < 3_000; ms += 50) {
    const before = it.net.wires.length;
    assert.ok(await rejection(it.client.double({ n: 1 })) instanceof NotSentError);
    if (it.net.wires.length > before) asked.push(ms);
    it.clock.pass(50);
  }
  assert.deepEqual(asked, [0, 100, 300, 700, 1_500]);
  it.net.down = false;
  it.clock.pass(1_000);
  assert.deepEqual(await it.client.double({ n: 1 }), { n: 2 });
  it.net.wires.at(-1)!.cut();
  await settle(1);
  assert.deepEqual(await it.client.double({ n: 2 }), { n: 4 }, "once it was there, it is asked at once");
  await dispose(it);
});

test("webSocketTransport() gives up a server that says nothing within 10 s", async () => {
  const clock = virtualClock();
  const transport = webSocketTransport("wss://a.test", {
    prover: anonymous(),
    clock,
    open() {
      const { client } = wire();
      client.readyState = 1;
      client.protocol = "postern.v1";
      return client;
    },
  });
  const failed = rejection(createClient(Counter, transport).double({ n: 1 }));
  await settle(12);
  clock.pass(10_000);
  assert.ok(await failed instanceof NotSentError);
  clock.pass(60_000);
  await settle(12);
  assert.equal(clock.waiting, 0);
});

test("webSocketTransport() does not talk with a server that chose another subprotocol", async () => {
  for (const protocol of ["", "other"]) {
    const between = wire();
    const transport = webSocketTransport("wss://a.test", {
      prover: anonymous(),
      open() {
        Object.assign(between.client, { readyState: 1, protocol });
        return between.client;
      },
    });
    assert.ok(await rejection(createClient(Counter, transport).double({ n: 1 })) instanceof NotSentError);
    assert.deepEqual(between.toServer.log, []);
    assert.equal(between.closes.length, 1);
    await transport[Symbol.asyncDispose]();
  }
});

test("webSocketTransport() reports a WebSocket that cannot be opened as not sent", async () => {
  const opens = [
    () => {
      throw new Error("no network");
    },
    () => Promise.reject(new Error("no network")),
  ];
  for (const open of opens) {
    const transport = webSocketTransport("wss://a.test", { prover: anonymous(), open });
    assert.ok(await rejection(createClient(Counter, transport).double({ n: 1 })) instanceof NotSentError);
    await transport[Symbol.asyncDispose]();
  }
});

test("webSocketTransport() ends a call whose time is up, here and at the server", async () => {
  const it = rig();
  await it.client.double({ n: 1 });
  const failed = rejection(it.client.wait({ n: 2 }, { timeoutMs: 500 }));
  await settle(12);
  it.clock.pass(499);
  it.clock.pass(1);
  assert.equal((await failed).code, "deadline_exceeded");
  await settle(12);
  assert.equal((it.net.wires[0]!.toServer.log.at(-1) as Uint8Array)[0], 5, "a cancel");
  it.go.open();
  await dispose(it);
});

test("webSocketTransport() makes no new calls on a connection that drains, and answers those under way", async () => {
  const it = rig();
  const under = it.client.wait({ n: 1 });
  await settle(12);
  const drained = it.server[Symbol.asyncDispose]();
  await settle(12);
  const error = await rejection(it.client.double({ n: 2 }));
  assert.equal(error.code, "unavailable");
  assert.deepEqual(it.net.refusals, [503], "on another connection");
  it.go.open();
  assert.deepEqual(await under, { n: 1 });
  await drained;
  assert.ok(it.net.wires[0]!.closes.length > 0);
  await dispose(it);
});

test("createServer() ends connections that wait for nothing when it is disposed", async () => {
  const it = rig();
  await it.client.double({ n: 1 });
  await it.server[Symbol.asyncDispose]();
  assert.deepEqual(it.net.wires[0]!.closes, [{ by: "server", code: 4503, reason: "about to end" }]);
  await dispose(it);
});

test("webSocketUpgrade() ends a connection 60 s after its last call, and tells the client first", async () => {
  const server = socketServer(rig().implementation);
  const played = await connected(server);
  played.user.receive(JSON.stringify({ headers: {}, codec: "json" }));
  await settle(12);
  const out = frameWriter();
  out.open(1, { path: "/counter.v1/double", timeoutMs: 1_000, headers: undefined, message: '{"n":1}' });
  played.user.receive(out.take(out.size, 0));
  await settle(12);
  for (let i = 0; i < 4; i++) {
    assert.ok(!played.sent.some((each) => each instanceof Uint8Array && each[0] === 9));
    played.user.receive(Uint8Array.of(8)); // it is there
    server.clock.pass(15_000);
    await settle(12);
  }
  assert.deepEqual(played.sent.at(-1), Uint8Array.of(9));
  assert.equal(played.closes.length, 0);
  server.clock.pass(15_000);
  assert.equal(played.closes[0]!.code, 1000);
});

test("webSocketTransport() leaves a connection that the server no longer wants, and loses no call by that", async () => {
  const it = rig();
  await it.client.double({ n: 1 });
  it.net.wires[0]!.toClient.tamper = (message) => [message, Uint8Array.of(9)];
  assert.deepEqual(await it.client.double({ n: 2 }), { n: 4 });
  await settle(12);
  assert.deepEqual(it.net.wires[0]!.closes, [{ by: "client", code: 1000, reason: "done" }]);
  assert.deepEqual(await it.client.double({ n: 3 }), { n: 6 });
  assert.equal(it.net.wires.length, 2);
  await dispose(it);
});

test("webSocketTransport() asks a silent server whether it is there, and leaves it after two questions", async () => {
  const it = rig();
  const under = rejection(it.client.wait({ n: 1 }, { timeoutMs: 1_000_000 }));
  await settle(12);
  const between = it.net.wires[0]!;
  const asked = () => between.toServer.log.filter((each) => each instanceof Uint8Array && each[0] === 7).length;
  it.clock.pass(15_000); // it said hello in this time
  it.clock.pass(15_000);
  await settle(12);
  assert.equal(asked(), 1);
  it.clock.pass(15_000); // it answered
  await settle(12);
  assert.equal(asked(), 1);
  between.toClient.tamper = () => [];
  it.clock.pass(15_000);
  await settle(1);
  it.clock.pass(15_000);
  await settle(1);
  assert.equal(asked(), 3);
  it.clock.pass(15_000);
  assert.equal((await under).code, "unavailable");
  assert.equal(between.closes[0]!.code, 4408);
  it.go.open();
  await dispose(it);
});

test("webSocketTransport() ends its calls and its connection when it is disposed, once", async () => {
  const it = rig();
  const under: Promise<RpcError> = rejection(it.client.wait({ n: 1 }));
  await settle(12);
  await dispose(it);
  await dispose(it);
  assert.equal((await under).code, "unavailable");
  assert.ok(await rejection(it.client.double({ n: 1 })) instanceof NotSentError);
  assert.equal(it.net.wires[0]!.closes.length, 1);
  assert.equal(it.clock.waiting, 0);
  it.go.open();
});

test("webSocketPipe() tells once that it is closed, whatever the runtime tells", () => {
  const { client } = wire();
  let closed = 0;
  let received = 0;
  client.readyState = 1;
  webSocketPipe(client, () => ({ receive: () => void received++, closed: () => void closed++ }));
  assert.equal(client.binaryType, "arraybuffer");
  const call = (handler: unknown, event: object) => (handler as (event: object) => void)(event);
  call(client.onmessage, { data: "text" });
  client.readyState = 3;
  call(client.onclose, {});
  call(client.onclose, {});
  call(client.onerror, {});
  call(client.onmessage, { data: "text" });
  assert.deepEqual([closed, received], [1, 1]);
});

test("webSocketPipe() ends a WebSocket that gives what is neither text nor bytes", () => {
  const between = wire();
  let closed = 0;
  between.client.readyState = 1;
  webSocketPipe(between.client, () => ({ receive: () => assert.fail("it came through"), closed: () => void closed++ }));
  (between.client.onmessage as (event: object) => void)({ data: new Blob(["x"]) });
  assert.equal(closed, 1);
  assert.equal(between.closes.length, 1);
});

test("webSocketTransport() fails every waiting call where writing one of them ends the connection", async () => {
  const { server } = rig();
  const net = network(server, ({ client }) => {
    const { send } = client;
    client.send = (message) => {
      if (typeof message === "string") return send(message);
      (client.onclose as ((event: object) => void) | null)?.({});
      throw new Error("gone");
    };
  });
  await using transport = webSocketTransport("wss://counter.test", { prover: anonymous(), open: net.open });
  const client = createClient(Large, transport);
  const large = "x".repeat(70_000);
  const outcomes = [large, "a", large].map((text) =>
    client.say({ text }).then(() => "answered", (error: RpcError) => error.code)
  );
  assert.deepEqual(await Promise.all(outcomes), ["unavailable", "unavailable", "unavailable"]);
});
