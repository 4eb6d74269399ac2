import { createAuthority, createTrust, type Trust } from "../../src/auth/mod.ts";
import { type Instance, memoryRegistry, type Registry, verifiedRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { watchedAudit } from "../auth/_world.ts";
import {
  assertRefused,
  type Changes,
  DOMAIN,
  ENDPOINT,
  giving,
  joinOther,
  ORDERS,
  type Rig,
  rig,
  SERVICE,
} from "./_rig.ts";

/** Trust that counts how often an identity token was looked at: once for each record that is verified. */
function counted(trust: Trust): Trust & { readonly count: () => number } {
  let count = 0;
  return {
    trustDomains: trust.trustDomains,
    get revision() {
      return trust.revision;
    },
    verify: (token) => (count++, trust.verify(token)),
    authorityKey: trust.authorityKey,
    assertNotRevoked: trust.assertNotRevoked,
    update: trust.update,
    count: () => count,
  };
}

const sequencesOf = (instances: readonly Instance[]) => instances.map(({ id, sequence }) => `${id}:${sequence}`).sort();

/** Records of some instances of `orders.v1`. */
const several = ({ orders, recordOf }: Rig, count: number, changes: Changes = {}) =>
  Promise.all(Array.from({ length: count }, (_, i) => recordOf(orders, { instance: `i${i}`, ...changes })));

/** As many forged records: real ones with another's signature. */
async function forged({ orders, recordOf }: Rig, count: number): Promise<string[]> {
  const record = await recordOf(orders);
  const start = record.slice(0, record.lastIndexOf(".") + 1);
  return Array.from({ length: count }, (_, i) => start + `${i}`.padStart(85, "A") + "A");
}

async function revoke({ authority, trust }: Rig, what: Parameters<Rig["authority"]["revoke"]>[0]): Promise<void> {
  authority.revoke(what);
  await trust.update(await authority.signedBundle());
}

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
    assert.throws(() => verifiedRegistry(giving([]), { trust: undefined as never }), TypeError);
    assert.throws(() => verifiedRegistry(giving([]), {} as never), TypeError);
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

  test("verifiedRegistry() lets nothing but refusals leave out a record", async () => {
    const world = await rig();
    const broken = { ...world.trust, verify: () => Promise.reject(new TypeError("a bug")) };
    const verified = world.verified(giving(await several(world, 1)), { trust: broken });
    await assert.rejects(verified.resolve(SERVICE), TypeError);
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
    const registry = giving([await recordOf(orders, { nowMs: now() + 8_000 })]);
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
