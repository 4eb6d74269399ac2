import assert from "node:assert/strict";
import { test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import { BrokerError } from "../../src/broker/broker_error.ts";
import { hubBroker } from "../../src/broker/hub/hub_broker.ts";
import { memoryBroker } from "../../src/broker/memory/memory_broker.ts";
import { RpcError, type Transport } from "../../src/rpc/mod.ts";
import { mustCome } from "../_patience.ts";
import { world } from "../auth/_world.ts";
import { events, reader, refused, roundTrip } from "./_conformance_rig.ts";
import { hub, id, signing } from "./_hub.ts";

const PROPERTIES = { durable: false, redelivers: true, groups: true, positions: true, ordering: true };

/** A hub that says what it promises, and of which a test plays the rest. */
const playing = (publish: () => Promise<never>): Transport => ({ method }) =>
  method.name === "properties" ? Promise.resolve({ message: PROPERTIES }) : publish();

test("hubBroker() publish() lets nothing overtake what was lost with a connection", async () => {
  const inside = await world();
  const topics = [allow({ caller: id("admin"), publish: ">", subscribe: ">" })];
  await using served = await hub(inside, { topics });
  const admin = await inside.join(id("admin"));
  const broker = signing(await served.as(admin), admin, inside.now);
  await using all = await reader(signing(served.broker, admin, inside.now), "a.b");
  const lane = served.net.wires.at(-1)!.toServer;
  lane.flowing = false; // nothing arrives any more
  const publish = (event: string) => broker.publish({ topic: "a.b", id: event, event });
  const sent = lane.log.length;
  const first = events(20).map(publish);
  while (lane.log.length === sent) await roundTrip();
  served.net.wires.forEach((wire) => wire.cut());
  for (let turn = 0; turn < 5; turn++) await roundTrip();
  const second = events(20, 21).map(publish);
  await mustCome(Promise.all([...first, ...second]), "all events");
  assert.deepEqual(await all.take(40), events(40));
});

/** Where an event can fail and have to be tried again, though those behind it do not. */
const FAILURES = {
  "the hub's broker was away for": { at: "broker", error: new BrokerError("unreachable", "It is on its way back") },
  "the hub's guard had no room for": { at: "guard", error: new RpcError("resource_exhausted", "There is no room") },
  "the hub's guard could not let in": { at: "guard", error: new RpcError("unavailable", "Nobody knows the keys") },
} as const;

/** A hub in which some attempts fail, and how many there were. */
async function failing(
  { at, error }: { readonly at: string; readonly error: Error },
  isOne: (attempt: number) => boolean,
) {
  const inside = await world();
  const counts = { broker: 0, guard: 0 };
  const fails = (where: "broker" | "guard") => where === at && isOne(++counts[where]);
  const store = memoryBroker({ now: inside.now });
  const served = await hub(inside, {
    topics: [allow({ caller: id("admin"), publish: "a.*", subscribe: ">" })],
    broker: {
      ...store,
      publish: (event, options) => fails("broker") ? Promise.reject(error) : store.publish(event, options),
    },
  });
  const admin = await inside.join(id("admin"));
  const transport = served.transport(admin);
  const guarded: Transport = (call) =>
    call.method.name === "publish" && fails("guard") ? Promise.reject(error) : transport(call);
  const broker = await hubBroker(guarded);
  return {
    counts,
    all: await reader(signing(store, admin, inside.now), ">", { maxInFlight: 4_096 }),
    broker: signing(broker, admin, inside.now),
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}

for (const [what, failure] of Object.entries(FAILURES)) {
  test(`hubBroker() publish() lets nothing overtake what ${what}`, async () => {
    await using at = await failing(failure, (attempt) => attempt === 2 || attempt === 33);
    const publish = (event: string) => at.broker.publish({ topic: `a.t${+event % 3}`, id: event, event });
    await mustCome(Promise.all(events(100).map(publish)), "all events");
    assert.deepEqual(await at.all.take(100), events(100));
  });
}

test("hubBroker() publish() has nothing wait for what the hub's broker has no room for", async () => {
  const error = new BrokerError("full", "It is too large");
  await using at = await failing({ at: "broker", error }, (attempt) => attempt === 2);
  const publish = (event: string) => at.broker.publish({ topic: "a.b", id: event, event });
  const [, second, ...others] = events(9).map(publish);
  await refused(second!, "full");
  await mustCome(Promise.all(others), "the others");
  assert.equal(at.counts.broker, 9, "each was tried once");
});

test("hubBroker() publish() has nothing wait for what was refused", async () => {
  await using at = await failing({ at: "guard", error: new Error("not called") }, () => false);
  const publish = (event: string) => at.broker.publish({ topic: +event === 5 ? "b.c" : "a.b", id: event, event });
  const results = await mustCome(Promise.allSettled(events(20).map(publish)), "all events");
  assert.deepEqual(results.flatMap(({ status }, index) => status === "rejected" ? [index + 1] : []), [5]);
  assert.deepEqual(await at.all.take(19), events(20).filter((event) => event !== "5"));
  assert.equal(at.counts.guard, 20, "each was sent once");
});

test("hubBroker() publish() sends no more at once than the hub takes of its identity", async () => {
  const inside = await world();
  let [under, refusals] = [0, 0];
  await using served = await hub(inside, { topics: [allow({ caller: id("admin"), publish: ">", subscribe: ">" })] });
  const admin = await inside.join(id("admin"));
  const transport = served.transport(admin);
  const narrow: Transport = async (call) => {
    if (call.method.name !== "publish") return await transport(call);
    if (under >= 5) {
      refusals++;
      throw new RpcError("resource_exhausted", "There are too many calls of the caller");
    }
    under++;
    try {
      return await transport(call);
    } finally {
      under--;
    }
  };
  const broker = signing(await hubBroker(narrow), admin, inside.now);
  await using all = await reader(signing(served.broker, admin, inside.now), "a.b", { maxInFlight: 4_096 });
  const publish = (event: string) => broker.publish({ topic: "a.b", id: event, event });
  await mustCome(Promise.all(events(150).map(publish)), "all events");
  assert.deepEqual(await all.take(150), events(150));
  assert.ok(refusals < 150, `${refusals} attempts were for nothing`);
});

test("hubBroker() publish() gives up when its time is over, however quickly each attempt fails", async () => {
  let attempts = 0;
  const transport = playing(() => {
    attempts++;
    return Promise.reject(new RpcError("unavailable", "nobody is there"));
  });
  await using broker = await hubBroker(transport, { publishTimeoutMs: 300 });
  await refused(broker.publish({ topic: "a.b", id: "1", event: "1" }), "unreachable");
  assert.ok(attempts >= 2 && attempts <= 10, `${attempts} attempts`);
});

test("hubBroker() publish() refuses more than 16,384 events that wait", async () => {
  const transport = playing(() => new Promise<never>(() => {}));
  const broker = await hubBroker(transport);
  const publish = (event: string) => broker.publish({ topic: "a.b", id: event, event });
  const waiting = Promise.allSettled(events(16_384).map(publish));
  await refused(publish("0"), "full");
  waiting.catch(() => {});
});

test("hubBroker() hangs up on a hub that sends more characters than were asked for", async () => {
  let calls = 0;
  let hangUp = () => {};
  const hungUp = new Promise<void>((resolve) => hangUp = resolve);
  const large = "x".repeat(700_000);
  const transport: Transport = ({ method }) => {
    if (method.name === "properties") return Promise.resolve({ message: PROPERTIES });
    if (++calls === 2) hangUp();
    const messages = async function* () {
      yield { ready: { timeMs: 1 } };
      for (let n = 1; n <= 3; n++) {
        while (!asked) await roundTrip();
        yield { delivery: { n, topic: "a.b", event: "small", attempt: 1 } };
      }
      for (let n = 4; n <= 12; n++) {
        yield { delivery: { n, topic: "a.b", event: large, attempt: 1 } };
        for (let turn = 0; turn < 3; turn++) await roundTrip();
      }
      await hungUp;
    };
    return Promise.resolve({ message: undefined, messages: messages() });
  };
  let asked = false;
  await using broker = await hubBroker(transport);
  await using all = await reader(broker, "a.b");
  asked = true;
  for (let n = 1; n <= 4; n++) (await all.next()).ack(); // it is fast, and then reads no more
  await mustCome(hungUp, "the second call");
});

test("hubBroker() waits for a hub that is just starting, and not for one that refuses, or for longer than it may", async () => {
  const answering = (errors: readonly RpcError[]): Transport => {
    const left = [...errors];
    return () => {
      const error = left.length > 1 || errors.length > 2 ? left.shift() : left[0];
      return error ? Promise.reject(error) : Promise.resolve({ message: PROPERTIES });
    };
  };
  const away = new RpcError("unavailable", "nobody is there");
  await using broker = await hubBroker(answering([away, away, away]));
  assert.ok(broker.properties.groups);
  await refused(hubBroker(answering([new RpcError("permission_denied", "no")])), "refused");
  await refused(hubBroker(answering([away]), { openTimeoutMs: 1 }), "unreachable");
});
