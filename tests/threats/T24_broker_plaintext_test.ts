import assert from "node:assert/strict";
import { test } from "node:test";
import { prove } from "../../src/auth/mod.ts";
import { BrokerError, createPubSub, memoryBroker } from "../../src/broker/mod.ts";
import { hubBroker } from "../../src/broker/hub/hub_broker.ts";
import { natsBroker } from "../../src/broker/nats/nats_broker.ts";
import { fetchTransport, webSocketTransport } from "../../src/rpc/mod.ts";
import { policy } from "../../src/auth/mod.ts";
import { world } from "../auth/_world.ts";
import { fakeNats } from "../broker/_fake_nats.ts";
import { HUB, hub } from "../broker/_hub.ts";
import { id, OrderPlaced, read, RULES } from "../broker/_pubsub.ts";

// Nothing of publish and subscribe travels in the clear, or over what anybody may use.

const reasonIs = (reason: string) => (error: unknown) => error instanceof BrokerError && error.reason === reason;

test("T24 T1.4 createPubSub() takes no broker whose way others can read, or that anybody may use", async () => {
  const { join, trust, now } = await world();
  const rules = policy(RULES);
  const [shop, billing] = [await join(id("shop")), await join(id("billing"))];
  await using broker = memoryBroker({ now });
  const weaker = [
    { encrypted: false },
    { accessControlled: false },
    { encrypted: false, accessControlled: false },
    { encrypted: undefined },
    { accessControlled: undefined },
  ];
  for (const properties of weaker) {
    const weak = { ...broker, properties: { ...broker.properties, ...properties as { encrypted: boolean } } };
    assert.throws(() => createPubSub(weak, { identity: shop, trust, policy: rules, now }), reasonIs("insecure"));
  }
  await using sender = createPubSub(broker, { identity: shop, trust, policy: rules, now });
  await using receiver = createPubSub(broker, { identity: billing, trust, policy: rules, now });
  await using orders = await receiver.subscribe(OrderPlaced);
  await sender.publish(OrderPlaced, { id: "1" });
  assert.equal((await read(orders, 1))[0]!.data.id, "1");
});

test("T24 T3.1 a hub is not reached without TLS", async () => {
  const here = await world();
  const { join, trust, now } = here;
  const shop = await join(id("shop"));
  const prover = prove({ identity: shop, trust, peer: HUB, now });
  let opened = 0;
  const open = () => {
    opened++;
    throw new Error("Nobody may come here");
  };
  const plain = [
    "ws://hub.example.org",
    "WS://hub.example.org",
    "http://hub.example.org",
    "ws://10.0.0.1",
    "//hub",
    "ftp://x",
  ];
  for (const url of plain) {
    await assert.rejects(
      async () => await hubBroker(webSocketTransport(url, { prover, open }), { openTimeoutMs: 1 }),
      url,
    );
  }
  for (const url of ["http://hub.example.org", "HTTP://hub.example.org"]) {
    await assert.rejects(
      async () => await hubBroker(fetchTransport(url, { prover, fetch: open }), { openTimeoutMs: 1 }),
      url,
    );
  }
  assert.equal(opened, 0);
  await using served = await hub(here);
  const broker = await served.as(shop);
  assert.deepEqual([broker.properties.encrypted, broker.properties.accessControlled], [true, true]);
});

const WEAK:
  readonly (readonly [string, string, { auth_required?: boolean; tls_required?: boolean } | undefined, string[]])[] = [
    ["lets in everybody", "insecure", {}, ["wss://nats.example.org"]],
    ["says that it lets in everybody", "insecure", { auth_required: false }, ["wss://nats.example.org"]],
    ["is reached without TLS", "insecure", { auth_required: true }, ["ws://nats.example.org"]],
    ["says of its port that it needs none", "insecure", { auth_required: true }, ["nats.example.org:4222"]],
    ["has one among others without TLS", "insecure", { auth_required: true }, [
      "wss://a.example.org",
      "ws://b.example.org",
    ]],
    ["asks for TLS elsewhere", "insecure", { auth_required: true, tls_required: true }, ["ws://a.example.org"]],
    ["is not there", "unreachable", undefined, ["wss://nats.example.org"]],
  ];

for (const [what, reason, info, urls] of WEAK) {
  test(`T24 T1.4 natsBroker() takes no connection whose server ${what}`, async () => {
    const nats = fakeNats();
    nats.urls = urls;
    nats.info = info!;
    await assert.rejects(natsBroker(nats), reasonIs(reason));
    assert.equal(nats.followers, 0, "nothing is left behind");
    nats.urls = ["wss://nats.example.org"];
    nats.info = { auth_required: true };
    await using broker = await natsBroker(nats);
    assert.deepEqual([broker.properties.encrypted, broker.properties.accessControlled], [true, true]);
  });
}

test("T24 T1.4 natsBroker() ends where its connection goes on to a server that lets in everybody", async () => {
  const nats = fakeNats();
  await using broker = await natsBroker(nats);
  await using subscription = await broker.subscribe("a.b");
  const next = subscription[Symbol.asyncIterator]().next();
  nats.info = { auth_required: false };
  nats.happens({ type: "reconnect" });
  await assert.rejects(next, reasonIs("insecure"));
  await assert.rejects(broker.publish({ topic: "a.b", id: "1", event: "x" }), reasonIs("insecure"));
});
