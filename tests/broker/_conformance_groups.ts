// Groups, whose members share messages.
import assert from "node:assert/strict";
import { mustCome } from "../_patience.ts";
import { type Conforms, events, publish, type Reader, reader, refused } from "./_conformance_rig.ts";

/** Tests what groups do. */
export function testGroups(every: Conforms): void {
  const conforms: Conforms = (title, run) =>
    every(`${title}, where there are groups`, async (rig) => {
      if (rig.can.groups) await run(rig);
      else await refused(rig.broker.subscribe("a.b", { group: "g" }), "unsupported");
    });
  testSharing(conforms);
  testGivingBack((title, run) => conforms(title, async (rig) => rig.can.redelivers ? await run(rig) : undefined));
}

function testSharing(conforms: Conforms): void {
  conforms("members share the messages, each to exactly one", async ({ broker, another }) => {
    const options = { group: "g", maxInFlight: 4 };
    await using one = await reader(broker, "a.*", options);
    await using two = await reader(await another(), "a.*", options);
    await using other = await reader(broker, "a.*", { group: "h" });
    await using alone = await reader(broker, "a.*");
    const seen: string[] = [];
    const reading = Promise.all([one, two].map((member) => readAll(member, seen)));
    const wanted = events(100);
    for (const event of wanted) await broker.publish({ topic: `a.t${+event % 3}`, id: event, event });
    assert.deepEqual(await other.take(100), wanted);
    assert.deepEqual(await alone.take(100), wanted);
    await mustCome(until(() => seen.length >= 100), "all messages of the group");
    for (const member of [one, two]) await member.drain();
    await reading;
    assert.deepEqual([...seen].sort(), [...wanted].sort());
  });

  conforms("groups of one name with other patterns are other groups, or refused", async ({ broker }) => {
    await using one = await reader(broker, "a.b", { group: "g" });
    try {
      await using two = await reader(broker, "a.*", { group: "g" });
      await publish(broker, "a.b", "1");
      assert.deepEqual([await one.take(1), await two.take(1)], [["1"], ["1"]]);
    } catch (error) {
      await refused(Promise.reject(error), "refused");
    }
  });

  conforms("a group keeps its place while nobody is there, if messages are kept", async ({ broker, another, can }) => {
    if (!can.positions) return;
    await using first = await reader(broker, "a.b", { group: "g" });
    await publish(broker, "a.b", "1", "2");
    assert.deepEqual(await first.take(2), ["1", "2"]);
    await first.drain();
    await publish(broker, "a.b", "3", "4");
    await using next = await reader(await another(), "a.b", { group: "g", start: "earliest" });
    assert.deepEqual(await next.take(2), ["3", "4"]);
  });
}

function testGivingBack(conforms: Conforms): void {
  conforms("what a member left unsettled goes to another", async ({ broker, another }) => {
    const leave: Record<string, (member: Reader, connection: AsyncDisposable) => PromiseLike<void>> = {
      "leaves the loop": (member) => member.leave(),
      "is disposed": (member) => member[Symbol.asyncDispose](),
      "is disconnected": (_, connection) => connection[Symbol.asyncDispose](),
    };
    for (const [how, gone] of Object.entries(leave)) {
      const group = how.replaceAll(" ", "_");
      const connection = await another();
      if (connection === broker && how === "is disconnected") continue; // there is nothing to disconnect
      const first = await reader(connection, "a.b", { group });
      await publish(broker, "a.b", `${how} 1`, `${how} 2`);
      const [one, two] = [await first.next(), await first.next()];
      await using second = await reader(broker, "a.b", { group });
      one.ack();
      await gone(first, connection);
      two.ack(); // too late
      const delivery = await second.next();
      assert.deepEqual([delivery.event, delivery.attempt], [`${how} 2`, 2], how);
      delivery.ack();
      await publish(broker, "a.b", `${how} 3`);
      assert.deepEqual(await second.take(1), [`${how} 3`], how);
    }
  });

  conforms("leaving a for-await loop gives back", async ({ broker }) => {
    const subscription = await broker.subscribe("a.b", { group: "g" });
    await publish(broker, "a.b", "1", "2");
    for await (const delivery of subscription) {
      assert.equal(delivery.event, "1");
      break;
    }
    await using next = await reader(broker, "a.b", { group: "g" });
    assert.deepEqual((await next.take(2)).sort(), ["1", "2"]);
  });

  conforms("drain() loses nothing that nobody has seen", async ({ broker }) => {
    await using first = await reader(broker, "a.b", { group: "g", maxInFlight: 8 });
    await publish(broker, "a.b", ...events(30));
    const seen = await first.take(5);
    const out = [await first.next(), await first.next()];
    const drained = first.drain();
    await first.ended();
    for (const { event, ack } of out) {
      ack();
      seen.push(event);
    }
    await mustCome(drained, "the end of drain()");
    await using second = await reader(broker, "a.b", { group: "g" });
    seen.push(...await second.take(23));
    assert.deepEqual(seen.sort(), events(30).sort());
    await publish(broker, "a.b", "last");
    assert.deepEqual(await second.take(1), ["last"]);
  });
}

/** Reads and acknowledges until the subscription ends. */
async function readAll(member: Reader, seen: string[]): Promise<void> {
  for (;;) {
    const { done, value } = await member.ask();
    if (done) return;
    seen.push(value.event);
    value.ack();
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 0));
}
