import type { Instance } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { heldTimers, SERVICE, withResolvers } from "./_rig.ts";
import { ids, settled, stage, unreachable } from "./_cached.ts";

// Who is left out of an answer, and how long is used what was read before.

/** A cache that knows "a" and "b", the second of which may be draining, and is then told of "c" only. */
async function leftOut(changes: Partial<Instance> = {}) {
  const staged = stage({ refreshMs: 3_000 });
  const { cache, script, instance } = staged;
  script.resolve = () => Promise.resolve([instance("a"), { ...instance("b"), ...changes }]);
  await cache.instances(SERVICE);
  const c = instance("c", 300_000);
  script.resolve = () => Promise.resolve([c]);
  /** What is known once an answer has come. */
  const asked = async () => {
    await cache.instances(SERVICE);
    await settled();
    return ids(await cache.instances(SERVICE));
  };
  return { ...staged, asked };
}

describe("cachedRegistry() and who is left out of an answer", () => {
  test("cachedRegistry() goes on with who is left out until his record ends", async () => {
    const { cache, now, asked } = await leftOut();
    now.pass(3_000);
    assert.deepEqual(await asked(), ["c", "a", "b"]);
    for (let ms = 3_000; ms < 57_000; ms += 3_000) {
      now.pass(3_000);
      assert.deepEqual(await asked(), ["c", "a", "b"]);
    }
    now.pass(2_999);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["c", "a", "b"]);
    now.pass(1);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["c"]);
    assert.deepEqual(await asked(), ["c"]);
  });

  test("cachedRegistry() drops who is left out after he said that he would end", async () => {
    const { now, asked } = await leftOut({ draining: true });
    now.pass(3_000);
    assert.deepEqual(await asked(), ["c", "a"]);
  });

  test("cachedRegistry() does not keep whose record ends with the answer that leaves him out", async () => {
    const { now, asked, instance } = await leftOut({ expiresAtMs: stage().now() + 4_000 });
    assert.ok(instance("x").expiresAtMs > now() + 4_000);
    now.pass(4_000);
    assert.deepEqual(await asked(), ["c", "a"]);
  });

  test("cachedRegistry() believes the answer where it has not looked for longer than refreshMs and a second", async () => {
    const lately = await leftOut();
    lately.now.pass(4_000);
    assert.deepEqual(await lately.asked(), ["c", "a", "b"]);
    const late = await leftOut();
    late.now.pass(4_001);
    assert.deepEqual(await late.asked(), ["c"], "he may have said that he would end, and nobody was there to hear");
  });

  test("cachedRegistry() believes no empty answer, however long it has not looked", async () => {
    const { now, asked, script } = await leftOut();
    script.resolve = () => Promise.resolve([]);
    now.pass(59_999);
    assert.deepEqual(await asked(), ["a", "b"]);
  });

  test("cachedRegistry() drops who said that he would end for an empty answer too", async () => {
    const { now, asked, script } = await leftOut({ draining: true });
    script.resolve = () => Promise.resolve([]);
    now.pass(3_000);
    assert.deepEqual(await asked(), ["a"]);
  });

  test("cachedRegistry() drops who is left out where trust has changed, and does not have him any more", async () => {
    const { now, asked, script } = await leftOut();
    script.stillHolding = (instances) => Promise.resolve(instances.filter(({ id }) => id !== "b"));
    script.revision++;
    now.pass(3_000);
    assert.deepEqual(await asked(), ["c", "a"]);
  });

  test("cachedRegistry() drops who is left out of a reading in which trust has changed: he may be revoked", async () => {
    const { now, cache, script, instance } = await leftOut();
    const { promise, resolve } = withResolvers<readonly Instance[]>();
    script.resolve = () => promise;
    now.pass(3_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a", "b"]);
    script.revision++;
    resolve([instance("c")]);
    await settled();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["c"]);
  });

  test("cachedRegistry() keeps who is left out again once the change of trust is behind it", async () => {
    const { now, asked, script, instance } = await leftOut();
    script.stillHolding = () => Promise.resolve([]);
    script.revision++;
    now.pass(3_000);
    await asked();
    script.stillHolding = () => assert.fail("it was looked at already");
    script.resolve = () => Promise.resolve([instance("d")]);
    now.pass(3_000);
    assert.deepEqual(await asked(), ["d", "c"]);
  });

  test("cachedRegistry() gives an instance once, as the newest answer has it", async () => {
    const { now, asked, cache, script, instance } = await leftOut();
    const newer = { ...instance("a"), sequence: 2 };
    script.resolve = () => Promise.resolve([newer]);
    now.pass(3_000);
    assert.deepEqual(await asked(), ["a", "b"]);
    assert.equal((await cache.instances(SERVICE))[0], newer);
  });
});

describe("cachedRegistry() and the age of what it has", () => {
  test("cachedRegistry() counts from when a reading began: what it gives may be as old", async () => {
    const { cache, script, instance, asked, now } = stage({ refreshMs: 3_000 });
    const { promise, resolve } = withResolvers<readonly Instance[]>();
    script.resolve = () => promise;
    const first = Promise.resolve(cache.instances(SERVICE));
    now.pass(2_000);
    resolve([instance("a")]);
    await first;
    now.pass(999);
    await cache.instances(SERVICE);
    assert.equal(asked.length, 1);
    now.pass(1);
    await cache.instances(SERVICE);
    assert.equal(asked.length, 2);
  });

  test("cachedRegistry() lets nobody wait for a reading that is a second late already", async () => {
    const { cache, script, instance, now, asked } = stage();
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    script.resolve = () => new Promise(() => {});
    now.pass(6_000);
    using timers = heldTimers();
    const waiting = cache.instances(SERVICE);
    assert.ok(waiting instanceof Promise);
    now.pass(999);
    assert.ok(cache.instances(SERVICE) instanceof Promise);
    now.pass(1);
    const late = cache.instances(SERVICE);
    assert.ok(!(late instanceof Promise), "nobody waits");
    assert.deepEqual([ids(late), asked.length], [["a"], 2]);
    await timers.settle();
    while (timers.waits().includes(1_000)) timers.fire(1_000);
    assert.deepEqual(ids(await waiting), ["a"]);
    timers.fire(5_000);
    await timers.settle();
  });

  test("cachedRegistry() lets nobody wait for a registry that fails, and asks it again", async () => {
    const { cache, script, instance, now, asked } = stage();
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    script.resolve = () => Promise.reject(unreachable());
    now.pass(6_000);
    await cache.instances(SERVICE);
    now.pass(500);
    const failing = cache.instances(SERVICE);
    assert.ok(!(failing instanceof Promise), "nobody waits");
    assert.deepEqual([ids(failing), asked.length], [["a"], 3]);
    await settled();
  });
});
