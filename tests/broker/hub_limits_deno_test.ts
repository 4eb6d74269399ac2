import assert from "node:assert/strict";
import { test } from "node:test";
import { policy } from "../../src/auth/mod.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { BrokerError } from "../../src/broker/broker_error.ts";
import { BrokerService } from "../../src/broker/hub/broker_contract.ts";
import { brokerService } from "../../src/broker/hub/broker_service.ts";
import { hubBroker } from "../../src/broker/hub/hub_broker.ts";
import { memoryBroker } from "../../src/broker/memory/memory_broker.ts";
import { type Caller, createClient, createServer, publicOnly, RpcError } from "../../src/rpc/mod.ts";
import { mustCome } from "../_patience.ts";
import { world } from "../auth/_world.ts";
import { collect } from "../rpc/_rig.ts";
import { virtualClock } from "../rpc/_sockets.ts";
import { events, reader, refused } from "./_conformance_rig.ts";
import { hub, id, idAt, PLACED, publishAs, refusals, signed, signing, TOPICS } from "./_hub.ts";

test("brokerService() bounds subscriptions and groups of an identity, and nobody else's", async () => {
  const inside = await world();
  await using served = await hub(inside, { maxSubscriptionsPerIdentity: 2, maxGroupsPerIdentity: 1 });
  const broker = await served.as(await inside.join(id("billing")));
  const other = await served.as(await inside.join(id("shipping")));
  const first = await reader(broker, PLACED, { group: "g" });
  await refused(broker.subscribe(PLACED, { group: "h" }), "full");
  await refused(broker.subscribe("orders.v1.*", { group: "g" }), "full");
  await using _second = await reader(broker, PLACED, { group: "g" });
  await refused(broker.subscribe(PLACED), "full");
  await using _other = await reader(other, PLACED, { group: "h" });
  await first[Symbol.asyncDispose]();
  await using _third = await reader(broker, PLACED);
  assert.deepEqual(
    refusals(served).map(([reason, caller]) => [reason, caller]),
    Array(3).fill(["full", id("billing")]),
  );
});

test("brokerService() has no publisher wait for a group, unless it is of somebody who may block", async () => {
  const inside = await world();
  for (const mayBlock of [undefined, () => false, ({ id: caller }: Caller) => caller === id("billing")]) {
    const store = memoryBroker({ now: inside.now, maxMessages: 4 });
    await using served = await hub(inside, { broker: store, ...mayBlock && { mayBlock } });
    const shop = await inside.join(id("shop"));
    const broker = await served.as(shop);
    await using gone = await reader(await served.as(await inside.join(id("shipping"))), PLACED, { group: "g" });
    await using slow = await reader(await served.as(await inside.join(id("billing"))), PLACED, { group: "g" });
    await gone.leave();
    const publishing = Promise.all(events(12).map((each) => publishAs(inside, broker, shop, { id: each })));
    if (mayBlock?.({ id: id("billing"), roles: [], attributes: {} })) await slow.take(12);
    else await mustCome(publishing, "all events");
    await mustCome(publishing, "all events");
    await publishAs(inside, broker, shop, { id: "last" });
  }
});

test("brokerService() says at once that there is no room to who does not wait", async () => {
  const inside = await world();
  const store = memoryBroker({ now: inside.now, maxMessages: 1 });
  await using served = await hub(inside, { broker: store, mayBlock: () => true });
  const shop = await inside.join(id("shop"));
  const broker = signing(await served.as(shop), shop, inside.now);
  await using _ = await reader(await served.as(await inside.join(id("billing"))), PLACED, { group: "g" });
  await broker.publish({ topic: PLACED, id: "1", event: "1" });
  await refused(broker.publish({ topic: PLACED, id: "2", event: "2" }, { waits: false }), "full");
});

test("brokerService() lets nobody ask to block who may not, and notes it", async () => {
  const inside = await world();
  await using served = await hub(inside, { mayBlock: ({ id: caller }) => caller === id("billing") });
  const [allowed, other] = await Promise.all(
    ["billing", "shipping"].map(async (name) => await served.as(await inside.join(id(name)))),
  );
  for (const options of [{ slow: "block" }, { slow: "block", group: "g" }] as const) {
    await using _allowed = await reader(allowed!, PLACED, options);
    await refused(other!.subscribe(PLACED, options), "refused");
  }
  for (const slow of ["drop_oldest", "disconnect"] as const) {
    await using _other = await reader(other!, PLACED, { slow, group: "g" });
  }
  assert.deepEqual(refusals(served), Array(2).fill(["not_allowed", id("shipping"), PLACED]));
});

test("brokerService() leaves it to a broker that has a way of its own what becomes of slow groups", async () => {
  const inside = await world();
  const asked: unknown[] = [];
  const store = memoryBroker({ now: inside.now });
  const own: Broker = {
    ...store,
    async subscribe(pattern, options) {
      asked.push(options?.slow);
      if (options?.slow !== undefined) throw new BrokerError("unsupported", "The stream does as it does");
      return await store.subscribe(pattern, options);
    },
  };
  await using served = await hub(inside, { broker: own });
  const broker = await served.as(await inside.join(id("billing")));
  await using _one = await reader(broker, PLACED, { group: "g" });
  await using _two = await reader(broker, PLACED);
  assert.deepEqual(asked, ["drop_oldest", undefined, undefined]);
  await refused(broker.subscribe(PLACED, { group: "g", slow: "disconnect" }), "unsupported");
});

test("brokerService() counts no group that the broker refused", async () => {
  const inside = await world();
  const store = memoryBroker({ now: inside.now, maxGroups: 1 });
  await using served = await hub(inside, { broker: store, maxGroupsPerIdentity: 1 });
  const taken = await reader(store, "a", { group: "g" });
  const broker = await served.as(await inside.join(id("billing")));
  for (const group of ["a", "b"]) await refused(broker.subscribe(PLACED, { group }), "full");
  assert.deepEqual(refusals(served), [], "it is the broker that has no room");
  await taken[Symbol.asyncDispose]();
});

test("brokerService() bounds the events of an identity that are on their way", async () => {
  const inside = await world();
  let free = () => {};
  const stuck = new Promise<void>((resolve) => free = resolve);
  const store = memoryBroker({ now: inside.now });
  const slow: Broker = { ...store, publish: (event) => stuck.then(() => store.publish(event)) };
  await using served = await hub(inside, { broker: slow, maxPublishingPerIdentity: 2 });
  const [shop, admin] = [await inside.join(id("shop")), await inside.join(id("admin"))];
  const broker = await served.as(shop);
  const two = ["1", "2"].map((each) => publishAs(inside, broker, shop, { id: each }));
  while (served.audit.events.length === 0) await new Promise((done) => setTimeout(done, 0));
  const impatient = await served.as(shop, { publishTimeoutMs: 300 });
  await refused(publishAs(inside, impatient, shop, { id: "3" }), "full");
  const others = publishAs(inside, await served.as(admin), admin, { id: "4" });
  free();
  await mustCome(Promise.all([...two, others]), "the events");
  await publishAs(inside, broker, shop, { id: "3" });
});

test("brokerService() tells its broker of a publisher that left", async () => {
  const inside = await world();
  let free = () => {};
  const stuck = new Promise<void>((resolve) => free = resolve);
  const store = memoryBroker({ now: inside.now });
  const slow: Broker = { ...store, publish: (event, options) => stuck.then(() => store.publish(event, options)) };
  await using served = await hub(inside, { broker: slow });
  const admin = await inside.join(id("admin"));
  await using all = await reader(store, ">");
  const [first, last] = [await served.as(admin), await served.as(admin)];
  const noted = () => served.audit.events.length;
  const one = publishAs(inside, first, admin, { id: "1" });
  while (noted() < 1) await new Promise((done) => setTimeout(done, 0));
  const client = createClient(BrokerService, served.transport(admin));
  const leaving = new AbortController();
  const event = await signed(admin, { topic: PLACED, id: "2", event: "2" }, { timeMs: inside.now() });
  const two = client.publish({ topic: PLACED, id: idAt(admin, PLACED, "2"), event }, { signal: leaving.signal });
  await client.properties({}); // on the same connection: the hub has both
  leaving.abort();
  await assert.rejects(two, { code: "canceled" });
  await client.properties({});
  free();
  await one;
  await publishAs(inside, last, admin, { id: "3" });
  assert.deepEqual(new Set((await all.take(2)).map((each) => each.split("~")[2])), new Set([`"data"`]));
  assert.equal(noted(), 3, "each is noted before the broker is asked");
});

test("brokerService() allows nothing that cannot be noted", async () => {
  const inside = await world();
  const audit = {
    record: () => {
      throw new Error("full");
    },
  };
  await using served = await hub(inside, { audit });
  const admin = await inside.join(id("admin"));
  const client = createClient(BrokerService, served.transport(admin));
  await using all = await reader(served.broker, ">");
  const named = { topic: PLACED, id: "1", event: "1" };
  const event = await signed(admin, named, { timeMs: inside.now() });
  await assert.rejects(client.publish({ ...named, id: idAt(admin, PLACED, "1"), event }), { code: "internal" });
  await assert.rejects(first(client.subscribe(saying({ open: { pattern: ">" } }))), { code: "internal" });
  await served.broker.publish({ topic: "a", id: "1", event: "next" });
  assert.deepEqual(await all.take(1), ["next"]);
});

type Client = ReturnType<typeof createClient<(typeof BrokerService)["methods"]>>;

const first = (answers: AsyncIterable<unknown>) => answers[Symbol.asyncIterator]().next();

/** Messages of a subscriber that says no more, and stays. */
async function* saying(...messages: readonly object[]) {
  yield* messages as never[];
  await new Promise<never>(() => {});
}

test("brokerService() ends a subscription that does not keep to the protocol", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const client = createClient(BrokerService, served.transport(await inside.join(id("admin"))));
  const open = { pattern: "a.b", maxInFlight: 4 };
  const wrong: Record<string, readonly object[]> = {
    "nothing opened": [{ want: 1 }],
    "opened twice": [{ open }, { open }],
    "more than may be out": [{ open }, { want: 5 }],
    "more than may be out, little by little": [{ open }, { want: 4 }, { want: 1 }],
    "too much room": [{ open }, { room: 4_194_305 }],
  };
  for (const [what, messages] of Object.entries(wrong)) {
    const answers = client.subscribe(saying(...messages))[Symbol.asyncIterator]();
    const end = (async () => {
      while (!(await answers.next()).done);
    })();
    await assert.rejects(mustCome(end, what), (error) => {
      assert.ok(error instanceof RpcError);
      return error.code === "invalid_argument";
    }, what);
  }
  assert.equal(await settledSubscriptions(client), 64, "all of them were given back");
});

/** How many subscriptions there is room for. */
async function settledSubscriptions(client: Client): Promise<number> {
  let count = 0;
  for (;;) {
    const answers = client.subscribe(saying({ open: { pattern: "a.b" } }))[Symbol.asyncIterator]();
    try {
      await answers.next();
      count++;
    } catch {
      return count;
    }
  }
}

test("brokerService() says which message is out no more when it gives one in its place", async () => {
  const inside = await world();
  const clock = virtualClock();
  await using served = await hub(inside, { broker: memoryBroker({ now: inside.now, clock }) });
  const client = createClient(BrokerService, served.transport(await inside.join(id("admin"))));
  let ask = () => {};
  const answers = client.subscribe((async function* () {
    yield { open: { pattern: "a.b", maxInFlight: 1, ackWaitMs: 1_000 }, room: 100 };
    for (;;) {
      await new Promise<void>((resolve) => ask = resolve);
      yield { want: 1 };
    }
  })())[Symbol.asyncIterator]();
  assert.ok((await answers.next()).value?.ready);
  await served.broker.publish({ topic: "a.b", id: "1", event: "1" });
  const gone: unknown[] = [];
  while (gone.length < 4) {
    ask();
    const answer = answers.next();
    clock.pass(1_000);
    const { value } = await mustCome(answer, "a delivery");
    gone.push([value?.delivery?.n, value?.delivery?.attempt, value?.delivery?.gone]);
  }
  assert.deepEqual(gone, [[1, 1, undefined], [2, 2, 1], [3, 3, 2], [4, 4, 3]]);
  await answers.return!();
});

test("brokerService() ends a subscription when its subscriber says no more", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const client = createClient(BrokerService, served.transport(await inside.join(id("admin"))));
  const answers = client.subscribe((async function* () {
    yield { open: { pattern: "a.b" } };
  })())[Symbol.asyncIterator]();
  assert.ok((await answers.next()).value?.ready);
  assert.equal((await mustCome(answers.next(), "the end")).done, true);
});

test("T2.2 without credentials no method of a hub is there, whatever its server lets in", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const open = brokerService(memoryBroker(), { trust: inside.trust, policy: policy(TOPICS) });
  const methods = ["properties", "publish", "subscribe"].map((name) => `postern.broker.v1/${name}`);
  await using server = createServer(open, { guard: publicOnly(methods), log: collect().log });
  for (const transport of [served.transport(undefined), server.call]) {
    const client = createClient(BrokerService, transport);
    await refused(hubBroker(transport, { openTimeoutMs: 1_000 }), "refused");
    const refusedAs = { code: "unauthenticated" };
    await assert.rejects(client.properties({}), refusedAs);
    await assert.rejects(client.publish({ topic: PLACED, id: "1", event: "1" }), refusedAs);
    await assert.rejects(first(client.subscribe(saying({ open: { pattern: PLACED } }))), refusedAs);
  }
  assert.deepEqual(served.audit.events, []);
  await open[Symbol.asyncDispose]();
});

test("brokerService() refuses limits that are none", async () => {
  const { trust } = await world();
  const names = ["maxSubscriptionsPerIdentity", "maxGroupsPerIdentity", "maxPublishingPerIdentity"];
  for (const name of names) {
    for (const value of [0, -1, 1.5, NaN]) {
      assert.throws(() => brokerService(memoryBroker(), { trust, policy: policy([]), [name]: value }), RangeError);
    }
  }
});

test("hubBroker() refuses times that are none", async () => {
  const nowhere = () => Promise.reject(new Error("called"));
  for (const name of ["publishTimeoutMs", "openTimeoutMs"]) {
    for (const value of [0, -1, 1.5, NaN, 120_001]) {
      await assert.rejects(hubBroker(nowhere, { [name]: value }), RangeError);
    }
  }
});

test("hubBroker() carries what signing() signs", async () => {
  const inside = await world();
  await using served = await hub(inside);
  const admin = await inside.join(id("admin"));
  const broker = signing(await served.as(admin), admin, inside.now);
  await using all = await reader(broker, "a.b");
  await broker.publish({ topic: "a.b", id: "1", event: "hello" });
  assert.deepEqual(await all.take(1), ["hello"]);
});
