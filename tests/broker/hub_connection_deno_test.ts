import assert from "node:assert/strict";
import { test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import type { Broker, Delivery } from "../../src/broker/broker.ts";
import type { HubBrokerOptions } from "../../src/broker/hub/hub_broker.ts";
import { memoryBroker } from "../../src/broker/memory/memory_broker.ts";
import { mustCome } from "../_patience.ts";
import { world } from "../auth/_world.ts";
import { virtualClock } from "../rpc/_sockets.ts";
import { events, publish, reader, refused } from "./_conformance_rig.ts";
import { type Hub, hub, type HubOptions, id, signing } from "./_hub.ts";

/** A hub where admin may do everything, and a client of it. */
async function scene(options: HubOptions & { readonly client?: HubBrokerOptions } = {}) {
  const inside = await world();
  const { client, ...more } = options;
  const topics = [allow({ caller: id("admin"), publish: ">", subscribe: ">" })];
  const served = await hub(inside, { topics, ...more });
  const admin = await inside.join(id("admin"));
  const connect = async () => signing(await served.as(admin, client), admin, inside.now);
  return {
    served,
    now: inside.now,
    connect,
    broker: await connect(),
    inside: signing(served.broker, admin, inside.now),
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const come = async () => {
    while (!condition()) await new Promise((done) => setTimeout(done, 0));
  };
  await mustCome(come(), what);
}

/** How often somebody was let in to subscribe. */
const openings = ({ audit }: Hub) => audit.events.filter(({ event }) => event === "subscription.open").length;

const take = async (from: { next(): Promise<Delivery> }, count: number) => {
  const all: Delivery[] = [];
  while (all.length < count) all.push(await from.next());
  return all;
};

for (const way of ["cut", "crash", "restart"] as const) {
  const breaks = async (served: Hub) => {
    if (way === "cut") served.net.wires.forEach((wire) => wire.cut());
    else await served[way]();
  };

  test(`hubBroker() goes on behind the last acknowledged message without a gap after a ${way}`, async () => {
    await using at = await scene();
    await using all = await reader(at.broker, "a.b");
    await publish(at.broker, "a.b", ...events(6));
    const out = await take(all, 5);
    for (const index of [0, 1, 3]) out[index]!.ack();
    await breaks(at.served);
    await publish(at.inside, "a.b", "7");
    await until(() => openings(at.served) === 2, "the second subscription");
    out[2]!.ack(); // too late
    const again = await take(all, 5);
    assert.deepEqual(again.map(({ event }) => event), ["3", "4", "5", "6", "7"]);
    for (const each of again) each.ack();
    await publish(at.broker, "a.b", "8");
    assert.deepEqual(await all.take(1), ["8"]);
  });

  test(`hubBroker() misses nothing of a subscription that began now, before its first message, after a ${way}`, async () => {
    await using at = await scene();
    await publish(at.inside, "a.b", "before");
    at.now.pass(1);
    await using all = await reader(at.broker, "a.b");
    await breaks(at.served);
    await publish(at.inside, "a.b", "1", "2");
    await publish(at.broker, "a.b", "3");
    assert.deepEqual(await all.take(3), ["1", "2", "3"]);
  });

  test(`hubBroker() goes on with its group after a ${way}, which loses and repeats nothing acknowledged`, async () => {
    await using at = await scene();
    await using one = await reader(at.broker, "a.b", { group: "g" });
    await publish(at.broker, "a.b", ...events(4));
    const out = await take(one, 3);
    out[1]!.ack();
    await publish(at.broker, "a.c", "the acknowledgement has arrived before");
    await breaks(at.served);
    out[0]!.ack(); // perhaps too late
    await publish(at.inside, "a.b", "5");
    await until(() => openings(at.served) === 2, "the second subscription");
    const again = await take(one, 4);
    assert.deepEqual(again.map(({ event, attempt }) => [event, attempt > 1]).sort(), [
      ["1", true],
      ["3", true],
      ["4", again.find(({ event }) => event === "4")!.attempt > 1],
      ["5", false],
    ]);
  });

  test(`hubBroker() publishes all, once and in order, through a ${way}`, async () => {
    await using at = await scene();
    await using all = await reader(at.inside, "a.>", { maxInFlight: 4_096 });
    const wanted = events(200);
    const publishing = wanted.map((event) => at.broker.publish({ topic: `a.t${+event % 3}`, id: event, event }));
    await publishing[40];
    await breaks(at.served);
    await mustCome(Promise.all(publishing), "all events");
    assert.deepEqual(await all.take(200), wanted);
  });
}

for (const start of ["new", "earliest"] as const) {
  test(`hubBroker() misses nothing in a group that began ${start} when a hub without a store was started again`, async () => {
    const inside = await world();
    let store = memoryBroker({ now: inside.now });
    const first = store;
    const current: Broker = {
      ...store,
      publish: (event, options) => store.publish(event, options),
      subscribe: (pattern, options) => store.subscribe(pattern, options),
    };
    await using served = await hub(inside, {
      broker: current,
      topics: [allow({ caller: id("admin"), publish: ">", subscribe: ">" })],
    });
    const admin = await inside.join(id("admin"));
    const broker = signing(await served.as(admin), admin, inside.now);
    await publish(broker, "a.b", "0");
    inside.now.pass(1);
    await using member = await reader(broker, "a.b", { group: "g", start });
    await publish(broker, "a.b", "1");
    assert.deepEqual(await member.take(start === "new" ? 1 : 2), start === "new" ? ["1"] : ["0", "1"]);
    await using later = store = memoryBroker({ now: inside.now });
    served.crash();
    inside.now.pass(1);
    await publish(signing(later, admin, inside.now), "a.b", "2", "3"); // before the members are back
    await until(() => openings(served) === 2, "the second subscription");
    await publish(broker, "a.b", "4");
    assert.deepEqual(await member.take(3), ["2", "3", "4"]);
    await first[Symbol.asyncDispose]();
  });
}

test("hubBroker() misses nothing that another member had in a group that the hub has forgotten", async () => {
  const inside = await world();
  await using at = await scene({ broker: memoryBroker({ now: inside.now, groupIdleMs: 0 }) });
  await using one = await reader(at.broker, "a.b", { group: "g", maxInFlight: 1 });
  await using other = await reader(await at.connect(), "a.b", { group: "g", maxInFlight: 1 });
  const first = one.next();
  await publish(at.inside, "a.b", "1");
  (await first).ack();
  const asked = other.next();
  await publish(at.inside, "a.b", "2");
  await asked; // and no more
  const third = one.next();
  await publish(at.inside, "a.b", "3");
  (await third).ack();
  await publish(at.broker, "a.c", "the acknowledgement has arrived before");
  await other.leave(); // what it had is for whoever asks, and nobody does
  await publish(at.broker, "a.c", "it has left before");
  at.served.net.wires.forEach((wire) => wire.cut());
  const seen = await one.take(2);
  while (!seen.includes("2")) seen.push(...await one.take(1));
});

test("hubBroker() waits for a hub that is away, and gives up after its time", async () => {
  await using at = await scene({ client: { publishTimeoutMs: 300, openTimeoutMs: 300 } });
  at.served.net.down = true;
  at.served.net.wires.forEach((wire) => wire.cut());
  await refused(at.broker.publish({ topic: "a.b", id: "1", event: "1" }), "unreachable");
  await refused(at.broker.subscribe("a.b"), "unreachable");
  await refused(at.connect(), "unreachable");
  at.served.net.down = false;
  await using all = await reader(at.inside, "a.b", { start: "earliest" });
  const later = await mustCome(patiently(() => at.broker.publish({ topic: "a.b", id: "2", event: "2" })), "the hub");
  assert.equal(later, undefined);
  assert.deepEqual(await all.take(1), ["2"]);
});

/** Tries again what gave up too early: the transport below has a patience of its own. */
async function patiently(run: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await run();
    } catch {
      // The next time.
    }
  }
}

test("hubBroker() publish() and subscribe() end with `closed` while the hub is away", async () => {
  await using at = await scene();
  await using all = await reader(at.broker, "a.b");
  await at.served.net.wires.forEach((wire) => wire.cut());
  at.served.net.down = true;
  const ends = [
    refused(at.broker.publish({ topic: "a.b", id: "1", event: "1" }), "closed"),
    refused(at.broker.subscribe("a.b"), "closed"),
    refused(all.next(), "closed"),
  ];
  await new Promise((done) => setTimeout(done, 0));
  await at.broker[Symbol.asyncDispose]();
  await mustCome(Promise.all(ends), "the ends");
});

test("hubBroker() publish() ends with its signal's reason, before it is sent, on its way, and while the hub is away", async () => {
  await using at = await scene();
  const reason = new Error("enough");
  const event = { topic: "a.b", id: "1", event: "1" };
  await assert.rejects(at.broker.publish(event, { signal: AbortSignal.abort(reason) }), reason);
  at.served.net.down = true;
  at.served.net.wires.forEach((wire) => wire.cut());
  const leaving = new AbortController();
  const publishing = at.broker.publish(event, { signal: leaving.signal });
  await new Promise((done) => setTimeout(done, 20));
  leaving.abort(reason);
  await assert.rejects(mustCome(publishing, "the end"), reason);
});

test("hubBroker() drain() ends when the connection goes, and while there is none", async () => {
  await using at = await scene();
  await using all = await reader(at.broker, "a.b");
  await using other = await reader(at.broker, "a.b");
  await publish(at.broker, "a.b", "1");
  await take(all, 1);
  const drained = all.drain();
  await all.ended();
  at.served.net.down = true;
  at.served.net.wires.forEach((wire) => wire.cut());
  await mustCome(drained, "the end of drain()");
  await mustCome(other.drain(), "the end of the other drain()");
});

test("hubBroker() tries what was refused no second time", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const shop = await inside.join(id("shop"));
  const broker = signing(await served.as(shop), shop, inside.now);
  await refused(broker.publish({ topic: "cards.v1.charged", id: "1", event: "1" }), "refused");
  await refused(broker.subscribe("cards.v1.charged"), "refused");
  assert.equal(served.audit.events.length, 2);
});

test("hubBroker() ends a subscription that the hub refuses once it is back", async () => {
  const inside = await world();
  await using served = await hub(inside, { maxGroupsPerIdentity: 1 });
  const billing = await inside.join(id("billing"));
  await using all = await reader(await served.as(billing), "orders.v1.*", { group: "g" });
  inside.now.pass(3_600_000 * 24 * 365); // its identity is over
  served.crash();
  await refused(all.next(), "refused");
});

/** A broker that counts what is out. */
function counting(broker: Broker): Broker & { readonly handedOut: Delivery[] } {
  const handedOut: Delivery[] = [];
  return {
    ...broker,
    handedOut,
    async subscribe(pattern, options) {
      const subscription = await broker.subscribe(pattern, options);
      return {
        ...subscription,
        get dropped() {
          return subscription.dropped;
        },
        async *[Symbol.asyncIterator]() {
          for await (const delivery of subscription) {
            handedOut.push(delivery);
            yield delivery;
          }
        },
      };
    },
  };
}

test("hubBroker() gives a message that is out for too long again, in the place of the old one", async () => {
  const clock = virtualClock();
  await using at = await scene({ broker: memoryBroker({ clock }) });
  await using all = await reader(at.broker, "a.b", { maxInFlight: 1, ackWaitMs: 1_000 });
  await publish(at.broker, "a.b", "1", "2");
  const out = await take(all, 1);
  for (const attempt of [2, 3, 4]) {
    const next = all.next();
    clock.pass(1_000);
    out.push(await next);
    assert.deepEqual([out.at(-1)!.event, out.at(-1)!.attempt], ["1", attempt]);
  }
  const next = all.next();
  for (const late of out.slice(0, 3)) late.ack();
  await publish(at.broker, "a.c", "the acknowledgements have arrived before");
  out.at(-1)!.ack();
  assert.equal((await next).event, "2");
});

test("hubBroker() fetches for a reader that stopped no more than may be out", async () => {
  const store = counting(memoryBroker());
  await using at = await scene({ broker: store });
  await using slow = await reader(at.broker, "a.b", { maxInFlight: 16 });
  await publish(at.inside, "a.b", ...events(100));
  for (let index = 0; index < 40; index++) (await slow.next()).ack();
  await using other = await reader(at.broker, "a.b", { start: "earliest" });
  await other.take(100); // whatever was to come has come
  const slows = store.handedOut.length - 100;
  assert.ok(slows >= 40 && slows <= 56, `${slows} were handed out, 40 of them were read`);
  assert.equal((await slow.take(60)).at(-1), "100");
});

test("hubBroker() drain() gives back at once what it has fetched and nobody has seen", async () => {
  const store = counting(memoryBroker());
  await using at = await scene({ broker: store });
  await using first = await reader(at.broker, "a.b", { group: "g", maxInFlight: 8 });
  await publish(at.inside, "a.b", ...events(30));
  await first.take(5);
  await until(() => store.handedOut.length === 12, "what is fetched ahead");
  await publish(at.broker, "a.c", "what came before has arrived");
  await mustCome(first.drain(), "the end of drain()");
  await using second = await reader(at.broker, "a.b", { group: "g" });
  assert.deepEqual((await second.take(25)).sort(), events(25, 6).sort());
});

test("hubBroker() fetches nothing for a reader that has never read", async () => {
  const store = counting(memoryBroker());
  await using at = await scene({ broker: store });
  await using never = await at.broker.subscribe("a.b");
  await publish(at.broker, "a.b", ...events(10));
  assert.equal(store.handedOut.length, 0);
  assert.equal(never.dropped, 0);
});

test("hubBroker() fetches no more than 4 Mi characters ahead, and one event", async () => {
  const store = counting(memoryBroker());
  await using at = await scene({ broker: store });
  await using slow = await reader(at.broker, "a.b", { start: "earliest" });
  const large = "é".repeat(100_000) + "x".repeat(400_000);
  await publish(at.inside, "a.b", "small 1", "small 2", "small 3");
  await slow.take(3); // it is fast
  for (const event of events(20)) await at.inside.publish({ topic: "a.b", id: event, event: large });
  await slow.take(1);
  await using other = await reader(at.broker, "a.c");
  await publish(at.broker, "a.c", "1");
  await other.take(1);
  const ahead = store.handedOut.filter(({ topic }) => topic === "a.b").length - 4;
  assert.ok(ahead >= 1 && ahead <= 9, `${ahead} of half a million characters are ahead`);
  assert.equal((await slow.take(19)).length, 19);
});

test("hubBroker() says how many messages a slow reader missed, over all of its connections", async () => {
  await using at = await scene({ broker: memoryBroker({ maxMessages: 10 }) });
  await using slow = await reader(at.broker, "a.b", { slow: "drop_oldest" });
  await publish(at.inside, "a.b", ...events(30));
  assert.deepEqual(await slow.take(10), events(10, 21));
  assert.equal(slow.dropped, 20);
  at.served.net.wires.forEach((wire) => wire.cut());
  await until(() => openings(at.served) === 2, "the second subscription");
  await publish(at.inside, "a.b", "31");
  await slow.take(1);
  assert.equal(slow.dropped, 20);
});

test("hubBroker() tells a reader that the broker disconnected", async () => {
  await using at = await scene({ broker: memoryBroker({ maxMessages: 10 }) });
  await using slow = await reader(at.broker, "a.b", { slow: "disconnect" });
  await publish(at.inside, "a.b", ...events(30));
  await refused(
    (async () => {
      for (;;) await slow.next();
    })(),
    "slow_consumer",
  );
});
