import {
  anonymous,
  createClient,
  implement,
  type Reply,
  rpc,
  service,
  stream,
  type Transport,
} from "../../src/rpc/mod.ts";
import { frameWriter } from "../../src/rpc/frame_writer.ts";
import { webSocketTransport } from "../../src/rpc/websocket_transport.ts";
import { gate, rejection } from "./_rig.ts";
import { connected, type PlayedClient, type SocketServer, socketServer } from "./_socket_server.ts";
import { network, settle } from "./_sockets.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const N = v.strictObject({ n: v.number() });
const Text = v.strictObject({ text: v.string() });
const Flow = service("flow.v1", {
  echo: rpc(Text, v.object({ text: v.string() })),
  count: rpc(N, stream(v.object({ n: v.number() }))),
  large: rpc(N, stream(v.object({ text: v.string() }))),
  take: rpc(stream(N), v.object({ n: v.number() })),
});

/** Handlers that note how many messages were made and taken. */
function flow() {
  const made = new Map<number, number>();
  const more = gate();
  const taken: number[] = [];
  const returned: number[] = [];
  const implementation = implement(Flow, {
    echo: (message) => message,
    async *count({ n }) {
      try {
        for (let i = 1;; i++) {
          made.set(n, i);
          yield { n: i };
        }
      } finally {
        returned.push(n);
      }
    },
    async *large({ n }) {
      for (let i = 1;; i++) {
        made.set(n, i);
        yield { text: "x".repeat(100_000) };
      }
    },
    async take(messages) {
      for await (const { n } of messages) {
        taken.push(n);
        if (taken.length === 1) await more.opened;
      }
      return { n: taken.length };
    },
  });
  return { made, taken, more, returned, server: socketServer(implementation) };
}

async function entered(server: SocketServer): Promise<PlayedClient> {
  const played = await connected(server);
  played.user.receive(JSON.stringify({ headers: {}, codec: "json" }));
  await settle(1);
  assert.equal(JSON.parse(played.sent[0] as string).status, 200);
  played.sent.length = 0;
  return played;
}

function frames(write: (out: ReturnType<typeof frameWriter>) => unknown): Uint8Array {
  const out = frameWriter();
  write(out);
  return out.take(out.size, 0);
}

const opening = (method: string, message: string | undefined) => ({
  path: `/flow.v1/${method}`,
  timeoutMs: Infinity,
  headers: undefined,
  message,
});
const sizeOf = (sent: readonly (Uint8Array | string)[]) => sent.reduce((sum, each) => sum + each.length, 0);

function clientOf(server: SocketServer) {
  const net = network(server);
  const transport = webSocketTransport("wss://flow.test", { prover: anonymous(), open: net.open });
  return { net, transport, client: createClient(Flow, transport) };
}

/** Begins a call of `count` on a transport, and gives its answers. */
async function counting(transport: Transport, n: number): Promise<AsyncIterator<unknown>> {
  const reply: Reply = await transport({ method: Flow.methods.count, message: { n }, timeoutMs: Infinity });
  return reply.messages![Symbol.asyncIterator]();
}

test("webSocketTransport() lets a reader that stops stop its writer, and nobody else among 1,000", async () => {
  const { server, made } = flow();
  const { transport, net } = clientOf(server);
  const all = await Promise.all(Array.from({ length: 1_000 }, (_, n) => counting(transport, n)));
  await settle(20);
  assert.equal(net.wires.length, 8, "128 calls for each connection");
  assert.deepEqual(new Set(made.values()), new Set([32]), "each as far as its credit goes");
  const readers = all.slice(1);
  for (let i = 1; i <= 100; i++) {
    const values = await Promise.all(readers.map((each) => each.next()));
    assert.ok(values.every(({ value }) => (value as { n: number }).n === i));
  }
  await settle();
  assert.equal(made.get(0), 32, "nobody reads the first");
  assert.ok([...made].every(([n, count]) => n === 0 || (count >= 116 && count <= 132)));
  await transport[Symbol.asyncDispose]();
});

test("webSocketTransport() stops its own messages when the handler stops reading", async () => {
  const { server, taken, more } = flow();
  const { transport, client } = clientOf(server);
  let sent = 0;
  async function* numbers() {
    while (sent < 100) yield { n: ++sent };
  }
  const answer = client.take(numbers());
  await settle(10);
  assert.equal(taken.length, 1);
  assert.ok(sent >= 32 && sent <= 34, `${sent} left`);
  more.open();
  assert.deepEqual(await answer, { n: 100 });
  await transport[Symbol.asyncDispose]();
});

test("webSocketUpgrade() lets a writer beyond its bytes by no more than its last message", async () => {
  const { server, made } = flow();
  const played = await entered(server);
  played.user.receive(frames((out) => out.open(1, opening("large", '{"n":1}'))));
  await settle(10);
  assert.equal(made.get(1), 11, "eleven times 100 kB are more than 1 MiB");
  played.user.receive(frames((out) => out.credit(1, 1, 100_011)));
  await settle(10);
  assert.equal(made.get(1), 12);
});

test("webSocketUpgrade() gives all calls of a connection the same share", async () => {
  const { server } = flow();
  const played = await entered(server);
  played.user.receive(frames((out) => {
    for (let id = 1; id <= 10; id++) out.open(id, opening("count", `{"n":${id}}`));
  }));
  await settle();
  const order = played.sent.flatMap((message) => idsOf(message as Uint8Array));
  for (let start = 0; start < 320; start += 10) {
    assert.equal(new Set(order.slice(start, start + 10)).size, 10, "one message of each before the next of any");
  }
});

/** The calls that the `message` frames of a message belong to. */
function idsOf(message: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 0; at < message.length;) {
    ids.push(message[at + 4]!);
    at += 9 + (message[at + 7]! << 8) + message[at + 8]!;
  }
  return ids;
}

test("webSocketUpgrade() asks generators for no more when the other side does not take what was sent", async () => {
  const { server, made } = flow();
  const played = await entered(server);
  played.buffered = 2_000_000;
  played.user.receive(frames((out) => {
    for (let id = 1; id <= 5; id++) out.open(id, opening("large", `{"n":${id}}`));
  }));
  await settle();
  const before = [...made.values()].reduce((sum, each) => sum + each);
  assert.ok(before <= 10, `${before} messages of 100 kB`);
  server.clock.pass(100);
  await settle();
  assert.equal([...made.values()].reduce((sum, each) => sum + each), before);
  played.buffered = 0;
  for (let i = 0; i < 50; i++) {
    server.clock.pass(5);
    await settle(1);
  }
  assert.deepEqual([...made.values()], [11, 11, 11, 11, 11], "and goes on when it does");
});

test("webSocketUpgrade() ends a connection that takes nothing for 2 s while more than 16 MiB wait", async () => {
  const { server } = flow();
  const played = await entered(server);
  const text = "x".repeat(1_000_000);
  for (let id = 1; id <= 20; id++) {
    played.user.receive(frames((out) => out.open(id, opening("echo", JSON.stringify({ text })))));
    await settle(1);
    played.buffered = sizeOf(played.sent);
  }
  assert.ok(played.sent.length <= 3, "what is not taken waits");
  for (let i = 0; i < 10; i++) {
    played.buffered--; // it takes something
    server.clock.pass(1_900);
  }
  assert.equal(played.closes.length, 0);
  server.clock.pass(2_010);
  assert.deepEqual(played.closes, [{ code: 4429, reason: "too much is queued" }]);
  assert.equal(server.clock.waiting, 0);
});

test("webSocketUpgrade() ends a connection that asks for answers without end and takes none", async () => {
  const { server } = flow();
  const played = await entered(server);
  const pings = new Uint8Array(65_536).fill(7);
  for (let i = 0; i < 300 && played.closes.length === 0; i++) {
    played.user.receive(pings);
    await settle(1);
    played.buffered = sizeOf(played.sent);
  }
  assert.equal(played.closes[0]?.code, 4429);
  assert.ok(played.buffered < 17_000_000);
});

test("webSocketUpgrade() sends messages of at most 64 KiB, and a larger one alone", async () => {
  const { server } = flow();
  const played = await entered(server);
  const small = JSON.stringify({ text: "x".repeat(30_000) });
  const large = JSON.stringify({ text: "x".repeat(200_000) });
  [small, small, small, large, small].forEach((message, i) => {
    played.user.receive(frames((out) => out.open(i + 1, opening("echo", message))));
  });
  await settle();
  assert.deepEqual(played.sent.map((each) => each.length), [2 * 30_020, 30_020, 200_020, 30_020]);
});

const abuses: Readonly<Record<string, (out: ReturnType<typeof frameWriter>) => unknown>> = {
  "the call 2 first": (out) => out.open(2, opening("take", undefined)),
  "a call twice": (out) => {
    out.open(1, opening("take", undefined));
    out.open(1, opening("take", undefined));
  },
  "a message of a call that was not opened": (out) => out.message(1, "{}", false),
  "a cancel of a call that was not opened": (out) => out.cancel(9),
  "an end of a call that was not opened": (out) => out.end(1),
  "credit for a call that was not opened": (out) => out.credit(1, 1, 1),
  "a message after the end": (out) => {
    out.open(1, opening("take", undefined));
    out.end(1);
    out.message(1, '{"n":1}', false);
  },
  "two ends": (out) => {
    out.open(1, opening("take", undefined));
    out.end(1);
    out.end(1);
  },
  "a second message of a unary call": (out) => {
    out.open(1, opening("echo", '{"text":""}'));
    out.message(1, '{"text":""}', true);
  },
  "more messages than it has credit for": (out) => {
    out.open(1, opening("take", undefined));
    for (let n = 0; n < 34; n++) out.message(1, '{"n":1}', false);
  },
  "more bytes than it has credit for": (out) => {
    out.open(1, opening("take", undefined));
    for (const length of [0, 525_000, 525_000, 0]) out.message(1, `${" ".repeat(length)}{"n":1}`, false);
  },
  "credit for messages that were not sent": (out) => {
    out.open(1, opening("count", '{"n":1}'));
    out.credit(1, 33, 1);
  },
  "an error, which only servers send": (out) => {
    out.open(1, opening("take", undefined));
    out.error(1, "{}");
  },
  "a drain, which only servers send": (out) => out.signal(9),
};

for (const [name, write] of Object.entries(abuses)) {
  test(`webSocketUpgrade() ends a connection that sends ${name}`, async () => {
    const { server } = flow();
    const played = await entered(server);
    played.user.receive(frames(write));
    await settle();
    assert.deepEqual(played.closes, [{ code: 4400, reason: "not the protocol" }]);
    played.user.closed();
    assert.equal(server.clock.waiting, 0);
    await server.core.traffic.drain();
  });
}

test("webSocketUpgrade() ends a connection that sends too large a message", async () => {
  const { server } = flow();
  const played = await entered(server);
  played.user.receive(new Uint8Array(1_048_576 + 65_537));
  assert.equal(played.closes[0]!.code, 4413);
});

test("webSocketUpgrade() ignores what comes for a call that is over", async () => {
  const { server } = flow();
  const played = await entered(server);
  played.user.receive(frames((out) => out.open(1, opening("echo", '{"text":""}'))));
  await settle();
  played.user.receive(frames((out) => {
    out.cancel(1);
    out.credit(1, 1, 1);
    out.message(1, "{}", true);
    out.end(1);
  }));
  await settle();
  assert.deepEqual(played.closes, []);
});

test("webSocketUpgrade() takes 128 calls on a connection, one more when one is over, and ends it at the 129th", async () => {
  const { server, returned } = flow();
  const played = await entered(server);
  played.user.receive(frames((out) => {
    for (let id = 1; id <= 128; id++) out.open(id, opening("take", undefined));
  }));
  await settle();
  played.user.receive(frames((out) => {
    out.cancel(5);
    out.open(129, opening("count", '{"n":129}'));
  }));
  await settle();
  played.user.receive(frames((out) => out.cancel(129)));
  await settle();
  assert.deepEqual(returned, [129], "it was answered");
  assert.equal(played.closes.length, 0);
  played.user.receive(frames((out) => {
    out.open(130, opening("take", undefined));
    out.open(131, opening("take", undefined));
  }));
  await settle();
  assert.equal(played.closes[0]?.code, 4400);
});

test("webSocketUpgrade() takes no message over 64 KiB that is several frames", async () => {
  const { server } = flow();
  const played = await entered(server);
  const small = JSON.stringify({ text: "x".repeat(40_000) });
  played.user.receive(frames((out) => {
    for (const id of [1, 2]) out.open(id, opening("echo", small));
  }));
  await settle();
  assert.equal(played.closes[0]?.code, 4400);
});

test("webSocketTransport() bounds nothing of a client's own, but waits with what the server does not take", async () => {
  const { server } = flow();
  const { transport, client, net } = clientOf(server);
  await client.echo({ text: "" });
  const { toServer } = net.wires[0]!;
  toServer.flowing = false;
  const text = "x".repeat(500_000);
  const answers = Promise.all(Array.from({ length: 60 }, () => client.echo({ text })));
  await settle();
  assert.ok(sizeOf(toServer.queue) < 3_000_000, `${sizeOf(toServer.queue)} bytes`);
  toServer.flowing = true;
  while (toServer.deliver());
  const clock = setInterval(() => server.clock.pass(5), 1);
  try {
    assert.equal((await answers).length, 60);
  } finally {
    clearInterval(clock);
  }
  await transport[Symbol.asyncDispose]();
});

test("webSocketTransport() gives up a unary call whose answer is none", async () => {
  const { server } = flow();
  const { transport, client, net } = clientOf(server);
  await client.echo({ text: "" });
  const { toClient } = net.wires[0]!;
  const bad: readonly [Uint8Array, string][] = [
    [frames((out) => out.message(2, "{", true)), "internal"],
    [frames((out) => out.end(3)), "unimplemented"],
    [frames((out) => (out.message(4, '{"text":""}', false), out.message(4, '{"text":""}', true))), "unimplemented"],
  ];
  for (const [frame, code] of bad) {
    toClient.tamper = () => [frame as Uint8Array<ArrayBuffer>];
    assert.equal((await rejection(client.echo({ text: "" }))).code, code);
  }
  await transport[Symbol.asyncDispose]();
});
