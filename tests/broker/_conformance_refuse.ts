// What every broker refuses: malformed names, patterns and options, and what it does not claim.
import assert from "node:assert/strict";
import type { BrokerSubscribeOptions } from "../../src/broker/broker.ts";
import { type Conforms, publish, reader, refused } from "./_conformance_rig.ts";

/** Names that could reach beyond one topic, break a line of a protocol, or be taken for another. */
export const HOSTILE_NAMES: readonly string[] = [
  "",
  ".",
  "..",
  "a..b",
  ".a",
  "a.",
  "*",
  ">",
  "a.*",
  "a.>",
  "a.*.b",
  "a>b.c",
  "a.b*",
  " a",
  "a b",
  "a.b ",
  "a\tb",
  "a\r\nPUB x 0",
  "a.b\n",
  "a\0b",
  "$SYS.x",
  "$JS.API.STREAM.DELETE.x",
  "_INBOX.x",
  "a/b",
  "a-b",
  "1a",
  "a.1",
  "à.b",
  "аdmin.x", // Cyrillic
  "a.\u202eb",
  "\ud800",
  "a:b",
  "a%2eb",
  "a\\b",
  "__proto__",
  `a.${"b".repeat(127)}`,
  "a.".repeat(64_000) + "a",
];

const HOSTILE_PATTERNS: readonly string[] = [
  ...HOSTILE_NAMES.filter((name) => !["*", ">", "a.*", "a.>", "a.*.b"].includes(name)),
  "a.>.b",
  ">.a",
  "a.**",
  "a*",
  "*a",
  ">>",
  "* ",
];

const MALFORMED_OPTIONS: Record<string, unknown> = {
  "an empty group": { group: "" },
  "a group that is a path": { group: "../a" },
  "a group with a dot": { group: "a.b" },
  "a group with a line break": { group: "a\n" },
  "a group without an end": { group: "a".repeat(65) },
  "a group that is no text": { group: 1 },
  "an unknown start": { start: "latest" },
  "a start that is nothing": { start: null },
  "a start of two kinds": { start: { after: "1", time: new Date(0) } },
  "a place that is no text": { start: { after: 1 } },
  "an empty place": { start: { after: "" } },
  "a time that is none": { start: { time: new Date(NaN) } },
  "a time that is a number": { start: { time: 0 } },
  "no message in flight": { maxInFlight: 0 },
  "too many in flight": { maxInFlight: 4_097 },
  "half a message in flight": { maxInFlight: 1.5 },
  "messages in flight as text": { maxInFlight: "1" },
  "too short a wait": { ackWaitMs: 999 },
  "too long a wait": { ackWaitMs: 3_600_001 },
  "a wait that is no number": { ackWaitMs: NaN },
  "an unknown policy": { slow: "forget" },
};

/** Tests that what is malformed, and what is not claimed, is refused. */
export function testRefusals(conforms: Conforms): void {
  conforms("publish() refuses hostile names", async ({ broker }) => {
    await using all = await reader(broker, ">");
    for (const topic of HOSTILE_NAMES) {
      await assert.rejects(
        broker.publish({ topic, id: "1", event: "1" }),
        TypeError,
        JSON.stringify(topic.slice(0, 40)),
      );
    }
    await publish(broker, "a.b", "2");
    assert.deepEqual(await all.take(1), ["2"]);
  });

  conforms("publish() refuses malformed ids and ordering keys", async ({ broker }) => {
    for (const id of ["", "a b", "a\r\nb", "é", "x".repeat(257), 1 as unknown as string]) {
      await assert.rejects(broker.publish({ topic: "a.b", id, event: "1" }), TypeError, JSON.stringify(id));
    }
    for (const orderingKey of ["", "a\r\nb", "\ud800", "x".repeat(257), 1 as unknown as string]) {
      const event = { topic: "a.b", id: "1", event: "1", orderingKey };
      await assert.rejects(broker.publish(event), TypeError, JSON.stringify(orderingKey));
    }
  });

  conforms("subscribe() refuses hostile patterns", async ({ broker }) => {
    for (const pattern of HOSTILE_PATTERNS) {
      await assert.rejects(broker.subscribe(pattern), TypeError, JSON.stringify(pattern.slice(0, 40)));
    }
  });

  conforms("subscribe() refuses malformed options", async ({ broker }) => {
    for (const [what, options] of Object.entries(MALFORMED_OPTIONS)) {
      await assert.rejects(broker.subscribe("a.b", options as BrokerSubscribeOptions), TypeError, what);
    }
  });

  conforms("nack() refuses a delay out of its range", async ({ broker }) => {
    await using all = await reader(broker, "a.b");
    await publish(broker, "a.b", "1");
    const delivery = await all.next();
    for (const delayMs of [-1, 0.5, NaN, 3_600_001]) assert.throws(() => delivery.nack({ delayMs }), TypeError);
    delivery.ack();
  });

  conforms("subscribe() refuses what is not claimed", async ({ broker, can }) => {
    const unclaimed: BrokerSubscribeOptions[] = [];
    if (!can.groups) unclaimed.push({ group: "g" });
    if (!can.redelivers) unclaimed.push({ ackWaitMs: 1_000 });
    if (!can.positions) {
      unclaimed.push({ start: "earliest" }, { start: { after: "1" } }, { start: { time: new Date(0) } });
    }
    for (const options of unclaimed) await refused(broker.subscribe("a.b", options), "unsupported");
  });
}
