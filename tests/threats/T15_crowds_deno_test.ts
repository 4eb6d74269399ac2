// Very many streams at once, and readers among them that do not read: the others are served, and what is kept is bounded.
import assert from "node:assert/strict";
import { test } from "node:test";
import { settle } from "../rpc/_sockets.ts";
import { crowd } from "./_crowd.ts";

const WAYS = ["http", "socket"] as const;
const STREAMS = 10_000;

for (const way of WAYS) {
  const over = way === "http" ? "HTTP" : "WebSockets";
  test(`T15 createServer() holds ${STREAMS} protected streams at once over ${over}`, async () => {
    const { clients, goOn, state, net, socket } = await crowd();
    const client = clients[way];
    const first = client.wait({ n: 0 })[Symbol.asyncIterator](); // opens the session
    await first.next();
    const readers = [first];
    for (let n = 1; n < STREAMS; n++) readers.push(client.wait({ n })[Symbol.asyncIterator]());
    const firsts = await Promise.all(readers.slice(1).map((each) => each.next()));
    assert.ok(firsts.every(({ value }, index) => value!.n === index + 1));
    assert.deepEqual(state, { running: STREAMS, most: STREAMS });
    goOn.open();
    const seconds = await Promise.all(readers.map((each) => each.next()));
    assert.ok(seconds.every(({ value }, index) => value!.n === index + 1));
    const ends = await Promise.all(readers.map((each) => each.next()));
    assert.ok(ends.every(({ done }) => done));
    await settle(8);
    assert.equal(state.running, 0, "handlers are left");
    if (way === "socket") assert.equal(net.wires.length, Math.ceil(STREAMS / 128));
    await socket[Symbol.asyncDispose]();
  });

  test(`T15 one of 1,000 protected streams over ${over} that is not read stops its own handler, and no other`, async () => {
    const { clients, made, state, socket } = await crowd();
    const data = "x".repeat(1_000);
    const readers = Array.from({ length: 1_000 }, (_, n) => clients[way].flood({ n, data })[Symbol.asyncIterator]());
    // The first one to ask opens the session for all.
    await readers[1]!.next();
    await Promise.all(readers.map((each, index) => index === 1 ? undefined : each.next()));
    const others = readers.slice(1);
    for (let round = 0; round < 50; round++) await Promise.all(others.map((each) => each.next()));
    await settle(8);
    // A window of the call, or over HTTP a few blocks of 64 KiB.
    assert.ok(made.get(0)! <= (way === "socket" ? 48 : 400), `${made.get(0)} messages for nobody`);
    const least = Math.min(...[...made].filter(([n]) => n !== 0).map(([, count]) => count));
    assert.ok(least > 50, `${least}`);
    assert.equal(state.running, 1_000);
    // The one that stood still goes on where it stood.
    for (let n = 2; n <= 450; n++) assert.equal((await readers[0]!.next()).value!.n, n);
    await Promise.all(readers.map((each) => each.return!()));
    await settle(8);
    assert.equal(state.running, 0, "handlers are left");
    await socket[Symbol.asyncDispose]();
  });

  test(`T15 a stream of large messages over ${over} that is not read keeps no more than its credit`, async () => {
    const { clients, made, net, socket } = await crowd();
    const size = 100_000;
    const reader = clients[way].flood({ n: 7, data: "x".repeat(size) })[Symbol.asyncIterator]();
    await reader.next();
    await settle(20);
    // 1 MiB of credit and the message that goes beyond it; over HTTP what two blocks hold.
    const most = way === "socket" ? Math.ceil(1_048_576 / size) + 2 : 8;
    assert.ok(made.get(7)! <= most, `${made.get(7)} messages are kept`);
    if (way === "socket") {
      const sent = net.wires[0]!.toClient.log.reduce((sum, each) => sum + each.length, 0);
      assert.ok(sent <= 1_048_576 + 2 * (size + 100) + 10_000, `${sent} bytes left the server`);
    }
    await reader.return!();
    await socket[Symbol.asyncDispose]();
  });
}
