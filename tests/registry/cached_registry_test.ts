import type { Instance } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { heldTimers, SERVICE, withResolvers } from "./_rig.ts";
import { ids, settled, stage, unreachable } from "./_cached.ts";

describe("cachedRegistry()", () => {
  test("cachedRegistry() asks once, and answers at once from then on", async () => {
    const { cache, script, instance, asked } = stage();
    const given = [instance("a"), instance("b")];
    script.resolve = () => Promise.resolve(given);
    const first = await cache.instances(SERVICE);
    assert.deepEqual(ids(first), ["a", "b"]);
    assert.equal(cache.instances(SERVICE), first, "the same list, and no promise");
    assert.equal(asked.length, 1);
    assert.ok(Object.isFrozen(first));
  });

  test("cachedRegistry() asks for each service by itself", async () => {
    const { cache, script, instance, asked } = stage();
    script.resolve = () => Promise.resolve([instance("a")]);
    await Promise.all([cache.instances("a.v1"), cache.instances("b.v1"), cache.instances("a.v1")]);
    assert.deepEqual(asked.map(({ service }) => service), ["a.v1", "b.v1"]);
  });

  test("cachedRegistry() lets all who ask at once wait for one answer", async () => {
    const { cache, script, instance, asked } = stage();
    const { promise, resolve } = withResolvers<readonly Instance[]>();
    script.resolve = () => promise;
    const waiting = Array.from({ length: 100 }, () => Promise.resolve(cache.instances(SERVICE)));
    resolve([instance("a")]);
    for (const instances of await Promise.all(waiting)) assert.deepEqual(ids(instances), ["a"]);
    assert.equal(asked.length, 1);
  });

  test("cachedRegistry() gives the same list as long as nothing changed", async () => {
    const { cache, script, instance, now } = stage();
    const a = instance("a");
    script.resolve = () => Promise.resolve([a]);
    const first = await cache.instances(SERVICE);
    now.pass(10_000);
    assert.equal(await cache.instances(SERVICE), first);
  });

  test("cachedRegistry() ends the signal of a reading with the reading", async () => {
    const { cache, script, instance, asked } = stage();
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    assert.equal(asked[0]!.signal!.aborted, true);
  });

  test("cachedRegistry() gives up what it had where trust has changed and does not have it any more, for an empty answer too", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    script.resolve = () => Promise.resolve([]);
    now.pass(10_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    script.revision++;
    script.stillHolding = () => Promise.resolve([]);
    now.pass(10_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), []);
  });

  for (const refreshMs of [99, 30_001, NaN, -1, Infinity, 0]) {
    test(`cachedRegistry() cannot refresh every ${refreshMs} ms`, () => {
      assert.throws(() => stage({ refreshMs }), RangeError);
    });
  }

  test("cachedRegistry() takes the shortest and the longest time", () => {
    for (const refreshMs of [100, 30_000]) stage({ refreshMs });
  });
});

describe("cachedRegistry() asks again", () => {
  test("cachedRegistry() uses what it read for refreshMs, then asks again while it goes on", async () => {
    const { cache, script, instance, asked, now } = stage({ refreshMs: 3_000 });
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    now.pass(2_999);
    assert.ok(!(cache.instances(SERVICE) instanceof Promise));
    assert.equal(asked.length, 1);
    script.resolve = () => Promise.resolve([instance("a"), instance("b")]);
    now.pass(1);
    const meanwhile = cache.instances(SERVICE);
    assert.ok(!(meanwhile instanceof Promise), "nobody waits");
    assert.deepEqual(ids(meanwhile), ["a"]);
    assert.equal(asked.length, 2);
    await settled();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a", "b"]);
    assert.equal(asked.length, 2);
  });

  test("cachedRegistry() lets nobody wait where what it has is less than a second older than refreshMs", async () => {
    const { cache, script, instance, asked, now } = stage({ refreshMs: 3_000 });
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    script.resolve = () => Promise.resolve([instance("b")]);
    now.pass(3_999);
    const meanwhile = cache.instances(SERVICE);
    assert.ok(!(meanwhile instanceof Promise), "nobody waits");
    assert.deepEqual([ids(meanwhile), asked.length], [["a"], 2]);
    await settled();
  });

  test("cachedRegistry() waits for the answer where what it has is a second older than refreshMs", async () => {
    const { cache, script, instance, asked, now } = stage({ refreshMs: 3_000 });
    script.resolve = () => Promise.resolve([{ ...instance("a"), draining: true }]);
    await cache.instances(SERVICE);
    now.pass(4_000);
    script.resolve = () => Promise.resolve([instance("b")]);
    const waiting = cache.instances(SERVICE);
    assert.ok(waiting instanceof Promise);
    assert.deepEqual(ids(await waiting), ["b"]);
    assert.equal(asked.length, 2);
  });

  test("cachedRegistry() asks again after half a second where there was nothing", async () => {
    const { cache, script, instance, asked, now } = stage();
    assert.deepEqual(await cache.instances(SERVICE), []);
    now.pass(499);
    assert.deepEqual(await cache.instances(SERVICE), []);
    assert.equal(asked.length, 1);
    script.resolve = () => Promise.resolve([instance("a")]);
    now.pass(1);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
  });

  test("cachedRegistry() takes no empty answer for the end of what was verified", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.resolve([instance("a", 20_000), instance("b", 30_000)]);
    await cache.instances(SERVICE);
    script.resolve = () => Promise.resolve([]);
    now.pass(19_999);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a", "b"]);
    now.pass(1);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
    now.pass(10_000);
    assert.deepEqual(await cache.instances(SERVICE), []);
  });

  test("cachedRegistry() takes a shorter answer as it is", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.resolve([instance("a"), instance("b")]);
    await cache.instances(SERVICE);
    script.resolve = () => Promise.resolve([instance("b")]);
    now.pass(10_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
  });
});

describe("cachedRegistry() while the registry is out of reach", () => {
  test("cachedRegistry() serves each instance until its record ends, and not a moment longer", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.resolve([instance("a", 30_000), instance("b", 60_000)]);
    await cache.instances(SERVICE);
    script.resolve = () => Promise.reject(unreachable());
    now.pass(29_999);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a", "b"]);
    now.pass(1);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
    now.pass(29_999);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
    now.pass(1);
    await assert.rejects(async () => await cache.instances(SERVICE), { reason: "unreachable" });
  });

  test("cachedRegistry() leaves out what ended while it waited", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.resolve([instance("a", 30_000), instance("b", 60_000)]);
    await cache.instances(SERVICE);
    const { promise, reject } = withResolvers<never>();
    script.resolve = () => promise;
    now.pass(29_000);
    const waiting = cache.instances(SERVICE);
    assert.ok(waiting instanceof Promise);
    now.pass(1_000);
    reject(unreachable());
    assert.deepEqual(ids(await waiting), ["b"]);
  });

  test("cachedRegistry() throws what failed where there is nothing to go on with", async () => {
    const { cache, script, asked, now, instance } = stage();
    script.resolve = () => Promise.reject(unreachable());
    await assert.rejects(async () => await cache.instances(SERVICE), { reason: "unreachable" });
    for (let i = 0; i < 10; i++) await assert.rejects(async () => await cache.instances(SERVICE));
    assert.equal(asked.length, 1, "a registry that fails is not asked by every call");
    now.pass(499);
    await assert.rejects(async () => await cache.instances(SERVICE));
    assert.equal(asked.length, 1);
    now.pass(1);
    script.resolve = () => Promise.resolve([instance("a")]);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    assert.equal(asked.length, 2);
  });

  test("cachedRegistry() asks a registry that fails no more than twice a second", async () => {
    const { cache, script, asked, now, instance } = stage();
    script.resolve = () => Promise.resolve([instance("a", 300_000)]);
    await cache.instances(SERVICE);
    script.resolve = () => Promise.reject(unreachable());
    now.pass(3_000);
    for (let ms = 0; ms < 5_000; ms += 50) {
      assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
      await settled();
      now.pass(50);
    }
    assert.ok(asked.length <= 1 + 10, `${asked.length}`);
  });

  test("cachedRegistry() takes a registry that throws at once for one that cannot be reached", async () => {
    const { cache, script } = stage();
    script.resolve = () => {
      throw unreachable();
    };
    await assert.rejects(async () => await cache.instances(SERVICE), { reason: "unreachable" });
  });

  test("cachedRegistry() recovers", async () => {
    const { cache, script, now, instance } = stage();
    script.resolve = () => Promise.reject(unreachable());
    await assert.rejects(async () => await cache.instances(SERVICE));
    now.pass(500);
    script.resolve = () => Promise.resolve([]);
    assert.deepEqual(await cache.instances(SERVICE), [], "there is none, and nothing failed");
    now.pass(500);
    script.resolve = () => Promise.resolve([instance("a")]);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
  });
});

describe("cachedRegistry() while the registry does not answer", () => {
  test("cachedRegistry() waits for 5 s and no longer where it has nothing, and ends the reading", async () => {
    const { cache, script, asked } = stage();
    script.resolve = () => new Promise(() => {});
    using timers = heldTimers();
    const waiting = Promise.resolve(cache.instances(SERVICE));
    waiting.catch(() => {});
    await timers.settle();
    assert.deepEqual(timers.waits(), [5_000]);
    assert.equal(asked[0]!.signal!.aborted, false);
    timers.fire(5_000);
    await assert.rejects(waiting, { reason: "unreachable" });
    assert.equal(asked[0]!.signal!.aborted, true);
    assert.deepEqual(timers.waits(), []);
  });

  test("cachedRegistry() waits for 1 s and no longer where it has older instances", async () => {
    const { cache, script, instance, now } = stage();
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    script.resolve = () => new Promise(() => {});
    now.pass(6_000);
    using timers = heldTimers();
    const waiting = Promise.resolve(cache.instances(SERVICE));
    await timers.settle();
    assert.deepEqual(timers.waits().toSorted((a, b) => a - b), [1_000, 5_000]);
    timers.fire(1_000);
    assert.deepEqual(ids(await waiting), ["a"]);
    timers.fire(5_000);
    await timers.settle();
    assert.deepEqual(timers.waits(), []);
  });

  test("cachedRegistry() replaces a reading that never settled, with whatever began it", async () => {
    const { cache, script, instance, now, asked } = stage();
    script.resolve = () => new Promise(() => {});
    using timers = heldTimers(); // which nobody fires: the platform has stopped them
    Promise.resolve(cache.instances(SERVICE)).catch(() => {});
    await timers.settle();
    script.resolve = () => Promise.resolve([instance("a")]);
    now.pass(9_999);
    Promise.resolve(cache.instances(SERVICE)).catch(() => {});
    await timers.settle();
    assert.equal(asked.length, 1, "it may be slow still");
    now.pass(1);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    assert.equal(asked.length, 2);
  });

  test("cachedRegistry() does not take what a replaced reading gives late for news", async () => {
    const { cache, script, instance, now } = stage();
    const late = withResolvers<readonly Instance[]>();
    script.resolve = () => late.promise;
    using timers = heldTimers();
    Promise.resolve(cache.instances(SERVICE)).catch(() => {});
    await timers.settle();
    now.pass(10_000);
    script.resolve = () => Promise.resolve([instance("new")]);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["new"]);
    late.resolve([instance("old")]);
    await timers.settle();
    const known = cache.instances(SERVICE);
    assert.ok(!(known instanceof Promise), "what is known is as young as it was");
    assert.deepEqual(ids(known), ["new"]);
  });
});
