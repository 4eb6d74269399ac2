import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryBroker, type MemoryBrokerOptions } from "../../src/broker/mod.ts";
import { mustCome } from "../_patience.ts";
import { brokerConformance } from "./_conformance.ts";
import { events, isSettled, publish, reader, refused } from "./_conformance_rig.ts";
import { make } from "./_memory.ts";

brokerConformance("memoryBroker()", () => {
  const { broker, clock } = make();
  return Promise.resolve({
    broker,
    another: () => Promise.resolve(broker),
    clock,
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  });
});

test("memoryBroker() promises what it keeps", async () => {
  await using broker = memoryBroker();
  const { durable, ...others } = broker.properties;
  assert.equal(durable, false);
  assert.ok(Object.values(others).every((value) => value));
  assert.equal(Object.keys(others).length, 6);
});

test("memoryBroker() refuses limits out of their ranges", () => {
  const wrong: MemoryBrokerOptions[] = [
    { maxMessages: 0 },
    { maxMessages: 10_000_001 },
    { maxBytes: 1_023 },
    { retentionMs: 999 },
    { maxGroups: -1 },
    { groupIdleMs: -1 },
    { maxSubscriptions: 0 },
    { maxWaiting: 1.5 },
    { maxWaiting: NaN },
    { maxWaiting: "1" as unknown as number },
  ];
  for (const options of wrong) assert.throws(() => memoryBroker(options), RangeError, JSON.stringify(options));
});

test("memoryBroker() moves values as they are", async () => {
  await using broker = memoryBroker<{ readonly amount: number }>();
  await using all = await broker.subscribe("a.b");
  const event = { amount: 1 };
  await broker.publish({ topic: "a.b", id: "1", event });
  for await (const delivery of all) {
    assert.equal(delivery.event, event);
    break;
  }
});

test("memoryBroker() keeps what nobody needs until there is no room", async () => {
  await using broker = memoryBroker({ maxMessages: 100 });
  await publish(broker, "a.b", ...events(1_000));
  await using all = await reader(broker, "a.b", { start: "earliest" });
  assert.deepEqual(await all.take(100), events(100, 901));
});

test("memoryBroker() counts the bytes of what it keeps", async () => {
  await using broker = memoryBroker({ maxBytes: 2_048 });
  // Topic, id and event are 3 + 3 + 506 characters of two bytes.
  for (const digit of events(5)) await broker.publish({ topic: "a.b", id: `id${digit}`, event: digit.repeat(506) });
  await using all = await reader(broker, "a.b", { start: "earliest" });
  assert.deepEqual((await all.take(2)).map((event) => event[0]), ["4", "5"]);
  await refused(broker.publish({ topic: "a.b", id: "id6", event: "x".repeat(1_019) }), "refused");
  await broker.publish({ topic: "a.b", id: "id6", event: "x".repeat(1_018) });
});

test("memoryBroker() forgets what is older than its retention, whoever needs it", async () => {
  const { broker, clock } = make({ retentionMs: 1_000 });
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  clock.pass(600);
  await publish(broker, "a.b", "2");
  clock.pass(400);
  await using all = await reader(broker, "a.b", { start: "earliest" });
  assert.deepEqual([await all.take(1), await group.take(1)], [["2"], ["2"]]);
  assert.equal(group.dropped, 1);
});

test("memoryBroker() takes positions that it does not know for the earliest", async () => {
  const { broker } = make({ maxMessages: 3 });
  await using _ = broker;
  await using first = await reader(broker, "a.b");
  await publish(broker, "a.b", "1");
  const { position } = await first.next();
  await publish(broker, "a.b", ...events(3, 2));
  const [epoch] = position!.split(".");
  const unknown = [
    position!,
    "00000000.2",
    `${epoch}.5`,
    `${epoch}.0`,
    `${epoch}.2.2`,
    `${epoch}.x`,
    `${epoch}.1e0`,
    "2",
  ];
  for (const after of unknown) {
    await using all = await reader(broker, "a.b", { start: { after } });
    assert.deepEqual(await all.take(3), events(3, 2), after);
  }
  await using known = await reader(broker, "a.b", { start: { after: `${epoch}.2` } });
  assert.deepEqual(await known.take(2), events(2, 3));
});

test("publish() takes an id again after two minutes", async () => {
  const { broker, clock } = make();
  await using _ = broker;
  await using all = await reader(broker, "a.b");
  const same = (event: string) => broker.publish({ topic: "a.b", id: "same", event });
  await same("1");
  clock.pass(119_999);
  await same("2");
  clock.pass(240_001);
  await same("3");
  assert.deepEqual(await all.take(2), ["1", "3"]);
});

test("publish() takes an id once within two minutes, whenever they begin", async () => {
  const { broker, clock } = make();
  await using _ = broker;
  await using all = await reader(broker, "a.b");
  for (const [id, event] of [["first", "1"], ["same", "2"], ["other", "3"], ["same", "4"], ["last", "5"]] as const) {
    await broker.publish({ topic: "a.b", id, event });
    clock.pass(50_000);
  }
  assert.deepEqual(await all.take(4), ["1", "2", "3", "5"]);
});

test("subscribe() is refused where there are too many groups or subscriptions", async () => {
  const { broker, clock } = make({ maxGroups: 1, maxSubscriptions: 2, groupIdleMs: 1_000 });
  await using _ = broker;
  await using first = await reader(broker, "a.b", { group: "g" });
  await refused(broker.subscribe("a.b", { group: "h" }), "full");
  await using second = await reader(broker, "a.b", { group: "g" });
  await refused(broker.subscribe("a.b"), "full");
  await second.leave();
  await first.leave();
  clock.pass(999);
  await refused(broker.subscribe("a.b", { group: "h" }), "full");
  clock.pass(1);
  await using _third = await reader(broker, "a.b", { group: "h" });
});

test("subscribe() in no group has plain order, whatever the keys", async () => {
  await using broker = memoryBroker();
  await using all = await reader(broker, "a.b");
  for (const event of events(3)) await broker.publish({ topic: "a.b", id: event, event, orderingKey: "k" });
  assert.equal((await all.next()).event, "1");
  assert.equal((await all.next()).event, "2");
});

test("drain() ends when what is out was out for too long", async () => {
  const { broker, clock } = make();
  await using _ = broker;
  const group = await reader(broker, "a.b", { group: "g", ackWaitMs: 5_000 });
  await publish(broker, "a.b", "1");
  await group.next();
  const drained = group.drain();
  clock.pass(4_999);
  assert.equal(await isSettled(drained), false);
  clock.pass(1);
  await mustCome(drained, "the end of drain()");
});

test("drain() ends when what is out was given back by leaving", async () => {
  const { broker } = make();
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  await group.next();
  const drained = group.drain();
  await group[Symbol.asyncDispose]();
  await mustCome(drained, "the end of drain()");
  await using next = await reader(broker, "a.b", { group: "g" });
  assert.deepEqual(await next.take(1), ["1"]);
});

test("members of different patience get back each what it had for too long", async () => {
  const { broker, clock } = make();
  await using _ = broker;
  await using patient = await reader(broker, "a.b", { group: "g", ackWaitMs: 60_000 });
  await using hasty = await reader(broker, "a.b", { group: "g", ackWaitMs: 1_000 });
  await publish(broker, "a.b", "1", "2");
  await patient.next();
  await hasty.next();
  const [again, never] = [hasty.next(), patient.ask()];
  clock.pass(59_999);
  assert.deepEqual([(await again).event, (await again).attempt], ["2", 2]);
  (await again).ack();
  clock.pass(1);
  assert.equal((await mustCome(never, "the first one")).value.event, "1");
});

test("a broker has one timer while something is out, and none soon after", async () => {
  const { broker, clock } = make();
  await using all = await reader(broker, "a.b");
  assert.equal(clock.timers, 0);
  await publish(broker, "a.b", ...events(20));
  for (let count = 0; count < 20; count++) {
    const delivery = await all.next();
    if (count === 5) delivery.nack({ delayMs: 30_000 });
    else if (count === 6) delivery.nack({ delayMs: 100 });
    else delivery.ack();
    assert.equal(clock.timers, 1);
  }
  clock.pass(100);
  assert.deepEqual(await all.take(1), ["7"]);
  clock.pass(30_000);
  assert.deepEqual(await all.take(1), ["6"]);
  clock.pass(1_000);
  assert.equal(clock.timers, 0);
  await publish(broker, "a.b", "21");
  await all.next();
  assert.equal(clock.timers, 1);
  await broker[Symbol.asyncDispose]();
  assert.equal(clock.timers, 0);
});
