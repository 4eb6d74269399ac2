// Where subscriptions begin, and what keeps its order within a group.
import assert from "node:assert/strict";
import type { StartPosition } from "../../src/broker/broker.ts";
import { mustCome } from "../_patience.ts";
import {
  type Conforms,
  events,
  publish,
  type Reader,
  reader,
  refused,
  type Rig,
  roundTrip,
} from "./_conformance_rig.ts";

/** Tests where subscriptions begin. */
export function testPositions(every: Conforms): void {
  const conforms: Conforms = (title, run) =>
    every(`${title}, where messages are kept`, async (rig) => {
      if (rig.can.positions) await run(rig);
      else await refused(rig.broker.subscribe("a.b", { start: "earliest" }), "unsupported");
    });

  conforms("subscribe() begins where it is told", async (rig) => {
    const { broker, can } = rig;
    await using all = await reader(broker, "a.*");
    await publish(broker, "a.b", "1", "2");
    await publish(broker, "a.c", "3");
    const deliveries = [await all.next(), await all.next(), await all.next()];
    const positions = deliveries.map(({ position }) => position!);
    assert.equal(new Set(positions).size, 3);
    const time = await laterThanNow(rig);
    await publish(broker, "a.b", "4");
    const begins: [StartPosition, readonly string[]][] = [
      ["earliest", ["1", "2", "4"]],
      [{ after: positions[0]! }, ["2", "4"]],
      [{ after: positions[1]! }, ["4"]],
      [{ after: positions[2]! }, ["4"]],
      [{ time: new Date(0) }, ["1", "2", "4"]],
      [{ time }, ["4"]],
      ["new", []],
    ];
    for (const [index, [start, wanted]] of begins.entries()) {
      const last = `last ${index}`;
      const earlier = events(index, 0).map((before) => `last ${before}`);
      for (const group of can.groups ? [undefined, `g${index}`] : [undefined]) {
        await using some = await reader(broker, "a.b", { start, group });
        if (!group) await publish(broker, "a.b", last);
        else if (start === "new") continue;
        const expected = start === "new" ? [last] : [...wanted, ...earlier, last];
        assert.deepEqual(await some.take(expected.length), expected, JSON.stringify(start));
      }
    }
  });

  conforms("subscribe() that begins in the past goes on with what comes", async ({ broker }) => {
    await publish(broker, "a.b", ...events(50));
    await using all = await reader(broker, "a.b", { start: "earliest" });
    const publishing = publish(broker, "a.b", ...events(50, 51));
    assert.deepEqual(await all.take(100), events(100));
    await publishing;
  });
}

/** Tests what keeps its order. */
export function testOrdering(every: Conforms): void {
  const conforms: Conforms = (title, run) =>
    every(`${title}, where keys keep their order`, async (rig) => {
      if (rig.can.ordering && rig.can.groups && rig.can.redelivers) await run(rig);
    });

  conforms("messages of one key go to a group one at a time", async ({ broker, another }) => {
    const members = [
      await reader(broker, "a.b", { group: "g" }),
      await reader(await another(), "a.b", { group: "g" }),
    ];
    const keys = ["k", "l"];
    for (const event of events(20)) {
      for (const orderingKey of keys) {
        await broker.publish({ topic: "a.b", id: `${orderingKey}${event}`, event, orderingKey });
      }
    }
    const seen = new Map<string, string[]>(keys.map((key) => [key, []]));
    const reading = Promise.all(members.map((member) => readInOrder(member, seen)));
    await mustCome(
      (async () => {
        while ([...seen.values()].some((list) => list.length < 20)) await roundTrip();
      })(),
      "all messages of the keys",
    );
    for (const member of members) await member.drain();
    await reading;
    for (const key of keys) assert.deepEqual(seen.get(key), events(20));
  });

  conforms("a message that is given back holds up those of its key, and no others", async ({ broker, clock }) => {
    await using one = await reader(broker, "a.b", { group: "g" });
    const of = (event: string, orderingKey?: string) => broker.publish({ topic: "a.b", id: event, event, orderingKey });
    await of("k1", "k");
    await of("k2", "k");
    await of("l1", "l");
    await of("free");
    const first = await one.next();
    assert.equal(first.event, "k1");
    assert.deepEqual(await one.take(2), ["l1", "free"]);
    first.nack({ delayMs: 20 });
    clock?.pass(20);
    const again = await one.next();
    assert.deepEqual([again.event, again.attempt], ["k1", 2]);
    again.nack();
    assert.deepEqual(await one.take(2), ["k1", "k2"]);
  });

  conforms("one key in two topics is two keys", async ({ broker }) => {
    await using one = await reader(broker, "a.*", { group: "g" });
    await broker.publish({ topic: "a.b", id: "1", event: "1", orderingKey: "k" });
    await broker.publish({ topic: "a.c", id: "2", event: "2", orderingKey: "k" });
    assert.equal((await one.next()).event, "1");
    assert.equal((await one.next()).event, "2");
  });
}

async function readInOrder(member: Reader, seen: Map<string, string[]>): Promise<void> {
  const out = new Set<string>();
  for (;;) {
    const { done, value } = await member.ask();
    if (done) return;
    const key = value.orderingKey!;
    assert.ok(!out.has(key), `two messages of ${key} are out`);
    out.add(key);
    await roundTrip();
    if (value.attempt === 1 && +value.event % 7 === 0) {
      out.delete(key);
      value.nack();
      continue;
    }
    seen.get(key)!.push(value.event);
    out.delete(key);
    value.ack();
  }
}

/** A time that is after all that is stored by now, and not after what will be. */
async function laterThanNow({ clock }: Rig): Promise<Date> {
  if (clock) {
    clock.pass(10);
    return new Date(clock.now());
  }
  const time = Date.now() + 1;
  while (Date.now() < time) await roundTrip();
  return new Date(time);
}
