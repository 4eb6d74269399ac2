import {
  cachedRegistry,
  type CachedRegistryOptions,
  type Instance,
  memoryRegistry,
  RegistryError,
  type VerifiedRegistry,
} from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { mustCome } from "../_patience.ts";
import { clock, heldTimers, ORDERS, rig, SERVICE } from "./_rig.ts";

const unreachable = () => new RegistryError("unreachable", "Cannot reach it");

const ids = (instances: readonly Instance[]) => instances.map(({ id }) => id);

/** A verified registry that does what a test says, and a cache in front of it. */
function stage(options: CachedRegistryOptions = {}) {
  const now = clock();
  const instance = (id: string, lifetimeMs = 60_000): Instance => ({
    name: `${ORDERS}#${id}`,
    identity: ORDERS,
    id,
    services: { [SERVICE]: "" },
    endpoints: [],
    audience: ORDERS,
    version: "0.0.0",
    toolkit: "t",
    region: undefined,
    weight: 100,
    draining: false,
    encryptionKey: undefined,
    sequence: 1,
    expiresAtMs: now() + lifetimeMs,
  });
  const asked: { readonly service: string; readonly signal: AbortSignal | undefined }[] = [];
  const watched: AbortSignal[] = [];
  const script = {
    resolve: (): Promise<readonly Instance[]> => Promise.resolve([]),
    // deno-lint-ignore require-yield
    watch: async function* (_: AbortSignal): AsyncGenerator<readonly Instance[]> {
      throw unreachable();
    },
  };
  const registry: VerifiedRegistry = {
    verify: () => Promise.reject(unreachable()),
    resolve(service, { signal } = {}) {
      asked.push({ service, signal });
      return script.resolve();
    },
    watch(_, { signal } = {}) {
      watched.push(signal!);
      return script.watch(signal!);
    },
  };
  return { now, instance, asked, watched, script, cache: cachedRegistry(registry, { now, ...options }) };
}

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
    const { promise, resolve } = Promise.withResolvers<readonly Instance[]>();
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
    script.resolve = () => Promise.resolve([instance("b")]);
    now.pass(1);
    const meanwhile = cache.instances(SERVICE);
    assert.ok(!(meanwhile instanceof Promise), "nobody waits");
    assert.deepEqual(ids(meanwhile), ["a"]);
    assert.equal(asked.length, 2);
    await settled();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["b"]);
    assert.equal(asked.length, 2);
  });

  test("cachedRegistry() waits for the answer where what it has is twice as old", async () => {
    const { cache, script, instance, asked, now } = stage({ refreshMs: 3_000 });
    script.resolve = () => Promise.resolve([instance("a")]);
    await cache.instances(SERVICE);
    now.pass(6_000);
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
    const { promise, reject } = Promise.withResolvers<never>();
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
    const late = Promise.withResolvers<readonly Instance[]>();
    script.resolve = () => late.promise;
    using timers = heldTimers();
    Promise.resolve(cache.instances(SERVICE)).catch(() => {});
    await timers.settle();
    now.pass(10_000);
    script.resolve = () => Promise.resolve([instance("new")]);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["new"]);
    late.resolve([instance("old")]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["new"]);
  });
});

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
    const following = cache.follow(SERVICE);
    await settled();
    give([instance("a")]);
    await settled();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    now.pass(50_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a"]);
    give([instance("a"), instance("b")]);
    await settled();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["a", "b"]);
    assert.equal(asked.length, 0);
    following[Symbol.dispose]();
    await settled();
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
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["told"]);
    first.fail(unreachable());
    await timers.settle();
    now.pass(6_000);
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["asked"]);
    assert.equal(asked.length, 2);
    const second = driven();
    script.watch = second.watch;
    timers.fire(500);
    await timers.settle();
    second.give([instance("told again")]);
    await timers.settle();
    assert.deepEqual(ids(await cache.instances(SERVICE)), ["told again"]);
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

  test("cachedRegistry().follow() follows a real registry", async () => {
    const { verified, recordOf, orders, now } = await rig();
    const registry = memoryRegistry({ now });
    const cache = cachedRegistry(verified(registry), { now });
    await registry.register(await recordOf(orders, { instance: "a" }));
    using _ = cache.follow(SERVICE);
    await mustCome(until(async () => ids(await cache.instances(SERVICE)).join() === "a"), "the first");
    const lease = await registry.register(await recordOf(orders, { instance: "b" }));
    await mustCome(until(async () => ids(await cache.instances(SERVICE)).join() === "a,b"), "the second");
    await lease[Symbol.asyncDispose]();
    await mustCome(until(async () => ids(await cache.instances(SERVICE)).join() === "a"), "the end of the second");
  });
});

/** Lets everything go on that needs no time. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((done) => setTimeout(done, 0));
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await settled();
}
