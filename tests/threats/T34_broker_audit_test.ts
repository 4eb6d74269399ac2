import assert from "node:assert/strict";
import { test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import { BrokerError, deadLetterTopic, memoryIdempotency, topicPattern } from "../../src/broker/mod.ts";
import { hub, idAt, signed } from "../broker/_hub.ts";
import { CardCharged, id, OrderPlaced, type Party, RULES } from "../broker/_pubsub.ts";
import { world } from "../auth/_world.ts";
import { arrives, heldBack, nextOf, ORDERS, partsOf, scene, until } from "./_broker_scene.ts";

// Whatever is decided on a message or a subscription can be read in the audit afterwards: by constant words, without a message,
// a token or a key.

const CANARY = "canary-4000-0566";
const Dead = deadLetterTopic("orders.v1.dead");
/** What an audit event may consist of. */
const WORDS =
  /^(?:message\.(?:publish|fail|refuse|accept|missing|late|repeat|bury|drop)|subscription\.(?:open|refuse))$/;
const FIELDS = ["topic", "id", "count", "group"];

const lines = ({ events }: Party) =>
  events.map(({ event, reason, caller, fields }) => [event, reason, caller, fields?.topic] as const);

/** Asserts that the words are ours, and that nothing of what was said is in them. */
function assertClean(party: Pick<Party, "events">, secrets: readonly string[]): void {
  for (const { event, reason, fields } of party.events) {
    assert.match(event, WORDS);
    assert.match(reason ?? "none", /^[a-z_]+$/);
    assert.deepEqual(Object.keys(fields ?? {}).filter((name) => !FIELDS.includes(name)), []);
  }
  const text = JSON.stringify(party.events);
  for (const secret of [CANARY, "eyJ", ...secrets]) assert.equal(text.includes(secret), false);
}

test("T34 publishing and subscribing: each decision is one event, by who, on which topic and why", async () => {
  await using all = await scene();
  const { liar, shop, billing } = all;
  await using orders = await billing.subscribe(OrderPlaced, { deadLetter: Dead });
  await shop.publish(OrderPlaced, { id: CANARY });
  (await nextOf(orders)).ack();
  await assert.rejects(billing.publish(OrderPlaced, { id: CANARY }));
  await assert.rejects(shop.subscribe(topicPattern(">", OrderPlaced.schema)));
  await shop.publish(OrderPlaced, { id: CANARY });
  (await nextOf(orders)).reject(CANARY);
  await until(() => liar.events.some(({ topic }) => topic === Dead.name));
  const [first, second] = shop.events.flatMap(({ fields }) => fields?.id ? [fields.id] : []);
  assert.deepEqual(lines(shop), [
    ["message.publish", undefined, id("shop"), ORDERS],
    ["subscription.refuse", "not_allowed", id("shop"), ">"],
    ["message.publish", undefined, id("shop"), ORDERS],
  ]);
  await until(() => billing.events.length === 6);
  assert.deepEqual(lines(billing), [
    ["subscription.open", undefined, id("billing"), ORDERS],
    ["message.accept", undefined, id("shop"), ORDERS],
    ["message.refuse", "not_allowed", id("billing"), ORDERS],
    ["message.accept", undefined, id("shop"), ORDERS],
    ["message.bury", "rejected", id("shop"), ORDERS],
    ["message.publish", undefined, id("billing"), Dead.name],
  ]);
  const accepted = billing.events.filter(({ event }) => event === "message.accept").map(({ fields }) => fields!.id);
  assert.deepEqual(accepted, [first, second]);
  for (const party of [shop, billing]) assertClean(party, partsOf(liar.events[0]!.event));
});

test("T34 what does not fit its contract, and what the broker does not take, is recorded without what it says", async () => {
  await using all = await scene();
  const { liar, shop } = all;
  await assert.rejects(shop.publish(OrderPlaced, { id: CANARY, [CANARY]: 1 } as never));
  liar.publish = () => Promise.reject(new BrokerError("full", `No room for ${CANARY}`));
  await assert.rejects(shop.publish(OrderPlaced, { id: CANARY }));
  assert.deepEqual(lines(shop), [
    ["message.refuse", "malformed_message", id("shop"), ORDERS],
    ["message.publish", undefined, id("shop"), ORDERS],
    ["message.fail", "full", id("shop"), ORDERS],
  ]);
  assertClean(shop, []);
});

test("T34 what a broker does wrong: refused, missing, late, repeated and dropped are events of their own", async () => {
  await using all = await scene();
  const { liar, shop, billing, place: { now } } = all;
  await using orders = await billing.subscribe(OrderPlaced, { idempotency: memoryIdempotency({ now }) });
  (await arrives(all, orders)).ack();
  const event = await heldBack(all);
  await arrives(all, orders); // one is missing
  liar.inject({ topic: ORDERS, event }); // it is late
  (await nextOf(orders)).reject(CANARY); // and dropped
  liar.inject({ topic: ORDERS, event }); // replayed
  liar.inject({ topic: ORDERS, event: `${event}${CANARY}` }); // and altered
  liar.inject({ topic: ORDERS, event: CANARY });
  liar.inject({ topic: `orders.v1.${CANARY}`, event: CANARY });
  await shop.publish(OrderPlaced, { id: "1" }, { id: "same" });
  (await nextOf(orders)).ack();
  now.pass(300_000); // the broker has forgotten the id
  await shop.publish(OrderPlaced, { id: "1" }, { id: "same" });
  await arrives(all, orders);
  const decided = billing.events.map(({ event, reason }) => reason === undefined ? event : `${event} ${reason}`);
  assert.deepEqual(decided, [
    "subscription.open",
    "message.accept",
    "message.missing",
    "message.accept",
    "message.late",
    "message.accept",
    "message.drop rejected",
    "message.refuse replayed",
    "message.refuse wrong_digest",
    "message.refuse malformed_event",
    "message.refuse wrong_topic",
    "message.accept",
    "message.repeat",
    "message.accept",
  ]);
  const before = billing.events.filter(({ reason }) => reason !== "wrong_topic"); // that one names what the broker said
  assertClean({ events: before }, partsOf(event).slice(0, 2));
  // Who is not known is not named.
  assert.deepEqual(
    billing.events.filter(({ event }) => event === "message.refuse").map(({ caller }) => caller),
    [id("shop"), undefined, undefined, undefined],
  );
});

test("T34 encrypted topics: requests and keys are decided too, and no key is in an audit", async () => {
  await using all = await scene();
  const { liar, shop, billing } = all;
  await using cards = await billing.subscribe(CardCharged);
  await shop.publish(CardCharged, { id: CANARY });
  assert.equal((await nextOf(cards)).data.id, CANARY);
  const data = liar.events.filter(({ topic }) => topic.startsWith("postern.")).map(({ event }) => partsOf(event)[2]);
  const wraps = data.flatMap((text) => JSON.parse(text).wraps ?? []) as { enc: string; ct: string }[];
  assert.equal(wraps.length, 1);
  for (const party of [shop, billing]) assertClean(party, wraps.flatMap(({ enc, ct }) => [enc, ct]));
  const accepted = (party: Party) => party.events.filter(({ event }) => event === "message.accept");
  assert.ok(
    accepted(shop).every(({ caller, fields }) =>
      caller === id("billing") && fields!.topic === `postern.join.${CardCharged.name}`
    ),
  );
  assert.ok(accepted(shop).length >= 1);
  assert.ok(accepted(billing).some(({ fields }) => fields!.topic === `postern.keys.${CardCharged.name}`));
});

test("T34 what carries keys is nothing that a subscriber of everything refuses", async () => {
  const rules = [...RULES, allow({ caller: id("billing"), subscribe: ">" })];
  await using all = await scene(rules);
  const { liar, shop, billing } = all;
  await using everything = await billing.subscribe(topicPattern(">", OrderPlaced.schema));
  await shop.publish(CardCharged, { id: "1" });
  await arrives(all, everything);
  assert.ok(liar.events.some(({ topic }) => topic.startsWith("postern.keys.")));
  assert.deepEqual(lines(billing).filter(([, reason]) => reason), [
    ["message.refuse", "malformed_message", id("shop"), CardCharged.name],
  ]);
});

test("T34 what cannot be recorded is not handed out, and comes again", async () => {
  await using all = await scene();
  const { shop, place: { join }, liar } = all;
  let isFull = true;
  const billing = await join("billing", {
    audit: {
      record({ event }) {
        if (event === "message.accept" && isFull) throw new Error("The disk is full");
      },
    },
  });
  let nacks = 0;
  liar.behaviour = (delivery) => [{ ...delivery, nack: () => void nacks++ }];
  await using orders = await billing.subscribe(OrderPlaced);
  await shop.publish(OrderPlaced, { id: "1" });
  const waiting = nextOf(orders);
  await until(() => nacks === 1);
  isFull = false;
  liar.inject({ ...liar.events[0]!, attempt: 2 });
  const message = await waiting;
  assert.deepEqual([message.data.id, message.attempt], ["1", 2]);
});

test("T34 the hub: who published and subscribed, and who was refused, without an event", async () => {
  const here = await world();
  await using served = await hub(here, { topics: RULES });
  const [shop, billing] = [await here.join(id("shop")), await here.join(id("billing"))];
  const [publisher, reader] = [await served.as(shop), await served.as(billing)];
  await using orders = await reader.subscribe(ORDERS, { group: "g" });
  await assert.rejects(reader.subscribe("cards.>"));
  const event = await signed(shop, { topic: ORDERS, id: "1", event: CANARY }, { timeMs: here.now() });
  await publisher.publish({ topic: ORDERS, id: idAt(shop, ORDERS, "1"), event });
  await assert.rejects(reader.publish({ topic: ORDERS, id: idAt(shop, ORDERS, "1"), event }));
  assert.equal((await orders[Symbol.asyncIterator]().next()).value!.event, event);
  const { events } = served.audit;
  assert.deepEqual(events.map(({ event, reason, caller }) => [event, reason, caller]), [
    ["subscription.open", undefined, id("billing")],
    ["message.refuse", "not_allowed", id("billing")],
    ["message.publish", undefined, id("shop")],
    ["message.refuse", "not_allowed", id("billing")],
  ]);
  assertClean({ events }, partsOf(event).slice(0, 2));
});
