import { announce, type Instance, RegistryError } from "../../src/registry/mod.ts";
import { contractDigest, createServer, implement, publicOnly } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { endOf, Orders, server, stage } from "./_announce.ts";
import { ENDPOINT, SERVICE, withResolvers } from "./_rig.ts";

describe("announce()", () => {
  test("announce() registers the server with what it serves, and where", async () => {
    const { start, claims, timers, verify, records, orders } = await stage({
      version: "1.2.3",
      region: "eu",
      weight: 50,
      namespace: "default",
      ownAudience: true,
    });
    using _ = timers;
    const announcement = await start();
    const [first] = claims;
    assert.deepEqual(first!.services, { [SERVICE]: await contractDigest(Orders) });
    assert.deepEqual([first!.endpoints, first!.version, first!.region, first!.weight], [[ENDPOINT], "1.2.3", "eu", 50]);
    assert.deepEqual([first!.seq, first!.draining, first!.own_audience], [claims[0]!.seq, false, true]);
    assert.equal(first!.exp - first!.iat, 60);
    assert.equal(first!.jti, announcement.instance);
    const instance: Instance = await verify(records[0]!);
    assert.equal(instance.identity, orders.id);
    await endOf(announcement, timers);
  });

  test("announce() gives each server an instance of its own, unless it is given one", async () => {
    const { start, timers, orders, registry, now } = await stage();
    using _ = timers;
    const [one, two] = [await start(), await start()];
    assert.notEqual(one.instance, two.instance);
    const named = await announce(server(), {
      registry,
      identity: orders,
      endpoints: [ENDPOINT],
      instance: "mine",
      now,
    });
    assert.equal(named.instance, "mine");
    for (const each of [one, two, named]) await endOf(each, timers);
  });

  test("announce() goes on after a restart under the instance that it is given", async () => {
    const { start, timers, claims, now } = await stage({ instance: "mine" });
    using _ = timers;
    const before = await start();
    timers.fire(20_000);
    await timers.settle();
    await endOf(before, timers);
    const last = claims.at(-1)!.seq;
    now.pass(1_000);
    const after = await start();
    assert.ok(claims.at(-1)!.seq > last, `${claims.at(-1)!.seq} is a rollback of ${last}`);
    await endOf(after, timers);
  });

  test("announce() announces what createServer makes", async () => {
    const { timers, registry, claims, orders, now } = await stage();
    using _ = timers;
    const real = createServer(implement(Orders, { list: () => ({}) }), { guard: publicOnly([]) });
    const announcement = await announce(real, { registry, identity: orders, endpoints: [ENDPOINT], now, settleMs: 0 });
    assert.deepEqual(Object.keys(claims[0]!.services), [SERVICE]);
    await endOf(announcement, timers, 0);
    timers[Symbol.dispose]();
    await real[Symbol.asyncDispose]();
  });
});

describe("announce() renews", () => {
  test("announce() renews after a third of the lease, with a growing sequence and a new lease", async () => {
    const { start, claims, timers, now } = await stage({ leaseMs: 30_000 });
    using _ = timers;
    const announcement = await start();
    for (let i = 0; i < 4; i++) {
      assert.deepEqual(timers.waits(), [10_000]);
      now.pass(10_000);
      timers.fire();
      await timers.settle();
    }
    assert.equal(claims.length, 5);
    for (let i = 1; i < claims.length; i++) {
      assert.ok(claims[i]!.seq > claims[i - 1]!.seq);
      assert.equal(claims[i]!.exp - claims[i - 1]!.exp, 10);
      assert.equal(claims[i]!.jti, claims[0]!.jti);
      assert.equal(claims[i]!.draining, false);
    }
    await endOf(announcement, timers);
  });

  test("announce() tries again sooner after a failure, says so each time, and goes on", async () => {
    const { start, claims, timers, script, errors, done } = await stage({ leaseMs: 30_000 });
    using _ = timers;
    const announcement = await start();
    script.fails = true;
    timers.fire(10_000);
    for (let i = 0; i < 3; i++) {
      await timers.settle();
      assert.deepEqual(timers.waits(), [2_000]);
      timers.fire();
    }
    await timers.settle();
    assert.equal(errors.length, 4);
    script.fails = false;
    timers.fire(2_000);
    await timers.settle();
    assert.deepEqual(timers.waits(), [10_000]);
    assert.equal(done.at(-1), `${claims.at(-1)!.seq}`);
    assert.ok(claims.at(-1)!.seq > claims[0]!.seq);
    await endOf(announcement, timers);
  });

  test("announce() tries again soon where the lease is short", async () => {
    const { start, timers, script } = await stage({ leaseMs: 3_000 });
    using _ = timers;
    const announcement = await start();
    assert.deepEqual(timers.waits(), [1_000]);
    script.fails = true;
    timers.fire();
    await timers.settle();
    assert.deepEqual(timers.waits(), [250]);
    await endOf(announcement, timers);
  });

  test("announce() says that a server is draining at its next renewal", async () => {
    const { start, timers, done, server: shown } = await stage();
    using _ = timers;
    const announcement = await start();
    shown.draining = true;
    timers.fire();
    await timers.settle();
    assert.match(done.at(-1)!, / draining$/);
    await endOf(announcement, timers);
  });

  test("announce() gives up a registration that takes longer than 10 s, and tries again", async () => {
    const { start, timers, script, errors } = await stage();
    using _ = timers;
    const announcement = await start();
    script.hold = new Promise(() => {});
    timers.fire(20_000);
    await timers.settle();
    assert.deepEqual(timers.waits(), [10_000]);
    timers.fire(10_000);
    await timers.settle();
    assert.deepEqual([timers.waits(), errors.length], [[2_000], 1]);
    script.hold = undefined;
    await endOf(announcement, timers);
  });

  test("announce() goes on with a growing sequence where the clock goes backwards", async () => {
    const { start, claims, timers, now } = await stage();
    using _ = timers;
    const announcement = await start();
    now.pass(-15_000);
    timers.fire(20_000);
    await timers.settle();
    assert.equal(claims[1]!.seq, claims[0]!.seq + 1);
    await endOf(announcement, timers);
  });

  test("announce() takes another id where somebody has taken the one that it made up", async () => {
    const { start, claims, timers, registry, errors } = await stage();
    using _ = timers;
    const rollback = () => Promise.reject(new RegistryError("rollback", "Cannot register: a newer one is there"));
    const { register } = registry;
    const announcement = await start();
    const before = announcement.instance;
    Object.assign(registry, { register: rollback });
    timers.fire(20_000);
    await timers.settle();
    assert.equal(errors.length, 1);
    Object.assign(registry, { register });
    timers.fire(2_000);
    await timers.settle();
    assert.notEqual(announcement.instance, before);
    assert.deepEqual(claims.map(({ jti }) => jti), [before, announcement.instance]);
    await endOf(announcement, timers);
    assert.equal(claims.at(-1)!.jti, announcement.instance, "it ends under the new one");
  });

  test("announce() keeps the id that it was given, whoever has taken it, and its own after any other failure", async () => {
    for (const [reason, instance] of [["rollback", "mine"], ["unreachable", undefined]] as const) {
      const { start, claims, timers, registry } = await stage(instance ? { instance } : {});
      using _ = timers;
      const { register } = registry;
      const announcement = await start();
      Object.assign(registry, { register: () => Promise.reject(new RegistryError(reason, "Cannot register")) });
      timers.fire(20_000);
      await timers.settle();
      Object.assign(registry, { register });
      timers.fire(2_000);
      await timers.settle();
      assert.equal(new Set([announcement.instance, ...claims.map(({ jti }) => jti)]).size, 1, reason);
      if (instance) assert.equal(announcement.instance, instance);
      await endOf(announcement, timers);
    }
  });

  test("announce() does not renew twice at once", async () => {
    const { start, timers, script, done } = await stage();
    using _ = timers;
    const announcement = await start();
    const { promise, resolve } = withResolvers<void>();
    script.hold = promise;
    timers.fire();
    await timers.settle();
    assert.ok(!timers.waits().includes(20_000), "the next renewal waits for this one");
    script.hold = undefined;
    resolve();
    await timers.settle();
    assert.equal(done.length, 2);
    await endOf(announcement, timers);
  });
});

describe("announce() ends", () => {
  test("announce() says that it drains, waits until clients know, and withdraws, once", async () => {
    const { start, timers, done, claims, errors } = await stage({ settleMs: 7_000 });
    using _ = timers;
    const announcement = await start();
    const ending = [announcement[Symbol.asyncDispose](), announcement[Symbol.asyncDispose]()];
    await timers.settle();
    const [first, second] = claims.map(({ seq }) => seq) as [number, number];
    assert.ok(second > first);
    assert.deepEqual(done, [`${first}`, `${second} draining`]);
    assert.deepEqual(timers.waits(), [7_000], "and nothing is renewed any more");
    timers.fire(7_000);
    await Promise.all(ending);
    await announcement[Symbol.asyncDispose]();
    assert.deepEqual(done, [`${first}`, `${second} draining`, `withdrawn ${second}`]);
    assert.deepEqual([timers.waits(), errors], [[], []]);
  });

  test("announce() withdraws by the last lease that it got where it cannot say that it drains", async () => {
    const { start, timers, done, script, errors, claims } = await stage();
    using _ = timers;
    const announcement = await start();
    script.fails = true;
    await endOf(announcement, timers);
    assert.deepEqual(done.slice(1), ["failed", `withdrawn ${claims[0]!.seq}`]);
    assert.equal(errors.length, 1);
  });

  test("announce() ends without an error where it cannot withdraw: the lease ends by itself", async () => {
    const { start, timers, script, errors } = await stage();
    using _ = timers;
    const announcement = await start();
    script.withdrawalFails = true;
    await endOf(announcement, timers);
    assert.equal(errors.length, 1);
  });

  test("announce() gives up a withdrawal that takes longer than 5 s: the lease ends by itself", async () => {
    const { start, timers, script, errors } = await stage();
    using _ = timers;
    const announcement = await start();
    script.withdrawalHangs = true;
    const ending = announcement[Symbol.asyncDispose]();
    await timers.settle();
    timers.fire(5_000);
    await timers.settle();
    assert.deepEqual([timers.waits(), errors], [[5_000], []]);
    timers.fire(5_000);
    await ending;
    assert.equal(errors.length, 1);
  });

  test("announce() ends after settleMs and 10 s at most, whatever the registry hangs with", async () => {
    const { start, timers, script, errors } = await stage({ settleMs: 7_000 });
    using _ = timers;
    const announcement = await start();
    script.hold = new Promise(() => {});
    script.withdrawalHangs = true;
    timers.fire(20_000);
    await timers.settle();
    assert.deepEqual(timers.waits(), [10_000], "a renewal that hangs");
    const ending = announcement[Symbol.asyncDispose]();
    const waited: number[] = [];
    for (const ms of [5_000, 7_000, 5_000]) {
      await timers.settle();
      const waits = timers.waits().filter((each) => each !== 10_000);
      assert.deepEqual(waits, [ms], "nothing else is waited for");
      waited.push(...waits);
      timers.fire(ms);
    }
    await ending;
    assert.equal(waited.reduce((sum, ms) => sum + ms), 7_000 + 10_000);
    assert.equal(errors.length, 2);
    timers.fire(10_000);
    await timers.settle();
    assert.deepEqual([timers.waits(), errors.length], [[], 2], "and nothing comes after the end");
  });

  test("announce() does not wait at its end for a renewal that is under way, which is older than what follows", async () => {
    const { start, timers, script, done, claims } = await stage();
    using _ = timers;
    const announcement = await start();
    const { promise, resolve } = withResolvers<void>();
    script.hold = promise;
    timers.fire();
    await timers.settle();
    script.hold = undefined;
    const ending = announcement[Symbol.asyncDispose]();
    for (let turn = 0; turn < 100 && done.length < 2; turn++) await timers.settle();
    const last = claims.at(-1)!.seq;
    assert.deepEqual(done.slice(1), [`${last} draining`]);
    resolve();
    await timers.settle();
    assert.equal(done[2], `${last - 1}`, "a registry refuses it as a rollback");
    timers.fire(5_000);
    await ending;
    assert.ok(done.includes(`withdrawn ${last}`), "it is not the older lease that is withdrawn");
  });

  test("announce() withdraws a renewal too that comes after the end", async () => {
    const { start, timers, script, done } = await stage({ settleMs: 0 });
    using _ = timers;
    const announcement = await start();
    const { promise, resolve } = withResolvers<void>();
    script.hold = promise;
    timers.fire();
    await timers.settle();
    script.hold = undefined;
    await endOf(announcement, timers, 0);
    assert.equal(done.length, 3);
    resolve();
    await timers.settle();
    // Nothing is held by then that would make it a rollback: it would be there until its lease is over.
    assert.deepEqual(done.slice(3), [done[3]!, `withdrawn ${done[3]}`]);
  });
});

describe("announce() and what it tells of failures", () => {
  test("announce() goes on where what it tells of failures fails", async () => {
    const { start, timers, script, claims } = await stage({
      onError() {
        throw new Error("disk full");
      },
    });
    using _ = timers;
    const announcement = await start();
    script.fails = true;
    timers.fire();
    await timers.settle();
    assert.deepEqual(timers.waits(), [2_000]);
    script.fails = false;
    timers.fire();
    await timers.settle();
    assert.equal(claims.length, 2);
    await endOf(announcement, timers);
  });
});
