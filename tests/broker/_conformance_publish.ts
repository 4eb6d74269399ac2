// Publishing and receiving, which every broker can.
import assert from "node:assert/strict";
import { mustCome } from "../_patience.ts";
import { type Conforms, events, isSettled, publish, reader, refused } from "./_conformance_rig.ts";

/** Tests that what is published arrives: unchanged, in order, where it belongs. */
export function testPublishing(conforms: Conforms): void {
  testArriving(conforms);
  testEnding(conforms);
}

function testArriving(conforms: Conforms): void {
  conforms("subscribe() gives what is published afterwards, and not what was before", async ({ broker }) => {
    await publish(broker, "a.b", "before");
    await using all = await reader(broker, "a.b");
    await publish(broker, "a.b", "after");
    const { topic, event, attempt, ack } = await all.next();
    assert.deepEqual({ topic, event, attempt }, { topic: "a.b", event: "after", attempt: 1 });
    ack(); // by itself, as who takes a delivery apart calls it
  });

  conforms("subscribe() reaches over connections", async ({ broker, another }) => {
    await using there = await reader(await another(), "a.b");
    await publish(broker, "a.b", "1");
    assert.deepEqual(await there.take(1), ["1"]);
  });

  conforms("subscribe() matches patterns by segment", async ({ broker }) => {
    const topics = ["a", "a.b", "a.c", "a.b.c", "a.bc", "ab.b", "b", "A.b"];
    const covered: Record<string, readonly string[]> = {
      "a.b": ["a.b"],
      "a.*": ["a.b", "a.c", "a.bc"],
      "*": ["a", "b"],
      "*.b": ["a.b", "ab.b", "A.b"],
      "a.>": ["a.b", "a.c", "a.b.c", "a.bc"],
      "*.*.c": ["a.b.c"],
      ">": topics,
    };
    for (const [pattern, wanted] of Object.entries(covered)) {
      await using some = await reader(broker, pattern);
      for (const topic of topics) await broker.publish({ topic, id: `${pattern}/${topic}`, event: topic });
      assert.deepEqual(await some.take(wanted.length), wanted, pattern);
    }
  });

  conforms("publish() keeps the order of its calls", async ({ broker }) => {
    await using all = await reader(broker, "a.*");
    const wanted = events(300);
    await Promise.all(wanted.map((event) => broker.publish({ topic: `a.t${+event % 3}`, id: event, event })));
    assert.deepEqual(await all.take(wanted.length), wanted);
  });

  conforms("subscribe() gives everything to each who is in no group", async ({ broker, another }) => {
    await using one = await reader(broker, "a.b");
    await using two = await reader(broker, "a.>");
    await using three = await reader(await another(), "a.b");
    const wanted = events(50);
    await publish(broker, "a.b", ...wanted);
    for (const each of [one, two, three]) assert.deepEqual(await each.take(50), wanted);
  });

  conforms("publish() moves an event of 900 KB and one of every character unchanged", async ({ broker }) => {
    await using all = await reader(broker, "a.b");
    const every = Array.from({ length: 0xd800 }, (_, unit) => String.fromCharCode(unit)).join("");
    const large = ["x".repeat(900_000), `${every}\ud83d\ude00\uffff\r\n\0`, "é".repeat(450_000), ""];
    for (const [index, event] of large.entries()) {
      await broker.publish({ topic: "a.b", id: `large${index}`, event });
      const delivery = await all.next();
      assert.ok(delivery.event === event, `event ${index} of ${event.length} characters was changed`);
      delivery.ack();
    }
  });

  conforms("publish() carries the ordering key, or refuses it", async ({ broker, can }) => {
    await using all = await reader(broker, "a.b");
    const event = { topic: "a.b", id: "1", event: "1", orderingKey: "Zoë 1" };
    if (!can.ordering) return await refused(broker.publish(event), "unsupported");
    await broker.publish(event);
    assert.equal((await all.next()).orderingKey, "Zoë 1");
  });

  conforms("publish() takes an id once in each topic, where messages are kept", async ({ broker, another, can }) => {
    if (!can.positions) return; // who keeps nothing knows no id of before; receivers have to
    await using all = await reader(broker, ">");
    await broker.publish({ topic: "a.b", id: "same", event: "1" });
    await broker.publish({ topic: "a.b", id: "same", event: "1" });
    await (await another()).publish({ topic: "a.b", id: "same", event: "1" });
    await broker.publish({ topic: "a.c", id: "same", event: "2" });
    await broker.publish({ topic: "a.b", id: "other", event: "3" });
    assert.deepEqual(await all.take(3), ["1", "2", "3"]);
  });
}

function testEnding(conforms: Conforms): void {
  conforms("a subscription is iterated once", async ({ broker }) => {
    await using subscription = await broker.subscribe("a.b");
    subscription[Symbol.asyncIterator]();
    assert.throws(() => subscription[Symbol.asyncIterator](), TypeError);
  });

  conforms("a subscription that is disposed ends its loop", async ({ broker }) => {
    const all = await reader(broker, "a.b");
    const ended = all.ended();
    await all[Symbol.asyncDispose]();
    await ended;
    await all[Symbol.asyncDispose](); // again, nothing happens
    await all.ended();
    await publish(broker, "a.b", "1"); // to nobody
  });

  conforms("drain() ends the loop once what was handed out is settled", async ({ broker, can }) => {
    await using all = await reader(broker, "a.b");
    await publish(broker, "a.b", "1");
    const delivery = await all.next();
    const drained = all.drain();
    await all.ended();
    if (can.redelivers) assert.equal(await isSettled(drained), false);
    delivery.ack();
    await mustCome(drained, "the end of drain()");
  });

  conforms("dispose ends everything with `closed`", async ({ broker }) => {
    const all = await reader(broker, "a.b");
    await publish(broker, "a.b", "1");
    const delivery = await all.next();
    const waiting = refused(all.ask(), "closed");
    await broker[Symbol.asyncDispose]();
    await waiting;
    delivery.ack();
    delivery.nack();
    await refused(broker.publish({ topic: "a.b", id: "2", event: "2" }), "closed");
    await refused(broker.subscribe("a.b"), "closed");
    await mustCome(all.drain(), "the end of drain()");
    await all[Symbol.asyncDispose]();
    await broker[Symbol.asyncDispose]();
  });
}
