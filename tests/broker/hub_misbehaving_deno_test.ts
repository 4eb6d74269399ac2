import assert from "node:assert/strict";
import { test } from "node:test";
import { BrokerService, type HubMessage } from "../../src/broker/hub/broker_contract.ts";
import { hubBroker } from "../../src/broker/hub/hub_broker.ts";
import { createServer, implement, publicOnly, RpcError } from "../../src/rpc/mod.ts";
import { mustCome } from "../_patience.ts";
import { reader } from "./_conformance_rig.ts";

const READY: HubMessage = { ready: { timeMs: 1 } };
const letter = (n: number, more: object = {}): HubMessage => ({
  delivery: { n, topic: "a.b", event: "1", attempt: 1, ...more },
});

/** What a hub may not say; the first message it may. */
const HOSTILE: Record<string, readonly unknown[]> = {
  "more than was asked for": [READY, ...Array.from({ length: 130 }, (_, index) => letter(index + 1))],
  "a number twice": [READY, letter(1), letter(1)],
  "a number that is not the next": [READY, letter(2)],
  "a topic that was not subscribed to": [READY, letter(1, { topic: "a.c" })],
  "a topic that is none": [READY, letter(1, { topic: "a.*" })],
  "a message before all others": [letter(1)],
  "ready twice": [READY, READY],
  "nothing": [READY, {}],
  "an event that is too long": [READY, letter(1, { event: "x".repeat(1_000_000) })],
  "a position with a line break": [READY, letter(1, { position: "a\nb" })],
  "no attempt": [READY, letter(1, { attempt: 0 })],
  "that what let it in has ended": [READY, new RpcError("unauthenticated", "It has ended")],
};

for (const [what, messages] of Object.entries(HOSTILE)) {
  test(`hubBroker() hangs up on a hub that sends ${what}, and comes back`, async () => {
    let calls = 0;
    const properties = { durable: false, redelivers: true, groups: true, positions: false, ordering: true };
    const service = implement(BrokerService, {
      properties: () => properties,
      publish: () => ({}),
      async *subscribe(input) {
        const good = ++calls > 1;
        const asked = input[Symbol.asyncIterator]();
        await asked.next();
        const [first, ...rest] = good ? [READY, letter(1, { event: "good" })] : messages;
        yield first as HubMessage;
        if (first === READY) await asked.next(); // it wants something
        for (const each of rest) {
          if (each instanceof Error) throw each;
          yield each as HubMessage;
        }
        while (!(await asked.next()).done);
      },
    });
    const guard = publicOnly(["properties", "publish", "subscribe"].map((name) => `postern.broker.v1/${name}`));
    await using server = createServer(service, { guard, log: () => {} });
    await using broker = await hubBroker(server.call);
    await using all = await reader(broker, "a.b");
    const seen: string[] = [];
    while (seen.at(-1) !== "good") seen.push((await all.next()).event);
    assert.equal(calls, 2);
    assert.ok(seen.length <= 65, `${seen.length - 1} of a hub that does not keep to the protocol`);
  });
}

/** A hub that gives one message, and never ends a stream. */
async function endless() {
  const service = implement(BrokerService, {
    properties: () => ({ durable: false, redelivers: true, groups: true, positions: false, ordering: true }),
    publish: () => ({}),
    async *subscribe(input) {
      yield READY;
      for await (const { want } of input) {
        if (want) break;
      }
      yield letter(1);
      await new Promise(() => {});
    },
  });
  const guard = publicOnly(["properties", "publish", "subscribe"].map((name) => `postern.broker.v1/${name}`));
  const server = createServer(service, { guard, log: () => {} });
  return await hubBroker(server.call, { openTimeoutMs: 300 });
}

test("hubBroker() drain() waits for what is out, and not without end for a hub that does not end it", async () => {
  await using broker = await endless();
  const never = await broker.subscribe("a.b");
  await mustCome(never.drain(), "the end without a message");
  await using all = await reader(broker, "a.b");
  const out = await all.next();
  const drained = all.drain();
  const waits = new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(await Promise.race([drained.then(() => "ended"), waits.then(() => "waits")]), "waits");
  out.ack();
  await mustCome(drained, "the end");
});

test("hubBroker() drain() does not wait for what has been out for so long that somebody else has it", async () => {
  await using broker = await endless();
  await using all = await reader(broker, "a.b", { ackWaitMs: 1_000 });
  await all.next();
  await mustCome(all.drain(), "the end");
});
