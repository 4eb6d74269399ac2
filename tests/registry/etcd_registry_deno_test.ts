import assert from "node:assert/strict";
import { after, test } from "node:test";
import { etcdRegistry, type EtcdRegistryOptions } from "../../src/registry/etcd_registry.ts";
import { signRecord } from "../../src/registry/mod.ts";
import { DOMAIN, world } from "../auth/_world.ts";
import { type Etcd, findEtcd, launchEtcd } from "../servers/launch.ts";
import { ORDERS, realClock, refused, registryConformance } from "./_conformance.ts";
import { watch } from "./_watching.ts";

const A = "a.v1";
const { path, skip } = await findEtcd();
const USERS = {
  orders: { right: "READWRITE", prefix: "/postern/default/" },
  web: { right: "READ", prefix: "/postern/default/" },
  narrow: { right: "READWRITE", prefix: "/postern/default/a.v1/" },
  stranger: { right: "READWRITE", prefix: "/postern/other/" },
} as const;

// One etcd for all tests of this file, started by the first of them.
let launched: Promise<Etcd> | undefined;
const etcd = () => launched ??= launchEtcd(path!, { users: USERS });
after(async () => await (await launched)?.[Symbol.asyncDispose]());

/** The registry as a user has it, of an etcd without records. */
async function emptied(): Promise<Etcd> {
  const running = await etcd();
  await running.asRoot("kv/deleterange", { key: btoa("/postern/"), range_end: btoa("/postern0") });
  return running;
}

function registryOf({ url, fetch }: Etcd, user: keyof typeof USERS, more: Partial<EtcdRegistryOptions> = {}) {
  return etcdRegistry({ url, fetch, user, password: `${user}-password`, ...more });
}

const here = await world(DOMAIN, realClock);
const orders = await here.join(ORDERS, { serves: [A] });

function sign(about: { sequence?: number; namespace?: string; lifetimeMs?: number; instance?: string } = {}) {
  const { sequence = 1, lifetimeMs = 60_000, instance = "one", ...more } = about;
  const description = { services: { [A]: "" }, endpoints: [`https://orders.${DOMAIN}`], instance, ...more };
  return signRecord(orders, description, { sequence, lifetimeMs });
}

registryConformance(
  "etcdRegistry()",
  async () => ({ registry: registryOf(await emptied(), "orders"), [Symbol.asyncDispose]: async () => {} }),
  { expires: "server", list: true, skip },
);

test("etcdRegistry() lets a user do what its role says and no more", { skip }, async () => {
  const running = await emptied();
  const record = await sign();
  await registryOf(running, "orders").register(record);

  const reader = registryOf(running, "web");
  assert.deepEqual(await reader.resolve(A), [record]);
  assert.deepEqual(await reader.list(), [A]);
  await using watching = watch(reader, A);
  assert.deepEqual(await watching.next(), [record]);
  await refused(reader.register(await sign({ sequence: 2 })), "refused");
  await refused(reader.register(await sign({ instance: "two" })), "refused");
  assert.deepEqual(await reader.resolve(A), [record]);

  const stranger = registryOf(running, "stranger");
  await refused(stranger.register(await sign({ sequence: 2 })), "refused");
  await refused(stranger.resolve(A), "refused");
  await refused(stranger.list(), "refused");
  await refused(stranger.watch(A)[Symbol.asyncIterator]().next() as Promise<unknown>, "refused");
  const elsewhere = registryOf(running, "orders", { namespace: "other" });
  await refused(elsewhere.register(await sign({ namespace: "other" })), "refused");
  await registryOf(running, "stranger", { namespace: "other" }).register(await sign({ namespace: "other" }));
  assert.deepEqual(await reader.resolve(A), [record]);
});

test("etcdRegistry() needs no right but the one to its own service", { skip }, async () => {
  const registry = registryOf(await emptied(), "narrow");
  await registry.register(await sign());
  const newer = await sign({ sequence: 2 });
  const lease = await registry.register(newer);
  assert.deepEqual(await registry.resolve(A), [newer]);
  await lease[Symbol.asyncDispose]();
  await using watching = watch(registry, A);
  assert.deepEqual(await watching.next(), []);
  await refused(registry.resolve("b.v1"), "refused");
  await refused(registry.list(), "refused");
});

test("etcdRegistry() lets nobody take out a record who may only read it", { skip }, async () => {
  const running = await emptied();
  const record = await sign();
  await registryOf(running, "orders").register(record);
  // The same record is there already, so that there is nothing to write before the lease is ended.
  const lease = await registryOf(running, "web").register(record);
  await refused(Promise.resolve(lease[Symbol.asyncDispose]()), "refused");
  assert.deepEqual(await registryOf(running, "web").resolve(A), [record]);
});

test("etcdRegistry() refuses to go on with a wrong password or user", { skip }, async () => {
  const running = await etcd();
  await refused(registryOf(running, "orders", { password: "wr0ng" }).resolve(A), "refused");
  await refused(registryOf(running, "orders", { user: "nobody" }).resolve(A), "refused");
});

test("etcdRegistry() reaches no etcd whose certificate it does not trust", { skip }, async () => {
  await refused(registryOf(await etcd(), "orders", { fetch: globalThis.fetch }).resolve(A), "unreachable");
});

test(
  "T1.4 etcdRegistry() refuses an etcd whose access control is off, and shows it no password",
  { skip },
  async () => {
    await using open = await launchEtcd(path!, { auth: false });
    const paths: string[] = [];
    const fetch = (url: string, init: RequestInit) => {
      paths.push(new URL(url).pathname);
      return open.fetch(url, init);
    };
    const registry = registryOf(open, "orders", { fetch });
    await refused(registry.resolve(A), "insecure");
    await refused(registry.register(await sign()), "insecure");
    await refused(registry.list(), "insecure");
    await refused(registry.watch(A)[Symbol.asyncIterator]().next() as Promise<unknown>, "insecure");
    assert.deepEqual(paths, Array(4).fill("/v3/kv/range"));
  },
);

test("watch() goes on, and register() too, when etcd was restarted", { skip }, async () => {
  const running = await emptied();
  const registry = registryOf(running, "orders");
  const one = await sign({ instance: "one" });
  await registry.register(one);
  await using watching = watch(registry, A);
  assert.deepEqual(await watching.next(), [one]);
  await running.restart();
  const two = await sign({ instance: "two" });
  await registry.register(two);
  await watching.until([one, two]);
});

test("watch() reads everything again when etcd has forgotten what changed", { skip }, async () => {
  const running = await emptied();
  const writer = registryOf(running, "orders");
  const gate = Promise.withResolvers<void>();
  const fetch = async (url: string, init: RequestInit) => {
    if (url.endsWith("/watch")) await gate.promise;
    return await running.fetch(url, init);
  };
  const lease = await writer.register(await sign({ instance: "one" }));
  await using watching = watch(registryOf(running, "web", { fetch }), A);
  assert.equal((await watching.next()).length, 1);

  await lease[Symbol.asyncDispose]();
  const two = await sign({ instance: "two" });
  await writer.register(two);
  const { header } = await running.asRoot("kv/range", { key: btoa("x") }) as { header: { revision: string } };
  await running.asRoot("kv/compaction", { revision: header.revision });
  gate.resolve();
  await watching.until([two]);

  const three = await sign({ instance: "three" });
  await writer.register(three);
  await watching.until([two, three]);
});

test("watch() and resolve() fail when etcd is gone for good", { skip }, async () => {
  await using running = await launchEtcd(path!, { users: USERS });
  const registry = registryOf(running, "orders");
  await registry.register(await sign());
  await using watching = watch(registry, A);
  await watching.next();
  await running.kill();
  await refused(registry.resolve(A), "unreachable");
  await refused(watching.next(), "unreachable");
});

test("resolve() gives two thousand records, and watch() sees them come", { skip }, async () => {
  const running = await emptied();
  const registry = registryOf(running, "orders");
  const record = await sign();
  const put = (at: number) => ({ request_put: { key: btoa(`/postern/default/${A}/i${at}`), value: btoa(record) } });
  await using watching = watch(registry, A);
  await watching.next();
  for (let from = 0; from < 2_000; from += 100) {
    await running.asRoot("kv/txn", { success: Array.from({ length: 100 }, (_, at) => put(from + at)) });
  }
  assert.equal((await registry.resolve(A)).length, 2_000);
  while ((await watching.next()).length < 2_000);
});
