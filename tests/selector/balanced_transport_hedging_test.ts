import { type BalancedTransportOptions, roundRobin } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { after, failing, failsWith, hanging, heldTime, mesh, refusing, watching } from "./_mesh.ts";
import { callOf } from "./_pool.ts";
import { seeded } from "./_stats.ts";

const BOOK = { item: "book" };
/** The first of the candidates, so that a test knows where a call goes. */
const inOrder: BalancedTransportOptions["selector"] = ({ candidates }) => {
  const [first] = [...candidates].sort((a, b) => a.instance.id < b.instance.id ? -1 : 1);
  return () => first!;
};
/** Chance that never waits. */
const shortest = { below: () => 0 };

test("balancedTransport() makes a slow call of a safe method again elsewhere, and the first answer counts", async () => {
  const { ready, attempts, calls, behaviours } = await mesh("a", "b");
  behaviours.set("a", hanging).set("b", after(10));
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK, { timeoutMs: 1_000 }));
  await time.pass(49);
  assert.deepEqual(attempts, ["a"]);
  await time.pass(11);
  await time.settle();
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts, ["a", "b"]);
  assert.equal(calls[1]!.timeoutMs, 950, "both end with the call");
  assert.equal(calls[0]!.signal?.aborted, true, "the slow one is let go of");
  assert.equal(time.timers, 0);
});

test("balancedTransport() lets the second attempt go when the first answers after all", async () => {
  const { ready, calls, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(70)).set("b", hanging);
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(70);
  await time.settle();
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.equal(calls[1]!.signal?.aborted, true);
  assert.equal(time.timers, 0);
});

test("balancedTransport() makes no second attempt where the first is quick", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(49));
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(1_000);
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts, ["a"]);
});

for (const [method, options] of [["put", { hedgeAfterMs: 10 }], ["buy", { hedgeAfterMs: 10 }], ["look", {}]] as const) {
  test(`balancedTransport() makes no slow call of "${method}" a second time with ${JSON.stringify(options)}`, async () => {
    const { ready, attempts, behaviours } = await mesh("a", "b");
    for (const id of "ab") behaviours.set(id, hanging);
    const shop = await ready(options);
    using time = heldTime();
    const call = watching(shop[method](BOOK, { timeoutMs: 5_000 }));
    await time.pass(5_000);
    await time.settle();
    assert.equal(call.outcome?.error?.code, "deadline_exceeded");
    assert.equal(attempts.length, 1);
  });
}

test("balancedTransport() makes no second attempt where there is no other instance", async () => {
  const { ready, attempts, behaviours } = await mesh("a");
  behaviours.set("a", hanging);
  const shop = await ready({ hedgeAfterMs: 10 });
  using time = heldTime();
  const call = watching(shop.look(BOOK, { timeoutMs: 500 }));
  await time.pass(501);
  assert.equal(call.outcome?.error?.code, "deadline_exceeded");
  assert.equal(attempts.length, 1);
});

test("balancedTransport() waits for the other attempt when one of two fails", async () => {
  for (
    const [first, second] of [[after(60, failing("internal")), after(100)], [after(100), failing("internal")]] as const
  ) {
    const { ready, behaviours } = await mesh("a", "b");
    behaviours.set("a", first).set("b", second);
    const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
    using time = heldTime();
    const call = watching(shop.look(BOOK));
    await time.pass(200);
    assert.deepEqual(call.outcome, { value: BOOK });
    assert.equal(time.timers, 0);
  }
});

test("balancedTransport() fails with an instance's error when both attempts fail", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(60, failing("internal"))).set("b", after(60, failing("not_found")));
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(200);
  assert.equal(call.outcome?.error?.code, "not_found");
  assert.deepEqual(attempts, ["a", "b"]);
  assert.equal(time.timers, 0);
});

test("balancedTransport() makes the next attempt at once when the first of two fails before it was slow", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(10, failing("unavailable")));
  const shop = await ready({ selector: inOrder, random: shortest, hedgeAfterMs: 5_000 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(20);
  await time.settle();
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts, ["a", "b"]);
});

test("balancedTransport() goes to a third instance when two attempts at once failed", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b", "c");
  behaviours.set("a", after(60, failing("unavailable"))).set("b", after(20, failing("unavailable")));
  const shop = await ready({ selector: inOrder, random: shortest, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(100);
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts, ["a", "b", "c"]);
});

test("balancedTransport() pays second attempts from the budget", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(100));
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  // Both are slow, so that every call has a reason for a second attempt.
  behaviours.set("b", after(1_000));
  for (let i = 0; i < 10; i++) {
    const calls = Array.from({ length: 20 }, () => watching(shop.look(BOOK)));
    await time.pass(100);
    await time.settle();
    assert.ok(calls.every(({ pending }) => !pending));
  }
  assert.ok(attempts.length > 200 + 32 && attempts.length <= 200 + 32 + 200 * 0.15, `${attempts.length}`);
});

test("balancedTransport() survives a selector that fails when the second attempt is due", async () => {
  const { ready, behaviours, attempts } = await mesh("a", "b");
  behaviours.set("a", after(100)).set("b", after(100));
  let asked = -1; // the first call is the one that reads the registry
  const selector: BalancedTransportOptions["selector"] = ({ candidates }) => () => {
    if (asked++ > 0) throw new Error("a selector that is wrong");
    return candidates[0]!;
  };
  const shop = await ready({ selector, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(200); // what a timer throws ends the process
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts, ["a"]);
});

test("balancedTransport() fails as the first attempt does where there cannot be a second", async () => {
  const { ready, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(100, failing("internal"))).set("b", after(100, failing("internal")));
  let asked = -1; // the first call is the one that reads the registry
  const selector: BalancedTransportOptions["selector"] = ({ candidates }) => () => {
    if (asked++ > 0) throw new Error("a selector that is wrong");
    return candidates[0]!;
  };
  const shop = await ready({ selector, hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(200);
  assert.equal(call.outcome?.error?.code, "internal");
});

test("balancedTransport() makes no attempt that goes on where the caller has canceled before", async () => {
  const { transport, behaviours } = await mesh("a", "b");
  const own = transport({ hedgeAfterMs: 50 });
  await own(callOf());
  for (const id of "ab") behaviours.set(id, hanging);
  using time = heldTime();
  const call = watching(own(callOf("look", "book", { signal: AbortSignal.abort() })));
  await time.settle();
  assert.equal(call.outcome?.error?.code, "canceled");
  assert.equal(time.timers, 0);
});

test("balancedTransport() survives that all instances are gone when the second attempt is due", async () => {
  const { ready, behaviours, now, remove } = await mesh("a", "b");
  behaviours.set("a", after(100)).set("b", after(100));
  const shop = await ready({ selector: roundRobin({ random: seeded() }), hedgeAfterMs: 50 });
  using time = heldTime();
  const call = watching(shop.look(BOOK));
  await time.pass(10);
  remove("a");
  remove("b");
  now.pass(60_001);
  await failsWith(shop.look(BOOK), "unavailable");
  await time.pass(200);
  assert.deepEqual(call.outcome, { value: BOOK });
});

/** Ejects the first instance of a mesh of two, and makes it hang. */
async function ejected(options: Partial<BalancedTransportOptions> = {}) {
  const made = await mesh("a", "b");
  const shop = await made.ready({ selector: inOrder, random: shortest, ...options });
  made.behaviours.set("a", refusing);
  await shop.look(BOOK);
  assert.deepEqual(made.attempts.splice(0), ["a", "b"]);
  made.calls.splice(0);
  made.behaviours.set("a", hanging);
  return { ...made, shop };
}

for (const method of ["look", "put"] as const) {
  test(`balancedTransport() does not let a call of "${method}" that tries an instance again wait for more than a second`, async () => {
    using time = heldTime();
    const { shop, attempts, behaviours } = await ejected();
    await time.pass(1_000);
    const call = watching(shop[method](BOOK));
    await time.pass(999);
    assert.deepEqual(attempts, ["a"]);
    await time.pass(1);
    await time.settle();
    assert.deepEqual(call.outcome, { value: BOOK });
    assert.deepEqual(attempts, ["a", "b"]);
    await shop[method](BOOK);
    await time.pass(1_999);
    await shop[method](BOOK);
    behaviours.delete("a");
    await time.pass(1);
    await shop[method](BOOK);
    assert.deepEqual(attempts.slice(2), ["b", "b", "a"], "it is kept out for twice as long");
  });
}

test("balancedTransport() lets a call that tries an instance again wait no longer than any", async () => {
  using time = heldTime();
  const { shop, attempts } = await ejected({ hedgeAfterMs: 20 });
  await time.pass(1_000);
  const call = watching(shop.look(BOOK));
  await time.pass(20);
  await time.settle();
  assert.deepEqual(call.outcome, { value: BOOK });
  assert.deepEqual(attempts, ["a", "b"]);
});

for (const hedgeAfterMs of [undefined, 20]) {
  test(`balancedTransport() makes an unsafe call that tries an instance again only once, hedgeAfterMs ${hedgeAfterMs}`, async () => {
    using time = heldTime();
    const { shop, attempts } = await ejected(hedgeAfterMs === undefined ? {} : { hedgeAfterMs });
    await time.pass(1_000);
    await shop.buy(BOOK);
    assert.deepEqual(attempts, ["b"], "not before it was out for twice as long");
    await time.pass(1_000);
    const call = watching(shop.buy(BOOK, { timeoutMs: 5_000 }));
    await time.pass(5_000);
    await time.settle();
    assert.equal(call.outcome?.error?.code, "deadline_exceeded");
    assert.deepEqual(attempts, ["b", "a"]);
  });
}

test("balancedTransport() takes back an instance that answers again", async () => {
  using time = heldTime();
  const { shop, attempts, behaviours } = await ejected();
  behaviours.delete("a");
  await shop.look(BOOK);
  await time.pass(1_000);
  for (let i = 0; i < 3; i++) await shop.look(BOOK);
  assert.deepEqual(attempts, ["b", "a", "a", "a"]);
});

test("balancedTransport() makes a call that tried an instance again in vain at another one", async () => {
  using time = heldTime();
  const { shop, attempts, behaviours } = await ejected();
  behaviours.set("a", refusing);
  await time.pass(1_000);
  assert.deepEqual(await shop.look(BOOK), BOOK);
  assert.deepEqual(attempts, ["a", "b"]);
});

test("balancedTransport() takes one call to try an instance again, and the others elsewhere", async () => {
  using time = heldTime();
  const { shop, attempts } = await ejected();
  await time.pass(1_000);
  const first = watching(shop.look(BOOK));
  await time.settle();
  for (let i = 0; i < 5; i++) await shop.look(BOOK);
  assert.deepEqual(attempts, ["a", "b", "b", "b", "b", "b"]);
  await time.pass(1_000);
  await time.settle();
  assert.deepEqual(first.outcome, { value: BOOK });
});
