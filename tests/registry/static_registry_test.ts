import assert from "node:assert/strict";
import { test } from "node:test";
import { issueRecord, type RegistryError, staticRegistry, verifiedRegistry } from "../../src/registry/mod.ts";
import { ORDERS, rig, SERVICE } from "./_rig.ts";

const ENDPOINTS = ["https://one.example.org"];

async function list() {
  const { now, authority, trust } = await rig();
  const issue = (instance: string, lifetimeMs: number, service = SERVICE) => {
    const description = { id: ORDERS, instance, services: { [service]: "" }, endpoints: ENDPOINTS };
    return issueRecord(authority, description, { sequence: 1, lifetimeMs, nowMs: now() });
  };
  return { now, trust, issue };
}

test("staticRegistry() gives the records of a text, verified as all others are", async () => {
  const { now, trust, issue } = await list();
  const text = `\n${await issue("one", 60_000)}\n\t${await issue("two", 60_000)} \n${await issue(
    "x",
    60_000,
    "x.v1",
  )}\n`;
  const registry = staticRegistry(text, { now });
  const verified = verifiedRegistry(registry, { trust, now });
  assert.deepEqual((await verified.resolve(SERVICE)).map(({ id }) => id).sort(), ["one", "two"]);
  assert.deepEqual(await registry.list(), [SERVICE, "x.v1"]);
  assert.deepEqual(await registry.resolve("other.v1"), []);
});

test("staticRegistry() gives no record that has expired", async () => {
  const { now, issue } = await list();
  const registry = staticRegistry(`${await issue("one", 60_000)} ${await issue("two", 86_400_000)}`, { now });
  now.pass(60_000);
  assert.equal((await registry.resolve(SERVICE)).length, 1);
  now.pass(86_400_000);
  assert.deepEqual(await registry.list(), []);
});

test("staticRegistry() does not begin with a text that is not all records, or has none", async () => {
  const { issue } = await list();
  const record = await issue("one", 60_000);
  for (const text of ["", " \n", "x", `${record} x`, record.slice(1), `${record},`]) {
    assert.throws(() => staticRegistry(text), (error) => (error as RegistryError).reason === "malformed_record");
  }
});

test("staticRegistry() takes no registration", async () => {
  const { issue, now } = await list();
  const record = await issue("one", 60_000);
  await assert.rejects(staticRegistry(record, { now }).register(record), { reason: "read_only" });
});

test("staticRegistry() watch() gives what there is, and ends when nobody wants to know any more", async () => {
  const { issue, now } = await list();
  const record = await issue("one", 60_000);
  const ending = new AbortController();
  const seen: (readonly string[])[] = [];
  for await (const records of staticRegistry(record, { now }).watch(SERVICE, { signal: ending.signal })) {
    seen.push(records);
    queueMicrotask(() => ending.abort());
  }
  assert.deepEqual(seen, [[record]]);
});
