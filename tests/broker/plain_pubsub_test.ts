import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { plainPubSub, topic } from "../../src/broker/mod.ts";
import { manualClock } from "./_clock.ts";
import { isSettled } from "./_conformance_rig.ts";

const Note = topic("notes.v1.written", v.strictObject({ text: v.string(), tags: v.optional(v.array(v.string())) }));

/** Reads so many messages of a subscription. */
async function take<Item>(source: AsyncIterator<Item>, count: number): Promise<Item[]> {
  const items: Item[] = [];
  while (items.length < count) items.push((await source.next()).value);
  return items;
}

const reading = <Item>(source: AsyncIterable<Item>) => source[Symbol.asyncIterator]();

test("publish() gives each subscriber a message of its own, with all that was said of it", async () => {
  await using bus = plainPubSub({ now: () => 1_800_000_000_000 });
  await using first = await bus.subscribe(Note);
  await using second = await bus.subscribe(Note);
  const sent = { text: "one", tags: ["a"] };
  const published = await bus.publish(Note, sent, { orderingKey: "k" });
  sent.tags.push("b");
  const [one] = await take(reading(first), 1);
  one!.data.tags!.push("c");
  const [two] = await take(reading(second), 1);
  assert.deepEqual(two!.data, { text: "one", tags: ["a"] });
  const { id, topic, publisher, time, attempt, sequence, orderingKey, missing, late } = two!;
  assert.deepEqual([id, topic, publisher, attempt], [published.id, "notes.v1.written", undefined, 1]);
  assert.deepEqual([sequence, orderingKey, missing, late], [0, "k", 0, false]);
  assert.deepEqual([time, published.time], [new Date(1_800_000_000_000), new Date(1_800_000_000_000)]);
  time.setTime(0);
  assert.equal(two!.time.getTime(), 1_800_000_000_000);
});

test("nack() gives a message again as it was published, whatever was done to it", async () => {
  await using bus = plainPubSub();
  await using notes = await bus.subscribe(Note);
  await bus.publish(Note, { text: "one", tags: ["a"] });
  const read = reading(notes);
  const [first] = await take(read, 1);
  const { data, nack } = first!;
  data.tags!.length = 0;
  nack();
  const [again] = await take(read, 1);
  assert.deepEqual([again!.attempt, again!.data], [2, { text: "one", tags: ["a"] }]);
});

test("publish() copies what is too much to be copied by hand, by its schema", async () => {
  await using bus = plainPubSub();
  const Long = topic("notes.v1.long", v.strictObject({ parts: v.array(v.strictObject({ text: v.string() })) }));
  await using first = await bus.subscribe(Long);
  await using second = await bus.subscribe(Long);
  await bus.publish(Long, { parts: Array.from({ length: 2_000 }, (_, at) => ({ text: `${at}` })) });
  const [one] = await take(reading(first), 1);
  one!.data.parts[1_999]!.text = "changed";
  const [two] = await take(reading(second), 1);
  assert.equal(two!.data.parts[1_999]!.text, "1999");
});

test("publish() takes an id once, and no message without one for a copy", async () => {
  await using bus = plainPubSub();
  await using notes = await bus.subscribe(Note);
  await bus.publish(Note, { text: "one" }, { id: "1" });
  await bus.publish(Note, { text: "a copy" }, { id: "1" });
  for (const text of ["two", "three"]) await bus.publish(Note, { text });
  const read = await take(reading(notes), 3);
  assert.deepEqual(read.map(({ data }) => data.text), ["one", "two", "three"]);
  assert.equal(new Set(read.slice(1).map(({ id }) => id)).size, 2);
});

test("publish() refuses what is not as the contract says, and what no broker takes", async () => {
  await using bus = plainPubSub();
  const note = { text: "one" };
  await assert.rejects(bus.publish(Note, { text: 1 } as never), { reason: "malformed_message" });
  await assert.rejects(bus.publish(Note, [] as never), { reason: "malformed_message" });
  await assert.rejects(bus.publish(Note, note, { id: "" }), TypeError);
  await assert.rejects(bus.publish(Note, note, { id: "a b" }), TypeError);
  await assert.rejects(bus.publish(Note, note, { orderingKey: "\n" }), TypeError);
  await assert.rejects(bus.publish({ ...Note, name: "a..b" } as typeof Note, note), TypeError);
  await assert.rejects(bus.publish(Note, note, { signal: AbortSignal.abort(new Error("left")) }), { message: "left" });
  await bus[Symbol.asyncDispose]();
  await assert.rejects(bus.publish(Note, note), { reason: "closed" });
});

test("plainPubSub() keeps 10,000 messages, and as many as it is told", async () => {
  for (const [options, kept] of [[{}, 10_000], [{ maxMessages: 3 }, 3]] as const) {
    await using bus = plainPubSub(options);
    await using notes = await bus.subscribe(Note);
    for (let at = 0; at < kept + 5; at++) await bus.publish(Note, { text: `${at}` });
    const [oldest] = await take(reading(notes), 1);
    assert.deepEqual([oldest!.data.text, notes.dropped], ["5", 5]);
  }
});

test("subscribe() goes on behind a message's position", async () => {
  await using bus = plainPubSub();
  await using notes = await bus.subscribe(Note);
  for (const text of ["one", "two", "three"]) await bus.publish(Note, { text });
  const [, two] = await take(reading(notes), 2);
  await using rest = await bus.subscribe(Note, { start: { after: two!.position! } });
  assert.equal((await take(reading(rest), 1))[0]!.data.text, "three");
});

test("subscribe() counts how long a message is out from when it was handed out, also while the time of day stands still", async () => {
  for (const isStill of [false, true]) {
    const clock = manualClock();
    await using bus = plainPubSub({ clock, now: isStill ? () => 5 : clock.now });
    await using notes = await bus.subscribe(Note, { ackWaitMs: 5_000 });
    const read = reading(notes);
    await bus.publish(Note, { text: "one" });
    await take(read, 1);
    clock.pass(isStill ? 1_000 : 600); // a still time of day is noticed once a second
    await bus.publish(Note, { text: "two" });
    await take(read, 1);
    clock.pass(isStill ? 4_000 : 4_400);
    assert.deepEqual((await take(read, 1)).map(({ data, attempt }) => [data.text, attempt]), [["one", 2]]);
    const next = read.next();
    clock.pass(isStill ? 999 : 599);
    assert.equal(await isSettled(next), false);
    clock.pass(1);
    assert.equal((await next).value.data.text, "two");
  }
});

test("subscribe() gives nothing that its own contract does not have, whatever the publisher's was", async () => {
  const Wider = topic("notes.v1.written", v.strictObject({ text: v.string(), secret: v.string() }));
  const Same = topic("notes.v1.written", v.strictObject({ text: v.string(), secret: v.string() }));
  await using bus = plainPubSub();
  await using notes = await bus.subscribe(Note);
  await using same = await bus.subscribe(Same);
  await bus.publish(Wider, { text: "one", secret: "two" });
  await assert.rejects(reading(notes).next(), { reason: "malformed_message" });
  assert.deepEqual((await take(reading(same), 1))[0]!.data, { text: "one", secret: "two" });
});
