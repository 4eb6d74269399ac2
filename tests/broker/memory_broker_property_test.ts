import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Broker, type Delivery, memoryBroker } from "../../src/broker/mod.ts";
import { manualClock } from "./_clock.ts";
import { type Reader, reader } from "./_conformance_rig.ts";

type Step =
  | { readonly do: "publish"; readonly key: string | undefined }
  | { readonly do: "join" | "leave" | "drain" | "read"; readonly who: number }
  | { readonly do: "ack"; readonly which: number }
  | { readonly do: "nack"; readonly which: number; readonly delayMs: number }
  | { readonly do: "pass"; readonly ms: number };

const who = fc.nat(2);
const which = fc.nat(7);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("publish" as const), key: fc.constantFrom("k", "l", undefined) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("join" as const), who }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("read" as const), who }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("leave" as const, "drain" as const), who }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("ack" as const), which }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("nack" as const), which, delayMs: fc.constantFrom(0, 10, 5_000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(5, 900, 1_500, 6_000) }) },
);

test("memoryBroker() gives each message of a group to one member at a time, until it is acknowledged, in the order of its key", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
      await using world = await createWorld();
      for (const each of steps) await world.run(each);
      await world.finish();
    }),
    { numRuns: 200 },
  );
});

const ACK_WAIT_MS = 1_000;

interface Out {
  readonly delivery: Delivery;
  readonly holder: Reader;
  readonly sinceMs: number;
}

/** A group of three members that come and go, and a model of what is out. */
async function createWorld() {
  const clock = manualClock();
  const broker: Broker = memoryBroker({ now: clock.now, clock });
  const join = () => reader(broker, "a.b", { group: "g", maxInFlight: 3, ackWaitMs: ACK_WAIT_MS });
  const members: (Reader | undefined)[] = [await join(), undefined, undefined];
  const asked = new Map<Reader, Promise<unknown>>();
  const keyOf = new Map<string, string | undefined>();
  const done: string[] = [];
  const out = new Map<string, Out>();
  const attempts = new Map<string, number>();

  const receive = (holder: Reader, delivery: Delivery) => {
    const { event, attempt } = delivery;
    assert.ok(!done.includes(event), `${event} came after it was acknowledged`);
    assert.ok(!out.has(event), `${event} is out twice`);
    const key = keyOf.get(event);
    for (const other of out.keys()) {
      assert.ok(key === undefined || keyOf.get(other) !== key, `${event} and ${other} of the key ${key} are out`);
    }
    if (key !== undefined) {
      const earlier = [...keyOf].filter(([id, itsKey]) => itsKey === key && +id < +event).map(([id]) => id);
      assert.ok(earlier.every((id) => done.includes(id)), `${event} came before all of ${earlier} were done with`);
    }
    assert.equal(attempt, (attempts.get(event) ?? 0) + 1);
    attempts.set(event, attempt);
    out.set(event, { delivery, holder, sinceMs: clock.now() });
    assert.ok([...out.values()].filter((each) => each.holder === holder).length <= 3);
  };
  const ask = (member: Reader) => {
    if (asked.has(member)) return;
    asked.set(
      member,
      member.ask().then(({ done, value }) => {
        asked.delete(member);
        if (!done) receive(member, value);
      }),
    );
  };
  const isLate = ({ sinceMs }: Out) => sinceMs + ACK_WAIT_MS <= clock.now();
  const pick = (which: number) => [...out.values()][which % out.size]!;
  const run = async (step: Step) => {
    if (step.do === "publish") {
      const event = String(keyOf.size);
      keyOf.set(event, step.key);
      await broker.publish({ topic: "a.b", id: event, event, orderingKey: step.key });
    } else if (step.do === "join") {
      members[step.who] ??= await join();
    } else if (step.do === "read") {
      const member = members[step.who];
      if (member) ask(member);
    } else if (step.do === "leave") {
      const member = members[step.who];
      members[step.who] = undefined;
      for (const [event, { holder }] of out) if (holder === member) out.delete(event);
      await member?.leave();
    } else if (step.do === "drain") {
      void members[step.who]?.drain();
      members[step.who] = undefined;
    } else if (step.do === "pass") {
      for (let passed = 0; passed < step.ms; passed += 100) {
        clock.pass(Math.min(100, step.ms - passed));
        for (const [event, each] of out) if (isLate(each)) out.delete(event);
        await settle();
      }
    } else if ("which" in step && out.size > 0) {
      const { delivery } = pick(step.which);
      out.delete(delivery.event);
      if (step.do === "nack") delivery.nack({ delayMs: step.delayMs });
      else {
        done.push(delivery.event);
        delivery.ack();
      }
    }
    await settle();
  };
  return {
    run,
    async finish() {
      for (let round = 0; done.length < keyOf.size; round++) {
        assert.ok(round < 2_000, `${keyOf.size - done.length} messages never came`);
        if (out.size > 0) await run({ do: "ack", which: 0 });
        members[0] ??= await join();
        ask(members[0]!);
        await settle();
        if (out.size === 0) await run({ do: "pass", ms: 1_000 });
      }
      for (const key of ["k", "l"]) {
        const own = done.filter((event) => keyOf.get(event) === key).map(Number);
        assert.deepEqual(own, [...own].sort((one, two) => one - two));
      }
    },
    async [Symbol.asyncDispose]() {
      const rest = [...asked.values()].map((each) => each.catch(() => {}));
      await broker[Symbol.asyncDispose]();
      await Promise.all(rest);
    },
  };
}

/** Lets what was answered arrive. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 12; turn++) await undefined;
}
