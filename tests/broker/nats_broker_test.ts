// What needs no server: bounds, options, and what becomes of a connection.
import assert from "node:assert/strict";
import { test } from "node:test";
import { natsBroker } from "../../src/broker/nats/nats_broker.ts";
import { placeOf } from "../../src/broker/nats/nats_message.ts";
import { events, isSettled, publish, reader, refused } from "./_conformance_rig.ts";
import { fakeNats } from "./_fake_nats.ts";

test("natsBroker() drops the oldest of what waits for a slow subscriber, and counts them", async () => {
  await using broker = await natsBroker(fakeNats(), { maxHeldMessages: 3 });
  await using all = await reader(broker, "a.b", { slow: "drop_oldest" });
  await publish(broker, "a.b", ...events(10));
  assert.equal(all.dropped, 7);
  assert.deepEqual(await all.take(3), ["8", "9", "10"]);
});

test("natsBroker() bounds the bytes of what waits, and keeps a message that is larger alone", async () => {
  await using broker = await natsBroker(fakeNats(), { maxHeldBytes: 100 });
  await using all = await reader(broker, "a.b");
  const event = "x".repeat(40);
  await publish(broker, "a.b", event, event, event, event);
  assert.equal(all.dropped, 2);
  await publish(broker, "a.b", "y".repeat(200));
  assert.equal(all.dropped, 4);
  assert.deepEqual(await all.take(1), ["y".repeat(200)]);
});

test("natsBroker() ends the subscription of who is too slow and asked for that", async () => {
  const nats = fakeNats();
  await using broker = await natsBroker(nats, { maxHeldMessages: 2 });
  await using all = await reader(broker, "a.b", { slow: "disconnect" });
  await publish(broker, "a.b", "1", "2", "3");
  await refused(all.ask(), "slow_consumer");
  assert.equal(nats.followers, 1);
});

test("natsBroker() gives no more than maxInFlight without JetStream either", async () => {
  await using broker = await natsBroker(fakeNats());
  await using all = await reader(broker, "a.b", { maxInFlight: 1 });
  await publish(broker, "a.b", "1", "2");
  const first = await all.next();
  const second = all.next();
  assert.equal(await isSettled(second), false);
  first.nack();
  assert.equal((await second).event, "2");
});

test("natsBroker() refuses to keep messages back without JetStream", async () => {
  await using broker = await natsBroker(fakeNats());
  await refused(broker.subscribe("a.b", { slow: "block" }), "unsupported");
});

test("publish() is refused by what the server says of its subject, and of no other", async () => {
  const nats = fakeNats();
  nats.forbidden.add("a.c");
  await using broker = await natsBroker(nats);
  const outcomes = await Promise.allSettled(
    ["a.b", "a.c", "a.d"].map((topic) => broker.publish({ topic, id: topic, event: "1" })),
  );
  assert.deepEqual(outcomes.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  await refused(broker.publish({ topic: "a.c", id: "2", event: "1" }), "refused");
});

test("publish() hears of each refusal, however many there are at once", async () => {
  const nats = fakeNats();
  const topics = Array.from({ length: 200 }, (_, index) => `a.t${index}`);
  for (const topic of topics) nats.forbidden.add(topic);
  await using broker = await natsBroker(nats);
  await Promise.all(topics.map((topic) => refused(broker.publish({ topic, id: "1", event: "1" }), "refused")));
});

test("natsBroker() leaves out messages that are of no topic", async () => {
  const nats = fakeNats();
  await using broker = await natsBroker(nats, { subjectPrefix: "events" });
  await using all = await reader(broker, ">");
  const data = new TextEncoder().encode("foreign");
  for (const subject of ["events.1", "events.$JS.x", "events._INBOX", "events.a-b"]) nats.publish(subject, data);
  await publish(broker, "a.b", "1");
  assert.deepEqual(await all.take(1), ["1"]);
});

test("a subscription ends with `unreachable` when the connection is closed", async () => {
  const nats = fakeNats();
  await using broker = await natsBroker(nats);
  await using all = await reader(broker, "a.b");
  const asked = refused(all.ask(), "unreachable");
  nats.happens({ type: "close" });
  await asked;
  await refused(broker.publish({ topic: "a.b", id: "1", event: "1" }), "unreachable");
  await refused(broker.subscribe("a.b"), "unreachable");
  assert.equal(nats.followers, 0);
});

test("publish() waits for a connection, and not for ever", async () => {
  const nats = fakeNats();
  const { info } = nats;
  await using broker = await natsBroker(nats, { publishTimeoutMs: 100 });
  await using all = await reader(broker, "a.b");
  delete nats.info;
  await refused(broker.publish({ topic: "a.b", id: "1", event: "1" }), "unreachable");
  const waiting = broker.publish({ topic: "a.b", id: "2", event: "2" });
  nats.info = { ...info };
  nats.happens({ type: "reconnect" });
  await waiting;
  assert.deepEqual(await all.take(1), ["2"]);
});

test("natsBroker() refuses options that are malformed or out of range", async () => {
  const malformed = [
    { subjectPrefix: "" },
    { subjectPrefix: "a.*" },
    { subjectPrefix: "$JS" },
    { inboxPrefix: ">" },
    { inboxPrefix: "_INBOX a" },
    { publishTimeoutMs: 99 },
    { publishTimeoutMs: 600_001 },
    { maxHeldMessages: 0 },
    { maxHeldMessages: 65_537 },
    { maxHeldBytes: 0 },
    { maxHeldBytes: NaN },
  ];
  for (const options of malformed) await assert.rejects(natsBroker(fakeNats(), options), TypeError);
  const jetstream = { client: {}, manager: {}, stream: "a.b" } as never;
  await assert.rejects(natsBroker(fakeNats(), { jetstream }), TypeError);
});

test("placeOf() reads both forms of a message's place, and no other", () => {
  const of = (reply?: string) =>
    placeOf({ subject: "a", data: new Uint8Array(), ...reply === undefined ? {} : { reply } });
  assert.deepEqual(of("$JS.ACK.S.c.2.17.5.1700000000.0"), { sequence: 17, attempt: 2 });
  assert.deepEqual(of("$JS.ACK._.hash.S.c.2.17.5.1700000000.0.r"), { sequence: 17, attempt: 2 });
  for (const reply of [undefined, "", "_INBOX.x", "$JS.ACK.S.c", "$JS.ACK.S.c.x.17.5.1.0", "$JS.ACK.S.c.0.17.5.1.0"]) {
    assert.equal(of(reply), undefined, reply);
  }
});
