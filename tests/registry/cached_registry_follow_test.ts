import { cachedRegistry, type Instance, memoryRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { mustCome } from "../_patience.ts";
import { heldTimers, rig, SERVICE } from "./_rig.ts";
import { ids, settled, stage, unreachable, until } from "./_cached.ts";

describe("cachedRegistry().follow()", () => {
  /** A watch that a test drives. */
  function driven() {
    let give: (instances: readonly Instance[]) => void = () => {};
    let fail: (error: unknown) => void = () => {};
    async function* watch(signal: AbortSignal): AsyncGenerator<readonly Instance[]> {
      while (!signal.aborted) {
        const next = new Promise<readonly Instance[] | undefined>((resolve, reject) => {
          give = resolve;
          fail = reject;
          signal.addEventListener("abort", () => resolve(undefined), { once: true });
        });
        const instances = await next;
        if (!instances) return;
        yield instances;
      }
    }
    return { watch, give: (instances: readonly Instance[]) => give(instances), fail: (error: unknown) => fail(error) };
  }

  test("cachedRegistry().follow() sees changes, and then asks no more", async () => {
    const { cache, script, instance, now, asked } = stage();
    const { watch, give } = driven();
    script.watch = watch;
    using timers = heldTimers();
    const following = cache.follow(SERVICE);
    await timers.settle();
    give([instance("a")]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    now.pass(50_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    timers.fire(250);
    await timers.settle();
    give([instance("a"), instance("b")]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a", "b"]);
    assert.equal(asked.length, 0);
    following[Symbol.dispose]();
    await timers.settle();
    assert.deepEqual(timers.waits(), []);
  });

  test("cachedRegistry().follow() looks at a watch that always has something new every 250 ms, and ends at once", async () => {
    const { cache, script, instance } = stage();
    let [given, ended] = [0, 0];
    script.watch = async function* () {
      try {
        while (true) yield await Promise.resolve([instance(`i${++given}`)]);
      } finally {
        ended++;
      }
    };
    using timers = heldTimers();
    const following = cache.follow(SERVICE);
    for (let i = 1; i <= 3; i++) {
      await timers.settle();
      assert.deepEqual([given, timers.waits()], [i, [250]]);
      assert.equal(ids(await cache.instances(SERVICE))[0], `i${i}`);
      timers.fire(250);
    }
    await timers.settle();
    following[Symbol.dispose]();
    await timers.settle();
    assert.deepEqual([timers.waits(), ended], [[], 1]);
  });

  test("cachedRegistry().follow() serves nothing beyond its end, however still the watch is", async () => {
    const { cache, script, instance, now } = stage();
    const { watch, give } = driven();
    script.watch = watch;
    using _ = cache.follow(SERVICE);
    await settled();
    give([instance("a", 10_000), instance("b", 20_000)]);
    await settled();
    now.pass(10_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
    now.pass(10_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), []);
  });

  test("cachedRegistry().follow() asks in the old way until the first answer, and while the watch is broken", async () => {
    const { cache, script, instance, now, asked } = stage();
    const first = driven();
    script.watch = first.watch;
    script.resolve = () => Promise.resolve([instance("asked")]);
    using timers = heldTimers();
    using _ = cache.follow(SERVICE);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["asked"]);
    first.give([instance("told")]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["told", "asked"], "nobody said that he would end");
    timers.fire(250);
    await timers.settle();
    first.fail(unreachable());
    await timers.settle();
    now.pass(6_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["told", "asked"], "nobody waits for what fails");
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["asked"]);
    assert.equal(asked.length, 2);
    const second = driven();
    script.watch = second.watch;
    timers.fire(500);
    await timers.settle();
    second.give([instance("told again")]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["told again", "asked"]);
    now.pass(6_000);
    assert.equal(asked.length, 2);
  });

  test("cachedRegistry().follow() waits longer and longer for a watch that goes on failing", async () => {
    const { cache, watched } = stage();
    using timers = heldTimers();
    const following = cache.follow(SERVICE);
    for (const ms of [500, 1_000, 2_000, 4_000, 5_000, 5_000]) {
      await timers.settle();
      assert.deepEqual(timers.waits(), [ms]);
      timers.fire();
    }
    await timers.settle();
    following[Symbol.dispose]();
    await timers.settle();
    assert.deepEqual(timers.waits(), []);
    assert.equal(watched.length, 7);
  });

  test("cachedRegistry().follow() ends the watch, and starts none again, when it is disposed", async () => {
    const { cache, script, watched } = stage();
    const { watch } = driven();
    script.watch = watch;
    using timers = heldTimers();
    const following = cache.follow(SERVICE);
    await timers.settle();
    following[Symbol.dispose]();
    await timers.settle();
    assert.equal(watched[0]!.aborted, true);
    assert.equal(watched.length, 1);
    assert.deepEqual(timers.waits(), []);
  });

  test("cachedRegistry().follow() of one program ends without ending that of another", async () => {
    const { cache, script, instance, asked, now } = stage();
    const [one, two] = [driven(), driven()];
    script.watch = one.watch;
    const first = cache.follow(SERVICE);
    await settled();
    script.watch = two.watch;
    const second = cache.follow(SERVICE);
    await settled();
    const a = instance("a");
    one.give([a]);
    two.give([a]);
    await settled();
    first[Symbol.dispose]();
    await settled();
    now.pass(6_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    assert.equal(asked.length, 0);
    second[Symbol.dispose]();
    await settled();
    script.resolve = () => Promise.resolve([instance("b")]);
    now.pass(6_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
  });

  test("cachedRegistry().follow() has looked all the time while the watch had nothing to tell", async () => {
    const { cache, script, instance, now, asked } = stage();
    const { watch, give } = driven();
    script.watch = watch;
    using timers = heldTimers();
    const following = cache.follow(SERVICE);
    await timers.settle();
    give([instance("a", 300_000), instance("b", 300_000)]);
    await timers.settle();
    timers.fire(250);
    await timers.settle();
    now.pass(100_000);
    give([instance("b", 300_000)]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b", "a"], "nobody said that he would end");
    assert.equal(asked.length, 0);
    following[Symbol.dispose]();
    await timers.settle();
  });

  test("cachedRegistry().follow() believes the first answer of a watch that was broken for long", async () => {
    const { cache, script, instance, now } = stage();
    const [first, second] = [driven(), driven()];
    script.watch = first.watch;
    script.resolve = () => Promise.reject(unreachable());
    using timers = heldTimers();
    using _ = cache.follow(SERVICE);
    await timers.settle();
    first.give([instance("a", 300_000), instance("b", 300_000)]);
    await timers.settle();
    timers.fire(250);
    await timers.settle();
    first.fail(unreachable());
    await timers.settle();
    now.pass(4_001);
    script.watch = second.watch;
    timers.fire(500);
    await timers.settle();
    second.give([instance("b", 300_000)]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"], "what was said meanwhile was not heard");
  });

  test("cachedRegistry().follow() follows a real registry", async () => {
    const { verified, recordOf, orders, now } = await rig();
    const registry = memoryRegistry({ now });
    const cache = cachedRegistry(verified(registry), { now });
    await registry.register(await recordOf(orders, { instance: "a" }));
    using _ = cache.follow(SERVICE);
    await mustCome(until(async () => ids(await cache.instances(SERVICE)).join() === "a"), "the first");
    await registry.register(await recordOf(orders, { instance: "b" }));
    const seen = async () => (await cache.instances(SERVICE)).map(({ id, draining }) => `${id}${draining ? "!" : ""}`);
    await mustCome(until(async () => (await seen()).join() === "a,b"), "the second");
    const ending = await recordOf(orders, { instance: "b", sequence: 2, draining: true });
    const lease = await registry.register(ending);
    await mustCome(until(async () => (await seen()).join() === "a,b!"), "the word of the second");
    await lease[Symbol.asyncDispose]();
    await mustCome(until(async () => (await seen()).join() === "a"), "the end of the second");
  });

  test("cachedRegistry().follow() goes on with who was taken out without a word, until his record ends", async () => {
    const { verified, recordOf, orders, now } = await rig();
    const registry = memoryRegistry({ now });
    const cache = cachedRegistry(verified(registry), { now });
    await registry.register(await recordOf(orders, { instance: "a", lifetimeMs: 300_000 }));
    const lease = await registry.register(await recordOf(orders, { instance: "b", lifetimeMs: 60_000 }));
    using _ = cache.follow(SERVICE);
    const seen = async () => ids(await cache.instances(SERVICE)).sort().join();
    await mustCome(until(async () => await seen() === "a,b"), "both");
    await lease[Symbol.asyncDispose]();
    await registry.register(await recordOf(orders, { instance: "c", lifetimeMs: 300_000 }));
    await mustCome(until(async () => (await seen()).endsWith("c")), "the answer without the second");
    assert.equal(await seen(), "a,b,c");
    now.pass(59_999);
    assert.equal(await seen(), "a,b,c");
    now.pass(1);
    assert.equal(await seen(), "a,c");
  });
});
