// Acknowledging, giving back, and what happens to those who do neither; for brokers that deliver again.
import assert from "node:assert/strict";
import { mustCome } from "../_patience.ts";
import { type Conforms, events, isSettled, publish, reader, type Rig } from "./_conformance_rig.ts";

/** Tests that messages come again until they are acknowledged. */
export function testSettling(every: Conforms): void {
  const conforms: Conforms = (title, run) =>
    every(`${title}, where it delivers again`, async (rig) => {
      if (rig.can.redelivers) await run(rig);
      else await deliversOnce(rig);
    });

  conforms("nack() gives a message back, and the attempts are counted", async ({ broker }) => {
    await using all = await reader(broker, "a.b");
    await publish(broker, "a.b", "1");
    for (const attempt of [1, 2, 3, 4]) {
      const delivery = await all.next();
      assert.deepEqual([delivery.event, delivery.attempt], ["1", attempt]);
      if (attempt < 4) delivery.nack();
      else delivery.ack();
    }
    await publish(broker, "a.b", "2");
    assert.deepEqual(await all.take(1), ["2"]);
  });

  conforms("nack() with a delay gives a message back later", async ({ broker, clock }) => {
    await using all = await reader(broker, "a.b");
    await publish(broker, "a.b", "1", "2");
    (await all.next()).nack({ delayMs: 50 });
    if (clock) {
      assert.deepEqual(await all.take(1), ["2"]);
      const next = all.next();
      clock.pass(49);
      assert.equal(await isSettled(next), false);
      clock.pass(1);
      assert.deepEqual(((delivery) => [delivery.event, delivery.attempt])(await next), ["1", 2]);
    } else {
      assert.deepEqual((await all.take(2)).sort(), ["1", "2"]);
    }
  });

  conforms("ack() counts once, and nack() after it not at all", async ({ broker }) => {
    await using all = await reader(broker, "a.b", { maxInFlight: 1 });
    await publish(broker, "a.b", "1", "2", "3");
    const first = await all.next();
    first.ack();
    first.ack();
    first.nack();
    const second = await all.next();
    assert.equal(second.event, "2");
    first.ack(); // must not count for the second
    first.nack();
    second.nack();
    second.ack(); // nor this: it was given back
    const again = await all.next();
    assert.deepEqual([again.event, again.attempt], ["2", 2]);
    second.ack(); // nor for a later attempt
    again.ack();
    assert.deepEqual(await all.take(1), ["3"]);
  });

  conforms("subscribe() has no more than maxInFlight messages out", async ({ broker, another }) => {
    await using all = await reader(broker, "a.b", { maxInFlight: 3 });
    await using other = await reader(await another(), "a.b");
    await publish(broker, "a.b", ...events(5));
    const out = [await all.next(), await all.next(), await all.next()];
    const fourth = all.next();
    assert.deepEqual(await other.take(5), events(5));
    assert.equal(await isSettled(fourth), false);
    out[1]!.ack();
    assert.equal((await fourth).event, "4");
    const fifth = all.next();
    out[0]!.nack();
    assert.equal((await fifth).event, "1");
  });

  conforms("a message that is out for too long is given again", async ({ broker, clock, can }) => {
    const group = can.groups ? { group: "g" } : {};
    await using all = await reader(broker, "a.b", { ...group, ackWaitMs: 1_000 });
    await publish(broker, "a.b", "1", "2");
    const late = await all.next();
    assert.deepEqual(await all.take(1), ["2"]);
    const again = all.next();
    if (clock) {
      clock.pass(999);
      assert.equal(await isSettled(again), false);
      clock.pass(1);
    }
    assert.deepEqual([(await again).event, (await again).attempt], ["1", 2]);
    late.nack(); // too late: another attempt is out
    late.ack();
    (await again).ack();
    await publish(broker, "a.b", "3");
    assert.deepEqual(await all.take(1), ["3"]);
  });

  conforms("drain() waits for what was handed out, whichever way it is settled", async ({ broker }) => {
    await using all = await reader(broker, "a.b");
    await publish(broker, "a.b", "1", "2");
    const [one, two] = [await all.next(), await all.next()];
    const drained = all.drain();
    one.ack();
    assert.equal(await isSettled(drained), false);
    two.nack();
    await mustCome(drained, "the end of drain()");
    await all.ended();
  });
}

/** Where a broker delivers once, settling changes nothing. */
async function deliversOnce({ broker }: Rig): Promise<void> {
  await using all = await reader(broker, "a.b");
  await publish(broker, "a.b", "1", "2");
  const first = await all.next();
  assert.equal(first.attempt, 1);
  first.nack();
  first.ack();
  assert.deepEqual(await all.take(1), ["2"]);
}
