import { cachedRegistry, type Instance, issueRecord, memoryRegistry, staticRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { mustCome } from "../_patience.ts";
import { ids, settled, stage, until } from "./_cached.ts";
import { revoke } from "./_verified.ts";
import { DOMAIN, ENDPOINT, heldTimers, joinOther, type Rig, rig, SERVICE, withResolvers } from "./_rig.ts";

// What trust no longer has is not given out, and what the clock says of the past is not believed.

/** Two identities, each with an instance; the second one is revoked by `end`. */
async function pair() {
  const world = await rig();
  const other = await joinOther(world, "other");
  const records = [
    await world.recordOf(world.orders, { instance: "a" }),
    await world.recordOf(other, { instance: "b", endpoints: [`https://other.${DOMAIN}`] }),
  ];
  return { ...world, other, records, end: () => revoke(world, { ids: [other.id] }) };
}

const seenBy = async (cache: ReturnType<typeof cachedRegistry>) => ids(await cache.instances(SERVICE)).sort();

describe("cachedRegistry() and trust that has changed", () => {
  test("cachedRegistry() gives out nobody who is revoked, and asks no registry for that", async () => {
    const { verified, records, now, end } = await pair();
    const registry = memoryRegistry({ now });
    for (const record of records) await registry.register(record);
    let asked = 0;
    const counting = { ...registry, resolve: (service: string) => (asked++, registry.resolve(service)) };
    const cache = cachedRegistry(verified(counting), { now });
    assert.deepEqual(await seenBy(cache), ["a", "b"]);
    await end();
    const answers = await Promise.all([seenBy(cache), seenBy(cache), seenBy(cache)]);
    assert.deepEqual(answers, [["a"], ["a"], ["a"]]);
    const known = cache.instances(SERVICE);
    assert.ok(!(known instanceof Promise), "it is looked at once");
    assert.deepEqual([ids(known), asked], [["a"], 1]);
  });

  test("cachedRegistry().follow() gives out nobody who is revoked while the registry is quiet", async () => {
    const { verified, records, now, end } = await pair();
    const registry = memoryRegistry({ now });
    for (const record of records) await registry.register(record);
    const asked: string[] = [];
    const counting = { ...registry, resolve: (service: string) => (asked.push(service), registry.resolve(service)) };
    const cache = cachedRegistry(verified(counting), { now });
    using _ = cache.follow(SERVICE);
    await mustCome(until(async () => (await seenBy(cache)).length === 2), "both");
    asked.length = 0;
    await end();
    assert.deepEqual(await seenBy(cache), ["a"]);
    assert.deepEqual(asked, []);
  });

  test("cachedRegistry() gives out nobody who is revoked of a list that does not change", async () => {
    const world: Rig = await rig();
    const issue = (id: string) =>
      issueRecord(world.authority, {
        id: `spiffe://${DOMAIN}/${id}`,
        instance: id,
        services: { [SERVICE]: "" },
        endpoints: [ENDPOINT],
      }, { sequence: 1, lifetimeMs: 86_400_000, nowMs: world.now() });
    const registry = staticRegistry(`${await issue("a")} ${await issue("b")}`, { now: world.now });
    const cache = cachedRegistry(world.verified(registry), { now: world.now });
    assert.deepEqual(await seenBy(cache), ["a", "b"]);
    await revoke(world, { ids: [`spiffe://${DOMAIN}/b`] });
    assert.deepEqual(await seenBy(cache), ["a"]);
    world.now.pass(10_000);
    assert.deepEqual(await seenBy(cache), ["a"]);
  });

  test("cachedRegistry() gives out nobody of a reading in which he was revoked", async () => {
    const { cache, script, instance, now } = stage();
    const { promise, resolve } = withResolvers<readonly Instance[]>();
    script.resolve = () => promise;
    script.stillHolding = (instances) => Promise.resolve(instances.filter(({ id }) => id !== "b"));
    const waiting = Promise.resolve(cache.instances(SERVICE));
    await settled();
    script.revision++; // the first records of the answer were verified already
    resolve([instance("a"), instance("b")]);
    await waiting;
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    now.pass(1);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
  });

  test("cachedRegistry() gives out nobody who is revoked while it waits for a registry that hangs", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.resolve([instance("a"), instance("b")]);
    await cache.instances(SERVICE);
    script.resolve = () => new Promise(() => {});
    script.stillHolding = (instances) => Promise.resolve(instances.filter(({ id }) => id !== "b"));
    now.pass(6_000);
    using timers = heldTimers();
    const waiting = cache.instances(SERVICE);
    await timers.settle();
    script.revision++;
    timers.fire(1_000);
    assert.deepEqual(ids(await waiting), ["a"]);
    timers.fire(5_000);
    await timers.settle();
  });

  test("cachedRegistry() gives out nobody whose newest record is of other services", async () => {
    const world = await rig();
    const both = await joinOther(world, "both", { serves: [SERVICE, "b.v1"] });
    const registry = memoryRegistry({ now: world.now });
    const cache = cachedRegistry(world.verified(registry), { now: world.now });
    await registry.register(await world.recordOf(both, { services: { [SERVICE]: "", "b.v1": "" } }));
    assert.equal((await cache.instances(SERVICE)).length, 1);
    await registry.register(await world.recordOf(both, { services: { "b.v1": "" }, sequence: 2 }));
    assert.equal((await cache.instances("b.v1"))[0]!.sequence, 2);
    await revoke(world, { ids: [`spiffe://${DOMAIN}/somebody`] });
    for (const { services } of await cache.instances(SERVICE)) assert.ok(Object.hasOwn(services, SERVICE));
  });
});

describe("cachedRegistry() and a clock that is set back", () => {
  const HOUR_MS = 3_600_000;

  test("cachedRegistry() reads again at the next call after the clock was set back by an hour", async () => {
    const { cache, script, instance, now, asked } = stage();
    script.resolve = () => Promise.resolve([{ ...instance("a"), draining: true }]);
    await cache.instances(SERVICE);
    now.pass(-HOUR_MS);
    script.resolve = () => Promise.resolve([instance("b")]);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
    assert.equal(asked.length, 2);
    now.pass(2_999);
    assert.ok(!(cache.instances(SERVICE) instanceof Promise));
    assert.equal(asked.length, 2, "and from then on as usual");
  });

  test("cachedRegistry() asks a registry again that failed before the clock was set back", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.reject(new Error("down"));
    await assert.rejects(async () => await cache.instances(SERVICE));
    now.pass(-HOUR_MS);
    script.resolve = () => Promise.resolve([instance("a")]);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
  });

  test("cachedRegistry() waits for no reading that began before the clock was set back", async () => {
    const { cache, script, instance, now, asked } = stage();
    script.resolve = () => new Promise(() => {});
    using timers = heldTimers();
    Promise.resolve(cache.instances(SERVICE)).catch(() => {});
    await timers.settle();
    now.pass(-HOUR_MS);
    script.resolve = () => Promise.resolve([instance("a")]);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    assert.equal(asked.length, 2);
    timers.fire(5_000);
    await timers.settle();
  });
});
