import { memoryRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { rig, SERVICE } from "./_rig.ts";

test("memoryRegistry() takes a lower sequence once the held record has expired, and not a moment before", async () => {
  const { orders, recordOf, now } = await rig();
  const registry = memoryRegistry({ now });
  await registry.register(await recordOf(orders, { sequence: 9 }));
  now.pass(59_999);
  await assert.rejects(registry.register(await recordOf(orders, { sequence: 8 })), { reason: "rollback" });
  now.pass(1);
  const again = await recordOf(orders, { sequence: 1 });
  const lease = await registry.register(again);
  assert.deepEqual(await registry.resolve(SERVICE), [again]);
  await assert.rejects(registry.register(await recordOf(orders, { sequence: 0 })), { reason: "rollback" });
  await lease[Symbol.asyncDispose]();
  assert.deepEqual(await registry.resolve(SERVICE), []);
});

test("memoryRegistry() does not take out what replaced an expired record, by the lease of that", async () => {
  const { orders, recordOf, now } = await rig();
  const registry = memoryRegistry({ now });
  const before = await registry.register(await recordOf(orders, { sequence: 9 }));
  now.pass(60_000);
  const again = await recordOf(orders, { sequence: 1 });
  await registry.register(again);
  await before[Symbol.asyncDispose]();
  assert.deepEqual(await registry.resolve(SERVICE), [again]);
});
