import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import {
  type Broker,
  BrokerError,
  deadLetterTopic,
  type IdempotencyStore,
  memoryBroker,
  topicPattern,
} from "../../src/broker/mod.ts";
import { mustCome } from "../_patience.ts";
import { heldTimers } from "../registry/_rig.ts";
import { manualClock } from "./_clock.ts";
import { CardCharged, id, market, OrderPlaced, read } from "./_pubsub.ts";

const refusedAs = (reason: string) => (error: unknown) => error instanceof BrokerError && error.reason === reason;
const Dead = deadLetterTopic("orders.v1.dead");
/** Billing may read everything, and bury it. */
const WIDE = [
  allow({ caller: id("shop"), publish: "orders.v1.*" }),
  allow({ caller: id("billing"), subscribe: "orders.v1.*", publish: "orders.v1.dead" }),
];

/** A broker of which a test changes something. */
const changed = (broker: Broker, change: Partial<Broker>): Broker => ({ ...broker, ...change });

async function until(condition: () => boolean, what: string): Promise<void> {
  const come = async () => {
    while (!condition()) await new Promise((done) => setTimeout(done, 0));
  };
  await mustCome(come(), what);
}

/** Ends what waits 10 s for something that never comes. */
async function endOf(...ending: readonly AsyncDisposable[]): Promise<void> {
  const timers = heldTimers();
  try {
    const ended = Promise.all(ending.map((each) => each[Symbol.asyncDispose]()));
    let isOver = false;
    ended.then(() => isOver = true);
    for (let turn = 0; turn < 200 && !isOver; turn++) {
      await timers.settle();
      for (const _ of ending) if (timers.waits().includes(10_000)) timers.fire(10_000);
    }
    assert.ok(isOver, "it ends");
  } finally {
    timers[Symbol.dispose]();
  }
}

describe("PubSub.subscribe() and dead letters", () => {
  test("PubSub.subscribe() refuses dead letters that would come to the subscription itself", async () => {
    await using place = await market();
    const billing = await place.join("billing", { rules: WIDE });
    const all = topicPattern("orders.v1.*", OrderPlaced.schema);
    await assert.rejects(billing.subscribe(all, { deadLetter: Dead }), TypeError);
    await assert.rejects(billing.subscribe(Dead, { deadLetter: Dead }), TypeError);
    await using _ = await billing.subscribe(OrderPlaced, { deadLetter: Dead });
  });

  test("PubSub.subscribe() leaves a dead letter out where the broker stays full because of it, and goes on", async () => {
    await using place = await market(({ now }) => memoryBroker({ now, maxMessages: 2 }));
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    await using orders = await billing.subscribe(OrderPlaced, { group: "g", deadLetter: Dead });
    const source = orders[Symbol.asyncIterator]();
    await shop.publish(OrderPlaced, { id: "1" });
    await shop.publish(OrderPlaced, { id: "2" });
    (await source.next()).value!.reject("nobody can do this"); // its letter has no room, and makes none
    const third = shop.publish(OrderPlaced, { id: "3" });
    (await source.next()).value!.ack();
    await mustCome(third, "room");
    assert.equal((await source.next()).value!.data.id, "3");
    assert.deepEqual(
      billing.events.filter(({ event }) => event === "message.drop").map(({ reason }) => reason),
      ["full"],
    );
  });

  test("PubSub.subscribe() gives back what it could not put away when it ends", async () => {
    await using place = await market();
    const stuck = changed(place.broker, {
      publish: (event, options) =>
        event.topic === Dead.name
          ? new Promise((_, reject) => options?.signal?.addEventListener("abort", () => reject(options.signal!.reason)))
          : place.broker.publish(event, options),
    });
    const [shop, billing] = [await place.join("shop"), await place.join("billing", { over: stuck })];
    const orders = await billing.subscribe(OrderPlaced, { group: "g", deadLetter: Dead });
    await shop.publish(OrderPlaced, { id: "1" });
    (await orders[Symbol.asyncIterator]().next()).value!.reject();
    await endOf(orders);
    const next = await place.join("billing");
    await using again = await next.subscribe(OrderPlaced, { group: "g" });
    assert.deepEqual((await read(again, 1)).map(({ data, attempt }) => [data.id, attempt]), [["1", 2]]);
  });
});

describe("PubSub.subscribe() and how it ends", () => {
  test("Subscription: what was acknowledged or rejected right before the loop was left is so", async () => {
    const slow: IdempotencyStore = { has: () => false, add: () => new Promise((done) => setTimeout(done, 5)) };
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    for (const id of ["1", "2", "3"]) await shop.publish(OrderPlaced, { id });
    const options = { group: "g", start: "earliest", idempotency: slow, deadLetter: Dead } as const;
    for await (const message of await billing.subscribe(OrderPlaced, options)) {
      message.ack();
      break;
    }
    for await (const message of await billing.subscribe(OrderPlaced, options)) {
      assert.equal(message.data.id, "2");
      message.reject("no");
      break;
    }
    for await (const message of await billing.subscribe(OrderPlaced, options)) {
      assert.deepEqual([message.data.id, message.attempt], ["3", 1]);
      break;
    }
    assert.ok(billing.events.some(({ event }) => event === "message.bury"));
  });

  test("Subscription.drain() waits for what a handler has, and gives nobody else what is then acknowledged", async () => {
    await using place = await market();
    const [shop, one, other] = [await place.join("shop"), await place.join("billing"), await place.join("billing")];
    await using leaving = await one.subscribe(OrderPlaced, { group: "g" });
    for (const id of ["1", "2", "3", "4"]) await shop.publish(OrderPlaced, { id });
    const source = leaving[Symbol.asyncIterator]();
    (await source.next()).value!.ack();
    const { value: working } = await source.next();
    let isDrained = false;
    const drained = leaving.drain().then(() => isDrained = true);
    await using staying = await other.subscribe(OrderPlaced, { group: "g" });
    assert.deepEqual((await read(staying, 2)).map(({ data }) => data.id), ["3", "4"]);
    assert.equal(isDrained, false);
    working!.ack();
    await mustCome(drained, "the drain");
    assert.equal((await source.next()).done, true);
    await shop.publish(OrderPlaced, { id: "5" });
    assert.deepEqual((await read(staying, 1)).map(({ data, attempt }) => [data.id, attempt]), [["5", 1]]);
  });

  test("Subscription: a handler that throws has nobody's attempts counted but its own message's", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    for (const id of ["poison", "1", "2", "3"]) await shop.publish(OrderPlaced, { id });
    for (let crash = 1; crash <= 3; crash++) {
      const crashing = async () => {
        for await (const { data } of await billing.subscribe(OrderPlaced, { group: "g", start: "earliest" })) {
          throw new Error(data.id);
        }
      };
      await assert.rejects(crashing(), /poison/);
    }
    await using again = await billing.subscribe(OrderPlaced, { group: "g" });
    const came = (await read(again, 4)).map(({ data, attempt }) => [data.id, attempt]);
    assert.deepEqual(came, [["poison", 4], ["1", 1], ["2", 1], ["3", 1]]);
  });

  test("PubSub.subscribe() that is under way when everything ends leaves nothing behind", async () => {
    await using place = await market();
    let opened = 0;
    const counting = changed(place.broker, {
      subscribe: async (pattern, options) => {
        const inner = await place.broker.subscribe(pattern, options);
        opened++;
        return { ...inner, [Symbol.asyncDispose]: () => (opened--, inner[Symbol.asyncDispose]()) };
      },
    });
    const billing = await place.join("billing", { over: counting });
    const subscribing = billing.subscribe(OrderPlaced, { group: "g" });
    await billing[Symbol.asyncDispose]();
    await assert.rejects(subscribing, refusedAs("closed"));
    assert.equal(opened, 0);
  });

  test("Subscription: leaving the loop of an encrypted topic says that its keys are not needed any more", async () => {
    await using place = await market();
    const published: string[] = [];
    const watched = changed(place.broker, {
      publish: (event, options) => (published.push(event.event), place.broker.publish(event, options)),
    });
    const [shop, billing] = [await place.join("shop"), await place.join("billing", { over: watched })];
    const cards = await billing.subscribe(CardCharged);
    await shop.publish(CardCharged, { id: "1" });
    for await (const { data, ack } of cards) {
      assert.equal(data.id, "1");
      ack();
      break;
    }
    assert.ok(published.at(-1)!.includes('"leave":true'));
  });

  test("Subscription: a member that does not ask for more leaves the rest to others", async () => {
    await using place = await market();
    const [shop, slow, quick] = [await place.join("shop"), await place.join("billing"), await place.join("billing")];
    await using first = await slow.subscribe(OrderPlaced, { group: "g" });
    const taking = first[Symbol.asyncIterator]().next();
    for (let n = 0; n < 40; n++) await shop.publish(OrderPlaced, { id: `${n}` });
    await taking;
    await using second = await quick.subscribe(OrderPlaced, { group: "g" });
    assert.equal((await mustCome(read(second, 30), "the rest")).length, 30);
  });

  test("Subscription: attempts that are no numbers end nothing, and count as the first", async () => {
    for (const attempt of [NaN, -5, 1.5, 0, "7" as unknown as number]) {
      await using place = await market();
      const lying = changed(place.broker, {
        subscribe: async (pattern, options) => {
          const inner = await place.broker.subscribe(pattern, options);
          const deliveries = async function* () {
            for await (const delivery of inner) {
              yield {
                topic: delivery.topic,
                event: delivery.event,
                orderingKey: delivery.orderingKey,
                attempt,
                ack: () => delivery.ack(),
                nack: (options?: { delayMs?: number }) => delivery.nack(options),
              };
            }
          };
          return { ...inner, dropped: 0, [Symbol.asyncIterator]: deliveries };
        },
      });
      const [shop, billing] = [await place.join("shop"), await place.join("billing", { over: lying })];
      await using orders = await billing.subscribe(OrderPlaced, { deadLetter: Dead });
      await shop.publish(OrderPlaced, { id: "1" });
      const { value } = await orders[Symbol.asyncIterator]().next();
      assert.equal(value!.attempt, 1);
      value!.reject();
      await until(() => billing.events.at(-1)!.event === "message.publish", "the letter");
    }
  });
});

describe("Message.ack() with a store that fails", () => {
  const storeOf = (change: Partial<IdempotencyStore>): IdempotencyStore => ({ has: () => false, add() {}, ...change });

  test("PubSub.subscribe() hands nothing out that the store could not look up, and it comes again", async () => {
    const clock = manualClock();
    await using place = await market(() => memoryBroker({ now: clock.now, clock }));
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    let asked = 0;
    const store = storeOf({ has: () => ++asked === 1 ? Promise.reject(new Error("down")) : false });
    await using orders = await billing.subscribe(OrderPlaced, { idempotency: store });
    const next = orders[Symbol.asyncIterator]().next();
    await shop.publish(OrderPlaced, { id: "1" });
    await until(() => asked === 1, "the first question");
    await until(() => (clock.pass(1_000), asked === 2), "the second question");
    assert.deepEqual([(await next).value!.data.id, (await next).value!.attempt], ["1", 2]);
  });

  test("Message.ack() acknowledges only what the store remembers", async () => {
    const clock = manualClock();
    await using place = await market(() => memoryBroker({ now: clock.now, clock }));
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    let told = 0;
    const store = storeOf({ add: () => ++told === 1 ? Promise.reject(new Error("down")) : undefined });
    await using orders = await billing.subscribe(OrderPlaced, { idempotency: store });
    const source = orders[Symbol.asyncIterator]();
    await shop.publish(OrderPlaced, { id: "1" });
    (await source.next()).value!.ack();
    const next = source.next();
    let came = false;
    next.then(() => came = true);
    await until(() => (clock.pass(1_000), came), "the second attempt");
    const { value } = await next;
    assert.deepEqual([value!.data.id, value!.attempt], ["1", 2]);
    value!.ack();
  });

  test("Subscription ends while its store does not answer", async () => {
    await using place = await market();
    const [shop, billing] = [await place.join("shop"), await place.join("billing")];
    const never = () => new Promise<never>(() => {});
    const asked = await billing.subscribe(OrderPlaced, { idempotency: storeOf({ has: never }) });
    const told = await billing.subscribe(OrderPlaced, { idempotency: storeOf({ add: never }) });
    await shop.publish(OrderPlaced, { id: "1" });
    const waiting = asked[Symbol.asyncIterator]().next();
    (await told[Symbol.asyncIterator]().next()).value!.ack();
    await endOf(asked, told);
    assert.equal((await mustCome(waiting, "the loop")).done, true);
  });
});

describe("PubSub.publish() while a broker holds keys back", () => {
  test("PubSub.publish() can be given up, does not hold up other topics, and does not hold up the end", async () => {
    await using place = await market();
    const holding = changed(place.broker, {
      publish: (event, options) =>
        event.topic.startsWith("postern.keys.")
          ? new Promise((_, reject) => options?.signal?.addEventListener("abort", () => reject(options.signal!.reason)))
          : place.broker.publish(event, options),
    });
    const shop = await place.join("shop", { over: holding });
    const given = new AbortController();
    const first = shop.publish(CardCharged, { id: "1" }, { signal: given.signal });
    const second = shop.publish(CardCharged, { id: "2" });
    await mustCome(shop.publish(OrderPlaced, { id: "3" }), "another topic");
    given.abort(new Error("enough"));
    await assert.rejects(first, /enough/);
    const refused = assert.rejects(second, refusedAs("closed"));
    await endOf(shop);
    await mustCome(refused, "the second");
  });
});
