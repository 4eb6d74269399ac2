import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as v from "valibot";
import { allow } from "../../src/auth/mod.ts";
import {
  type Broker,
  BrokerError,
  createPubSub,
  deadLetterTopic,
  memoryBroker,
  memoryIdempotency,
  topic,
  topicPattern,
} from "../../src/broker/mod.ts";
import { CardCharged, id, market, OrderPlaced, read, RULES } from "./_pubsub.ts";

const refusedAs = (reason: string) => (error: unknown) => error instanceof BrokerError && error.reason === reason;
const Dead = deadLetterTopic("orders.v1.dead");

describe("PubSub.publish()", () => {
  test("PubSub.publish() reaches who subscribed, with what its publisher said", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await using orders = await billing.subscribe(OrderPlaced);
    const published = await shop.publish(OrderPlaced, { id: "1", amount: 5 });
    const [message] = await read(orders, 1);
    assert.deepEqual({ ...message!.data }, { id: "1", amount: 5 });
    assert.equal(message!.publisher.id, id("shop"));
    assert.equal(message!.id, published.id);
    assert.equal(message!.time.getTime(), place.now());
    assert.deepEqual([message!.attempt, message!.sequence, message!.missing, message!.late], [1, 1, 0, false]);
    assert.deepEqual(shop.events.map(({ event }) => event), ["message.publish"]);
    assert.deepEqual(billing.events.map(({ event }) => event), ["subscription.open", "message.accept"]);
  });

  test("PubSub.publish() refuses what the contract does not have, before anything leaves", async () => {
    await using place = await market();
    const shop = await place.join("shop");
    const wrong = [{ id: 1 }, { id: "1", more: true }, {}, [], null, "text"];
    for (const message of wrong) {
      await assert.rejects(shop.publish(OrderPlaced, message as never), refusedAs("malformed_message"));
    }
    await assert.rejects(shop.publish(OrderPlaced, { id: "x".repeat(70_000) }));
    for (const bad of ["", "a b", "ä", "x".repeat(129), "a\n"]) {
      await assert.rejects(shop.publish(OrderPlaced, { id: "1" }, { id: bad }), TypeError);
      await assert.rejects(shop.publish(OrderPlaced, { id: "1" }, { orderingKey: bad }), TypeError);
    }
  });

  test("PubSub.publish() refuses, and records, what no rule allows", async () => {
    await using place = await market();
    const billing = await place.join("billing");
    await assert.rejects(billing.publish(OrderPlaced, { id: "1" }), refusedAs("not_allowed"));
    assert.equal(billing.refused("not_allowed"), 1);
  });

  test("PubSub.publish() asks rules about the message too, and so does who receives it", async () => {
    await using place = await market();
    const small = [
      allow({
        caller: id("shop"),
        publish: "orders.v1.placed",
        when: ({ message }) => ((message as { amount?: number }).amount ?? 0) < 100,
      }),
      allow({ caller: id("billing"), subscribe: "orders.v1.placed" }),
    ];
    const honest = await place.join("shop", { rules: small });
    await honest.publish(OrderPlaced, { id: "1", amount: 99 });
    await assert.rejects(honest.publish(OrderPlaced, { id: "2", amount: 100 }), refusedAs("not_allowed"));
    const greedy = await place.join("shop");
    const billing = await place.join("billing", { rules: small });
    await using orders = await billing.subscribe(OrderPlaced);
    await greedy.publish(OrderPlaced, { id: "3", amount: 100 });
    await greedy.publish(OrderPlaced, { id: "4", amount: 1 });
    assert.deepEqual((await read(orders, 1)).map(({ data }) => data.id), ["4"]);
    assert.equal(billing.refused("not_allowed"), 1);
  });

  test("PubSub.publish() keeps its order however long each signature takes", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await using orders = await billing.subscribe(OrderPlaced, { maxInFlight: 200 });
    await Promise.all(Array.from({ length: 100 }, (_, n) => shop.publish(OrderPlaced, { id: `${n}` })));
    const messages = await read(orders, 100);
    assert.deepEqual(messages.map(({ data }) => data.id), Array.from({ length: 100 }, (_, n) => `${n}`));
    assert.ok(messages.every(({ missing, late }) => missing === 0 && !late));
  });

  test("createPubSub() changes the keys of encrypted topics as its options say, and refuses others", async () => {
    await using place = await market();
    const keyOf = (event: string) => JSON.parse(atob(event.split("~")[2]!.split(".")[0]!)).kid;
    const kids: string[] = [];
    const watched: Broker = {
      ...place.broker,
      publish(event, options) {
        if (event.topic === CardCharged.name) kids.push(keyOf(event.event));
        return place.broker.publish(event, options);
      },
    };
    const shop = await place.join("shop", { over: watched, encryption: { maxMessages: 2, rotateMs: 5_000 } });
    for (const ms of [0, 0, 0, 5_000]) {
      place.now.pass(ms);
      await shop.publish(CardCharged, { id: "1" });
    }
    assert.deepEqual(kids.map((kid) => kids.indexOf(kid)), [0, 0, 2, 3]);
    for (const encryption of [{ maxMessages: 0 }, { rotateMs: 999 }]) {
      await assert.rejects(place.join("shop", { encryption }), RangeError);
    }
  });

  test("PubSub.publish() fails after the end, and what was on its way is not lost", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await using orders = await billing.subscribe(OrderPlaced);
    const sending = shop.publish(OrderPlaced, { id: "1" });
    await shop[Symbol.asyncDispose]();
    await sending;
    assert.equal((await read(orders, 1)).length, 1);
    await assert.rejects(shop.publish(OrderPlaced, { id: "2" }), refusedAs("closed"));
    await assert.rejects(shop.subscribe(OrderPlaced), refusedAs("closed"));
  });
});

describe("PubSub.subscribe()", () => {
  test("PubSub.subscribe() refuses, and records, what no rule allows, wider patterns too", async () => {
    await using place = await market();
    const shipping = await place.join("shipping");
    for (const pattern of [">", "orders.>", "orders.v1.*", "*.v1.placed"]) {
      await assert.rejects(shipping.subscribe(topicPattern(pattern, OrderPlaced.schema)), refusedAs("not_allowed"));
    }
    await assert.rejects(shipping.subscribe(OrderPlaced, { deadLetter: Dead }), refusedAs("not_allowed"));
    assert.equal(shipping.refused("not_allowed"), 5);
  });

  test("PubSub.subscribe() refuses messages of publishers whom its own policy does not let", async () => {
    await using place = await market();
    const rules = [...RULES, allow({ caller: id("mallory"), publish: ">" })];
    const mallory = await place.join("mallory", { rules });
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await using orders = await billing.subscribe(OrderPlaced);
    await mallory.publish(OrderPlaced, { id: "forged" });
    await shop.publish(OrderPlaced, { id: "real" });
    assert.deepEqual((await read(orders, 1)).map(({ data }) => data.id), ["real"]);
    const refusal = billing.events.find(({ event }) => event === "message.refuse");
    assert.deepEqual([refusal?.reason, refusal?.caller], ["not_allowed", id("mallory")]);
  });

  test("PubSub.subscribe() shares within a group, and gives each ungrouped subscriber everything", async () => {
    await using place = await market();
    const [shop, one, other] = [await place.join("shop"), await place.join("billing"), await place.join("billing")];
    await using first = await one.subscribe(OrderPlaced, { group: "workers", maxInFlight: 2 });
    await using second = await other.subscribe(OrderPlaced, { group: "workers", maxInFlight: 2 });
    await using all = await other.subscribe(OrderPlaced);
    for (let n = 0; n < 4; n++) await shop.publish(OrderPlaced, { id: `${n}` });
    const shared: string[] = [];
    const work = async (member: typeof first) => {
      for await (const { data, ack } of member) {
        shared.push(data.id);
        ack();
        if (shared.length === 4) await Promise.all([first, second].map((each) => each.drain()));
      }
    };
    await Promise.all([work(first), work(second)]);
    assert.deepEqual(shared.sort(), ["0", "1", "2", "3"]);
    assert.equal((await read(all, 4)).length, 4);
  });

  test("PubSub.subscribe() refuses options that mean nothing, or that the broker does not keep", async () => {
    await using place = await market();
    const billing = await place.join("billing");
    await assert.rejects(billing.subscribe(OrderPlaced, { maxAttempts: 3 }), TypeError);
    for (const options of [{ maxAttempts: 0 }, { maxAttempts: 1.5 }, { maxAttempts: 1_001 }, { maxAgeMs: 0 }]) {
      await assert.rejects(billing.subscribe(OrderPlaced, { deadLetter: Dead, ...options }), TypeError);
    }
    const poor: Broker = {
      ...place.broker,
      properties: { ...place.broker.properties, groups: false, positions: false, redelivers: false, ordering: false },
    };
    const poorer = await place.join("billing", { over: poor });
    const asked = [{ group: "g" }, { start: "earliest" as const }, { deadLetter: Dead }, { ackWaitMs: 5_000 }];
    for (const options of asked) {
      await assert.rejects(poorer.subscribe(OrderPlaced, options), refusedAs("unsupported"));
    }
    await using orders = await poorer.subscribe(OrderPlaced);
    const shop = await place.join("shop", { over: poor });
    await assert.rejects(shop.publish(OrderPlaced, { id: "1" }, { orderingKey: "k" }), refusedAs("unsupported"));
    await shop.publish(OrderPlaced, { id: "1" });
    const [message] = await read(orders, 1);
    const again = orders[Symbol.asyncIterator]();
    await shop.publish(OrderPlaced, { id: "2" });
    const next = await again.next();
    assert.throws(() => next.value!.nack(), refusedAs("unsupported"));
    next.value!.ack();
    assert.equal(message!.data.id, "1");
  });

  test("createPubSub() refuses a broker that others can read, or anybody can use", async () => {
    await using place = await market();
    const identity = await place.world.join(id("shop"));
    const options = {
      identity,
      trust: place.world.trust,
      policy: { ...(await import("../../src/auth/mod.ts")).policy(RULES) },
    };
    for (const weaker of [{ encrypted: false }, { accessControlled: false }]) {
      const broker = { ...place.broker, properties: { ...place.broker.properties, ...weaker } };
      assert.throws(() => createPubSub(broker, options), refusedAs("insecure"));
    }
  });

  test("PubSub.subscribe() refuses what is older than it may be", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await shop.publish(OrderPlaced, { id: "old" });
    place.now.pass(10_000);
    await shop.publish(OrderPlaced, { id: "new" });
    await using orders = await billing.subscribe(OrderPlaced, { start: "earliest", maxAgeMs: 9_999 });
    assert.deepEqual((await read(orders, 1)).map(({ data }) => data.id), ["new"]);
    assert.equal(billing.refused("too_old"), 1);
  });
});

describe("Message", () => {
  test("Message.nack() gives it back, until it goes to the dead letters with its reason", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    const reader = await place.join("desk", {
      rules: [
        allow({ caller: id("desk"), subscribe: "orders.v1.dead" }),
        allow({ caller: id("billing"), publish: Dead.name }),
      ],
    });
    await using letters = await reader.subscribe(Dead);
    await using orders = await billing.subscribe(OrderPlaced, { group: "g", deadLetter: Dead, maxAttempts: 3 });
    await shop.publish(OrderPlaced, { id: "poison" });
    const attempts: number[] = [];
    const source = orders[Symbol.asyncIterator]();
    for (let n = 0; n < 3; n++) {
      const { value } = await source.next();
      attempts.push(value!.attempt);
      value!.nack();
    }
    assert.deepEqual(attempts, [1, 2, 3]);
    const [letter] = await read(letters, 1);
    assert.equal(letter!.publisher.id, id("billing"));
    const { topic: name, reason, attempts: tried, event } = letter!.data;
    assert.deepEqual([name, reason, tried], ["orders.v1.placed", "too_many_attempts", 3]);
    assert.match(event, /poison/);
    await shop.publish(OrderPlaced, { id: "next" });
    assert.equal((await source.next()).value!.data.id, "next");
  });

  test("Message.reject() puts it away at once, with what the handler said, or leaves it out", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    const reader = await place.join("desk", {
      rules: [
        allow({ caller: id("desk"), subscribe: "orders.v1.dead" }),
        allow({ caller: id("billing"), publish: Dead.name }),
      ],
    });
    await using letters = await reader.subscribe(Dead);
    await using orders = await billing.subscribe(OrderPlaced, { deadLetter: Dead });
    await using others = await billing.subscribe(OrderPlaced);
    await shop.publish(OrderPlaced, { id: "1" });
    const { value } = await orders[Symbol.asyncIterator]().next();
    value!.reject(`no such card ${"x".repeat(500)}`);
    value!.ack();
    const [letter] = await read(letters, 1);
    assert.equal(letter!.data.reason, "rejected");
    assert.match(letter!.data.detail, /^no such card x+$/);
    const next = await others[Symbol.asyncIterator]().next();
    next.value!.reject();
    assert.equal(billing.events.filter(({ event }) => event === "message.drop").length, 1);
  });

  test("Message: what does not fit the subscriber's contract is a dead letter, and the next one comes", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    const Older = topic("orders.v1.placed", v.strictObject({ id: v.string() }));
    await using orders = await billing.subscribe(Older, { deadLetter: Dead });
    await shop.publish(OrderPlaced, { id: "1", amount: 1 });
    await shop.publish(OrderPlaced, { id: "2" });
    assert.deepEqual((await read(orders, 1)).map(({ data }) => data.id), ["2"]);
    assert.equal(billing.refused("malformed_message"), 1);
  });

  test("Message: with a memory, what a publisher sends twice with one id is handled once", async () => {
    await using place = await market(({ now }) => memoryBroker({ now }));
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await using once = await billing.subscribe(OrderPlaced, { idempotency: memoryIdempotency({ now: place.now }) });
    await using twice = await billing.subscribe(OrderPlaced);
    await shop.publish(OrderPlaced, { id: "1" }, { id: "same" });
    const [first] = await read(once, 1);
    assert.equal(first!.id, "same");
    place.now.pass(300_000); // the broker has forgotten the id
    await shop.publish(OrderPlaced, { id: "1" }, { id: "same" });
    await shop.publish(OrderPlaced, { id: "2" });
    assert.deepEqual((await read(once, 1)).map(({ data }) => data.id), ["2"]);
    assert.deepEqual((await read(twice, 3)).map(({ data }) => data.id), ["1", "1", "2"]);
  });

  test("Message: an ordering key keeps order within a group, also when one is given back", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await using orders = await billing.subscribe(OrderPlaced, { group: "g" });
    for (const id of ["1", "2", "3"]) await shop.publish(OrderPlaced, { id }, { orderingKey: "card-7" });
    const source = orders[Symbol.asyncIterator]();
    const seen: string[] = [];
    for (let isFirst = true; seen.at(-1) !== "3"; isFirst = false) {
      const { value } = await source.next();
      seen.push(value!.data.id);
      assert.equal(value!.orderingKey, "card-7");
      if (isFirst) value!.nack();
      else value!.ack();
    }
    assert.deepEqual(seen, ["1", "1", "2", "3"]);
  });

  test("Subscription.drain() loses nothing: what was not seen goes to another member", async () => {
    await using place = await market();
    const [shop, one, other] = [await place.join("shop"), await place.join("billing"), await place.join("billing")];
    const leaving = await one.subscribe(OrderPlaced, { group: "g" });
    for (let n = 0; n < 10; n++) await shop.publish(OrderPlaced, { id: `${n}` });
    const [first] = await read(leaving, 1);
    await leaving.drain();
    await leaving[Symbol.asyncDispose]();
    await using staying = await other.subscribe(OrderPlaced, { group: "g" });
    const rest = (await read(staying, 9)).map(({ data }) => data.id);
    assert.deepEqual([first!.data.id, ...rest].sort(), Array.from({ length: 10 }, (_, n) => `${n}`));
  });
});
