import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { watchedAudit } from "../auth/_world.ts";
import { DOMAIN, ENDPOINT, giving, joinOther, ORDERS, rig, SERVICE } from "./_rig.ts";
import { counted, forged, sequencesOf, several } from "./_verified.ts";

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

  test("verifiedRegistry() does not count what costs nothing to refuse as forged", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const garbage = Array.from({ length: 2_000 }, (_, i) => `garbage${i}`);
    const registry = giving([...garbage, ...await several(world, 2)]);
    assert.equal((await world.verified(registry, { trust }).resolve(SERVICE)).length, 2);
    assert.equal(trust.count(), 2);
  });

  test("verifiedRegistry() records each refused record once, and under the service that was asked for", async () => {
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
    assert.deepEqual([...new Set(told)].sort(), [...new Set(reasons)].sort());
    assert.ok(told.filter((reason) => reason !== "not_yet_valid").length === reasons.length - 1, told.join());
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
