import { announce } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { noting, Orders, Payments, server, stage } from "./_announce.ts";
import { ENDPOINT, joinOther, rig } from "./_rig.ts";

describe("announce() refuses", () => {
  test("announce() refuses a server whose services its identity may not serve", async () => {
    const world = await rig();
    const { registry, done } = noting();
    const options = { registry, endpoints: [ENDPOINT], now: world.now };
    const both = { services: [Orders, Payments], draining: false };
    await assert.rejects(announce(both, { ...options, identity: world.orders }), TypeError);
    const idle = await joinOther(world, "idle", {});
    await assert.rejects(announce(server(), { ...options, identity: idle }), TypeError);
    assert.deepEqual(done, []);
  });

  test("announce() refuses a registry that promises too little", async () => {
    const { orders, now } = await rig();
    const { registry, done } = noting();
    for (
      const properties of [{ encrypted: false, accessControlled: true }, { encrypted: true, accessControlled: false }]
    ) {
      const options = { registry: { ...registry, properties }, identity: orders, endpoints: [ENDPOINT], now };
      await assert.rejects(announce(server(), options), TypeError);
    }
    assert.deepEqual(done, []);
  });

  test("announce() refuses times that are out of range", async () => {
    const { orders, now } = await rig();
    const { registry, done } = noting();
    const options = { registry, identity: orders, endpoints: [ENDPOINT], now };
    for (const leaseMs of [2_999, 300_001, NaN, Infinity, -1, 0]) {
      await assert.rejects(announce(server(), { ...options, leaseMs }), RangeError);
    }
    for (const settleMs of [-1, 600_001, NaN, Infinity]) {
      await assert.rejects(announce(server(), { ...options, settleMs }), RangeError);
    }
    assert.deepEqual(done, []);
  });

  test("announce() refuses what no reader would take, and leaves no timer behind", async () => {
    for (const changes of [{ endpoints: [] }, { weight: 0 }, { version: "1" }, { region: "EU" }, { namespace: "" }]) {
      const { start, timers } = await stage(changes);
      using _ = timers;
      await assert.rejects(start(), { reason: "malformed_record" }, JSON.stringify(changes));
      assert.deepEqual(timers.waits(), []);
    }
  });

  test("announce() refuses a server that serves nothing", async () => {
    const { orders, now } = await rig();
    const options = { registry: noting().registry, identity: orders, endpoints: [ENDPOINT], now };
    await assert.rejects(announce({ services: [], draining: false }, options));
  });

  test("announce() fails where the first registration fails, and leaves no timer behind", async () => {
    const { start, timers, script } = await stage();
    using _ = timers;
    script.fails = true;
    await assert.rejects(start(), { reason: "unreachable" });
    assert.deepEqual(timers.waits(), []);
  });
});
