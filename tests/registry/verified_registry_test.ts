import { createAuthority, createTrust } from "../../src/auth/mod.ts";
import { memoryRegistry, readRecord, type Registry, verifiedRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { watchedAudit } from "../auth/_world.ts";
import { assertRefused, DOMAIN, giving, joinOther, ORDERS, rig, SERVICE } from "./_rig.ts";
import { counted, forged, revoke, several } from "./_verified.ts";

describe("verifiedRegistry() cannot be made", () => {
  test("verifiedRegistry() refuses a registry that does not promise to be encrypted and access-controlled", async () => {
    const { trust } = await rig();
    const whole = { encrypted: true, accessControlled: true };
    const wrong = [
      ...[{ ...whole, encrypted: false }, { ...whole, accessControlled: false }, { encrypted: true }, {}, undefined],
      ...[{ ...whole, encrypted: "true" }, { ...whole, accessControlled: 1 }, null],
    ];
    for (const properties of wrong) {
      const registry = { ...giving([]), properties: properties as never };
      assert.throws(() => verifiedRegistry(registry, { trust }), TypeError, JSON.stringify(properties));
    }
    verifiedRegistry(giving([]), { trust });
  });

  test("verifiedRegistry() refuses to go without trust", () => {
    assert.throws(() => verifiedRegistry(giving([]), { trust: undefined as never }), /without "trust"/);
    assert.throws(() => verifiedRegistry(giving([]), {} as never), /without "trust"/);
  });

  test("verifiedRegistry() wants to know whose instances are accepted where several domains are trusted", async () => {
    const { authority, now } = await rig();
    const partner = await createAuthority("partner.test", { now });
    const trust = await createTrust({ [DOMAIN]: authority.bundle(), "partner.test": partner.bundle() }, { now });
    assert.throws(() => verifiedRegistry(giving([]), { trust }), TypeError);
    verifiedRegistry(giving([]), { trust, trustDomains: [DOMAIN] });
    verifiedRegistry(giving([]), { trust, trustDomains: [DOMAIN, "partner.test"] });
    for (const trustDomains of [[], ["evil.test"], [DOMAIN, "evil.test"], [""]]) {
      assert.throws(() => verifiedRegistry(giving([]), { trust, trustDomains }), TypeError);
    }
  });

  test("verifiedRegistry() refuses a malformed namespace, an impossible number and hosts that are none", async () => {
    const { trust } = await rig();
    for (const namespace of ["", "A", "a b", "-", "a".repeat(64)]) {
      assert.throws(() => verifiedRegistry(giving([]), { trust, namespace }), TypeError, namespace);
    }
    for (const maxRecords of [0, -1, 1.5, NaN, Infinity, "9" as never]) {
      assert.throws(() => verifiedRegistry(giving([]), { trust, maxRecords }), RangeError, `${maxRecords}`);
    }
    assert.throws(() => verifiedRegistry(giving([]), { trust, endpoints: { hosts: [] } }), TypeError);
  });
});

describe("verifiedRegistry()", () => {
  test("verifiedRegistry() gives the instances of a registry, by resolve and by watch", async () => {
    const world = await rig();
    const registry = memoryRegistry({ now: world.now });
    for (const record of await several(world, 3)) await registry.register(record);
    const verified = world.verified(registry);
    const names = ["i0", "i1", "i2"].map((id) => `${ORDERS}#${id}`);
    assert.deepEqual((await verified.resolve(SERVICE)).map(({ name }) => name).sort(), names);
    assert.deepEqual(await verified.resolve("payments.v1"), []);
    for await (const instances of verified.watch(SERVICE)) {
      assert.deepEqual(instances.map(({ name }) => name).sort(), names);
      break;
    }
  });

  test("verifiedRegistry() gives lists that nobody can change for the others", async () => {
    const world = await rig();
    assert.ok(Object.isFrozen(await world.verified(giving(await several(world, 1))).resolve(SERVICE)));
  });

  test("verifiedRegistry() verifies one record as its readers would", async () => {
    const { verified, recordOf, orders, forge } = await rig();
    const { verify } = verified(giving([]), { namespace: "default" });
    assert.equal((await verify(await recordOf(orders))).identity, ORDERS);
    await assertRefused(verify(await recordOf(orders, { namespace: "other" })), "wrong_namespace");
    await assertRefused(verify(await recordOf(orders, { services: { "payments.v1": "" } })), "not_serving");
    await assertRefused(verify(await forge(orders, { weight: 101 })), "malformed_record");
  });

  test("verifiedRegistry() passes its own options on to what it verifies", async () => {
    const world = await rig();
    const { recordOf, orders, verified } = world;
    const elsewhere = await recordOf(orders, { endpoints: ["https://[::1]:8443"], namespace: "dev" });
    const options = { namespace: "dev", endpoints: { hosts: ["::1"], ports: [8443] } };
    assert.equal((await verified(giving([elsewhere]), options).resolve(SERVICE)).length, 1);
    assert.equal((await verified(giving([elsewhere])).resolve(SERVICE)).length, 0);
    assert.equal((await verified(giving([elsewhere]), { ...options, namespace: "prod" }).resolve(SERVICE)).length, 0);
  });

  test("verifiedRegistry() passes the reader's signal on", async () => {
    const { verified } = await rig();
    const signals: unknown[] = [];
    const registry: Registry = {
      ...giving([]),
      resolve: (_, options) => (signals.push(options?.signal), Promise.resolve([])),
      async *watch(_, options) {
        signals.push(options?.signal);
        yield [];
      },
    };
    const { signal } = new AbortController();
    await verified(registry).resolve(SERVICE, { signal });
    for await (const _ of verified(registry).watch(SERVICE, { signal })) break;
    assert.deepEqual(signals.map((each) => each === signal), [true, true]);
  });

  test("verifiedRegistry() throws what the registry throws, and takes nothing else for an answer", async () => {
    const { verified } = await rig();
    const failure = new Error("disk");
    const registry = { ...giving([]), resolve: () => Promise.reject(failure) };
    await assert.rejects(verified(registry).resolve(SERVICE), failure);
    const odd: unknown[] = [undefined, null, 1, {}, [], true, "x".repeat(100_000), "..", "\u0000"];
    assert.deepEqual(await verified(giving(odd as string[])).resolve(SERVICE), []);
  });

  test("verifiedRegistry() leaves out a record that makes anything go wrong, records that, and gives the others", async () => {
    const world = await rig();
    const [first] = await several(world, 1);
    const failing = readRecord(first!).claims.wit;
    const other = await joinOther(world, "other");
    const trust = {
      ...world.trust,
      verify: (token: string) => token === failing ? Promise.reject(new TypeError("a bug")) : world.trust.verify(token),
    };
    const audit = watchedAudit();
    const registry = giving([first!, await world.recordOf(other)]);
    const instances = await world.verified(registry, { trust, audit }).resolve(SERVICE);
    assert.deepEqual(instances.map(({ identity }) => identity), [other.id]);
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["internal"]);
  });
});

describe("verifiedRegistry() is incremental", () => {
  test("verifiedRegistry() does not verify again what is there still", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const registry = giving(await several(world, 3));
    const verified = world.verified(registry, { trust });
    const first = await verified.resolve(SERVICE);
    assert.equal(trust.count(), 3);
    assert.deepEqual(await verified.resolve(SERVICE), first);
    registry.records.reverse();
    await verified.resolve(SERVICE);
    assert.equal(trust.count(), 3);
    registry.records.push(await world.recordOf(world.orders, { instance: "new" }));
    assert.equal((await verified.resolve(SERVICE)).length, 4);
    assert.equal(trust.count(), 4);
  });

  test("verifiedRegistry() does not verify again what it refused", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const audit = watchedAudit();
    const verified = world.verified(giving(await forged(world, 3)), { trust, audit });
    for (let i = 0; i < 3; i++) assert.deepEqual(await verified.resolve(SERVICE), []);
    assert.equal(trust.count(), 3);
    assert.deepEqual(audit.events.map(({ event, reason }) => `${event} ${reason}`), [
      "record.refuse bad_token_signature",
      "record.refuse bad_token_signature",
      "record.refuse bad_token_signature",
    ]);
  });

  test("verifiedRegistry() verifies a record once that comes twice", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const [record] = await several(world, 1);
    const verified = world.verified(giving([record!, record!, record!]), { trust });
    assert.equal((await verified.resolve(SERVICE)).length, 1);
    assert.equal(trust.count(), 1);
  });

  test("verifiedRegistry() looks again at a record that came too early", async () => {
    const world = await rig();
    const { recordOf, orders, now, verified } = world;
    const registry = giving([await recordOf(orders, { nowMs: now() + 13_000 })]);
    const { resolve } = verified(registry);
    assert.equal((await resolve(SERVICE)).length, 0);
    now.pass(3_000);
    assert.equal((await resolve(SERVICE)).length, 1, "its clock is behind by no more than is allowed now");
  });

  test("verifiedRegistry() verifies everything again when trust has changed", async () => {
    const world = await rig();
    const trust = counted(world.trust);
    const verified = world.verified(giving(await several(world, 3)), { trust });
    await verified.resolve(SERVICE);
    await revoke(world, { ids: [`spiffe://${DOMAIN}/somebody`] });
    assert.equal((await verified.resolve(SERVICE)).length, 3);
    assert.equal(trust.count(), 6);
    await verified.resolve(SERVICE);
    assert.equal(trust.count(), 6);
  });

  test("verifiedRegistry() says by its revision that trust has changed, and when it has not", async () => {
    const world = await rig();
    const verified = world.verified(giving(await several(world, 1)));
    const { revision } = verified;
    await verified.resolve(SERVICE);
    assert.equal(verified.revision, revision);
    await revoke(world, { ids: [`spiffe://${DOMAIN}/somebody`] });
    assert.ok(verified.revision > revision);
  });

  test("verifiedRegistry() gives a revoked instance no more, and the others still", async () => {
    const world = await rig();
    const other = await joinOther(world, "other");
    const registry = giving([...await several(world, 2), await world.recordOf(other)]);
    const audit = watchedAudit();
    const verified = world.verified(registry, { audit });
    assert.equal((await verified.resolve(SERVICE)).length, 3);
    await revoke(world, { ids: [ORDERS] });
    assert.deepEqual((await verified.resolve(SERVICE)).map(({ identity }) => identity), [other.id]);
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["revoked", "revoked"]);
  });

  test("verifiedRegistry() takes a record that it refused before its authority's new key was known", async () => {
    const world = await rig();
    const { authority, trust } = world;
    await authority.rotate();
    const late = await joinOther(world, "late");
    const { resolve } = world.verified(giving([await world.recordOf(late)]));
    assert.deepEqual(await resolve(SERVICE), []);
    await trust.update(await authority.signedBundle());
    assert.deepEqual((await resolve(SERVICE)).map(({ identity }) => identity), [late.id]);
  });
});
