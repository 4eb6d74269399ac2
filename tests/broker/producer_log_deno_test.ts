import type { Delivery } from "../../src/broker/broker.ts";
import { BrokerError, type BrokerReason } from "../../src/broker/broker_error.ts";
import { type Arrival, type ProducerLog, producerLog } from "../../src/broker/producer_log.ts";
import type { VerifiedEvent } from "../../src/broker/verified_event.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";

type More = Partial<Omit<VerifiedEvent, "publisher">> & { readonly publisher?: string };

function eventOf(sequence: number, { publisher = "spiffe://example.org/shop", ...more }: More = {}): VerifiedEvent {
  return {
    topic: "orders.v1.placed",
    id: `e${sequence}`,
    publisher: { id: publisher } as VerifiedEvent["publisher"],
    producer: "A".repeat(22),
    sequence,
    timeMs: 1_000 + sequence,
    orderingKey: undefined,
    contentType: "application/json",
    data: "{}",
    ...more,
  };
}

function deliveryOf(attempt = 1): Delivery {
  return { topic: "orders.v1.placed", event: "", attempt, ack() {}, nack() {} };
}

/** Takes an event that has to be taken. */
function taken(log: ProducerLog, event: VerifiedEvent, delivery = deliveryOf()): Arrival {
  const arrival = log.take(event, delivery);
  assert.ok(arrival, `event ${event.sequence} was taken for a copy`);
  return arrival;
}

function assertRefused(log: ProducerLog, event: VerifiedEvent, reason: BrokerReason): void {
  assert.throws(() => log.take(event, deliveryOf()), (error: unknown) => {
    assert.ok(error instanceof BrokerError, `expected a BrokerError, got ${error}`);
    assert.equal(error.reason, reason);
    assert.match(error.message, /^Cannot .*[^.]$/);
    return true;
  });
}

test("producerLog() takes events in their order, none of which is missing or late", () => {
  const log = producerLog("all");
  for (let sequence = 1; sequence <= 5; sequence++) {
    const { missing, late, settle } = taken(log, eventOf(sequence));
    assert.deepEqual([missing, late], [0, false]);
    settle();
  }
});

test("producerLog() refuses what was done with, each time", () => {
  const log = producerLog("all");
  taken(log, eventOf(1)).settle();
  taken(log, eventOf(2)).settle();
  for (const sequence of [1, 2, 1]) assertRefused(log, eventOf(sequence), "replayed");
  // Whatever else the copy says, its number is what counts.
  assertRefused(log, eventOf(1, { id: "other", timeMs: 99_999, data: "{1}" }), "replayed");
});

test("producerLog() takes no copy of what is out, and settles by the copy that came last", () => {
  const log = producerLog("all");
  const deliveries = [deliveryOf(1), deliveryOf(2), deliveryOf(3)] as const;
  const arrival = taken(log, eventOf(1), deliveries[0]);
  assert.equal(arrival.latest(), deliveries[0]);
  assert.equal(log.take(eventOf(1), deliveries[1]), undefined);
  assert.equal(arrival.latest(), deliveries[1]);
  assert.equal(log.take(eventOf(1), deliveries[2]), undefined);
  assert.equal(arrival.latest(), deliveries[2]);
  arrival.settle();
  assertRefused(log, eventOf(1), "replayed");
  assert.equal(arrival.latest(), deliveries[2]);
});

test("producerLog() takes again what was given back, as often as that", () => {
  const log = producerLog("all");
  for (let attempt = 1; attempt <= 4; attempt++) {
    const delivery = deliveryOf(attempt);
    const arrival = taken(log, eventOf(1), delivery);
    assert.deepEqual([arrival.missing, arrival.late], [0, false]);
    assert.equal(arrival.latest(), delivery);
    arrival.giveBack();
    assert.equal(arrival.latest(), delivery, "it is by this that it was given back");
  }
  const last = taken(log, eventOf(1));
  assert.equal(log.take(eventOf(1), deliveryOf()), undefined, "it is out again");
  last.settle();
  assertRefused(log, eventOf(1), "replayed");
});

test("producerLog() gives back by the copy that came last", () => {
  const log = producerLog("all");
  const arrival = taken(log, eventOf(1));
  const copy = deliveryOf(2);
  log.take(eventOf(1), copy);
  arrival.giveBack();
  assert.equal(arrival.latest(), copy);
});

test("producerLog() says that an event is late where one after it came before, and not where it comes again", () => {
  const log = producerLog("all");
  const first = taken(log, eventOf(1));
  assert.equal(taken(log, eventOf(3)).late, false);
  assert.equal(taken(log, eventOf(2)).late, true);
  first.giveBack();
  assert.equal(taken(log, eventOf(1)).late, false);
});

test("producerLog() counts what is missing where it should see all, and only there", () => {
  const [all, some] = [producerLog("all"), producerLog("some")];
  const came: readonly (readonly [sequence: number, missing: number])[] = [
    [5, 0], // what was there before nobody missed
    [6, 0],
    [9, 2],
    [7, 0],
    [10, 0],
    [1_000_000, 999_989],
    [8, 0],
    [1_000_001, 0],
  ];
  for (const [sequence, missing] of came) {
    assert.equal(taken(all, eventOf(sequence)).missing, missing, `${sequence}`);
    const other = taken(some, eventOf(sequence));
    assert.equal(other.missing, 0);
    assert.equal(other.late, sequence === 7 || sequence === 8);
  }
});

test("producerLog() counts for each identity, topic and run by itself", () => {
  const log = producerLog("all");
  taken(log, eventOf(5)).settle();
  const others: readonly More[] = [
    { publisher: "spiffe://example.org/other" },
    { topic: "orders.v1.paid" },
    { producer: "B".repeat(22) },
  ];
  for (const more of others) {
    const { missing, late, settle } = taken(log, eventOf(5, more));
    assert.deepEqual([missing, late], [0, false]);
    settle();
    assertRefused(log, eventOf(5, more), "replayed");
    assert.equal(taken(log, eventOf(7, more)).missing, 1);
  }
  assert.equal(taken(log, eventOf(6)).missing, 0);
});

test("producerLog() refuses what comes after a later one of its ordering key", () => {
  for (const sees of ["all", "some"] as const) {
    const log = producerLog(sees);
    const key = { orderingKey: "k" };
    taken(log, eventOf(1, key)).settle();
    taken(log, eventOf(3, key)).settle();
    assertRefused(log, eventOf(2, key), "out_of_order");
    taken(log, eventOf(5, key)); // is out
    assertRefused(log, eventOf(4, key), "out_of_order");
    taken(log, eventOf(6, key)).settle();
    assert.ok(taken(log, eventOf(2, { orderingKey: "other" })).late);
    assert.ok(taken(log, eventOf(4)).late);
    taken(log, eventOf(9, { orderingKey: "other" })).settle();
    taken(log, eventOf(7, key)).settle();
  }
});

test("producerLog() keeps to the latest of an ordering key, in whatever order they are done with", () => {
  const log = producerLog("all");
  const key = { orderingKey: "k" };
  const [first, third] = [taken(log, eventOf(1, key)), taken(log, eventOf(3, key))];
  third.settle();
  first.settle();
  assertRefused(log, eventOf(2, key), "out_of_order");
  assertRefused(log, eventOf(1, key), "replayed");
  taken(log, eventOf(4, key));
});

test("producerLog() takes what was given back again, also where a later one of its key came", () => {
  const log = producerLog("all");
  const key = { orderingKey: "k" };
  taken(log, eventOf(1, key)).giveBack();
  taken(log, eventOf(2, key)).settle();
  taken(log, eventOf(1, key)).settle();
  assertRefused(log, eventOf(1, key), "replayed");
  taken(log, eventOf(3, key));
});

test("producerLog() keeps the order of each run's keys by itself", () => {
  const log = producerLog("all");
  taken(log, eventOf(9, { orderingKey: "k" })).settle();
  taken(log, eventOf(1, { orderingKey: "k", producer: "B".repeat(22) })).settle();
  taken(log, eventOf(1, { orderingKey: "k", topic: "orders.v1.paid" })).settle();
});

test("producerLog() remembers 262,144 ordering keys, those that were used last", () => {
  const log = producerLog("some");
  const use = (sequence: number, key: number) => taken(log, eventOf(sequence, { orderingKey: `k${key}` })).settle();
  for (let key = 0; key < 262_144; key++) use(key + 10, key);
  assertRefused(log, eventOf(9, { orderingKey: "k0" }), "out_of_order");
  use(1_000_000, 0);
  use(1_000_001, 262_144); // makes k1 go
  use(1_000_002, 0); // makes nothing go
  assertRefused(log, eventOf(9, { orderingKey: "k0" }), "out_of_order");
  assertRefused(log, eventOf(9, { orderingKey: "k2" }), "out_of_order");
  assert.ok(taken(log, eventOf(9, { orderingKey: "k1" })).late);
  // Another run still has its last key.
  taken(log, eventOf(5, { topic: "other", orderingKey: "k" })).settle();
  assertRefused(log, eventOf(4, { topic: "other", orderingKey: "k" }), "out_of_order");
});

const run = (index: number) => `${index}`.padStart(22, "_");

test("producerLog() remembers as many runs of a publisher as its share is", () => {
  const log = producerLog("all");
  for (let index = 1; index < 1_024; index++) taken(log, eventOf(1, { publisher: `p${index}` })).settle();
  for (let index = 0; index < 16; index++) taken(log, eventOf(1, { producer: run(index), timeMs: index })).settle();
  for (let index = 0; index < 16; index++) assert.equal(taken(log, eventOf(3, { producer: run(index) })).missing, 1);
  taken(log, eventOf(1, { producer: run(16), timeMs: 9_000 })).settle();
  assertRefused(log, eventOf(4, { producer: run(0), timeMs: 1_003 }), "replayed");
  assert.equal(taken(log, eventOf(5, { producer: run(1) })).missing, 1);
});

test("producerLog() remembers 134 million numbers, the highest", () => {
  const log = producerLog("some");
  for (let piece = 0; piece < 65_536; piece++) taken(log, eventOf(piece * 2_048 + 1)).settle();
  taken(log, eventOf(2)).settle();
  taken(log, eventOf(65_536 * 2_048 + 1)).settle();
  for (const sequence of [1, 2, 3, 2_047, 2_049]) assertRefused(log, eventOf(sequence), "replayed");
  taken(log, eventOf(2_050));
});

/** A log of as many publishers as there can be, so that each has its smallest share: four runs. */
const crowded = () => {
  const log = producerLog("all");
  taken(log, eventOf(1, { topic: "first", timeMs: 1 })).settle();
  const [event, delivery] = [eventOf(1), deliveryOf()];
  for (let index = 1; index < 4_096; index++) {
    const publisher = { id: `p${index}` } as VerifiedEvent["publisher"];
    log.take({ ...event, publisher }, delivery)!.settle();
  }
  return log;
};

test("producerLog() remembers four runs of each publisher at least, those that were used last", () => {
  const log = crowded();
  for (let index = 0; index < 4; index++) {
    taken(log, eventOf(1, { producer: run(index), timeMs: 10 + index })).settle();
  }
  for (let index = 0; index < 4; index++) {
    assertRefused(log, eventOf(1, { producer: run(index), timeMs: 10 + index }), "replayed");
  }
  taken(log, eventOf(2, { producer: run(0), timeMs: 100 })).settle();
  taken(log, eventOf(1, { producer: run(4), timeMs: 101 })).settle(); // makes run 1 go, not run 0
  assert.equal(taken(log, eventOf(4, { producer: run(0), timeMs: 102 })).missing, 1);
  assert.equal(taken(log, eventOf(3, { producer: run(2), timeMs: 103 })).missing, 1);
  // Run 1 begins anew, after the newest of what was forgotten.
  assertRefused(log, eventOf(3, { producer: run(1), timeMs: 11 }), "replayed");
  assert.equal(taken(log, eventOf(3, { producer: run(1), timeMs: 104 })).missing, 0);
  // Others have shares of their own.
  for (let index = 1; index < 4; index++) taken(log, eventOf(1, { publisher: "p1", producer: run(index) })).settle();
  assertRefused(log, eventOf(1, { publisher: "p1" }), "replayed");
});

test("producerLog() refuses what may be a copy of a run that was forgotten", () => {
  const log = crowded();
  taken(log, eventOf(1, { producer: run(0), timeMs: 500 })).settle();
  taken(log, eventOf(2, { producer: run(0), timeMs: 400 })).giveBack(); // an earlier time changes nothing
  for (let index = 1; index <= 4; index++) {
    taken(log, eventOf(1, { producer: run(index), timeMs: 1_000 + index })).settle();
  }
  // Run 0 is forgotten, with 500 as the newest of its times.
  for (const timeMs of [0, 400, 499, 500]) {
    assertRefused(log, eventOf(1, { producer: run(0), timeMs }), "replayed");
    assertRefused(log, eventOf(1, { producer: run(99), timeMs }), "replayed");
  }
  // Other publishers go on, whatever their times are, and so does what was known before.
  taken(log, eventOf(2, { publisher: "p1", timeMs: 10 })).settle();
  taken(log, eventOf(2, { producer: run(1), timeMs: 20 })).settle();
  taken(log, eventOf(3, { producer: run(0), timeMs: 501 })).settle(); // makes run 2 go
  for (const timeMs of [500, 400]) assertRefused(log, eventOf(9, { producer: run(0), timeMs }), "replayed");
  taken(log, eventOf(4, { producer: run(0), timeMs: 502 })).settle();
  assertRefused(log, eventOf(1, { producer: run(98), timeMs: 1_002 }), "replayed");
  taken(log, eventOf(1, { producer: run(98), timeMs: 1_003 })).settle();
});

test("producerLog() never forgets that it forgot: the line does not go back", () => {
  const log = crowded();
  taken(log, eventOf(1, { producer: run(0), timeMs: 900 })).settle();
  for (let index = 1; index <= 3; index++) taken(log, eventOf(1, { producer: run(index), timeMs: 2 })).settle();
  taken(log, eventOf(1, { producer: run(4), timeMs: 901 })).settle(); // run 0 goes: 900
  taken(log, eventOf(1, { producer: run(5), timeMs: 902 })).settle(); // run 1 goes: 2
  assertRefused(log, eventOf(1, { producer: run(0), timeMs: 900 }), "replayed");
  assertRefused(log, eventOf(1, { producer: run(6), timeMs: 3 }), "replayed");
});

test("producerLog() goes by the times of what it took, and not of what it refused", () => {
  const log = crowded();
  taken(log, eventOf(1, { producer: run(0), timeMs: 10 })).settle();
  assertRefused(log, eventOf(1, { producer: run(0), timeMs: 99_999 }), "replayed");
  for (let index = 1; index <= 4; index++) taken(log, eventOf(1, { producer: run(index), timeMs: 20 })).settle();
  taken(log, eventOf(1, { producer: run(5), timeMs: 21 })).settle();
});

test("producerLog() gives the ordering keys of a run that was forgotten to others", () => {
  const log = crowded();
  for (let key = 0; key < 262_144; key++) {
    log.take(eventOf(key + 1, { producer: run(0), timeMs: 2, orderingKey: `k${key}` }), deliveryOf())!.settle();
  }
  for (let index = 1; index <= 4; index++) taken(log, eventOf(1, { producer: run(index), timeMs: 3 })).settle();
  for (let key = 0; key <= 16; key++) {
    taken(log, eventOf(9 + key, { producer: run(4), timeMs: 4, orderingKey: `a${key}` })).settle();
  }
  assertRefused(log, eventOf(8, { producer: run(4), timeMs: 4, orderingKey: "a0" }), "out_of_order");
});

test("producerLog() does not let one run use up what another needs", () => {
  const log = producerLog("some");
  for (let piece = 0; piece <= 65_536; piece++) taken(log, eventOf(piece * 2_048 + 1, { topic: "busy" })).settle();
  taken(log, eventOf(1)).settle();
  taken(log, eventOf(2_047)).giveBack();
  taken(log, eventOf(2_049)).settle();
  taken(log, eventOf(2_047)).settle();
  for (const sequence of [1, 2_047, 2_049]) assertRefused(log, eventOf(sequence), "replayed");
});

test("producerLog() takes an event of the very first time there is", () => {
  const log = producerLog("all");
  taken(log, eventOf(1, { timeMs: 0 })).settle();
  assertRefused(log, eventOf(1, { timeMs: 0 }), "replayed");
});

test("producerLog() settles an event of a run that was forgotten meanwhile, and takes no copy of it", () => {
  const log = crowded();
  const arrival = taken(log, eventOf(1, { producer: run(0), timeMs: 2 }));
  for (let index = 1; index <= 4; index++) {
    taken(log, eventOf(1, { producer: run(index), timeMs: 2 + index })).settle();
  }
  arrival.settle();
  assertRefused(log, eventOf(1, { producer: run(0), timeMs: 2 }), "replayed");
});

test("producerLog() remembers 4,096 publishers, and refuses more", () => {
  const log = crowded();
  assertRefused(log, eventOf(1, { publisher: "p4096" }), "too_many_publishers");
  taken(log, eventOf(2, { publisher: "p1" })).settle();
  taken(log, eventOf(1, { publisher: "p1", topic: "other" })).settle();
  assertRefused(log, eventOf(1, { publisher: "p2" }), "replayed");
  assertRefused(log, eventOf(1, { publisher: "p16384" }), "too_many_publishers");
});

test("producerLog() bounds what it knows of events that were given back, and takes the forgotten ones too", () => {
  const log = producerLog("all");
  const own = (sequence: number) => eventOf(sequence, { orderingKey: `k${sequence}` });
  taken(log, eventOf(10_000)).settle();
  for (let sequence = 1; sequence <= 8_192; sequence++) taken(log, own(sequence)).giveBack();
  taken(log, own(1)).giveBack(); // now the last of them
  taken(log, own(8_193)).giveBack();
  // The second is forgotten, so it is a late one again; the others are known.
  assert.deepEqual([1, 3, 8_193, 2].map((sequence) => taken(log, own(sequence)).late), [false, false, false, true]);
});

test("producerLog() takes each event until it is settled, and never after, whatever comes in which order", () => {
  const step = fc.record({
    sequence: fc.integer({ min: 1, max: 6 }),
    producer: fc.constantFrom("A".repeat(22), "B".repeat(22)),
    then: fc.constantFrom("hold", "settle", "giveBack"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const log = producerLog("some");
      const [settled, out] = [new Set<string>(), new Map<string, Arrival>()];
      for (const { sequence, producer, then } of steps) {
        const name = `${producer}${sequence}`;
        if (settled.has(name)) {
          assertRefused(log, eventOf(sequence, { producer }), "replayed");
          continue;
        }
        const arrival = log.take(eventOf(sequence, { producer }), deliveryOf());
        assert.equal(arrival === undefined, out.has(name));
        if (arrival) out.set(name, arrival);
        if (then === "hold") continue;
        out.get(name)![then]();
        out.delete(name);
        if (then === "settle") settled.add(name);
      }
    }),
    { numRuns: 200 },
  );
});
