// The registry in Deno's own store, which Deno has only with a flag: without it, one test runs this file with it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DenoKvLike, denoKvRegistry, signRecord } from "../../src/registry/mod.ts";
import { DOMAIN, world } from "../auth/_world.ts";
import { assertSame, ORDERS, realClock, refused, registryConformance, watch } from "./_conformance.ts";

const A = "a.v1";

if (typeof Deno.openKv === "function") testRegistry();
else {
  test("denoKvRegistry() passes its tests where Deno has the store", async () => {
    const file = new URL(import.meta.url).pathname;
    const args = ["test", "--quiet", "--unstable-kv", "--allow-all", "--no-prompt", "--no-check", file];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.equal(code, 0, output);
    assert.match(output, /[1-9]\d* passed/);
  });
}

function testRegistry(): void {
  registryConformance("denoKvRegistry()", async ({ now }) => {
    const kv = await Deno.openKv(":memory:");
    return { registry: denoKvRegistry(kv, { now }), [Symbol.asyncDispose]: () => Promise.resolve(kv.close()) };
  }, { expires: "clock", list: true });

  test("denoKvRegistry() keeps namespaces apart", async () => {
    using kv = await Deno.openKv(":memory:");
    const here = denoKvRegistry(kv, { namespace: "here" });
    const there = denoKvRegistry(kv, { namespace: "there" });
    const record = await sign("one", { namespace: "here" });
    await here.register(record);
    assert.deepEqual(await here.resolve(A), [record]);
    assert.deepEqual([await there.resolve(A), await there.list()], [[], []]);
    await refused(there.register(record), "wrong_namespace");
    assert.throws(() => denoKvRegistry(kv, { namespace: "No Name" }), TypeError);
  });

  test("watch() tells of changes in the same file by another opening of it", async () => {
    const folder = await Deno.makeTempDir();
    try {
      using kv = await Deno.openKv(`${folder}/registry.sqlite`);
      using other = await Deno.openKv(`${folder}/registry.sqlite`);
      const [registry, elsewhere] = [denoKvRegistry(kv), denoKvRegistry(other)];
      const [one, two] = [await sign("one"), await sign("two")];
      await using watching = watch(registry, A);
      assert.deepEqual(await watching.next(), []);
      const lease = await elsewhere.register(one);
      await watching.until([one]);
      await elsewhere.register(two);
      await watching.until([one, two]);
      await lease[Symbol.asyncDispose]();
      await watching.until([two]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  test("watch() tells of what another process has written into the same file", async () => {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/registry.sqlite`;
      using kv = await Deno.openKv(path);
      const registry = denoKvRegistry(kv);
      await using watching = watch(registry, A);
      assert.deepEqual(await watching.next(), []);
      const record = await sign("one");
      await registerElsewhere(path, record);
      await watching.until([record]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  test("register() never loses the newest of records that come at once", async () => {
    using kv = await Deno.openKv(":memory:");
    const registries = [denoKvRegistry(kv), denoKvRegistry(kv)];
    const records = await Promise.all(Array.from({ length: 12 }, (_, i) => sign("one", { sequence: (i * 5) % 12 })));
    const outcomes = await Promise.allSettled(records.map((record, i) => registries[i % 2]!.register(record)));
    const failures = outcomes.flatMap((outcome) => outcome.status === "rejected" ? [outcome.reason.reason] : []);
    assert.ok(failures.every((reason) => reason === "rollback"), failures.join());
    assert.deepEqual(await registries[0]!.resolve(A), [records.find((_, i) => (i * 5) % 12 === 11)]);
  });

  test("register() gives a lease that leaves what came in its record's place", async () => {
    using kv = await Deno.openKv(":memory:");
    const registry = denoKvRegistry(kv);
    const lease = await registry.register(await sign("one", { sequence: 1 }));
    const newer = await sign("one", { sequence: 2 });
    await registry.register(newer);
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await registry.resolve(A), [newer]);
  });

  test("register() gives a lease that leaves what comes in its record's place meanwhile", async () => {
    using kv = await Deno.openKv(":memory:");
    const registry = denoKvRegistry(kv);
    const newer = await sign("one", { sequence: 2 });
    const meanwhile = { run: () => Promise.resolve() };
    const slow = denoKvRegistry(storeOf(kv, {
      async get(key) {
        const entry = await kv.get([...key]);
        await meanwhile.run();
        return entry;
      },
    }));
    const lease = await slow.register(await sign("one", { sequence: 1 }));
    meanwhile.run = async () => void await registry.register(newer);
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await registry.resolve(A), [newer]);
  });

  test("watch() tells of an instance that no longer serves the service", async () => {
    using kv = await Deno.openKv(":memory:");
    const registry = denoKvRegistry(kv);
    const record = await sign("one", { services: [A, "b.v1"] });
    await registry.register(record);
    await using watching = watch(registry, "b.v1");
    await watching.until([record]);
    await registry.register(await sign("one", { sequence: 2 }));
    await watching.until([]);
  });

  test("watch() ends what it reads from as soon as its signal aborts, or nobody reads on", async () => {
    using kv = await Deno.openKv(":memory:");
    const ended: string[] = [];
    const registry = denoKvRegistry(storeOf(kv, {
      watch: () =>
        new ReadableStream({ start: (changes) => changes.enqueue([]), cancel: () => void ended.push("a stream") }),
    }));
    const ending = new AbortController();
    const aborted = registry.watch(A, { signal: ending.signal })[Symbol.asyncIterator]();
    await aborted.next();
    const next = aborted.next();
    ending.abort();
    assert.equal(ended.length, 1);
    assert.equal((await next).done, true);
    for await (const _ of registry.watch(A)) break;
    assert.equal(ended.length, 2);
  });

  test("resolve() takes no more than 16384 records", async () => {
    using kv = await Deno.openKv(":memory:");
    let count = 16_384;
    const registry = denoKvRegistry(storeOf(kv, {
      async *list() {
        for (let i = 0; i < count; i++) yield await Promise.resolve({ value: "x", versionstamp: "0" });
      },
    }));
    assert.deepEqual(await registry.resolve(A), []);
    count++;
    await refused(registry.resolve(A), "too_many");
  });

  test("resolve() gives more records than the store gives at once", async () => {
    using kv = await Deno.openKv(":memory:");
    const registry = denoKvRegistry(kv);
    const records = await Promise.all(Array.from({ length: 1_001 }, (_, i) => sign(`i${i}`)));
    for (const record of records) await registry.register(record);
    assertSame(await registry.resolve(A), records);
  });

  test("denoKvRegistry() leaves out what somebody else has written into the store", async () => {
    using kv = await Deno.openKv(":memory:");
    const registry = denoKvRegistry(kv);
    const record = await sign("one");
    await registry.register(record);
    for (const value of ["no record", 7, { record }, new Uint8Array(9_000)]) {
      await kv.set(["postern", "default", "record", A, `${typeof value}`], value);
    }
    assert.deepEqual(await registry.resolve(A), [record]);
    assert.deepEqual(await registry.list(), [A]);
  });

  test("denoKvRegistry() is unreachable when its store was closed", async () => {
    const kv = await Deno.openKv(":memory:");
    const registry = denoKvRegistry(kv);
    const record = await sign("one");
    const lease = await registry.register(record);
    const watching = watch(registry, A);
    await watching.next();
    const ending = refused(watching.next(), "unreachable");
    kv.close();
    await ending;
    await refused(registry.resolve(A), "unreachable");
    await refused(registry.list(), "unreachable");
    await refused(registry.register(record), "unreachable");
    await refused(watch(registry, A).next(), "unreachable");
    await refused(Promise.resolve(lease[Symbol.asyncDispose]()), "unreachable");
  });
}

/** A store that does something otherwise. */
function storeOf(kv: Deno.Kv, otherwise: Partial<DenoKvLike>): DenoKvLike {
  const store: DenoKvLike = kv;
  return {
    get: (key) => store.get(key),
    list: (selector, options) => store.list(selector, options),
    atomic: () => store.atomic(),
    watch: (keys) => store.watch(keys),
    ...otherwise,
  };
}

async function registerElsewhere(path: string, record: string): Promise<void> {
  const registry = new URL("../../src/registry/mod.ts", import.meta.url);
  const program = `
    import { denoKvRegistry } from ${JSON.stringify(registry)};
    using kv = await Deno.openKv(${JSON.stringify(path)});
    await denoKvRegistry(kv).register(${JSON.stringify(record)});
  `;
  const args = ["eval", "--quiet", "--unstable-kv", "--no-check", program];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}

async function sign(
  instance: string,
  { sequence = 1, namespace = "default", services = [A] } = {},
): Promise<string> {
  const { join } = await world(DOMAIN, realClock);
  const orders = await join(ORDERS, { serves: [A, "b.v1"] });
  return await signRecord(orders, {
    services: Object.fromEntries(services.map((service) => [service, ""])),
    endpoints: [`https://orders.${DOMAIN}`],
    instance,
    namespace,
  }, { sequence, lifetimeMs: 60_000 });
}
