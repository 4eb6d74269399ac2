// The logic of the registry in NATS on every runtime, over a bucket in memory; nats_registry_deno_test.ts has a real one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { natsRegistry, type NatsRegistryOptions, type Registry, signRecord } from "../../src/registry/mod.ts";
import { clock, DOMAIN, world } from "../auth/_world.ts";
import { assertSame, ORDERS, refused, registryConformance, watch } from "./_conformance.ts";
import { type FakeBucket, fakeBucket, type FakeConnection, fakeConnection } from "./_fake_nats.ts";
import { heldTimers } from "./_rig.ts";

const A = "a.v1";

registryConformance("natsRegistry() over a bucket in memory", ({ now }) => {
  const rig = rigOf({ now });
  return Promise.resolve({ ...rig, [Symbol.asyncDispose]: () => Promise.resolve(assertEnded(rig)) });
}, { expires: "clock", list: true });

test("natsRegistry() refuses at its next use a server that turned out to let in everybody", async () => {
  const { registry, connection, bucket, sign } = rigOf();
  const record = await sign();
  const lease = await registry.register(record);
  connection.info = {};
  await refused(registry.resolve(A), "insecure");
  await refused(registry.list(), "insecure");
  await refused(registry.register(await sign({ sequence: 2 })), "insecure");
  await refused(watch(registry, A).next(), "insecure");
  await refused(Promise.resolve(lease[Symbol.asyncDispose]()), "insecure");
  assert.deepEqual([...bucket.entries.values()].map(({ value }) => new TextDecoder().decode(value)), [record]);
});

test("natsRegistry() waits with its judgement until there is a connection", async () => {
  const connection = Object.assign(fakeConnection(), { info: undefined });
  const registry = natsRegistry(connection, fakeBucket());
  await refused(registry.resolve(A), "unreachable");
  Object.assign(connection, { info: { auth_required: true } });
  assert.deepEqual(await registry.resolve(A), []);
  Object.assign(connection, { info: {} });
  await refused(registry.resolve(A), "insecure");
});

test("natsRegistry() refuses names that would mean something else in a subject", async () => {
  const { registry } = rigOf();
  for (const name of ["*", ">", "a.*", "a.>", "", "a b", "a..b", "a.v1\r\nPUB x 0"]) {
    await assert.rejects(registry.resolve(name), TypeError);
    await assert.rejects(async () => await watch(registry, name).next(), TypeError);
  }
  for (const namespace of ["*", ">", "", "a.b", "A"]) assert.throws(() => rigOf({ namespace }), TypeError);
});

test("natsRegistry() keeps namespaces apart", async () => {
  const { connection, bucket, now } = rigOf();
  const here = natsRegistry(connection, bucket, { namespace: "here", now });
  const there = natsRegistry(connection, bucket, { namespace: "there", now });
  const record = await signed(now, { namespace: "here" });
  await here.register(record);
  assert.deepEqual([await here.resolve(A), await here.list()], [[record], [A]]);
  assert.deepEqual([await there.resolve(A), await there.list()], [[], []]);
  await refused(there.register(record), "wrong_namespace");
});

test("register() writes one key of its own service and instance, as the rights of a server have it", async () => {
  const { registry, bucket, sign } = rigOf();
  await registry.register(await sign());
  const [key = ""] = bucket.entries.keys();
  assert.match(key, /^default\.a\.v1\.[\w-]{43}$/);
});

test("register() writes again what somebody else wrote in between, if it is older", async () => {
  const { registry, bucket, sign } = rigOf();
  const [first, second, third] = await Promise.all([1, 2, 3].map((sequence) => sign({ sequence })));
  await registry.register(first!);
  const [key = ""] = bucket.entries.keys();
  once(bucket, "write", () => void bucket.write(key, second!));
  await registry.register(third!);
  assert.deepEqual(await registry.resolve(A), [third]);

  const [fourth, fifth] = await Promise.all([4, 5].map((sequence) => sign({ sequence })));
  once(bucket, "write", () => void bucket.write(key, fifth!));
  await refused(registry.register(fourth!), "rollback");
  assert.deepEqual(await registry.resolve(A), [fifth]);
});

test("register() gives up when others write in its place again and again", async () => {
  const { registry, bucket, sign } = rigOf();
  await registry.register(await sign());
  const [key = ""] = bucket.entries.keys();
  let writes = 0;
  bucket.before = (what) => {
    if (what === "write" && writes++ < 1_000) bucket.write(key, "something");
  };
  await refused(registry.register(await sign({ sequence: 2 })), "unreachable");
  assert.ok(writes < 100);
});

test("register() is not kept from registering by what is no record of its instance", async () => {
  const { registry, bucket, sign, now } = rigOf();
  const record = await sign({ sequence: 2 });
  await registry.register(record);
  const [key = ""] = bucket.entries.keys();
  const foreign = await sign({ instance: "two", sequence: 9 });
  for (const value of ["", "no record", foreign, new Uint8Array(9_000)]) {
    bucket.write(key, value);
    await registry.register(record);
    assert.deepEqual(await registry.resolve(A), [record]);
  }
  bucket.write(key, await sign({ sequence: 9 }));
  await refused(registry.register(record), "rollback");
  now.pass(60_000);
  const later = await sign({ sequence: 3 });
  await registry.register(later);
  assert.deepEqual(await registry.resolve(A), [later]);
});

test("register() takes its instance out of the services it has left, and nothing else", async () => {
  for (const later of [{ sequence: 3 }, { sequence: 1, instance: "two" }]) {
    const { registry, bucket, sign } = rigOf();
    await registry.register(await sign({ services: [A, "b.v1"] }));
    const keyOfB = [...bucket.entries.keys()].find((key) => key.includes(".b.v1."))!;
    const foreign = await sign({ ...later, services: ["b.v1"] });
    once(bucket, "write", () => void bucket.write(keyOfB, foreign));
    await registry.register(await sign({ sequence: 2 }));
    assert.deepEqual(await registry.resolve("b.v1"), [foreign]);
  }
});

test("register() gives a lease that leaves what was written since", async () => {
  const { registry, sign } = rigOf();
  const lease = await registry.register(await sign({ sequence: 1 }));
  const newer = await sign({ sequence: 2 });
  await registry.register(newer);
  await lease[Symbol.asyncDispose]();
  assert.deepEqual(await registry.resolve(A), [newer]);
});

test("natsRegistry() says what NATS does not allow, and what does not fit", async () => {
  const cases = [
    [Object.assign(new Error(), { name: "PermissionViolationError" }), "refused"],
    [new Error("request", { cause: Object.assign(new Error(), { name: "AuthorizationError" }) }), "refused"],
    [Object.assign(new Error(), { code: 10_077 }), "too_many"],
    [Object.assign(new Error(), { code: 503 }), "unreachable"],
    ["no error at all", "unreachable"],
  ] as const;
  for (const [error, reason] of cases) {
    const { registry, bucket, sign } = rigOf();
    const record = await sign();
    const lease = await registry.register(record);
    const uses = {
      get: () => registry.register(record),
      write: () => registry.register(record),
      delete: async () => await lease[Symbol.asyncDispose](),
      history: () => registry.resolve(A),
      watch: () => watch(registry, A).next(),
    };
    for (const [what, use] of Object.entries(uses)) {
      bucket.before = (which) => {
        if (which === what) throw error;
      };
      await refused(Promise.resolve(use()), reason);
    }
    bucket.before = () => {};
  }
});

test("resolve() takes nothing for all there is when the connection is lost meanwhile", async () => {
  for (const lose of [(c: FakeConnection) => c.happens("disconnect"), (c: FakeConnection) => c.close()]) {
    const rig = rigOf();
    const { registry, connection, bucket, sign } = rig;
    for (const instance of ["one", "two", "three"]) await registry.register(await sign({ instance }));
    let count = 0;
    bucket.beforeEntry = () => {
      if (++count === 2) lose(connection);
    };
    await refused(registry.resolve(A), "unreachable");
    assertEnded(rig);
  }
});

test("resolve() ends a reading that stops when the connection is lost", async () => {
  const rig = rigOf();
  rig.bucket.isStuck = true;
  const reading = rig.registry.resolve(A);
  await macrotask();
  rig.connection.happens("disconnect");
  await assert.rejects(reading, { reason: "unreachable", message: /connection to NATS was lost/ });
  assertEnded(rig);
});

test("resolve() ends when its signal aborts, also what comes too late", async () => {
  const rig = rigOf();
  const ending = new AbortController();
  once(rig.bucket, "history", () => {
    ending.abort();
    return macrotask();
  });
  await refused(rig.registry.resolve(A, { signal: ending.signal }), "unreachable");
  await refused(rig.registry.resolve(A, { signal: AbortSignal.abort() }), "unreachable");
  await macrotask();
  assertEnded(rig);
});

test("watch() asks for nothing when its signal has aborted already", async () => {
  const { registry, bucket } = rigOf();
  const asked: string[] = [];
  bucket.before = (what) => void asked.push(what);
  for await (const _ of registry.watch(A, { signal: AbortSignal.abort() })) assert.fail("It gave something");
  assert.deepEqual(asked, []);
});

test("watch() does not tell of a record that was only written again", async () => {
  const { registry, sign } = rigOf();
  const [one, two] = [await sign({ instance: "one" }), await sign({ instance: "two" })];
  await registry.register(one);
  await using watching = watch(registry, A);
  await watching.next();
  const next = watching.next();
  await registry.register(one);
  await macrotask();
  await registry.register(two);
  assertSame(await next, [one, two]);
});

test("resolve() takes no more than 16384 records", async () => {
  const { registry, bucket, sign } = rigOf();
  const record = await sign();
  for (let i = 0; i < 16_385; i++) bucket.write(`default.${A}.i${i}`, record);
  await refused(registry.resolve(A), "too_many");
});

test("natsRegistry() waits 5 s at most for a client that never answers", async () => {
  const { registry, connection, bucket, sign } = rigOf();
  const record = await sign();
  const lease = await registry.register(record);
  bucket.before = () => new Promise(() => {});
  using timers = heldTimers();
  const outcomes = Promise.all([
    refused(registry.resolve(A), "unreachable"),
    refused(registry.list(), "unreachable"),
    refused(registry.register(record), "unreachable"),
    refused(watch(registry, A).next(), "unreachable"),
    refused(Promise.resolve(lease[Symbol.asyncDispose]()), "unreachable"),
  ]);
  for (let waits = 5; waits > 0; waits--) {
    await timers.settle();
    assert.equal(timers.waits().filter((ms) => ms === 5_000).length, waits);
    timers.fire(5_000);
  }
  await outcomes;
  assert.equal(connection.followers, 0);
});

test("watch() misses nothing that happens while it begins", async () => {
  const { registry, bucket, sign } = rigOf();
  const lease = await registry.register(await sign({ instance: "goes" }));
  const [one, two] = [await sign({ instance: "one" }), await sign({ instance: "two" })];
  once(bucket, "history", async () => {
    await lease[Symbol.asyncDispose]();
    await registry.register(one);
  });
  bucket.beforeEntry = () => {
    bucket.beforeEntry = () => {};
    bucket.write(`default.${A}.two`, two);
  };
  await using watching = watch(registry, A);
  await watching.until([one, two]);
});

test("watch() gives nothing again that a client which begins anew is told again", async () => {
  const { registry, bucket, sign } = rigOf();
  const lease = await registry.register(await sign({ instance: "goes" }));
  const [entry] = bucket.entries.values();
  await lease[Symbol.asyncDispose]();
  await using watching = watch(registry, A);
  assert.deepEqual(await watching.next(), []);
  bucket.repeat(entry!);
  const record = await sign();
  await registry.register(record);
  assert.deepEqual(await watching.next(), [record]);
});

test("watch() leaves out what has expired, and what is no record", async () => {
  const { registry, bucket, sign, now } = rigOf();
  await registry.register(await sign({ instance: "goes" }));
  await using watching = watch(registry, A);
  await watching.next();
  now.pass(60_000);
  bucket.write(`default.${A}.x`, "no record");
  const record = await sign();
  await registry.register(record);
  assert.deepEqual(await watching.next(), [record]);
});

test("watch() ends when the connection is lost", async () => {
  for (const lose of [(c: FakeConnection) => c.happens("disconnect"), (c: FakeConnection) => c.close()]) {
    const rig = rigOf();
    const watching = watch(rig.registry, A);
    await watching.next();
    rig.connection.happens("ping");
    const record = await rig.sign();
    await rig.registry.register(record);
    assertSame(await watching.next(), [record]);
    const ending = refused(watching.next(), "unreachable");
    lose(rig.connection);
    await ending;
    assertEnded(rig);
  }
});

test("natsRegistry() ends on the server what it has read from", async () => {
  const { registry, bucket } = rigOf();
  await registry.resolve(A);
  assert.equal(bucket.deleted, 1);
  await using watching = watch(registry, A);
  await watching.next();
  await watching[Symbol.asyncDispose]();
  assert.equal(bucket.deleted, 3);
});

interface Signing {
  readonly instance?: string;
  readonly sequence?: number;
  readonly namespace?: string;
  readonly services?: readonly string[];
}

interface Rig {
  readonly registry: Registry;
  readonly connection: FakeConnection;
  readonly bucket: FakeBucket;
  readonly now: ReturnType<typeof clock>;
  sign(signing?: Signing): Promise<string>;
}

function rigOf(options: NatsRegistryOptions = {}): Rig {
  const now = clock();
  const [connection, bucket] = [fakeConnection(), fakeBucket()];
  const registry = natsRegistry(connection, bucket, { now, ...options });
  return { registry, connection, bucket, now, sign: (signing) => signed(now, signing) };
}

async function signed(
  now: () => number,
  { instance = "one", sequence = 1, namespace = "default", services = [A] }: Signing = {},
): Promise<string> {
  const orders = await (await world()).join(ORDERS, { serves: [A, "b.v1"] });
  return await signRecord(orders, {
    services: Object.fromEntries(services.map((service) => [service, ""])),
    endpoints: [`https://orders.${DOMAIN}`],
    instance,
    namespace,
  }, { sequence, lifetimeMs: 60_000, nowMs: now() });
}

const macrotask = () => new Promise<void>((resolve) => setTimeout(resolve));

/** Does something before the next time that something happens. */
function once(bucket: FakeBucket, what: string, run: () => void | Promise<void>): void {
  bucket.before = (which) => {
    if (which !== what) return;
    bucket.before = () => {};
    return run();
  };
}

/** Nothing is read from any more. */
function assertEnded({ bucket, connection }: Rig): void {
  assert.deepEqual([bucket.open, connection.followers], [0, 0]);
}
