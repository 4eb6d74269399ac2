import assert from "node:assert/strict";
import { test } from "node:test";
import { allow, type Policy, policy, type Rule } from "../../src/auth/mod.ts";
import { joinTopic, keysTopic } from "../../src/broker/topic_rules.ts";
import { memoryBroker } from "../../src/broker/memory/memory_broker.ts";
import { world } from "../auth/_world.ts";
import { virtualClock } from "../rpc/_sockets.ts";
import { reader, refused, roundTrip } from "./_conformance_rig.ts";
import { hub, id, PLACED, publishAs, refusals, signed, TOPICS } from "./_hub.ts";
import type { Outgoing } from "./_hub.ts";

test("brokerService() publishes what its publisher signed and may publish, and notes it", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const [shop, billing] = [await inside.join(id("shop")), await inside.join(id("billing"))];
  await using all = await reader(await served.as(billing), "orders.v1.*", { group: "g" });
  await publishAs(inside, await served.as(shop), shop, { orderingKey: "k" });
  const { topic, orderingKey } = await all.next();
  assert.deepEqual([topic, orderingKey], [PLACED, "k"]);
  const noted = served.audit.events.map(({ event, caller, method, fields }) => ({ event, caller, method, fields }));
  assert.deepEqual(noted, [{
    event: "subscription.open",
    caller: id("billing"),
    method: "postern.broker.v1/subscribe",
    fields: { topic: "orders.v1.*", group: "g" },
  }, {
    event: "message.publish",
    caller: id("shop"),
    method: "postern.broker.v1/publish",
    fields: { topic: PLACED },
  }]);
});

/** What the hub refuses of somebody who may publish: what is said, as what, by whom it is signed, and why it is refused. */
const FORGERIES: Record<string, {
  readonly says?: Outgoing & { readonly text?: string; readonly ageMs?: number };
  readonly as?: Outgoing;
  readonly signer?: string;
  readonly named?: "signer";
  readonly reason: string;
}> = {
  "a topic that it may not publish": { says: { topic: "cards.v1.charged" }, reason: "not_allowed" },
  "the keys of a topic that it may not publish": {
    says: { topic: keysTopic("cards.v1.charged") },
    reason: "not_allowed",
  },
  "an event that somebody else signed": { signer: "admin", reason: "not_allowed" },
  "an event that somebody else signed, under that one's id": {
    signer: "admin",
    named: "signer",
    reason: "not_allowed",
  },
  "an event of another topic": { says: { topic: "orders.v1.paid" }, as: { topic: PLACED }, reason: "wrong_topic" },
  "an event with another id": { as: { id: "2" }, reason: "malformed_event" },
  "its own event under the id of somebody else's": { named: "signer", reason: "malformed_event" },
  "an event with another key": { says: { orderingKey: "a" }, as: { orderingKey: "b" }, reason: "wrong_key" },
  "an event with a key that it does not have": { as: { orderingKey: "b" }, reason: "wrong_key" },
  "an event that is too old": { says: { ageMs: 120_001 }, reason: "too_old" },
  "an event of the future": { says: { ageMs: -5_001 }, reason: "not_yet" },
  "what is no event": { says: { text: "hello" }, reason: "malformed_event" },
};

for (const [what, { says = {}, as, signer = "shop", named, reason }] of Object.entries(FORGERIES)) {
  test(`brokerService() refuses to publish ${what}, and notes it`, async () => {
    const inside = await world();
    await using served = await hub(inside);
    const [shop, admin] = [await inside.join(id("shop")), await inside.join(id("admin"))];
    inside.now.pass(150_000); // their tokens have been there for longer than what is too old
    await using all = await reader(await served.as(admin), ">", { start: "earliest" });
    const broker = await served.as(shop);
    const by = { shop, admin }[signer === "admin" ? "admin" : "shop"];
    const { ageMs = 0, ...given } = says;
    const nameOf = named === "signer" ? admin : shop;
    await refused(
      publishAs(inside, broker, by, { ...given, timeMs: inside.now() - ageMs }, { ...as, by: nameOf }),
      "refused",
    );
    assert.deepEqual(refusals(served), [[reason, id("shop"), as?.topic ?? given.topic ?? PLACED]]);
    await publishAs(inside, broker, shop, { id: "good" });
    assert.equal((await all.next()).event.endsWith(`~"data"`), true, "it was not delivered, and the next one is");
    assert.equal(served.audit.events.filter(({ event }) => event === "message.publish").length, 1);
  });
}

test("brokerService() refuses an event whose publisher nobody vouches for, or whose token is over", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const shop = await inside.join(id("shop"));
  const broker = await served.as(shop);
  const namesake = await (await world("example.org", inside.now)).join(id("shop"));
  await refused(publishAs(inside, broker, namesake), "refused");
  const text = await signed(shop, { topic: PLACED, id: "1", event: "1" }, { timeMs: inside.now() });
  const [attributes, token] = text.split("~");
  await refused(publishAs(inside, broker, shop, { text: `${attributes}~${token}~2` }), "refused");
  await refused(publishAs(inside, broker, shop, { text: `x${attributes}~${token}~1` }), "refused");
  assert.equal(refusals(served).length, 3);
  assert.equal(refusals(served)[1]![0], "wrong_digest");
});

test("brokerService() refuses subscriptions that nothing allows, and notes it", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const broker = await served.as(await inside.join(id("billing")));
  const patterns = [
    "cards.v1.charged",
    "orders.v1.>",
    "orders.>",
    ">",
    "*",
    keysTopic("cards.v1.charged"),
    "postern.>",
  ];
  for (const pattern of patterns) await refused(broker.subscribe(pattern), "refused");
  assert.deepEqual(refusals(served), patterns.map((pattern) => ["not_allowed", id("billing"), pattern]));
});

test("brokerService() gives a subscription to a pattern exactly what its subscriber may receive", async () => {
  const inside = await world();
  const whole = policy([
    ...TOPICS,
    allow({ caller: id("auditor"), subscribe: "orders.v1.*" }),
    allow({ caller: id("watcher"), subscribe: ">" }),
  ]);
  // Rules that cover a pattern cover its topics; what is asked about here is each topic by itself.
  const strict = {
    ...whole,
    matching: (question: Parameters<typeof whole.matching>[0]) =>
      "subscribe" in question && question.subscribe === "orders.v1.secret" ? [] : whole.matching(question),
  };
  await using served = await hub(inside, { policy: strict });
  const admin = await inside.join(id("admin"));
  const broker = await served.as(admin);
  const auditor = await served.as(await inside.join(id("auditor")));
  await using all = await reader(await served.as(await inside.join(id("watcher"))), ">");
  await using some = await reader(auditor, "orders.v1.*", { group: "g", maxInFlight: 1 });
  const topics = [
    PLACED,
    "orders.v1.secret",
    joinTopic(PLACED),
    "cards.v1.charged",
    "orders.v2.placed",
    "orders.v1.secret",
    "orders.v1.paid",
  ];
  for (const [index, topic] of topics.entries()) await publishAs(inside, broker, admin, { topic, id: `${index}` });
  const take = async (from: typeof all, count: number) => {
    const taken: string[] = [];
    while (taken.length < count) {
      const delivery = await from.next();
      taken.push(delivery.topic);
      delivery.ack();
    }
    return taken;
  };
  assert.deepEqual(await take(all, 4), [PLACED, "cards.v1.charged", "orders.v2.placed", "orders.v1.paid"]);
  assert.deepEqual(await take(some, 2), [PLACED, "orders.v1.paid"]);
});

/** A policy that can be another one from now on. */
function changing(rules: readonly Rule[]) {
  let current = policy(rules);
  const own: Policy = {
    start: (...all) => current.start(...all),
    matching: (question) => current.matching(question),
    explain: (question) => current.explain(question),
    topicsOf: (caller) => current.topicsOf(caller),
  };
  return { policy: own, become: (rules: readonly Rule[]) => void (current = policy(rules)) };
}

test("brokerService() ends a subscription that nothing allows any more, and keeps the messages for its group", async () => {
  const inside = await world();
  const rules = changing(TOPICS);
  await using served = await hub(inside, { policy: rules.policy });
  const [shop, billing] = [await inside.join(id("shop")), await inside.join(id("billing"))];
  const broker = await served.as(shop);
  await using first = await reader(await served.as(billing), PLACED, { group: "g" });
  const asked = first.ask();
  rules.become(TOPICS.slice(0, 1));
  for (const each of ["1", "2", "3"]) await publishAs(inside, broker, shop, { id: each });
  await refused(asked, "refused");
  rules.become(TOPICS);
  await using second = await reader(await served.as(billing), PLACED, { group: "g" });
  assert.equal((await second.take(3)).length, 3);
});

test("brokerService() gives what one member of a group may not have to another one who may", async () => {
  const inside = await world();
  const clock = virtualClock();
  const whole = policy(TOPICS);
  const withheld = new Set<string>(["orders.v1.secret"]);
  const strict: Policy = {
    ...whole,
    matching: (question) =>
      "subscribe" in question && withheld.has(question.subscribe!) ? [] : whole.matching(question),
  };
  await using served = await hub(inside, { policy: strict, broker: memoryBroker({ now: inside.now, clock }) });
  const [admin, billing] = [await inside.join(id("admin")), await inside.join(id("billing"))];
  const broker = await served.as(admin);
  await using member = await reader(await served.as(billing), "orders.v1.*", { group: "g" });
  await publishAs(inside, broker, admin, { topic: "orders.v1.secret" });
  await publishAs(inside, broker, admin, { topic: PLACED });
  const first = await member.next();
  assert.equal(first.topic, PLACED);
  first.ack();
  withheld.clear();
  const next = member.next();
  await roundTrip();
  clock.pass(10_000);
  assert.equal((await next).topic, "orders.v1.secret");
});

test("brokerService() keeps the groups of identities apart, and those of one identity together", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const [shop, billing, shipping] = await Promise.all(
    ["shop", "billing", "shipping"].map((name) => inside.join(id(name))),
  );
  const broker = await served.as(shop!);
  const options = { group: "g", maxInFlight: 1 };
  await using one = await reader(await served.as(billing!), "orders.v1.*", options);
  await using two = await reader(await served.as(await inside.join(id("billing"))), "orders.v1.*", options);
  await using thief = await reader(await served.as(shipping!), "orders.v1.*", { group: "g" });
  for (const each of ["1", "2"]) await publishAs(inside, broker, shop!, { id: each });
  assert.equal((await thief.take(2)).length, 2);
  const [first, second] = [await one.next(), await two.next()];
  assert.notEqual(first.event, second.event);
});
