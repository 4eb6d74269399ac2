import assert from "node:assert/strict";
import { test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import { hubBroker } from "../../src/broker/hub/hub_broker.ts";
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
