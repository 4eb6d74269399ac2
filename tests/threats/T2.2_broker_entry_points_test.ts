import assert from "node:assert/strict";
import { test } from "node:test";
import { allow, memoryReplay, policy, protect } from "../../src/auth/mod.ts";
import { type Broker, memoryBroker, topicPattern } from "../../src/broker/mod.ts";
import { BrokerService } from "../../src/broker/hub/broker_contract.ts";
import { brokerService } from "../../src/broker/hub/broker_service.ts";
import { anonymous, createClient, createServer, type RpcError, webSocketTransport } from "../../src/rpc/mod.ts";
import { type World, world } from "../auth/_world.ts";
import { HUB, hub, idAt, signed } from "../broker/_hub.ts";
import { id, OrderPlaced } from "../broker/_pubsub.ts";
import { collect } from "../rpc/_rig.ts";
import { network } from "../rpc/_sockets.ts";
import { arrives, attributesAt, forge, nextOf, ORDERS, refusals, scene } from "./_broker_scene.ts";

// A hub has one door as every service has, and a subscriber one more: nothing reaches a handler that nobody decided on.

/** A broker that counts how often it is asked for anything. */
function counted({ now }: World) {
  const inner = memoryBroker({ now });
  const asked: string[] = [];
  const broker: Broker = {
    ...inner,
    publish(event, options) {
      asked.push("publish");
      return inner.publish(event, options);
    },
    subscribe(pattern, options) {
      asked.push("subscribe");
      return inner.subscribe(pattern, options);
    },
  };
  return { broker, asked };
}

async function eventOf(here: World) {
  const shop = await here.join(id("shop"));
  const event = await signed(shop, { topic: ORDERS, id: "1", event: "{}" }, { timeMs: here.now() });
  return { shop, published: { topic: ORDERS, id: idAt(shop, ORDERS, "1"), event } };
}

type Client = ReturnType<typeof createClient<typeof BrokerService.methods>>;

/** Every way to ask for something, and what came of it. */
async function everyWay(client: Client, published: { topic: string; id: string; event: string }): Promise<string[]> {
  const open = async (pattern: string) => {
    const asking = async function* () {
      yield { open: { pattern }, want: 9, room: 9_999 };
    };
    for await (const _ of client.subscribe(asking())) return;
  };
  const ways = [
    client.properties({}),
    client.publish(published),
    ...[ORDERS, ">", "postern.keys.orders.v1.placed"].map(open),
  ];
  return await Promise.all(ways.map((way) => way.then(() => "ok", (error: RpcError) => error.code)));
}

test("T2.2 who proves nothing gets nothing of a hub, by any method", async () => {
  const here = await world();
  const { broker, asked } = counted(here);
  await using served = await hub(here, { broker });
  const { shop, published } = await eventOf(here);
  const client = createClient(BrokerService, served.transport(undefined));
  assert.deepEqual(new Set(await everyWay(client, published)), new Set(["unauthenticated"]));
  assert.deepEqual(asked, []);
  const own = await served.as(shop);
  await own.publish(published);
  assert.deepEqual(asked, ["publish"]);
});

test("T2.2 a request without a connection gets nothing of a hub, by any verb", async () => {
  const here = await world();
  const { broker, asked } = counted(here);
  await using served = await hub(here, { broker });
  const { published } = await eventOf(here);
  for (const method of Object.keys(BrokerService.methods)) {
    for (const verb of ["POST", "GET", "PUT", "DELETE", "OPTIONS"]) {
      const body = verb === "POST" ? JSON.stringify(published) : undefined;
      const headers = { "content-type": "application/json" };
      const url = `https://hub.test/postern.broker.v1/${method}`;
      const response = await served.server.fetch(new Request(url, { method: verb, headers, ...body ? { body } : {} }));
      assert.equal(response.status, 401, `${verb} ${method}`);
      await response.body?.cancel();
    }
  }
  assert.deepEqual(asked, []);
});

test("T2.2 a hub whose methods are open to anyone by mistake still wants to know who it is", async () => {
  const here = await world();
  const { broker, asked } = counted(here);
  const { published } = await eventOf(here);
  const rules = policy([allow({ caller: id("shop"), publish: ">", subscribe: ">" })]);
  await using service = brokerService(broker, { trust: here.trust, policy: rules, now: here.now });
  const identity = await here.join(HUB, { serves: ["postern.broker.v1"] });
  const open = policy([allow({ anyone: true, call: "postern.broker.v1/*" })]);
  const guard = protect({ identity, trust: here.trust, policy: open, replay: memoryReplay(here), now: here.now });
  await using server = createServer(service, { guard, log: collect().log });
  const net = network(server);
  await using transport = webSocketTransport("wss://hub.test", {
    prover: anonymous(),
    open: (url, protocols) => net.open(url, protocols),
  });
  const client = createClient(BrokerService, transport);
  assert.deepEqual(new Set(await everyWay(client, published)), new Set(["unauthenticated"]));
  assert.deepEqual(asked, []);
});

test("T2.2 who is known and has no rule for the topic gets nothing of it", async () => {
  const here = await world();
  const { broker, asked } = counted(here);
  await using served = await hub(here, { broker });
  const { published } = await eventOf(here);
  const nobody = await here.join(id("nobody"));
  const client = createClient(BrokerService, served.transport(nobody));
  const [properties, ...others] = await everyWay(client, published);
  assert.equal(properties, "ok");
  assert.deepEqual(others, Array.from({ length: 4 }, () => "permission_denied"));
  assert.deepEqual(asked, []);
});

const SUBSCRIPTIONS = [
  ["alone", OrderPlaced, {}],
  ["in a group", OrderPlaced, { group: "g" }],
  ["by a pattern", topicPattern("orders.v1.*", OrderPlaced.schema), {}],
  ["from the start", OrderPlaced, { start: "earliest" }],
] as const;

for (const [how, contract, options] of SUBSCRIPTIONS) {
  test(`T2.2 no delivery to a subscriber ${how} reaches its handler undecided`, async () => {
    const rules = [
      allow({
        caller: id("shop"),
        publish: "orders.v1.placed",
        when: ({ message }) => (message as { amount?: number }).amount !== 13,
      }),
      allow({
        caller: id("strict"),
        publish: "orders.v1.placed",
        when: () => {
          throw new Error("It does not know");
        },
      }),
      allow({ caller: id("elsewhere"), publish: "cards.v1.*" }),
      allow({ caller: id("billing"), subscribe: "orders.v1.*" }),
    ];
    await using all = await scene(rules);
    const { liar, billing, place: { world: here, now } } = all;
    await using orders = await billing.subscribe(contract, options);
    let sequence = 0;
    for (const who of ["nobody", "billing", "strict", "elsewhere", "hub"]) {
      const identity = await here.join(id(who));
      liar.inject({ topic: ORDERS, event: await forge(identity, attributesAt(now())) });
    }
    const shop = await here.join(id("shop"));
    const data = '{"amount":13,"id":"forged"}';
    liar.inject({ topic: ORDERS, event: await forge(shop, attributesAt(now(), { sequence: ++sequence }), data) });
    liar.inject({ topic: ORDERS, event: '{"id":"forged"}' });
    liar.inject({ topic: ORDERS, event: `~~{"id":"forged"}` });
    const message = await arrives(all, orders);
    assert.equal(message.publisher.id, id("shop"));
    assert.deepEqual(refusals(billing), [
      ...Array.from({ length: 6 }, () => "not_allowed"),
      "malformed_event",
      "malformed_token",
    ]);
    await all.shop.publish(OrderPlaced, { id: "1", amount: 12 });
    assert.equal((await nextOf(orders)).data.amount, 12);
  });
}
