import { allow, type Identity } from "../../src/auth/mod.ts";
import { anonymous, createServer, fetchTransport, publicOnly, RpcError } from "../../src/rpc/mod.ts";
import {
  memoryRegistry,
  type Registry,
  RegistryError,
  type RegistryReason,
  registryService,
  remoteRegistry,
} from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { joinOther, ORDERS, type Rig, rig, SERVICE } from "../registry/_rig.ts";
import { served } from "../registry/_served.ts";

// Whoever reaches the registry service tries to list, register and take out what is not his.

const ROLE = { serves: [SERVICE], roles: ["service"] };

/** Two workloads that both may serve `orders.v1`, a client, and somebody without a role. */
async function stage(options: Parameters<typeof served>[1] = {}) {
  const world = await rig();
  const orders = await world.join(ORDERS, ROLE);
  const rival = await joinOther(world, "rival", ROLE);
  const client = await joinOther(world, "client", { roles: ["client"] });
  const nobody = await joinOther(world, "nobody", { serves: [SERVICE] });
  return { world, orders, rival, client, nobody, desk: await served(world, options) };
}

async function assertRefusedBy(promise: Promise<unknown>, reason: RegistryReason): Promise<void> {
  const error = await promise.then(() => assert.fail("it was let in"), (thrown) => thrown);
  assert.ok(error instanceof RegistryError, String(error));
  assert.equal(error.reason, reason, error.message);
}

const namesOf = async (world: Rig, registry: Registry) =>
  (await world.verified(registry).resolve(SERVICE)).map(({ name }) => name).sort();

describe("T16 T25 the registry service", () => {
  test("T16 T25 registry lets an identity register, renew, be found and take out its own instance", async () => {
    const { world, orders, client, desk } = await stage();
    await using _ = desk;
    const own = desk.as(orders);
    const seen = desk.as(client);
    await own.register(await world.recordOf(orders));
    assert.deepEqual(await namesOf(world, seen), [`${ORDERS}#i1`]);
    const lease = await own.register(await world.recordOf(orders, { sequence: 2 }));
    assert.equal((await world.verified(seen).resolve(SERVICE))[0]!.sequence, 2);
    await lease[Symbol.asyncDispose]();
    assert.deepEqual(await seen.resolve(SERVICE), []);
    const events = desk.audit.events.filter(({ event }) => event.startsWith("record."));
    assert.deepEqual(events.map(({ event, caller }) => `${event} ${caller}`), [
      `record.register ${ORDERS}`,
      `record.register ${ORDERS}`,
      `record.deregister ${ORDERS}`,
    ]);
  });

  test("T16 T25 registry refuses the record of another, though it is genuine", async () => {
    const { world, orders, rival, desk } = await stage();
    await using _ = desk;
    await assertRefusedBy(desk.as(rival).register(await world.recordOf(orders)), "refused");
    assert.deepEqual(await desk.store.resolve(SERVICE), []);
    assert.deepEqual(desk.audit.events.filter(({ event }) => event === "record.register"), []);
  });

  test("T16 T25 registry lets nobody take out the record of another, whatever he shows", async () => {
    const { world, orders, rival, nobody, client, desk } = await stage();
    await using _ = desk;
    const record = await world.recordOf(orders);
    await desk.as(orders).register(record);
    const forged = await world.forge(rival, { sub: ORDERS, iss: ORDERS, seq: 99 });
    const older = await world.recordOf(orders, { sequence: 0 });
    for (const each of [rival, nobody, client]) {
      for (const shown of [record, forged, older, "garbage"]) {
        await assert.rejects(desk.client(each).deregister({ record: shown }), RpcError);
      }
    }
    assert.deepEqual(await desk.store.resolve(SERVICE), [record]);
    // and its own, of the same instance id, takes out its own only
    await desk.client(rival).deregister({ record: await world.recordOf(rival) });
    assert.deepEqual(await desk.store.resolve(SERVICE), [record]);
  });

  test("T16 T25 registry refuses its owner's older record, to register and to take out", async () => {
    const { world, orders, desk } = await stage();
    await using _ = desk;
    const [older, newer] = [await world.recordOf(orders), await world.recordOf(orders, { sequence: 2 })];
    await desk.as(orders).register(newer);
    await assertRefusedBy(desk.as(orders).register(older), "rollback");
    await assert.rejects(desk.client(orders).deregister({ record: older }), { code: "failed_precondition" });
    assert.deepEqual(await desk.store.resolve(SERVICE), [newer]);
  });

  test("T16 T25 registry refuses callers that prove no identity, each method alike", async () => {
    const { world, orders, desk } = await stage();
    await using _ = desk;
    const record = await world.recordOf(orders);
    const stranger = desk.as(undefined);
    const calls = [() => stranger.register(record), () => stranger.resolve(SERVICE), () => stranger.list()];
    for (const call of calls) await assertRefusedBy(call(), "refused");
    assert.deepEqual(await desk.store.resolve(SERVICE), []);
  });

  test("T16 T25 registry takes nobody without an identity even where the guard lets everybody in", async () => {
    const { trust, now, recordOf, orders } = await rig();
    const store = memoryRegistry({ now });
    using service = registryService(store, { trust, now });
    const methods = ["register", "deregister", "resolve", "list"].map((name) => `postern.registry.v1/${name}`);
    await using server = createServer(service, { guard: publicOnly(methods), log: () => {} });
    const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
    const registry = remoteRegistry(fetchTransport("https://registry.test", { prover: anonymous(), fetch }));
    const record = await recordOf(orders);
    for (const call of [() => registry.register(record), () => registry.resolve(SERVICE), () => registry.list()]) {
      await assertRefusedBy(call(), "refused");
    }
    assert.deepEqual(await store.resolve(SERVICE), []);
  });

  test("T16 T25 registry goes by the server's policy beside that", async () => {
    const { world, client, nobody, desk } = await stage();
    await using _ = desk;
    await assertRefusedBy(desk.as(nobody).register(await world.recordOf(nobody)), "refused");
    await assertRefusedBy(desk.as(nobody).resolve(SERVICE), "refused");
    const able = await joinOther(world, "able", { serves: [SERVICE], roles: ["client"] });
    await assertRefusedBy(desk.as(able).register(await world.recordOf(able)), "refused");
    assert.deepEqual(await desk.as(client).resolve(SERVICE), []);
  });

  test("T16 T25 registry lists services only for who shows a right to, of his own and for that", async () => {
    const { world, orders, client, rival, desk } = await stage();
    await using _ = desk;
    await desk.as(orders).register(await world.recordOf(orders));
    await assertRefusedBy(desk.as(client).list(), "refused");
    const right = await desk.rightToList(client);
    assert.deepEqual(await desk.as(client, right).list(), [SERVICE]);
    await assertRefusedBy(desk.as(rival, right).list(), "refused");
    await assertRefusedBy(desk.as(client, await desk.rightToList(client, ["resolve"])).list(), "refused");
  });

  test("T16 T25 registry lists for nobody without a right, whatever the policy forgets", async () => {
    const rules = [allow({ role: ["service", "client"], call: "postern.registry.v1/*" })];
    const { client, desk } = await stage({ rules });
    await using _ = desk;
    await assertRefusedBy(desk.as(client).list(), "refused");
  });

  test("T16 T25 registry refuses records that no reader would take", async () => {
    const { world, orders, desk } = await stage();
    await using _ = desk;
    const { recordOf, forge, issue, now } = world;
    const wrong: readonly [string, RegistryReason][] = [
      ["garbage", "malformed_record"],
      ["x".repeat(8_192), "malformed_record"],
      ["x".repeat(8_193), "malformed_record"],
      [await recordOf(orders, { namespace: "other" }), "malformed_record"],
      [await recordOf(orders, { endpoints: ["https://127.0.0.1"] }), "malformed_record"],
      [await recordOf(orders, { nowMs: now() - 60_000 }), "malformed_record"],
      [await recordOf(orders, { nowMs: now() + 60_000 }), "malformed_record"],
      [await forge(orders, { exp: now() / 1_000 + 301 }), "malformed_record"],
      [await forge(orders, { weight: 1_000 }), "malformed_record"],
      [await recordOf(orders, { services: { [SERVICE]: "", "payments.v1": "" } }), "refused"],
      [await forge(orders, { wit: "x" }), "refused"],
      [await issue({ sub: `spiffe://example.org/rival` }), "refused"],
    ];
    for (const [record, reason] of wrong) await assertRefusedBy(desk.as(orders).register(record), reason);
    assert.deepEqual(await desk.store.resolve(SERVICE), []);
  });

  test("T16 T25 registry refuses a revoked identity, in its records and as a caller", async () => {
    const { world, orders, desk } = await stage();
    await using _ = desk;
    const record = await world.recordOf(orders);
    await desk.as(orders).register(record);
    world.authority.revoke({ ids: [ORDERS] });
    await world.trust.update(await world.authority.signedBundle());
    await assert.rejects(desk.as(orders).register(await world.recordOf(orders, { sequence: 2 })));
    assert.deepEqual(await desk.store.resolve(SERVICE), [record]);
  });

  test("T16 T25 registry lets one identity register no more than its quota, and renew and end what it has", async () => {
    const { world, orders, rival, desk } = await stage({ maxInstancesPerIdentity: 3 });
    await using _ = desk;
    const register = async (who: Identity, instance: string, sequence = 1) =>
      await desk.as(who).register(await world.recordOf(who, { instance, sequence }));
    for (const id of ["a", "b", "c"]) await register(orders, id);
    await assertRefusedBy(register(orders, "d"), "too_many");
    await register(orders, "a", 2);
    await register(rival, "d");
    await desk.client(orders).deregister({ record: await world.recordOf(orders, { instance: "a", sequence: 3 }) });
    await register(orders, "d");
    await assertRefusedBy(register(orders, "e"), "too_many");
    assert.equal((await desk.store.resolve(SERVICE)).length, 4);
  });

  test("T16 T25 registry keeps to the quota when an identity registers many at once", async () => {
    const { world, orders, desk } = await stage({ maxInstancesPerIdentity: 3 });
    await using _ = desk;
    const own = desk.as(orders);
    const records = await Promise.all(
      Array.from({ length: 20 }, (_, i) => world.recordOf(orders, { instance: `i${i}` })),
    );
    await Promise.allSettled(records.map((record) => own.register(record)));
    assert.equal((await desk.store.resolve(SERVICE)).length, 3);
  });

  test("T16 T25 registry counts an instance again that adds a service, and none that renews", async () => {
    const world = await rig();
    const orders = await world.join(ORDERS, { serves: [SERVICE, "b.v1"], roles: ["service"] });
    const memory = memoryRegistry({ now: world.now });
    const read: string[] = [];
    const store: Registry = {
      ...memory,
      resolve: (service, options) => (read.push(service), memory.resolve(service, options)),
      watch: (service, options) => (read.push(service), memory.watch(service, options)),
    };
    await using desk = await served(world, { store, maxInstancesPerIdentity: 2 });
    const own = desk.as(orders);
    let sequence = 0;
    const register = async (instance: string, ...services: string[]) => {
      read.length = 0;
      const about = {
        instance,
        sequence: ++sequence,
        services: Object.fromEntries(services.map((name) => [name, ""])),
      };
      await own.register(await world.recordOf(orders, about));
      return read.length;
    };
    assert.ok(await register("a", SERVICE) > 0);
    for (let i = 0; i < 20; i++) assert.equal(await register("a", SERVICE), 0, "a renewal reads nothing");
    world.now.pass(60_000);
    assert.ok(await register("a", SERVICE) > 0, "its lease was over");
    for (const id of ["b", "c"]) await register(id, "b.v1");
    await assertRefusedBy(register("a", SERVICE, "b.v1"), "too_many");
    assert.ok(read.length > 0);
    assert.equal((await memory.resolve("b.v1")).length, 2);
  });

  test("T16 T25 registry keeps to the quota where an instance is taken out by a record of other services", async () => {
    const world = await rig();
    const orders = await world.join(ORDERS, { serves: [SERVICE, "b.v1"], roles: ["service"] });
    await using desk = await served(world, { maxInstancesPerIdentity: 2 });
    const own = desk.as(orders);
    let sequence = 0;
    const recordOf = (instance: string, ...services: string[]) =>
      world.recordOf(orders, {
        instance,
        sequence: ++sequence,
        services: Object.fromEntries(services.map((name) => [name, ""])),
      });
    for (const id of ["a", "b"]) await own.register(await recordOf(id, SERVICE));
    for (const id of ["a", "b"]) await desk.client(orders).deregister({ record: await recordOf(id, SERVICE, "b.v1") });
    for (const id of ["c", "d"]) await own.register(await recordOf(id, SERVICE));
    for (const id of ["a", "b"]) await assertRefusedBy(own.register(await recordOf(id, SERVICE)), "too_many");
    assert.equal((await desk.store.resolve(SERVICE)).length, 2);
  });

  test("T16 T25 registry refuses what its methods do not know, and too long a wait", async () => {
    const { client, desk } = await stage();
    await using _ = desk;
    const { resolve } = desk.client(client);
    for (const service of ["", "a b", "../etc", "a".repeat(129), "__proto__.x y", "ä"]) {
      await assert.rejects(resolve({ service }), { code: "invalid_argument" });
    }
    for (const waitMs of [-1, 20_001, 1.5, Infinity]) await assert.rejects(resolve({ service: SERVICE, waitMs }));
    await assert.rejects(resolve({ service: SERVICE, cursor: "x".repeat(65) }), { code: "invalid_argument" });
    await assert.rejects(resolve({ service: SERVICE, all: true } as never), { code: "invalid_argument" });
  });

  test("T16 T25 registry tells who is refused nothing of what the record held", async () => {
    const { world, orders, rival, desk } = await stage();
    await using _ = desk;
    const canary = "https://canary.internal.test";
    const error = await desk.client(rival).register({ record: await world.recordOf(orders, { endpoints: [canary] }) })
      .then(() => assert.fail("it was let in"), (thrown) => thrown);
    assert.ok(!`${error.message}`.includes("canary"));
    assert.ok(!JSON.stringify(desk.audit.events).includes("canary"));
  });

  test("T16 T25 registry is refused by clients where it is not the registry that they mean", async () => {
    const { world, orders } = await stage();
    const impostor = await joinOther(world, "impostor", { serves: ["postern.registry.v1"] });
    const desk = await served({ ...world, join: () => Promise.resolve(impostor) } as Rig);
    await using _ = desk;
    await assert.rejects(desk.as(orders).resolve(SERVICE), RegistryError);
  });
});
