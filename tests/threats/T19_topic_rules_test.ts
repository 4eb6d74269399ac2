import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { allow, policy, type Rule } from "../../src/auth/mod.ts";
import { type Broker, BrokerError, createPubSub, memoryBroker, topic, topicPattern } from "../../src/broker/mod.ts";
import { coversTopic } from "../../src/internal/topic_name.ts";
import { disposables } from "../_disposables.ts";
import { type World, world } from "../auth/_world.ts";
import { hub, idAt, signed } from "../broker/_hub.ts";
import { id, market, OrderPlaced } from "../broker/_pubsub.ts";

// Who may publish and subscribe is said by rules, and asked everywhere: by who publishes, at the hub, and by who receives.

const Text = v.strictObject({ id: v.string() });
const reasonIs = (reason: string) => (error: unknown) => error instanceof BrokerError && error.reason === reason;

/** Names that somewhere mean more than one topic, another one, or a command. */
const HOSTILE: readonly string[] = [
  "",
  ".",
  "..",
  "a..b",
  ".a",
  "a.",
  "*",
  ">",
  "a.*",
  "a.>",
  "a.*.c",
  "a.b*",
  "a.>.c",
  "a b",
  "a\tb",
  "a\r\nPUB x 0",
  "a\nb",
  "a\0b",
  "a/b",
  "../a",
  "a.%2a",
  "a#",
  "+/a",
  "$SYS.REQ.SERVER.PING",
  "$JS.API.STREAM.DELETE.EVENTS",
  "_INBOX.x",
  "orders.v1.plаced", // a Cyrillic letter
  "orders.v1.placed\u200b",
  "ORDERS\u0130",
  "__proto__",
  "1.2",
  "a-b",
  `a.${"b".repeat(127)}`,
  "a.".repeat(100),
  "\ud800",
];

test("T19 hostile names are no topics, for contracts, brokers, hubs and rules", async () => {
  assert.ok(HOSTILE.length >= 30);
  const here = await world();
  const admin = await here.join(id("admin"));
  await using memory = memoryBroker({ now: here.now });
  await using served = await hub(here);
  const broker = await served.as(admin);
  for (const name of HOSTILE) {
    const shown = JSON.stringify(name);
    assert.throws(() => topic(name, Text), TypeError, shown);
    for (const each of [memory, broker]) {
      await assert.rejects(each.publish({ topic: name, id: "1", event: "x" }), TypeError, shown);
    }
    if (/^(?:\*|>|a\.\*|a\.>|a\.\*\.c)$/.test(name)) continue; // a pattern is for those who subscribe
    assert.throws(() => topicPattern(name, Text), TypeError, shown);
    assert.throws(() => allow({ caller: id("x"), publish: name }), TypeError, shown);
    assert.throws(() => allow({ caller: id("x"), subscribe: ["a", name] }), TypeError, shown);
    for (const each of [memory, broker]) await assert.rejects(each.subscribe(name), TypeError, shown);
  }
  await memory.publish({ topic: "orders.v1.placed", id: "1", event: "x" });
  const event = await signed(admin, { topic: "orders.v1.placed", id: "1", event: "{}" }, { timeMs: here.now() });
  await broker.publish({ topic: "orders.v1.placed", id: idAt(admin, "orders.v1.placed", "1"), event });
});

test("T19 names of what carries keys are nobody's topics, and open to nobody by a wildcard", async () => {
  for (const name of ["postern", "postern.x", "postern.keys.a", "postern.join.a", "POSTERN.keys.a", "Postern.x"]) {
    assert.throws(() => topic(name, Text), TypeError, name);
    assert.throws(() => topicPattern(`${name}.*`, Text), TypeError, name);
  }
  const here = await world();
  const shop = await here.join(id("shop"));
  await using served = await hub(here, {
    topics: [allow({ caller: id("shop"), publish: "orders.>", subscribe: ">" })],
  });
  const broker = await served.as(shop);
  for (
    const name of ["postern.x", "Postern.keys.orders.a", "postern.keys.cards.a", "postern.keys.postern.keys.orders.a"]
  ) {
    const event = await signed(shop, { topic: name, id: "1", event: "{}" }, { timeMs: here.now() });
    await assert.rejects(broker.publish({ topic: name, id: idAt(shop, name, "1"), event }), reasonIs("refused"), name);
  }
});

test("T19 without a rule nobody publishes and nobody subscribes, and the audit says so", async () => {
  await using place = await market();
  const nobody = await place.join("nobody");
  await assert.rejects(nobody.publish(OrderPlaced, { id: "1" }), reasonIs("not_allowed"));
  for (const pattern of [OrderPlaced.pattern, ">", "*", "orders.>"]) {
    await assert.rejects(nobody.subscribe(topicPattern(pattern, OrderPlaced.schema)), reasonIs("not_allowed"));
  }
  assert.deepEqual(nobody.events.map(({ event, reason }) => [event, reason]), [
    ["message.refuse", "not_allowed"],
    ...Array.from({ length: 4 }, () => ["subscription.refuse", "not_allowed"]),
  ]);
});

test("T19 nobody publishes to a wildcard, whatever its rules cover", async () => {
  await using place = await market();
  const all = await place.join("all", { rules: [allow({ caller: id("all"), publish: ">", subscribe: ">" })] });
  for (const name of ["orders.*", ">", "orders.v1.>"]) {
    await assert.rejects(all.publish({ ...OrderPlaced, name }, { id: "1" }), reasonIs("not_allowed"), name);
    await assert.rejects(place.broker.publish({ topic: name, id: "1", event: "x" }), TypeError, name);
  }
  await all.publish(OrderPlaced, { id: "1" });
});

test("T26 a client that asks nobody is refused by the hub, and what it signs by everybody else", async () => {
  const here = await world();
  await using served = await hub(here);
  const billing = await here.join(id("billing"));
  const broker = await served.as(billing);
  const send = async (name: string, more: { readonly by?: typeof billing; readonly as?: string } = {}) => {
    const { by = billing, as = name } = more;
    const event = await signed(by, { topic: name, id: "1", event: '{"id":"1"}' }, { timeMs: here.now() });
    await broker.publish({ topic: as, id: idAt(billing, as, "1"), event });
  };
  const shop = await here.join(id("shop"));
  await assert.rejects(send("orders.v1.placed"), reasonIs("refused"));
  await assert.rejects(send("orders.v1.placed", { by: shop }), reasonIs("refused"));
  for (const pattern of [">", "orders.>", "cards.v1.charged", "postern.join.orders.v1.placed"]) {
    await assert.rejects(broker.subscribe(pattern), reasonIs("refused"), pattern);
  }
  assert.deepEqual(
    served.audit.events.filter(({ reason }) => reason).map(({ event, reason, caller }) => [event, reason, caller]),
    Array.from({ length: 6 }, () => ["message.refuse", "not_allowed", id("billing")]),
  );
  await using orders = await broker.subscribe("orders.v1.*");
  const own = await served.as(shop);
  const event = await signed(shop, { topic: "orders.v1.placed", id: "2", event: "{}" }, { timeMs: here.now() });
  await own.publish({ topic: "orders.v1.placed", id: idAt(shop, "orders.v1.placed", "2"), event });
  assert.equal((await orders[Symbol.asyncIterator]().next()).value!.event, event);
});

const NAMES = ["ann", "bob", "eve"] as const;
const TOPICS = ["a.one", "a.two", "b.one"] as const;
const PATTERNS = [...TOPICS, "a.*", "b.>", "*.one", ">"] as const;

const rulesOf = (pairs: readonly (readonly [string, string, boolean])[]): Rule[] =>
  pairs.map(([name, pattern, isPublish]) =>
    allow({ caller: id(name), ...isPublish ? { publish: pattern } : { subscribe: pattern } })
  );
const arbitraryRules = fc.array(
  fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...PATTERNS), fc.boolean()),
  { minLength: 1, maxLength: 6 },
);

/** Who publishes and subscribes over what, each through a broker of its own. */
async function exactly(
  here: World,
  pairs: readonly (readonly [string, string, boolean])[],
  brokerOf: (name: string) => Promise<Broker>,
): Promise<void> {
  const rules = policy(rulesOf(pairs));
  const may = (name: string, topic: string, isPublish: boolean) =>
    pairs.some(([who, pattern, kind]) => who === name && kind === isPublish && coversTopic(pattern, topic));
  await using stack = disposables();
  const parties = [];
  for (const name of NAMES) {
    const identity = await here.join(id(name));
    const broker = await brokerOf(name);
    const own = { identity, trust: here.trust, now: here.now };
    const strict = stack.use(createPubSub(broker, { ...own, policy: rules }));
    // The same one, but asking nobody whether it may.
    const open = policy([allow({ caller: id(name), publish: ">", subscribe: ">" })]);
    const careless = stack.use(createPubSub(broker, { ...own, policy: open }));
    parties.push({ name, strict, careless });
  }
  const got = new Set<string>();
  const reading: Promise<void>[] = [];
  const wanted = new Set<string>();
  const contracts = TOPICS.map((name) => topic(name, Text));
  for (const { name, strict } of parties) {
    for (const contract of contracts) {
      const subscribing = strict.subscribe(contract);
      if (!may(name, contract.name, false)) {
        await assert.rejects(subscribing, reasonIs("not_allowed"));
        continue;
      }
      const subscription = stack.use(await subscribing);
      reading.push((async () => {
        for await (const { data, publisher, topic, ack } of subscription) {
          got.add(`${publisher.id} ${topic} ${data.id} ${name}`);
          ack();
        }
      })());
    }
  }
  for (const { name, strict, careless } of parties) {
    for (const contract of contracts) {
      await careless.publish(contract, { id: "forced" }).catch(() => {});
      const publishing = strict.publish(contract, { id: "asked" });
      if (!may(name, contract.name, true)) {
        await assert.rejects(publishing, reasonIs("not_allowed"));
        continue;
      }
      await publishing;
      for (const reader of NAMES) {
        if (!may(reader, contract.name, false)) continue;
        for (const what of ["asked", "forced"]) wanted.add(`${id(name)} ${contract.name} ${what} ${reader}`);
      }
    }
  }
  for (let turn = 0; turn < 2_000 && got.size < wanted.size; turn++) await new Promise((done) => setTimeout(done, 0));
  for (let turn = 0; turn < 5; turn++) await new Promise((done) => setTimeout(done, 0)); // what should not come
  assert.deepEqual([...got].sort(), [...wanted].sort());
  await stack[Symbol.asyncDispose]();
  await Promise.all(reading);
}

test("T19 exactly those whom the policy lets publish are received, by exactly those whom it lets subscribe", async () => {
  const here = await world();
  await fc.assert(
    fc.asyncProperty(arbitraryRules, async (pairs) => {
      await using broker = memoryBroker({ now: here.now });
      await exactly(here, pairs, () => Promise.resolve(broker));
    }),
    { numRuns: 20 },
  );
});

test("T19 exactly those, over a hub that asks the same policy", async () => {
  const here = await world();
  await fc.assert(
    fc.asyncProperty(arbitraryRules, async (pairs) => {
      await using served = await hub(here, { topics: rulesOf(pairs) });
      const clients = new Map<string, Broker>();
      for (const name of NAMES) clients.set(name, await served.as(await here.join(id(name))));
      await exactly(here, pairs, (name) => Promise.resolve(clients.get(name)!));
    }),
    { numRuns: 6 },
  );
});
