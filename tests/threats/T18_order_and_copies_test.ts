import assert from "node:assert/strict";
import { test } from "node:test";
import { allow, generateEncryptionKey } from "../../src/auth/mod.ts";
import { deadLetterTopic, memoryIdempotency, topic as topicOf, topicPattern } from "../../src/broker/mod.ts";
import * as v from "valibot";
import { CardCharged, id, OrderPlaced, RULES, within } from "../broker/_pubsub.ts";
import {
  arrives,
  attributesAt,
  forge,
  heldBack,
  joined,
  nextOf,
  ORDERS,
  partsOf,
  PRODUCER,
  recorded,
  refusals,
  reworded,
  scene,
  until,
} from "./_broker_scene.ts";
import { again, honest } from "./_lying_broker.ts";

// A malicious broker replays, reorders, drops and moves what others signed.

test("T18 replays: what was acknowledged, to the same subscription", async () => {
  await using all = await scene();
  const { liar, billing } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  await arrives(all, orders);
  const { topic, event } = liar.events[0]!;
  for (const attempt of [1, 2, 99]) liar.inject({ topic, event, attempt });
  const next = await arrives(all, orders);
  assert.deepEqual([next.sequence, next.missing, next.late], [2, 0, false]);
  assert.deepEqual(refusals(billing), ["replayed", "replayed", "replayed"]);
});

test("T18 replays: what is still with its handler is not handed out twice, and settled once", async () => {
  await using all = await scene();
  const { liar, billing, shop } = all;
  let acks = 0;
  liar.behaviour = (delivery) => [delivery, again(delivery, { ack: () => void acks++ })];
  await using orders = await billing.subscribe(OrderPlaced);
  await shop.publish(OrderPlaced, { id: "1" });
  const first = await nextOf(orders);
  liar.behaviour = honest;
  await arrives(all, orders);
  assert.equal(acks, 0);
  first.ack();
  first.ack();
  assert.equal(acks, 1);
  liar.inject(liar.events[0]!);
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), ["replayed"]);
});

test("T18 replays: what is rejected or buried does not come again", async () => {
  await using all = await scene();
  const { liar, billing, shop } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  await shop.publish(OrderPlaced, { id: "1" });
  (await nextOf(orders)).reject();
  liar.inject(liar.events[0]!);
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), ["replayed"]);
});

test("T18 replays: a copy is no dead letter, and what says that it was tried too often is one", async () => {
  await using all = await scene();
  const { liar, billing, place: { world: here, now } } = all;
  const deadLetter = deadLetterTopic("orders.v1.dead");
  await using orders = await billing.subscribe(OrderPlaced, { deadLetter, maxAttempts: 3 });
  await arrives(all, orders);
  liar.inject(liar.events[0]!);
  const publisher = await here.join(id("shop"));
  liar.inject({ topic: ORDERS, event: await forge(publisher, attributesAt(now())), attempt: 4 });
  liar.inject({ topic: ORDERS, event: `${liar.events[0]!.event} ` });
  await arrives(all, orders);
  const letters = () =>
    liar.events.flatMap(({ topic, event }) => topic === deadLetter.name ? [JSON.parse(partsOf(event)[2]).reason] : []);
  await until(() => letters().length >= 2);
  await arrives(all, orders);
  assert.deepEqual(letters(), ["too_many_attempts", "wrong_digest"]);
  assert.deepEqual(refusals(billing), ["replayed", "wrong_digest"]);
});

test("T18 replays: to a subscriber that began anew, beyond the age that it takes", async () => {
  await using all = await scene();
  const { liar, billing, place: { now, join } } = all;
  await using orders = await billing.subscribe(OrderPlaced, { maxAgeMs: 60_000 });
  const event = await heldBack(all);
  now.pass(60_001);
  await using others = await billing.subscribe(OrderPlaced);
  liar.inject({ topic: ORDERS, event });
  await arrives({ ...all, shop: await join("shop") }, orders);
  assert.deepEqual(refusals(billing), ["too_old"]);
  assert.equal((await nextOf(others)).data.id, "kept", "the other takes what is younger than a week");
});

test("T18 replays: to a subscriber that began anew and has a memory", async () => {
  await using all = await scene();
  const { liar, billing, place: { now } } = all;
  const idempotency = memoryIdempotency({ now });
  {
    await using orders = await billing.subscribe(OrderPlaced, { idempotency });
    await arrives(all, orders);
  }
  await using orders = await billing.subscribe(OrderPlaced, { idempotency });
  liar.inject(liar.events[0]!);
  await arrives(all, orders);
  assert.equal(recorded(billing, "message.repeat"), 1);
});

test("T18 replays: under the name of another run of the publisher", async () => {
  await using all = await scene();
  const { liar, billing } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  await arrives(all, orders);
  const [attributes, token, data] = partsOf(liar.events[0]!.event);
  const event = joined(reworded(attributes, 1, (claims) => ({ ...claims, producer: PRODUCER })), token, data);
  liar.inject({ topic: ORDERS, event });
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), ["bad_token_signature"]);
});

test("T18 replays: what came before its publisher was forgotten, and what came after that", async () => {
  await using all = await scene();
  const { liar, billing, place: { now, join } } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  await arrives(all, orders);
  for (let instance = 0; instance < 65; instance++) {
    now.pass(1);
    await arrives({ ...all, shop: await join("shop") }, orders);
  }
  liar.inject(liar.events[0]!);
  now.pass(1);
  await arrives(all, orders); // the first one is known again
  liar.inject(liar.events[0]!);
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), ["replayed", "replayed"]);
});

test("T18 reorders: what comes late says so, and is recorded", async () => {
  await using all = await scene();
  const { liar, billing } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  await arrives(all, orders);
  const event = await heldBack(all);
  const third = await arrives(all, orders);
  assert.deepEqual([third.sequence, third.missing, third.late], [3, 1, false]);
  liar.inject({ topic: ORDERS, event });
  const late = await nextOf(orders);
  assert.deepEqual([late.data.id, late.sequence, late.missing, late.late], ["kept", 2, 0, true]);
  assert.deepEqual([recorded(billing, "message.late"), recorded(billing, "message.missing")], [1, 1]);
});

test("T18 reorders: what has an ordering key does not come behind a later one of its key", async () => {
  await using all = await scene();
  const { liar, billing, shop } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  let came = false;
  liar.behaviour = () => (came = true, []);
  await shop.publish(OrderPlaced, { id: "1" }, { orderingKey: "a" });
  await until(() => came);
  liar.behaviour = honest;
  await shop.publish(OrderPlaced, { id: "2" }, { orderingKey: "a" });
  const second = await nextOf(orders);
  liar.inject(liar.events[0]!);
  await shop.publish(OrderPlaced, { id: "3" }, { orderingKey: "b" });
  const third = await nextOf(orders);
  second.ack();
  liar.inject(liar.events[0]!);
  await shop.publish(OrderPlaced, { id: "4" }, { orderingKey: "a" });
  const fourth = await nextOf(orders);
  assert.deepEqual([second, third, fourth].map(({ data }) => data.id), ["2", "3", "4"]);
  assert.deepEqual(refusals(billing), ["out_of_order", "out_of_order"]);
});

test("T18 reorders: under another ordering key, or none", async () => {
  await using all = await scene();
  const { liar, billing, shop } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  let came = false;
  liar.behaviour = (delivery) => {
    came = true;
    return [again(delivery, { orderingKey: "b" }), again(delivery, { orderingKey: undefined })];
  };
  await shop.publish(OrderPlaced, { id: "1" }, { orderingKey: "a" });
  await until(() => came);
  liar.behaviour = honest;
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), ["wrong_key", "wrong_key"]);
});

test("T18 reorders: a broker that keeps no order is not asked for keys, and what is signed with one arrives", async () => {
  await using all = await scene();
  const { liar, place: { join, world: here, now } } = all;
  const over = { ...liar, properties: { ...liar.properties, ordering: false } };
  const billing = await join("billing", { over });
  await using orders = await billing.subscribe(OrderPlaced);
  const publisher = await here.join(id("shop"));
  liar.inject({ topic: ORDERS, event: await forge(publisher, attributesAt(now(), { orderingKey: "a" })) });
  const message = await nextOf(orders);
  assert.deepEqual([message.data.id, message.orderingKey], ["forged", "a"]);
});

test("T18 drops: the next message says how many are missing, and so does the audit", async () => {
  await using all = await scene();
  const { liar, billing, shop } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  await arrives(all, orders);
  const seen: string[] = [];
  liar.behaviour = ({ event }) => (seen.push(event), []);
  for (const id of ["a", "b", "c"]) await shop.publish(OrderPlaced, { id });
  await until(() => seen.length === 3);
  liar.behaviour = honest;
  assert.equal((await arrives(all, orders)).missing, 3);
  assert.equal((await arrives(all, orders)).missing, 0);
  const missing = billing.events.filter(({ event }) => event === "message.missing");
  assert.deepEqual(missing.map(({ caller, fields }) => [caller, fields!.topic, fields!.count]), [[
    id("shop"),
    ORDERS,
    3,
  ]]);
});

test("T18 moves: to another topic of the subscription, and to one that nobody asked for", async () => {
  const rules = [...RULES, allow({ caller: id("billing"), subscribe: "orders.v1.*" })];
  await using all = await scene(rules);
  const { liar, billing } = all;
  await using orders = await billing.subscribe(topicPattern("orders.v1.*", OrderPlaced.schema));
  const event = await heldBack(all);
  const elsewhere = ["orders.v1.cancelled", "orders.v2.placed", "orders.v1", "other", "", "*", ">", "orders.v1.>"];
  for (const topic of elsewhere) liar.inject({ topic, event });
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), elsewhere.map(() => "wrong_topic"));
});

test("T18 moves: an event of a topic that may be published, to one that may not", async () => {
  const rules = [...RULES, allow({ caller: id("mallory"), publish: "chat.v1.said" })];
  await using all = await scene(rules);
  const { liar, billing, place: { join } } = all;
  const mallory = await join("mallory", { rules: [allow({ caller: id("mallory"), publish: ">" })] });
  await using orders = await billing.subscribe(OrderPlaced);
  await mallory.publish(topicOf("chat.v1.said", OrderPlaced.schema), { id: "forged" });
  liar.inject({ topic: ORDERS, event: liar.events[0]!.event });
  liar.inject(liar.events[0]!);
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), ["wrong_topic", "wrong_topic"]);
});

test("T18 moves: what a subscriber says elsewhere is no request for keys", async () => {
  const Notes = topicOf(
    "notes.v1.kept",
    v.strictObject({
      key: v.strictObject({ kty: v.string(), crv: v.string(), x: v.string() }),
      subscription: v.string(),
      until: v.number(),
    }),
  );
  const rules = [...RULES, allow({ caller: id("billing"), publish: Notes.name })];
  await using all = await scene(rules);
  const { liar, shop, billing, place: { now } } = all;
  const { jwk } = await generateEncryptionKey();
  const request = { key: { ...jwk }, subscription: "A".repeat(22), until: now() + 600_000 };
  await billing.publish(Notes, request);
  await using cards = await billing.subscribe(CardCharged);
  const sending = shop.publish(CardCharged, { id: "1" });
  await until(() => liar.events.some(({ topic }) => topic === `postern.keys.${CardCharged.name}`));
  const note = liar.events[0]!;
  liar.inject(note, (pattern) => pattern.startsWith("postern.join."));
  await sending;
  assert.equal((await nextOf(cards)).data.id, "1");
  const wraps = liar.events.flatMap(({ topic, event }) =>
    topic.startsWith("postern.keys.") ? JSON.parse(partsOf(event)[2]).wraps : []
  );
  assert.equal(wraps.length, 1, "for the key that billing asked with, and no other");
  assert.deepEqual(refusals(shop), ["wrong_topic"]);
});

test("T18 moves: what nobody else is told is not lost on who waits", async () => {
  await using all = await scene();
  const { liar, billing } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  const event = await heldBack(all);
  const waiting = nextOf(orders);
  liar.inject({ topic: "orders.v1.other", event });
  assert.equal(await within(waiting, 5), undefined);
  liar.inject({ topic: ORDERS, event });
  assert.equal((await waiting).data.id, "kept");
});
