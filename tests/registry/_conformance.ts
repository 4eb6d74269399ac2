// What every registry must do, whatever keeps its records: the contract in the comments of src/registry/registry.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { RegistryError } from "../../src/registry/mod.ts";
import { mustCome } from "../_patience.ts";
import { DOMAIN } from "../auth/_world.ts";
import { A, conformanceRig, type MakeRegistry, ORDERS, realClock, type Rig, SERVES } from "./_conformance_rig.ts";
import { watch } from "./_watching.ts";

export { type MakeRegistry, ORDERS, realClock, type RegistryUnderTest } from "./_conformance_rig.ts";
export { watch } from "./_watching.ts";

/** What a registry can do. */
export interface RegistryAbilities {
  /** By whose clock records expire: the one that the tests move, or one of a server, which tests have to wait for. */
  readonly expires: "clock" | "server";
  /** Whether the caller may list all services. */
  readonly list: boolean;
}

/**
 * Tests a registry.
 *
 * @param name What it is called in the titles.
 * @param make Makes one for each test.
 * @param abilities What it can do, and a reason to skip its tests.
 */
export function registryConformance(
  name: string,
  make: MakeRegistry,
  abilities: RegistryAbilities & { readonly skip?: string | false },
): void {
  const { skip = false, expires } = abilities;
  const conforms = (title: string, run: (rig: Rig) => Promise<void>) =>
    test(`${name} ${title}`, { skip }, async () => {
      await using rig = await conformanceRig(make, expires === "clock" ? undefined : realClock);
      await run(rig);
    });
  testRegistering(conforms);
  testServices(conforms, abilities);
  testWatching(conforms);
  testExpiry(conforms, abilities);
}

type Conforms = (title: string, run: (rig: Rig) => Promise<void>) => void;

function testRegistering(conforms: Conforms): void {
  conforms("resolve() gives the very record that was registered", async ({ registry, sign }) => {
    const record = await sign();
    await registry.register(record);
    assert.deepEqual(await registry.resolve(A), [record]);
  });

  conforms("resolve() gives nothing where nothing is", async ({ registry }) => {
    assert.deepEqual(await registry.resolve(A), []);
  });

  conforms("resolve() gives every instance of every identity", async ({ registry, as, sign, join }) => {
    const other = await join(`${ORDERS}/eu`);
    const records = [await sign({ instance: "one" }), await sign({ instance: "two" })];
    for (const record of records) await registry.register(record);
    const foreign = await sign({ instance: "one", identity: other });
    await as(other).register(foreign);
    assertSame(await registry.resolve(A), [...records, foreign]);
  });

  conforms("register() puts a newer record in the place of an older one", async ({ registry, sign }) => {
    await registry.register(await sign({ sequence: 1 }));
    const newer = await sign({ sequence: 2 });
    await registry.register(newer);
    assert.deepEqual(await registry.resolve(A), [newer]);
  });

  conforms("register() refuses an older record, and the newer one stays", async ({ registry, sign }) => {
    const newer = await sign({ sequence: 2 });
    await registry.register(newer);
    await refused(registry.register(await sign({ sequence: 1 })), "rollback");
    assert.deepEqual(await registry.resolve(A), [newer]);
  });

  conforms("register() refuses another record of the same sequence", async ({ registry, sign }) => {
    const first = await sign({ sequence: 1 });
    await registry.register(first);
    await refused(registry.register(await sign({ sequence: 1, weight: 7 })), "rollback");
    assert.deepEqual(await registry.resolve(A), [first]);
  });

  conforms("register() takes the same record again", async ({ registry, sign }) => {
    const record = await sign();
    await registry.register(record);
    await registry.register(record);
    assert.deepEqual(await registry.resolve(A), [record]);
  });

  conforms("register() keeps the newest of records that come at once", async ({ registry, sign }) => {
    const sequences = [3, 1, 5, 2, 4];
    const records = await Promise.all(sequences.map((sequence) => sign({ sequence })));
    const outcomes = await Promise.allSettled(records.map((record) => registry.register(record)));
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") assert.equal(reasonOf(outcome.reason), "rollback");
    }
    assert.equal(outcomes[2]!.status, "fulfilled");
    assert.deepEqual(await registry.resolve(A), [records[2]]);
  });

  conforms("register() refuses what is no record, and nothing of it is there", async ({ registry, sign }) => {
    for (const text of ["", "x", "a.b.c", `${await sign()}x`.replace(/^./, "_")]) {
      await refused(registry.register(text), "malformed_record");
    }
    assert.deepEqual(await registry.resolve(A), []);
  });

  conforms("register() gives a lease that takes the record out, once", async ({ registry, sign }) => {
    const stays = await sign({ instance: "stays" });
    await registry.register(stays);
    const lease = await registry.register(await sign({ instance: "goes" }));
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await registry.resolve(A), [stays]);
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await registry.resolve(A), [stays]);
  });

  conforms("register() gives a lease whose second end leaves a record that came after it", async (rig) => {
    const { registry, sign } = rig;
    const lease = await registry.register(await sign({ sequence: 1 }));
    await lease[Symbol.asyncDispose]();
    const later = await sign({ sequence: 2 });
    await registry.register(later);
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await registry.resolve(A), [later]);
  });

  conforms("register() gives a lease that does nothing once a newer record of the instance is there", async (rig) => {
    const { registry, sign } = rig;
    const first = await registry.register(await sign({ sequence: 1, services: [A, "b.v1"] }));
    const second = await registry.register(await sign({ sequence: 2 }));
    const newest = await sign({ sequence: 3, services: [A, "b.v1"] });
    const third = await registry.register(newest);
    for (const older of [first, second]) {
      await older[Symbol.asyncDispose]();
      assert.deepEqual([await registry.resolve(A), await registry.resolve("b.v1")], [[newest], [newest]]);
    }
    await third[Symbol.asyncDispose]();
    assert.deepEqual([await registry.resolve(A), await registry.resolve("b.v1")], [[], []]);
  });

  conforms("register() gives a lease that takes out a renewed record", async ({ registry, sign }) => {
    await registry.register(await sign({ sequence: 1 }));
    const lease = await registry.register(await sign({ sequence: 2 }));
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await registry.resolve(A), []);
  });

  conforms("register() does not take one instance for another whose name looks alike", async (rig) => {
    const pairs = [["x", "y-z"], ["x-y", "z"], ["x/y", "z"], ["x_y", "z"], ["x.y", "z"], ["x", "y_z"], ["x", "Y-z"]];
    const records: string[] = [];
    const last = [];
    for (const [path, instance] of pairs) {
      const identity = await rig.join(`spiffe://${DOMAIN}/${path}`);
      const record = await rig.sign({ identity, instance: instance! });
      records.push(record);
      last.push(await rig.as(identity).register(record));
    }
    assertSame(await rig.registry.resolve(A), records);
    await last[0]![Symbol.asyncDispose]();
    assertSame(await rig.registry.resolve(A), records.slice(1));
  });

  conforms("register() takes the longest names that there are", async ({ registry, as, sign, join }) => {
    const service = `s${"x".repeat(127)}`;
    const identity = await join(`spiffe://${DOMAIN}/${"i".repeat(1_000)}`, [service]);
    const record = await sign({ identity, instance: "_".repeat(64), services: [service] });
    await as(identity).register(record);
    assert.deepEqual(await registry.resolve(service), [record]);
  });
}

function testServices(conforms: Conforms, { list }: RegistryAbilities): void {
  conforms("resolve() finds a record under each of its services", async ({ registry, sign }) => {
    const record = await sign({ services: [A, "b.v1"] });
    const lease = await registry.register(record);
    assert.deepEqual(await registry.resolve(A), [record]);
    assert.deepEqual(await registry.resolve("b.v1"), [record]);
    await lease[Symbol.asyncDispose]();
    assert.deepEqual([await registry.resolve(A), await registry.resolve("b.v1")], [[], []]);
  });

  conforms("resolve() does not find a record under a service that it no longer has", async ({ registry, sign }) => {
    await registry.register(await sign({ sequence: 1, services: [A, "b.v1"] }));
    const newer = await sign({ sequence: 2, services: [A] });
    await registry.register(newer);
    assert.deepEqual([await registry.resolve(A), await registry.resolve("b.v1")], [[newer], []]);
  });

  conforms("resolve() does not mix up services whose names begin alike", async ({ registry, sign }) => {
    const records = new Map<string, string>();
    for (const [at, service] of SERVES.entries()) {
      const record = await sign({ services: [service], instance: `i${at}` });
      records.set(service, record);
      await registry.register(record);
    }
    for (const [service, record] of records) assert.deepEqual(await registry.resolve(service), [record], service);
  });

  if (!list) return;
  conforms("list() gives the names of the services that have records, sorted", async ({ registry, sign }) => {
    assert.deepEqual(await registry.list(), []);
    await registry.register(await sign({ services: ["b.v1", "a.v1x"], instance: "one" }));
    const lease = await registry.register(await sign({ services: ["a.v1.x", A], instance: "two" }));
    await registry.register(await sign({ services: [A], instance: "three" }));
    assert.deepEqual(await registry.list(), ["a.v1", "a.v1.x", "a.v1x", "b.v1"]);
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await registry.list(), ["a.v1", "a.v1x", "b.v1"]);
  });
}

function testWatching(conforms: Conforms): void {
  conforms("watch() gives what is there, and then every change", async ({ registry, sign }) => {
    const one = await sign({ instance: "one" });
    const lease = await registry.register(one);
    await using watching = watch(registry, A);
    assertSame(await watching.next(), [one]);

    const two = await sign({ instance: "two" });
    await registry.register(two);
    await watching.until([one, two]);

    const renewed = await sign({ instance: "two", sequence: 2 });
    await registry.register(renewed);
    await watching.until([one, renewed]);

    await lease[Symbol.asyncDispose]();
    await watching.until([renewed]);
  });

  conforms("watch() gives an empty state first where nothing is", async ({ registry, sign }) => {
    await using watching = watch(registry, A);
    assert.deepEqual(await watching.next(), []);
    const record = await sign();
    await registry.register(record);
    await watching.until([record]);
  });

  conforms("watch() tells of its own service only", async ({ registry, sign }) => {
    await using watching = watch(registry, A);
    await watching.next();
    for (const [at, service] of SERVES.entries()) {
      if (service !== A) await registry.register(await sign({ services: [service], instance: `i${at}` }));
    }
    const record = await sign();
    await registry.register(record);
    for (let seen: readonly string[] = []; seen.length === 0;) {
      seen = await watching.next();
      if (seen.length > 0) assert.deepEqual(seen, [record]);
    }
  });

  conforms("watch() ends without an error when its signal aborts while it waits", async ({ registry }) => {
    await using watching = watch(registry, A);
    await watching.next();
    await watching.ends(() => watching.abort());
  });

  conforms("watch() ends without an error when its signal aborts before it is read on", async (rig) => {
    const { registry, sign } = rig;
    await using watching = watch(registry, A);
    await watching.next();
    await registry.register(await sign());
    watching.abort();
    await watching.ends(() => {});
  });

  conforms("watch() gives nothing when its signal has aborted already", async ({ registry, sign }) => {
    await registry.register(await sign());
    const read: unknown[] = [];
    const reading = async () => {
      for await (const records of registry.watch(A, { signal: AbortSignal.abort() })) read.push(records);
    };
    await mustCome(reading(), "the end of a watch that had ended");
    assert.deepEqual(read, []);
  });

  conforms("watch() serves several watchers, each for itself", async ({ registry, sign }) => {
    await using first = watch(registry, A);
    await using second = watch(registry, A);
    await using other = watch(registry, "b.v1");
    await Promise.all([first.next(), second.next(), other.next()]);
    await first.ends(() => first.abort());
    const record = await sign({ services: [A, "b.v1"] });
    await registry.register(record);
    await second.until([record]);
    await other.until([record]);
  });

  conforms("watch() gives a late reader the last state of many", async ({ registry, sign }) => {
    await using watching = watch(registry, A);
    await watching.next();
    let last = "";
    for (let sequence = 1; sequence <= 20; sequence++) await registry.register(last = await sign({ sequence }));
    await watching.until([last]);
  });
}

function testExpiry(conforms: Conforms, { expires, list }: RegistryAbilities): void {
  if (expires === "server") {
    conforms("resolve(), list() and watch() drop a record that has expired", async ({ registry, sign }) => {
      const stays = await sign({ instance: "stays" });
      await registry.register(stays);
      await registry.register(await sign({ instance: "goes", services: [A, "b.v1"], lifetimeMs: 2_000 }));
      await using watching = watch(registry, A);
      assert.equal((await watching.next()).length, 2);
      await watching.until([stays]);
      assert.deepEqual(await registry.resolve(A), [stays]);
      if (list) assert.deepEqual(await registry.list(), [A]);
    });
    return;
  }
  conforms("resolve() and watch() do not give a record that has expired", async ({ registry, sign, now }) => {
    await registry.register(await sign({ instance: "goes", services: [A, "b.v1"], lifetimeMs: 2_000 }));
    const stays = await sign({ instance: "stays", lifetimeMs: 10_000 });
    await registry.register(stays);
    now.pass(1_999);
    assert.equal((await registry.resolve(A)).length, 2);
    now.pass(1);
    assert.deepEqual(await registry.resolve("b.v1"), []);
    if (list) assert.deepEqual(await registry.list(), [A]);
    await using watching = watch(registry, A);
    assert.deepEqual(await watching.next(), [stays]);
  });
}

/** That a registry refused, and why. */
export async function refused(outcome: Promise<unknown>, reason: RegistryError["reason"]): Promise<void> {
  await assert.rejects(outcome, (error) => {
    assert.equal(reasonOf(error), reason);
    return true;
  });
}

function reasonOf(error: unknown): string {
  if (!(error instanceof RegistryError)) throw error;
  return error.reason;
}

/** A registry gives records in no order. */
export function assertSame(found: readonly string[], wanted: readonly string[]): void {
  assert.deepEqual([...found].sort(), [...wanted].sort());
}
