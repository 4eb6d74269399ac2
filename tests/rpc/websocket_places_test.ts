// What a hostile client could do with the places of a server: each of these kept one, or gave one back twice.
import { frameWriter } from "../../src/rpc/frame_writer.ts";
import { type Guard, implement, rpc, service, stream } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { gate, Text, type Words } from "./_rig.ts";
import { connected, socketServer } from "./_socket_server.ts";
import { settle } from "./_sockets.ts";

const Hold = service("hold.v1", {
  hold: rpc(Text, stream(v.object({ text: v.string() }))),
  plain: rpc(Text, v.object({ text: v.string() })),
  large: rpc(Text, v.object({ text: v.string() })),
  slow: rpc(Text, v.object({ text: v.string() })),
  both: rpc(stream(Text), stream(v.object({ text: v.string() }))),
});

type Frames = ReturnType<typeof frameWriter>;

function frames(build: (out: Frames) => void) {
  const out = frameWriter();
  build(out);
  return out.take(out.size, 0);
}

const opening = (method: string, message: string | undefined = '{"text":"a"}', timeoutMs = Infinity) => ({
  path: `/hold.v1/${method}`,
  timeoutMs,
  headers: undefined,
  message,
});
/** The same without the message that is to follow. */
const awaiting = (method: string) => ({ ...opening(method), message: undefined });

/** A server whose places are counted, and a connection that was let in. */
async function scene(guard?: Guard) {
  const go = gate();
  const places = { entered: 0, left: 0, held: 0 };
  const handlers = {
    async *hold({ text }: Words) {
      for (;;) yield { text };
    },
    plain: (message: Words) => message,
    large: () => ({ text: "x".repeat(900_000) }),
    async slow(message: Words) {
      await go.opened;
      return message;
    },
    async *both(messages: AsyncIterable<Words>) {
      yield* messages;
    },
  };
  const server = socketServer(implement(Hold, handlers), guard);
  const { traffic } = server.core;
  const { enter, leave } = traffic;
  Object.assign(traffic, {
    enter() {
      enter();
      places.entered++;
      places.held++;
    },
    leave(context: Parameters<typeof leave>[0]) {
      places.left++;
      const free = () => void places.held--;
      if (context?.outlived) context.outlived.then(free, free);
      else free();
      leave(context);
    },
  });
  const played = await connected(server);
  played.user.receive(JSON.stringify({ headers: {}, codec: "json" }));
  await settle();
  return { go, places, server, played, receive: (build: (out: Frames) => void) => played.user.receive(frames(build)) };
}

test("webSocketUpgrade() gives a place back once where the answer itself ends the connection", async () => {
  const { places, played, receive } = await scene();
  played.buffered = 20_000_000;
  receive((out) => out.open(1, opening("large")));
  await settle(8);
  assert.equal(played.closes[0]?.code, 4429);
  assert.deepEqual(places, { entered: 1, left: 1, held: 0 });
});

test("webSocketUpgrade() holds the place of a canceled call until its handler ends, whatever its deadline", async () => {
  const { go, places, receive } = await scene();
  receive((out) => out.open(1, opening("slow", undefined, 20)));
  await settle(2);
  receive((out) => out.cancel(1));
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(places.held, 1);
  go.open();
  await settle(8);
  assert.equal(places.held, 0);
});

const canceled: Readonly<Record<string, readonly ((out: Frames) => void)[]>> = {
  "in the message that opened it": [(out) => (out.open(1, awaiting("both")), out.cancel(1))],
  "before anything was said": [(out) => out.open(1, awaiting("both")), (out) => out.cancel(1)],
  "after its first message": [(out) => out.open(1, opening("both")), (out) => out.cancel(1)],
};

for (const [when, messages] of Object.entries(canceled)) {
  test(`webSocketUpgrade() gives the place of a call back that is canceled ${when}`, async () => {
    const { places, receive } = await scene();
    for (const message of messages) {
      receive(message);
      await settle(6);
    }
    await settle(20);
    assert.deepEqual(places, { entered: 1, left: 1, held: 0 });
  });
}

test("webSocketUpgrade() keeps no answer of a call that was canceled while the other side reads nothing", async () => {
  const { server, played, receive } = await scene();
  played.buffered = 2_000_000;
  let id = 0;
  for (let round = 0; round < 6; round++) {
    receive((out) => {
      for (let i = 0; i < 10; i++) out.open(++id, opening("large"));
    });
    await settle(20);
    receive((out) => {
      for (let i = 0; i < 10; i++) out.cancel(id - i);
    });
    await settle(4);
    played.buffered -= 100; // it reads a little, so that it is not given up
    server.clock.pass(10);
  }
  played.sent.length = 0;
  played.buffered = 0;
  server.clock.pass(1_000);
  await settle(8);
  assert.equal(played.sent.filter((message) => message.length > 100_000).length, 0);
  assert.deepEqual(played.closes, []);
});

test("webSocketUpgrade() takes no body in a frame of its own where the guard wants to check it", async () => {
  let checked = 0;
  const { played, receive } = await scene({
    start() {},
    admit: () => ({
      admitCall: () => ({
        checkBody() {
          checked++;
        },
      }),
    }),
  });
  receive((out) => out.open(1, opening("plain")));
  receive((out) => {
    out.open(2, awaiting("plain"));
    out.message(2, '{"text":"a"}', true);
  });
  await settle(8);
  assert.equal(checked, 1);
  assert.match(new TextDecoder().decode(played.sent.at(-1) as Uint8Array), /its message must come with it/);
});

const stalled: Readonly<Record<string, (out: Frames) => void>> = {
  "whose message does not come": (out) => out.open(1, awaiting("hold")),
  "whose answers nobody takes": (out) => out.open(1, opening("hold")),
};

for (const [which, build] of Object.entries(stalled)) {
  test(`webSocketUpgrade() ends a call ${which}, and nothing else`, async () => {
    const { places, played, receive, server } = await scene();
    Object.assign(server.core.limits, { receiveDeadlineMs: 30, stallMs: 30 });
    receive(build);
    await settle(8);
    assert.equal(places.held, 1);
    await new Promise((resolve) => setTimeout(resolve, 80));
    await settle(8);
    assert.deepEqual(places, { entered: 1, left: 1, held: 0 });
    assert.match(new TextDecoder().decode(played.sent.at(-1) as Uint8Array), /deadline_exceeded/);
    assert.deepEqual(played.closes, []);
  });
}

test("webSocketUpgrade() does not give a reader up for answers that it has canceled", async () => {
  const { server, played, receive } = await scene();
  played.buffered = 2_000_000;
  receive((out) => {
    for (let id = 1; id <= 20; id++) out.open(id, opening("large"));
  });
  await settle(20);
  receive((out) => {
    for (let id = 1; id <= 20; id++) out.cancel(id);
  });
  await settle(4);
  for (let i = 0; i < 50; i++) {
    server.clock.pass(100);
    await settle(1);
  }
  assert.deepEqual(played.closes, []);
});
