// Where a second attempt goes that starts while the first is under way.
import type { BalancedTransportOptions } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { after, failing, hanging, heldTime, mesh, watching } from "./_mesh.ts";

const BOOK = { item: "book" };
/** The first or the last of the candidates, so that a test knows where a call goes. */
const inOrder: BalancedTransportOptions["selector"] = ({ candidates }) => {
  const [first] = [...candidates].sort((a, b) => a.instance.id < b.instance.id ? -1 : 1);
  return () => first!;
};
const lastFirst: BalancedTransportOptions["selector"] = ({ candidates }) => {
  const [last] = [...candidates].sort((a, b) => a.instance.id < b.instance.id ? 1 : -1);
  return () => last!;
};
const shortest = { below: () => 0 };
/** So long that a call does not wait for the registry in these tests. */
const refreshMs = 30_000;

test("balancedTransport() makes no second attempt at an instance whose record has ended since the first", async () => {
  const { ready, add, attempts, behaviours, now } = await mesh("a", "b");
  now.pass(30_000);
  await add("c");
  for (const id of "ab") behaviours.set(id, hanging);
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50, refreshMs });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(49);
  now.pass(30_001);
  await time.pass(1);
  await time.settle();
  assert.deepEqual(attempts, ["a", "c"]);
  assert.deepEqual(call.outcome, { value: BOOK });
});

for (const state of ["failing", "hanging", "well"] as const) {
  test(`balancedTransport() makes no second attempt where all records have ended, the registry ${state}`, async () => {
    const { ready, attempts, behaviours, now, registry } = await mesh("a", "b");
    behaviours.set("a", after(100));
    const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
    registry.state = state;
    using time = heldTime();
    const call = watching(shop.look(BOOK));
    await time.pass(49);
    now.pass(60_001);
    await time.pass(151);
    assert.deepEqual(call.outcome, { value: BOOK });
    assert.deepEqual(attempts, ["a"]);
    await time.pass(10_000);
    assert.equal(time.timers, 0);
  });
}

test("balancedTransport() makes no second attempt at the instance of the first where no other is left", async () => {
  const { ready, add, attempts, behaviours, now } = await mesh("b");
  now.pass(30_000);
  await add("a");
  behaviours.set("a", after(100));
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50, refreshMs });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(49);
  now.pass(30_001);
  await time.pass(151);
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts, ["a"]);
});

test("balancedTransport() makes no second attempt at the same instance where the call has been to all", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  let selector = inOrder;
  behaviours.set("a", failing("unavailable")).set("b", after(100));
  const shop = await ready({ selector: (pool) => selector!(pool), random: shortest, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.settle();
  assert.deepEqual(attempts, ["a", "b"]);
  selector = lastFirst;
  await time.pass(200);
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts.filter((id) => id === "b"), ["b"]);
});
