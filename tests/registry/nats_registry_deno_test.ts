// The registry against a real nats-server, by WebSocket and with no more rights than docs/registries.md gives.
import assert from "node:assert/strict";
import { test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { natsRegistry, type Registry, signRecord } from "../../src/registry/mod.ts";
import { mustCome } from "../_patience.ts";
import { DOMAIN, world } from "../auth/_world.ts";
import { BUCKET, findNats, launchNats, type NatsServer, type NatsUser } from "../servers/nats.ts";
import { fakeBucket, fakeConnection } from "./_fake_nats.ts";
import { assertSame, ORDERS, realClock, refused, registryConformance, watch } from "./_conformance.ts";

const { path = "", skip } = await findNats();
const A = "a.v1";

registryConformance("natsRegistry()", async ({ now }) => {
  const server = await launchNats(path);
  const { registry } = await connect(server, "service", now);
  return { registry, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}, { expires: "clock", list: true, skip });

test("natsRegistry() lets a user read who has only the rights to read, and not write", { skip }, async () => {
  await using server = await launchNats(path);
  const { registry } = await connect(server, "service");
  const reader = await connect(server, "client");
  const record = await sign("one");
  await registry.register(record);
  assert.deepEqual(await reader.registry.resolve(A), [record]);
  assert.deepEqual(await reader.registry.list(), [A]);
  await using watching = watch(reader.registry, A);
  assert.deepEqual(await watching.next(), [record]);

  await refused(reader.registry.register(await sign("two")), "refused");
  await assert.rejects(reader.kv.put(`default.${A}.x`, "x"), (error: Error) => {
    assert.match(`${error.cause}`, /publish to "\$KV/i);
    return true;
  });
  assert.deepEqual(await registry.resolve(A), [record]);
});

test("natsRegistry() tells a user without rights that NATS does not allow it", { skip }, async () => {
  await using server = await launchNats(path);
  const { registry } = await connect(server, "stranger");
  await refused(registry.resolve(A), "refused");
  await refused(registry.list(), "refused");
  await refused(registry.register(await sign("one")), "refused");
  await refused(watch(registry, A).next(), "refused");
});

test("natsRegistry() refuses a server that lets in everybody", { skip }, async () => {
  await using server = await launchNats(path, { auth: false });
  await refused(connect(server, "service"), "insecure");
});

test("natsRegistry() refuses a server that is reached without TLS", { skip }, async () => {
  await using server = await launchNats(path, { tls: false });
  await refused(connect(server, "service"), "insecure");
});

test("register() never loses the newest of records that come over several connections", { skip }, async () => {
  await using server = await launchNats(path);
  const registries = await Promise.all([1, 2, 3].map(async () => (await connect(server, "service")).registry));
  const records = await Promise.all(Array.from({ length: 12 }, (_, i) => sign("one", { sequence: (i * 5) % 12 })));
  const outcomes = await Promise.allSettled(records.map((record, i) => registries[i % 3]!.register(record)));
  const failures = outcomes.flatMap((outcome) => outcome.status === "rejected" ? [outcome.reason.reason] : []);
  assert.ok(failures.every((reason) => reason === "rollback"), failures.join());
  const newest = records[Array.from({ length: 12 }, (_, i) => (i * 5) % 12).indexOf(11)]!;
  assert.deepEqual(await registries[0]!.resolve(A), [newest]);
});

test("register() gives a lease that leaves what another connection has written since", { skip }, async () => {
  await using server = await launchNats(path);
  const first = await connect(server, "service");
  const second = await connect(server, "service");
  const lease = await first.registry.register(await sign("one", { sequence: 1 }));
  const newer = await sign("one", { sequence: 2 });
  await second.registry.register(newer);
  await lease[Symbol.asyncDispose]();
  assert.deepEqual(await first.registry.resolve(A), [newer]);
});

test("watch() ends when the server does, and a new one goes on when it is back", { skip }, async () => {
  await using server = await launchNats(path);
  const reader = await connect(server, "client");
  const writer = await connect(server, "service");
  const [one, two] = [await sign("one"), await sign("two")];
  await writer.registry.register(one);
  const watching = watch(reader.registry, A);
  assert.deepEqual(await watching.next(), [one]);
  const back = [reader.connection, writer.connection].map(reconnected);
  await server.stop();
  await refused(watching.next(), "unreachable");
  await server.start();
  await mustCome(Promise.all(back), "the connections");
  await writer.registry.register(two);
  await using again = watch(reader.registry, A);
  assertSame(await again.next(), [one, two]);
});

test("natsRegistry() is unreachable in time when its server is gone", { skip }, async () => {
  await using server = await launchNats(path);
  const { registry } = await connect(server, "service");
  const record = await sign("one");
  const lease = await registry.register(record);
  await server.stop();
  const startMs = performance.now();
  await Promise.all([
    refused(registry.resolve(A), "unreachable"),
    refused(registry.list(), "unreachable"),
    refused(registry.register(record), "unreachable"),
    refused(watch(registry, A).next(), "unreachable"),
    refused(Promise.resolve(lease[Symbol.asyncDispose]()), "unreachable"),
  ]);
  assert.ok(performance.now() - startMs < 8_000);
});

// Here and not with the other tests over a bucket in memory: it takes seconds where a machine is busy.
test("resolve() takes 16384 records", async () => {
  const bucket = fakeBucket();
  const registry = natsRegistry(fakeConnection(), bucket);
  const record = await sign("one");
  for (let i = 0; i < 16_384; i++) bucket.write(`default.${A}.i${i}`, record);
  assert.equal((await registry.resolve(A)).length, 16_384);
});

test("natsRegistry() is unreachable when its connection was closed", { skip }, async () => {
  await using server = await launchNats(path);
  const { registry, connection } = await connect(server, "service");
  const watching = watch(registry, A);
  await watching.next();
  const ending = refused(watching.next(), "unreachable");
  await connection.close();
  await ending;
  await refused(registry.resolve(A), "unreachable");
  await refused(watch(registry, A).next(), "unreachable");
});

test("natsRegistry() leaves out what somebody else has written into the bucket", { skip }, async () => {
  await using server = await launchNats(path);
  const { registry, kv } = await connect(server, "service");
  const record = await sign("one");
  await registry.register(record);
  await kv.put(`default.${A}.x`, "no record");
  await kv.put(`default.${A}.y`, new Uint8Array(8_000).fill(255));
  await kv.put(`default.${A}.x.y`, record);
  await kv.put(`other.${A}.x`, record);
  await kv.put(A, record);
  assert.deepEqual(await registry.resolve(A), [record]);
  assert.deepEqual(await registry.list(), [A]);
  await using watching = watch(registry, A);
  assert.deepEqual(await watching.next(), [record]);
});

test("natsRegistry() says when the bucket is full", { skip }, async () => {
  await using server = await launchNats(path, { maxBytes: 20_000 });
  const { registry } = await connect(server, "service");
  await assert.rejects(async () => {
    for (let i = 0; i < 100; i++) await registry.register(await sign(`i${i}`));
  }, { reason: "too_many" });
});

test("natsRegistry() leaves no consumer on the server", { skip }, async () => {
  await using server = await launchNats(path);
  const { registry } = await connect(server, "service");
  const { streams } = await jetstreamManager(await server.connect("admin"));
  for (let i = 0; i < 3; i++) await registry.resolve(A);
  const watching = watch(registry, A);
  await watching.next();
  await watching[Symbol.asyncDispose]();
  const isGone = async () => (await streams.info(`KV_${BUCKET}`)).state.consumer_count === 0;
  const wait = async () => {
    while (!await isGone());
  };
  await mustCome(wait(), "the end of the consumers");
});

interface Connected {
  readonly registry: Registry;
  readonly connection: NatsConnection;
  readonly kv: Awaited<ReturnType<NatsServer["open"]>>;
}

/** The real clients fit the types of the registry. */
async function connect(server: NatsServer, user: NatsUser, now: () => number = Date.now): Promise<Connected> {
  const connection = await server.connect(user);
  const kv = await server.open(connection);
  return { registry: natsRegistry(connection, kv, { now }), connection, kv };
}

async function sign(instance: string, { sequence = 1 } = {}): Promise<string> {
  const { join } = await world(DOMAIN, realClock);
  const orders = await join(ORDERS, { serves: [A] });
  const description = { services: { [A]: "" }, endpoints: [`https://orders.${DOMAIN}`], instance };
  return await signRecord(orders, description, { sequence, lifetimeMs: 60_000 });
}

async function reconnected(connection: NatsConnection): Promise<void> {
  for await (const { type } of connection.status()) {
    if (type === "reconnect") return;
  }
}
