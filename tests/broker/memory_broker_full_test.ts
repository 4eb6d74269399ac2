// What happens when a broker in memory is full: who waits, who misses what, and who is let go.
import assert from "node:assert/strict";
import { test } from "node:test";
import { asking } from "../../src/internal/sequence.ts";
import { mustCome } from "../_patience.ts";
import { events, isSettled, publish, reader, refused } from "./_conformance_rig.ts";
import { make } from "./_memory.ts";

test("publish() waits for a group that is behind, in its order", async () => {
  const { broker } = make({ maxMessages: 2 });
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  await using all = await reader(broker, "a.b");
  const everything = all.take(5);
  await publish(broker, "a.b", "1", "2");
  const waiting = ["3", "4", "5"].map((event) => publish(broker, "a.b", event));
  assert.equal(await isSettled(Promise.race(waiting)), false);
  (await group.next()).ack();
  await waiting[0];
  assert.equal(await isSettled(waiting[1]!), false);
  assert.deepEqual(await group.take(4), events(4, 2));
  await Promise.all(waiting);
  assert.deepEqual(await everything, events(5));
});

test("publish() waits for a group that came late and began early", async () => {
  const { broker } = make({ maxMessages: 3 });
  await using _ = broker;
  await using all = await reader(broker, "a.b");
  await publish(broker, "a.b", ...events(3));
  await all.take(3); // nobody needs them any more
  await publish(broker, "a.b", "4");
  await using group = await reader(broker, "a.b", { group: "g", start: "earliest" });
  const waiting = publish(broker, "a.b", "5");
  assert.equal(await isSettled(waiting), false);
  assert.deepEqual(await group.take(4), events(4, 2));
  await waiting;
});

test("publish() of a small event waits behind a large one", async () => {
  const { broker } = make({ maxBytes: 2_048 });
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  const [large, larger] = ["x".repeat(500), "y".repeat(900)];
  const publishing = [large, larger, "z"].map((event, index) =>
    broker.publish({ topic: "a.b", id: `${index}`, event })
  );
  await publishing[0];
  assert.equal(await isSettled(Promise.race(publishing.slice(1))), false);
  assert.deepEqual(await group.take(3), [large, larger, "z"]);
});

test("publish() loses nothing when who reads answers at once", async () => {
  const { broker } = make({ maxMessages: 1 });
  await using _ = broker;
  await using group = await broker.subscribe("a.b", { group: "g" });
  const seen: string[] = [];
  const errors: unknown[] = [];
  await publish(broker, "a.b", "0");
  const publishing = Promise.all(events(20).map((event) => publish(broker, "a.b", event)));
  const ask = asking(group[Symbol.asyncIterator](), {
    give(delivery) {
      seen.push(delivery.event);
      if (seen.length < 21) ask(); // before it is acknowledged, so that the next one is given while publishers are let in
      try {
        delivery.ack();
      } catch (error) {
        errors.push(error);
      }
    },
    end: () => {},
    fail: (error) => errors.push(error),
  });
  ask();
  await mustCome(publishing, "the end of the waiting");
  assert.deepEqual(seen, events(21, 0));
  assert.deepEqual(errors, []);
});

test("publish() waits for a message that is out", async () => {
  const { broker } = make({ maxMessages: 1 });
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  const first = await group.next();
  const waiting = publish(broker, "a.b", "2");
  assert.equal(await isSettled(waiting), false);
  first.nack();
  assert.deepEqual(await group.take(2), ["1", "2"]);
  await waiting;
});

test("publish() stops waiting when its signal aborts", async () => {
  const { broker } = make({ maxMessages: 1 });
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  const stop = new AbortController();
  const wait = (event: string) => broker.publish({ topic: "a.b", id: event, event }, { signal: stop.signal });
  const aborted = wait("2");
  const other = publish(broker, "a.b", "3");
  stop.abort(new Error("Enough"));
  await assert.rejects(aborted, /Enough/);
  await assert.rejects(wait("4"), /Enough/);
  assert.deepEqual(await group.take(2), ["1", "3"]);
  await other;
});

test("publish() is refused when too many wait, and when the broker ends", async () => {
  const { broker } = make({ maxMessages: 1, maxWaiting: 2 });
  await using _group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  const waiting = ["2", "3"].map((event) => refused(publish(broker, "a.b", event), "closed"));
  await refused(publish(broker, "a.b", "4"), "full");
  await broker[Symbol.asyncDispose]();
  await Promise.all(waiting);
});

test("publish() goes on when who was waited for leaves", async () => {
  const { broker } = make({ maxMessages: 1 });
  await using _ = broker;
  for (const how of ["leave", "drain"] as const) {
    const blocker = await reader(broker, "a.b", { slow: "block" });
    await publish(broker, "a.b", `${how}1`);
    const waiting = publish(broker, "a.b", `${how}2`);
    assert.equal(await isSettled(waiting), false);
    await blocker[how]();
    await mustCome(waiting, `the end of the waiting after ${how}`);
  }
});

test("publish() goes on when nobody came back to a group for too long", async () => {
  const { broker, clock } = make({ maxMessages: 1, groupIdleMs: 10_000 });
  await using _ = broker;
  const group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  await group.leave();
  const waiting = publish(broker, "a.b", "2");
  clock.pass(9_999);
  assert.equal(await isSettled(waiting), false);
  clock.pass(1_001);
  await mustCome(waiting, "the end of the waiting");
});

test("publish() goes on when retention has made room", async () => {
  const { broker, clock } = make({ maxMessages: 1, retentionMs: 5_000 });
  await using _ = broker;
  await using _group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  const waiting = publish(broker, "a.b", "2");
  clock.pass(4_999);
  assert.equal(await isSettled(waiting), false);
  clock.pass(1_001);
  await mustCome(waiting, "the end of the waiting");
});

test("a subscriber who drops the oldest is moved on, and it is counted", async () => {
  const { broker } = make({ maxMessages: 3 });
  await using _ = broker;
  await using all = await reader(broker, "a.b");
  await publish(broker, "a.c", ...events(3)); // not for it
  await publish(broker, "a.b", ...events(2));
  const out = await all.next();
  await publish(broker, "a.b", ...events(4, 3));
  // "1" is out, so it was not missed; "2" and "3" were.
  assert.equal(all.dropped, 2);
  out.nack(); // it is not there any more
  assert.deepEqual(await all.take(3), events(3, 4));
  await publish(broker, "a.b", ...events(3, 7));
  assert.deepEqual(await all.take(3), events(3, 7));
  assert.equal(all.dropped, 2);
});

test("a group that drops the oldest drops what was given back, too", async () => {
  const { broker, clock } = make({ maxMessages: 3 });
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g", slow: "drop_oldest" });
  for (const event of events(3)) await broker.publish({ topic: "a.b", id: event, event, orderingKey: "k" });
  (await group.next()).nack({ delayMs: 1_000 });
  await publish(broker, "a.b", "4");
  assert.equal(group.dropped, 1);
  assert.deepEqual(await group.take(3), ["2", "3", "4"]);
  clock.pass(1_000);
  await publish(broker, "a.b", "5");
  assert.deepEqual(await group.take(1), ["5"]);
});

test("a subscriber who is disconnected when it is slow gets the error, and others go on", async () => {
  const { broker } = make({ maxMessages: 2 });
  await using _ = broker;
  await using slow = await reader(broker, "a.b", { slow: "disconnect" });
  await using asks = await reader(broker, "a.b", { slow: "disconnect", maxInFlight: 1 });
  await using member = await reader(broker, "a.b", { slow: "disconnect", group: "g" });
  await using quick = await reader(broker, "a.b", { slow: "disconnect" });
  await publish(broker, "a.b", "1", "2");
  assert.deepEqual(await quick.take(2), ["1", "2"]);
  await asks.next();
  const asked = refused(asks.ask(), "slow_consumer");
  await publish(broker, "a.b", "3");
  await asked;
  for (const each of [slow, member]) await refused(each.ask(), "slow_consumer");
  await slow.ended();
  assert.deepEqual(await quick.take(1), ["3"]);
  await using next = await reader(broker, "a.b", { group: "g" });
  assert.deepEqual(await next.take(2), ["2", "3"]);
});

test("nobody misses anything for a publisher who has to wait", async () => {
  const { broker } = make({ maxMessages: 1 });
  await using _ = broker;
  await using all = await reader(broker, "a.b");
  await using cut = await reader(broker, "a.b", { slow: "disconnect" });
  await using group = await reader(broker, "a.b", { group: "g" });
  await publish(broker, "a.b", "1");
  const waiting = publish(broker, "a.b", "2");
  assert.equal(await isSettled(waiting), false);
  assert.equal(all.dropped, 0);
  for (const each of [all, cut, group]) assert.deepEqual(await each.take(1), ["1"]);
  await waiting;
});

test("publish() that does not wait is refused where there is no room, and behind those who wait", async () => {
  const { broker } = make({ maxMessages: 2 });
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  const atOnce = (event: string) => broker.publish({ topic: "a.b", id: event, event }, { waits: false });
  await atOnce("1");
  await atOnce("2");
  await refused(atOnce("3"), "full");
  const waiting = publish(broker, "a.b", "4");
  await refused(atOnce("5"), "full");
  assert.deepEqual(await group.take(2), ["1", "2"]);
  await waiting;
  await atOnce("3");
  assert.deepEqual(await group.take(2), ["4", "3"]);
});

test("memoryBroker() looks past 16,384 messages that wait for one of their key, and not further", async () => {
  const { broker } = make();
  await using _ = broker;
  await using group = await reader(broker, "a.b", { group: "g" });
  const send = (event: string, orderingKey: string) => broker.publish({ topic: "a.b", id: event, event, orderingKey });
  for (let n = 0; n < 16_384; n++) await send(`k${n}`, "k");
  await send("other", "another");
  const first = await group.next();
  const second = group.next();
  assert.equal(await isSettled(second), false, "what is behind them is not looked at");
  first.ack();
  assert.equal((await second).event, "k1");
  assert.equal((await group.next()).event, "other");
});
