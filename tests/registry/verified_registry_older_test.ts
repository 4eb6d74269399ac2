import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { watchedAudit } from "../auth/_world.ts";
import { DOMAIN, ENDPOINT, giving, heldTimers, joinOther, ORDERS, rig, SERVICE } from "./_rig.ts";
import { counted, forged, revoke, sequencesOf, several } from "./_verified.ts";

describe("verifiedRegistry() and older records", () => {
  test("verifiedRegistry() goes on with the newest record in place of an older one", async () => {
    const world = await rig();
    const { recordOf, orders } = world;
    const moved = `https://new.${DOMAIN}`;
    const [older, newer] = [await recordOf(orders), await recordOf(orders, { sequence: 2, endpoints: [moved] })];
    const audit = watchedAudit();
    const registry = giving([older]);
    const { resolve } = world.verified(registry, { audit });
    const endpoints = async () => (await resolve(SERVICE)).map(({ endpoints }) => endpoints[0]);
    assert.deepEqual(await endpoints(), [ENDPOINT]);
    registry.records[0] = newer;
    assert.deepEqual(await endpoints(), [moved]);
    registry.records[0] = older;
    assert.deepEqual(await endpoints(), [moved]);
    assert.deepEqual(await endpoints(), [moved]);
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["rollback"], "once");
    registry.records.push(newer);
    assert.deepEqual(await endpoints(), [moved]);
  });

  test("verifiedRegistry() goes by the sequence, whatever the order in one answer", async () => {
    const world = await rig();
    const { recordOf, orders } = world;
    const records = await Promise.all([3, 1, 2].map((sequence) => recordOf(orders, { sequence })));
    for (const order of [records, records.toReversed()]) {
      assert.deepEqual(sequencesOf(await world.verified(giving([...order])).resolve(SERVICE)), ["i1:3"]);
    }
  });

  test("verifiedRegistry() goes on with the first of two records of one sequence", async () => {
    const world = await rig();
    const { recordOf, orders } = world;
    const first = await recordOf(orders);
    const second = await recordOf(orders, { endpoints: [`https://evil.${DOMAIN}`] });
    const registry = giving([first]);
    const audit = watchedAudit();
    const { resolve } = world.verified(registry, { audit });
    await resolve(SERVICE);
    for (const records of [[second], [second, first], [first, second], [second]]) {
      registry.records.splice(0, Infinity, ...records);
      assert.deepEqual((await resolve(SERVICE)).map(({ endpoints }) => endpoints[0]), [ENDPOINT]);
    }
    assert.ok(audit.events.length >= 1 && audit.events.every(({ reason }) => reason === "rollback"));
  });

  test("verifiedRegistry() remembers the newest record of what was gone in between", async () => {
    const world = await rig();
    const { recordOf, orders, now } = world;
    const older = await recordOf(orders, { lifetimeMs: 300_000 });
    const registry = giving([await recordOf(orders, { sequence: 2, lifetimeMs: 10_000, draining: true })]);
    const { resolve } = world.verified(registry);
    await resolve(SERVICE);
    registry.records.length = 0;
    assert.deepEqual(await resolve(SERVICE), []);
    registry.records.push(older);
    assert.deepEqual((await resolve(SERVICE)).map(({ draining }) => draining), [true]);
    now.pass(10_000);
    assert.deepEqual(await resolve(SERVICE), [], "the newest has ended, and the older one is no newer for that");
    now.pass(289_999);
    assert.deepEqual(await resolve(SERVICE), []);
  });

  test("verifiedRegistry() does not give a service that the newest record does not name any more", async () => {
    const world = await rig();
    const able = await joinOther(world, "able", { serves: [SERVICE, "payments.v1"] });
    const both = await world.recordOf(able, { services: { [SERVICE]: "", "payments.v1": "" } });
    const one = await world.recordOf(able, { services: { "payments.v1": "" }, sequence: 2 });
    const registry = giving([both]);
    const { resolve } = world.verified(registry);
    assert.equal((await resolve(SERVICE)).length, 1);
    registry.records[0] = one;
    assert.equal((await resolve("payments.v1"))[0]!.sequence, 2);
    registry.records[0] = both;
    assert.deepEqual(await resolve(SERVICE), []);
  });

  test("verifiedRegistry() does not go on with a newest record that was revoked since", async () => {
    const world = await rig();
    const { recordOf, orders, authority } = world;
    // A key that was stolen signs for the same instance, further ahead and elsewhere, until it is revoked.
    const thief = await world.join(ORDERS, { serves: [SERVICE] });
    assert.notEqual(thief.key.thumbprint, orders.key.thumbprint);
    const evil = [`https://evil.${DOMAIN}`];
    const stolen = await recordOf(thief, { sequence: 1_000_000, endpoints: evil, lifetimeMs: 300_000 });
    const registry = giving([stolen]);
    const { resolve } = world.verified(registry);
    assert.deepEqual((await resolve(SERVICE))[0]!.endpoints, evil);
    authority.revoke({ keys: [thief.key.thumbprint] });
    await world.trust.update(await authority.signedBundle());
    assert.deepEqual(await resolve(SERVICE), []);
    registry.records[0] = await recordOf(orders, { sequence: 2 });
    assert.deepEqual((await resolve(SERVICE)).map(({ endpoints }) => endpoints[0]), [ENDPOINT]);
  });

  test("verifiedRegistry() does not take back an older record of an authority after the newer one has ended", async () => {
    const world = await rig();
    const { issue, now } = world;
    const iat = now() / 1_000;
    const older = await issue({ seq: 1, exp: iat + 30 * 86_400 });
    const newer = await issue({ seq: 2, exp: iat + 86_400, endpoints: [`https://new.${DOMAIN}`] });
    const registry = giving([newer]);
    const { resolve } = world.verified(registry);
    assert.equal((await resolve(SERVICE))[0]!.sequence, 2);
    registry.records[0] = older;
    now.pass(2 * 86_400_000);
    assert.deepEqual(await resolve(SERVICE), []);
  });

  test("verifiedRegistry() leaves out what has ended since it was verified", async () => {
    const world = await rig();
    const { now, recordOf, orders } = world;
    const registry = giving([
      await recordOf(orders, { instance: "a", lifetimeMs: 10_000 }),
      await recordOf(orders, { instance: "b", lifetimeMs: 20_000 }),
    ]);
    const { resolve } = world.verified(registry);
    const ids = async () => (await resolve(SERVICE)).map(({ id }) => id);
    now.pass(9_999);
    assert.deepEqual(await ids(), ["a", "b"]);
    now.pass(1);
    assert.deepEqual(await ids(), ["b"]);
    now.pass(10_000);
    assert.deepEqual(await ids(), []);
  });

  test("verifiedRegistry() follows an instance whose sequence starts again only when all that is older has ended", async () => {
    const world = await rig();
    const { now, recordOf, orders } = world;
    const registry = giving([await recordOf(orders, { sequence: 9 })]);
    const { resolve } = world.verified(registry);
    await resolve(SERVICE);
    now.pass(60_000 + 300_000 - 1);
    registry.records[0] = await recordOf(orders, { sequence: 1 });
    assert.deepEqual(await resolve(SERVICE), []);
    now.pass(1);
    assert.deepEqual(sequencesOf(await resolve(SERVICE)), ["i1:1"]);
  });
});

describe("verifiedRegistry() and answers that are too long", () => {
  test("verifiedRegistry() looks at no more than maxRecords", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const audit = watchedAudit();
    const registry = giving(await several(world, 5));
    const { resolve } = world.verified(registry, { trust, audit, maxRecords: 3 });
    assert.equal((await resolve(SERVICE)).length, 3);
    assert.equal(trust.count(), 3);
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["too_many"]);
    registry.records.length = 3;
    assert.equal((await resolve(SERVICE)).length, 3);
    assert.equal(audit.events.length, 1);
  });

  test("verifiedRegistry() checks 256 forged records and then no more of an answer, which withholds and does nothing else", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const audit = watchedAudit();
    const honest = await several(world, 3);
    const garbage = await forged(world, 600);
    const registry = giving([honest[0]!, ...garbage, honest[1]!, honest[2]!]);
    const { resolve } = world.verified(registry, { trust, audit });
    assert.deepEqual(sequencesOf(await resolve(SERVICE)), ["i0:1"]);
    assert.ok(trust.count() >= 256 && trust.count() <= 256 + 32, `${trust.count()} were verified`);
    assert.equal(audit.events.filter(({ reason }) => reason === "too_many").length, 1);
    assert.ok(audit.events.length <= 256 + 32 + 1);
    // what was refused is known by then: the same answer is looked at further
    await resolve(SERVICE);
    assert.deepEqual(sequencesOf(await resolve(SERVICE)), ["i0:1", "i1:1", "i2:1"]);
    assert.equal(trust.count(), 603);
  });

  test("verifiedRegistry() keeps what it knows while new garbage comes in front of it", async () => {
    const world = await rig();
    const honest = await several(world, 2);
    const registry = giving(honest);
    const { resolve } = world.verified(registry);
    await resolve(SERVICE);
    registry.records.unshift(...await forged(world, 400));
    assert.deepEqual(sequencesOf(await resolve(SERVICE)), ["i0:1", "i1:1"]);
  });

  test("verifiedRegistry() counts what costs no signature to refuse like what is forged: reading it costs enough", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const garbage = Array.from({ length: 300 }, (_, i) => `garbage${i}`);
    const { resolve, refusals } = world.verified(giving([...garbage, ...await several(world, 2)]), { trust });
    assert.equal((await resolve(SERVICE)).length, 0);
    assert.deepEqual([...refusals(SERVICE)], [["malformed_record", 256]]);
    assert.equal((await resolve(SERVICE)).length, 2);
    assert.deepEqual([...refusals(SERVICE)], [["malformed_record", 300]]);
    assert.equal(trust.count(), 2);
  });

  test("verifiedRegistry() does not count what is not yet or no longer valid, and looks at it again each time", async () => {
    const world = await rig();
    const { now, orders, recordOf } = world;
    const trust = counted(world.trust);
    now.pass(120_000); // so that their identity is older than all of them
    const past = await several(world, 300, { nowMs: now() - 60_000 });
    const future = await Promise.all(
      Array.from({ length: 300 }, (_, i) => recordOf(orders, { instance: `f${i}`, nowMs: now() + 60_000 })),
    );
    const honest = await recordOf(orders, { instance: "honest" });
    const { resolve } = world.verified(giving([...past, ...future, honest]), { trust });
    assert.deepEqual(sequencesOf(await resolve(SERVICE)), ["honest:1"]);
    assert.equal(trust.count(), 1);
    now.pass(50_000); // within the ten seconds that clocks may differ by
    assert.equal((await resolve(SERVICE)).length, 301);
    now.pass(-110_000);
    assert.ok((await resolve(SERVICE)).some(({ id }) => id === "i0"), "a clock that is set right");
  });

  test("verifiedRegistry() counts the refusals of a service by reason, as of the last reading", async () => {
    const world = await rig();
    const { orders, recordOf } = world;
    const registry = giving([
      "garbage",
      "rubbish",
      await recordOf(orders, { namespace: "other" }),
      await recordOf(orders, { endpoints: ["https://127.0.0.1"] }),
      await recordOf(orders, { instance: "fine" }),
    ]);
    const { resolve, refusals } = world.verified(registry);
    assert.equal(refusals(SERVICE).size, 0);
    for (let i = 0; i < 2; i++) {
      await resolve(SERVICE);
      assert.deepEqual(Object.fromEntries(refusals(SERVICE)), {
        malformed_record: 2,
        wrong_namespace: 1,
        wrong_endpoint: 1,
      });
    }
    assert.equal(refusals("other.v1").size, 0);
    registry.records.splice(0, 4);
    await resolve(SERVICE);
    assert.equal(refusals(SERVICE).size, 0);
  });

  test("verifiedRegistry() counts among the refusals what a clock that is wrong makes of records", async () => {
    const world = await rig();
    const { now, orders, recordOf } = world;
    const { resolve, refusals } = world.verified(giving([
      await recordOf(orders, { nowMs: now() - 60_000 }),
      await recordOf(orders, { nowMs: now() + 60_000 }),
    ]));
    await resolve(SERVICE);
    assert.deepEqual(Object.fromEntries(refusals(SERVICE)), { expired_record: 1, not_yet_valid: 1 });
  });

  test("verifiedRegistry() records 32 refusals of an answer one by one, and how many more there were", async () => {
    const world = await rig();
    const audit = watchedAudit();
    const registry = giving(Array.from({ length: 32 }, (_, i) => `garbage${i}`));
    const { resolve } = world.verified(registry, { audit });
    await resolve(SERVICE);
    assert.deepEqual(audit.events.map(({ reason }) => reason), Array(32).fill("malformed_record"));
    audit.events.length = 0;
    registry.records.splice(0, Infinity, ...Array.from({ length: 50 }, (_, i) => `rubbish${i}`));
    await resolve(SERVICE);
    assert.equal(audit.events.length, 33);
    const { event, reason, fields } = audit.events.at(-1)!;
    assert.deepEqual([event, reason, fields], ["record.refuse", "too_many", { service: SERVICE, more: 18 }]);
    await resolve(SERVICE);
    assert.equal(audit.events.length, 33, "each is recorded once");
  });

  test("verifiedRegistry() lets others go on while it looks at many records", async () => {
    const world = await rig();
    const registry = giving(await several(world, 33));
    const { resolve } = world.verified(registry);
    using timers = heldTimers();
    let found: readonly unknown[] | undefined;
    const reading = resolve(SERVICE).then((instances) => found = instances);
    while (timers.waits().length === 0) await timers.settle();
    assert.deepEqual([timers.waits(), found], [[0], undefined]);
    timers.fire(0);
    await reading;
    assert.equal(found?.length, 33);
  });

  test("verifiedRegistry() stillHolding() tells who holds under changed trust, and later, without a reading", async () => {
    const world = await rig();
    const other = await joinOther(world, "other");
    const registry = giving([
      await world.recordOf(world.orders, { instance: "a" }),
      await world.recordOf(other, { instance: "b" }),
      await world.recordOf(world.orders, { instance: "c", lifetimeMs: 30_000 }),
    ]);
    const { resolve, stillHolding } = world.verified(registry);
    const instances = await resolve(SERVICE);
    registry.resolve = () => assert.fail("no registry is asked");
    assert.deepEqual(await stillHolding(instances), instances);
    await revoke(world, { ids: [other.id] });
    assert.deepEqual((await stillHolding(instances)).map(({ id }) => id), ["a", "c"]);
    world.now.pass(30_000);
    assert.deepEqual((await stillHolding(instances)).map(({ id }) => id), ["a"]);
    assert.deepEqual(await stillHolding([{ ...instances[0]!, name: "never seen" }]), []);
    assert.deepEqual(await stillHolding([]), []);
  });

  test("verifiedRegistry() records each refused record once, under the service that was asked for", async () => {
    const world = await rig();
    const { recordOf, orders, now, issue, forge } = world;
    const audit = watchedAudit();
    const records = [
      "garbage",
      await recordOf(orders, { namespace: "other" }),
      await recordOf(orders, { services: { "other.v1": "" } }),
      await recordOf(orders, { services: { [SERVICE]: "", "payments.v1": "" } }),
      await recordOf(orders, { endpoints: ["https://127.0.0.1"] }),
      await recordOf(orders, { nowMs: now() - 60_000 }),
      await recordOf(orders, { nowMs: now() + 60_000 }),
      await issue({ iss: "spiffe://partner.test" }),
      await forge(orders, { wit: "x" }),
    ];
    const { resolve } = world.verified(giving(records), { audit });
    for (let i = 0; i < 2; i++) assert.deepEqual(await resolve(SERVICE), []);
    const reasons = [
      "malformed_record",
      "wrong_namespace",
      "wrong_service",
      "not_serving",
      "wrong_endpoint",
      "expired_record",
      "not_yet_valid",
      "malformed_record",
      "malformed_token",
    ];
    const told = audit.events.map(({ reason }) => reason as string);
    assert.deepEqual(told, reasons);
    for (const { event, fields, caller } of audit.events) {
      assert.deepEqual([event, fields, caller], ["record.refuse", { service: SERVICE }, undefined]);
    }
  });

  test("verifiedRegistry() refuses all the same where the audit fails", async () => {
    const world = await rig();
    const audit = {
      record() {
        throw new Error("disk full");
      },
    };
    const registry = giving(["garbage", ...await several(world, 1)]);
    assert.equal((await world.verified(registry, { audit }).resolve(SERVICE)).length, 1);
  });

  test("verifiedRegistry() keeps a bounded number of newest records, of those that it heard of last", async () => {
    const world = await rig();
    const { now, orders, recordOf } = world;
    const registry = giving([]);
    const { resolve } = world.verified(registry);
    // Each generation is forgotten with its lease: the first one's sequence does not stand in the way for ever.
    for (let generation = 0; generation < 4; generation++) {
      registry.records.splice(0, Infinity, ...await several(world, 50, { sequence: 10 - generation }));
      assert.equal((await resolve(SERVICE)).length, 50, `generation ${generation}`);
      now.pass(60_000 + 300_000);
    }
    registry.records.splice(0, Infinity, await recordOf(orders, { sequence: 0 }));
    assert.equal((await resolve(SERVICE)).length, 1);
  });
});
