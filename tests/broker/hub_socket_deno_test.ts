// A hub over TLS on loopback: connections that are cut, a hub that starts again on its port, and readers that are slow.
import assert from "node:assert/strict";
import { test } from "node:test";
import { allow, type Identity, memoryReplay, policy, protect, prove } from "../../src/auth/mod.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { brokerService } from "../../src/broker/hub/broker_service.ts";
import { hubBroker } from "../../src/broker/hub/hub_broker.ts";
import { memoryBroker } from "../../src/broker/memory/memory_broker.ts";
import { createServer, webSocketTransport } from "../../src/rpc/mod.ts";
import { createWebSocket, serve } from "../../src/runtime/deno.ts";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import { DOMAIN, world } from "../auth/_world.ts";
import { collect } from "../rpc/_rig.ts";
import { events, reader } from "./_conformance_rig.ts";
import { CALLS, HUB, id, signing } from "./_hub.ts";

const TOPICS = policy([allow({ caller: id("admin"), publish: ">", subscribe: ">" })]);

/** A hub on loopback over a broker that outlives it. */
async function scene(maxMessages = 100_000) {
  const certificate = await testAuthority();
  const now = Object.assign(() => Date.now(), { pass() {} });
  const { trust, join } = await world(DOMAIN, now);
  const identity = await join(HUB, { serves: ["postern.broker.v1"] });
  const admin = await join(id("admin"));
  const stack = new AsyncDisposableStack();
  const store = stack.use(memoryBroker({ maxMessages }));
  const start = async (port: number) => {
    const hub = brokerService(store, { trust, policy: TOPICS });
    const guard = protect({ identity, trust, policy: policy(CALLS), replay: memoryReplay() });
    const server = createServer(hub, { guard, log: collect().log });
    const serving = await serve(server, { ...certificate, port, drainMs: 1_000 });
    return {
      serving,
      async stop() {
        await hub[Symbol.asyncDispose]();
        await serving[Symbol.asyncDispose]();
      },
    };
  };
  let current = await start(0);
  stack.defer(() => current.stop());
  const port = Number(new URL(current.serving.url).port);
  const open = createWebSocket({ caCerts: [certificate.ca] });
  return {
    store: signing(store, admin, now),
    async restart() {
      await current.stop();
      current = await start(port);
    },
    /** A client with a line of its own, which `cut` breaks. */
    async connect(caller: Identity = admin): Promise<{ readonly broker: Broker; cut(): number }> {
      const line = stack.use(cuttable(port));
      const prover = prove({ identity: caller, trust, peer: HUB });
      const transport = stack.use(webSocketTransport(`wss://localhost:${line.port}`, { prover, open }));
      const broker = stack.use(await hubBroker(transport));
      return { broker: signing(broker, caller, now), cut: line.cut };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Leads to a port of loopback, until it is cut: then the connections there are end in the middle of whatever they carry. */
function cuttable(to: number): Disposable & { readonly port: number; cut(): number } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const cut = () => {
    const count = open.size / 2;
    for (const each of open) close(each);
    return count;
  };
  const close = (each: Deno.TcpConn) => {
    if (!open.delete(each)) return;
    try {
      each.close();
    } catch {
      // Its streams have closed it.
    }
  };
  const lead = async (from: Deno.TcpConn) => {
    open.add(from);
    let there: Deno.TcpConn;
    try {
      there = await Deno.connect({ hostname: "127.0.0.1", port: to });
    } catch {
      return close(from); // the hub is away
    }
    open.add(there);
    const ended = () => {
      close(from);
      close(there);
    };
    from.readable.pipeTo(there.writable).then(ended, ended);
    there.readable.pipeTo(from.writable).then(ended, ended);
  };
  const accept = async () => {
    for await (const connection of listener) void lead(connection);
  };
  accept().catch(() => {});
  return {
    port: listener.addr.port,
    cut,
    [Symbol.dispose]() {
      listener.close();
      cut();
    },
  };
}

test("hubBroker() over TLS loses nothing of a subscription and of a group when connections are cut", async () => {
  await using at = await scene();
  const [publisher, one, two] = [await at.connect(), await at.connect(), await at.connect()];
  await using alone = await reader(one.broker, "a.*");
  await using member = await reader(two.broker, "a.*", { group: "g", maxInFlight: 16 });
  const wanted = events(400);
  const publishing = Promise.all(
    wanted.map((event) => publisher.broker.publish({ topic: `a.t${+event % 3}`, id: event, event })),
  );
  const cuts = { alone: 0, member: 0 };
  const readAll = async (from: typeof alone, by: "alone" | "member", cut: () => number) => {
    const seen: string[] = [];
    while (new Set(seen).size < wanted.length) {
      seen.push(...await from.take(1));
      if (seen.length % 97 === 0) cuts[by] += cut();
    }
    return seen;
  };
  const [byAlone, byMember] = await mustCome(
    Promise.all([readAll(alone, "alone", one.cut), readAll(member, "member", two.cut)]),
    "all events",
  );
  await publishing;
  assert.deepEqual([...new Set(byAlone)], wanted);
  assert.deepEqual([...new Set(byMember)].sort(), [...wanted].sort());
  assert.ok(cuts.alone >= 3 && cuts.member >= 3, `${cuts.alone} and ${cuts.member} connections were cut`);
});

test("hubBroker() over TLS goes on with a hub that has started again", async () => {
  await using at = await scene();
  const [publisher, consumer] = [await at.connect(), await at.connect()];
  await using alone = await reader(consumer.broker, "a.b");
  await using member = await reader(consumer.broker, "a.b", { group: "g" });
  const wanted = events(300);
  const publishing = wanted.map((event) => publisher.broker.publish({ topic: "a.b", id: event, event }));
  const seen: string[] = [];
  seen.push(...await alone.take(50));
  await member.take(50);
  await mustCome(at.restart(), "the hub");
  await mustCome(Promise.all(publishing), "all events");
  while (new Set(seen).size < wanted.length) seen.push(...await alone.take(1));
  assert.deepEqual([...new Set(seen)], wanted);
  const ofGroup = new Set<string>();
  while (!events(250, 51).every((event) => ofGroup.has(event))) {
    for (const each of await member.take(1)) ofGroup.add(each);
  }
});

test("hubBroker() over TLS holds for a slow reader no more than it may, whatever is published", async () => {
  await using at = await scene(50);
  const [publisher, consumer] = [await at.connect(), await at.connect()];
  await using slow = await reader(consumer.broker, "a.b", { maxInFlight: 8, slow: "drop_oldest" });
  const publish = (event: string) => publisher.broker.publish({ topic: "a.b", id: event, event });
  await publish("0");
  const first = await slow.next();
  for (const event of events(500)) await publish(event);
  first.ack();
  const seen = [first.event];
  while (seen.at(-1) !== "500") seen.push(...await slow.take(1));
  assert.ok(seen.length <= 1 + 8 + 50, `${seen.length} of 501 were kept`);
  assert.equal(slow.dropped, 501 - seen.length);
});
