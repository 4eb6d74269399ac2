import { type BalancedTransportOptions, roundRobin } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { after, failing, failsWith, hanging, heldTime, mesh, refusing, watching } from "./_mesh.ts";
import { callOf } from "./_pool.ts";

const BOOK = { item: "book" };
const METHODS = ["look", "put", "buy"] as const;
/** The first of the candidates, so that a test knows where a call goes. */
const inOrder: BalancedTransportOptions["selector"] = ({ candidates }) => {
  const [first] = [...candidates].sort((a, b) => a.instance.id < b.instance.id ? -1 : 1);
  return () => first!;
};
/** Chance that always waits as long as may be. */
const longest = { below: (n: number) => n - 1 };
/** Chance that never waits. */
const shortest = { below: () => 0 };

/** Whether a call of a method may be made again after an error. */
const AGAIN = {
  look: { unavailable: 3, internal: 1, deadline_exceeded: 1, resource_exhausted: 1, aborted: 1, not_found: 1 },
  put: { unavailable: 3, internal: 1, deadline_exceeded: 1, resource_exhausted: 1, aborted: 1, not_found: 1 },
  buy: { unavailable: 1, internal: 1, deadline_exceeded: 1, resource_exhausted: 1, aborted: 1, not_found: 1 },
} as const;

for (const method of METHODS) {
  for (const [code, times] of Object.entries(AGAIN[method])) {
    test(`balancedTransport() makes a call of "${method}" that is ${code} ${times} times`, async () => {
      const { client, attempts, behaviours } = await mesh("a", "b", "c", "d");
      for (const id of "abcd") behaviours.set(id, failing(code as "unavailable"));
      await failsWith(client({ random: shortest })[method](BOOK), code as "unavailable");
      assert.equal(attempts.length, times);
      assert.equal(new Set(attempts).size, times, "never the same one again");
    });
  }

  test(`balancedTransport() makes a call of "${method}" again of which no byte had left`, async () => {
    const { client, attempts, behaviours } = await mesh("a", "b", "c");
    behaviours.set("a", refusing).set("b", refusing);
    assert.deepEqual(await client({ random: shortest, selector: inOrder })[method](BOOK), BOOK);
    assert.deepEqual(attempts, ["a", "b", "c"]);
  });
}

test("balancedTransport() makes no call again that failed with what is no RpcError", async () => {
  const { client, attempts, behaviours } = await mesh("a", "b");
  const wrong = new Error("a transport that is wrong");
  for (const id of "ab") behaviours.set(id, () => Promise.reject(wrong));
  await assert.rejects(client({ random: shortest }).look(BOOK), wrong);
  assert.equal(attempts.length, 1);
});

for (const maxAttempts of [1, 2, 5]) {
  test(`balancedTransport() makes ${maxAttempts} attempts where that many are allowed`, async () => {
    const { client, attempts, behaviours } = await mesh(..."abcdef");
    for (const id of "abcdef") behaviours.set(id, refusing);
    await failsWith(client({ random: shortest, maxAttempts }).buy(BOOK), "unavailable");
    assert.equal(attempts.length, maxAttempts);
  });
}

test("balancedTransport() goes to the same instance again only where there is no other", async () => {
  const { client, attempts, behaviours } = await mesh("a", "b");
  let first: string | undefined;
  for (const id of "ab") {
    behaviours.set(id, (call) => {
      first ??= id;
      if (attempts.length < 3) return failing("unavailable")(call);
      return { message: call.message };
    });
  }
  await client({ random: shortest }).look(BOOK);
  assert.equal(attempts.length, 3);
  assert.notEqual(attempts[1], attempts[0]);
});

test("balancedTransport() waits between attempts, by chance, at first up to 25 ms and up to twice that each time", async () => {
  const { ready, attempts, behaviours } = await mesh(..."abcdefghij");
  for (const id of "abcdefghij") behaviours.set(id, refusing);
  const asked: number[] = [];
  const random = { below: (n: number) => (asked.push(n), n - 1) };
  const shop = await ready({ random, maxAttempts: 10 });
  using time = heldTime();
  const call = watching(shop.buy(BOOK, { timeoutMs: 60_000 }));
  await time.pass(24);
  assert.equal(attempts.length, 1);
  await time.pass(1);
  await time.settle();
  assert.equal(attempts.length, 2);
  await time.pass(30_000);
  assert.deepEqual(asked, [26, 51, 101, 201, 401, 801, 1_001, 1_001, 1_001]);
  assert.equal(call.outcome?.error?.code, "unavailable");
});

test("balancedTransport() gives each attempt what is left of the call's time", async () => {
  const { ready, calls, behaviours } = await mesh("a", "b", "c");
  for (const id of "abc") behaviours.set(id, after(100, failing("unavailable")));
  const shop = await ready({ random: longest });
  using time = heldTime();
  const call = watching(shop.look(BOOK, { timeoutMs: 1_000 }));
  await time.pass(1_000);
  assert.deepEqual(calls.map(({ timeoutMs }) => timeoutMs), [1_000, 875, 725]);
  assert.equal(call.outcome?.error?.code, "unavailable");
});

test("balancedTransport() ends when the call's time is over, however many attempts are left", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b", "c");
  behaviours.set("a", after(100, failing("unavailable"))).set("b", hanging).set("c", hanging);
  const shop = await ready({ selector: inOrder, random: longest });
  using time = heldTime();
  const call = watching(shop.look(BOOK, { timeoutMs: 500 }));
  await time.pass(499);
  assert.ok(call.pending);
  await time.pass(1);
  await time.settle();
  assert.equal(call.outcome?.error?.code, "deadline_exceeded");
  assert.deepEqual(attempts, ["a", "b"]);
  assert.equal(time.timers, 0);
});

test("balancedTransport() does not wait for an attempt for which there would be no time, and says what went wrong", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  for (const id of "ab") behaviours.set(id, after(80, failing("unavailable")));
  const shop = await ready({ random: longest });
  using time = heldTime();
  const call = watching(shop.look(BOOK, { timeoutMs: 105 }));
  await time.pass(80);
  await time.settle();
  assert.equal(call.outcome?.error?.code, "unavailable");
  assert.equal(attempts.length, 1);
  assert.equal(time.timers, 0);
});

test("balancedTransport() ends when the caller cancels between attempts", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  for (const id of "ab") behaviours.set(id, failing("unavailable"));
  const shop = await ready({ random: longest });
  using time = heldTime();
  const ending = new AbortController();
  const call = watching(shop.look(BOOK, { signal: ending.signal }));
  await time.settle();
  assert.equal(attempts.length, 1);
  ending.abort("enough");
  await time.settle();
  assert.equal(call.outcome?.error?.code, "canceled");
  assert.equal(call.outcome?.error?.cause, "enough");
  assert.equal(call.outcome?.error?.received, true);
  assert.equal(attempts.length, 1);
  assert.equal(time.timers, 0);
});

for (const hedgeAfterMs of [undefined, 50]) {
  test(`balancedTransport() ends when the caller cancels during an attempt, hedgeAfterMs ${hedgeAfterMs}`, async () => {
    const { ready, attempts, behaviours } = await mesh("a", "b");
    for (const id of "ab") behaviours.set(id, hanging);
    const options = hedgeAfterMs === undefined ? {} : { hedgeAfterMs };
    const shop = await ready(options);
    using time = heldTime();
    const ending = new AbortController();
    const call = watching(shop.look(BOOK, { signal: ending.signal }));
    await time.pass(60);
    ending.abort();
    await time.settle();
    assert.equal(call.outcome?.error?.code, "canceled");
    assert.equal(attempts.length, hedgeAfterMs === undefined ? 1 : 2);
    assert.equal(time.timers, 0);
  });
}

test("balancedTransport() spreads 2,000 calls that fail over at most 1.2 times as many attempts", async () => {
  const { client, attempts, behaviours } = await mesh(..."abcdef");
  for (const id of "abcdef") behaviours.set(id, failing("unavailable"));
  const shop = client({ random: shortest, maxAttempts: 10 });
  for (let i = 0; i < 2_000; i++) await failsWith(shop.look(BOOK), "unavailable");
  assert.ok(attempts.length / 2_000 <= 1.2, `${attempts.length} attempts`);
  assert.ok(attempts.length > 2_000 + 200, "and it does make some again");
});

test("balancedTransport() shares one budget among all services", async () => {
  const { transport, attempts, behaviours } = await mesh(..."ab");
  for (const id of "ab") behaviours.set(id, failing("unavailable"));
  const own = transport({ random: shortest, maxAttempts: 10 });
  const second = { ...callOf().method, service: "shop.v2", path: "/shop.v2/look" };
  for (let i = 0; i < 100; i++) {
    await failsWith(own(i % 2 ? callOf() : { ...callOf(), method: second }), "unavailable");
  }
  assert.ok(attempts.length <= 100 + 32 + 15, `${attempts.length} attempts`);
});

test("balancedTransport() leaves no timer, no listener and no load behind after 10,000 calls", async () => {
  const { ready, behaviours } = await mesh("a", "b", "c");
  const loads = new Set<{ readonly inFlight: number }>();
  const selector: BalancedTransportOptions["selector"] = ({ candidates, ejected }) => {
    for (const each of [...candidates, ...ejected]) loads.add(each);
    return roundRobin({ random: shortest })({ candidates, ejected });
  };
  const shop = await ready({ selector, random: shortest, hedgeAfterMs: 1_000 });
  let served = 0;
  behaviours.set("b", (call) => ++served % 5 === 0 ? failing("unavailable")(call) : { message: call.message });
  using time = heldTime();

  let listeners = 0;
  const { signal } = new AbortController();
  const [add, remove] = [signal.addEventListener, signal.removeEventListener];
  signal.addEventListener = (...args: unknown[]) => (listeners++, Reflect.apply(add, signal, args));
  signal.removeEventListener = (...args: unknown[]) => (listeners--, Reflect.apply(remove, signal, args));
  for (let i = 0; i < 100; i++) {
    const calls = Array.from({ length: 100 }, () => watching(shop.look(BOOK, { signal })));
    await time.pass(100);
    assert.ok(calls.every(({ outcome }) => outcome), `round ${i}`);
  }
  assert.equal(time.timers, 0);
  assert.equal(listeners, 0);
  assert.equal(loads.size, 3, "the members stay the same");
  for (const { inFlight } of loads) assert.equal(inFlight, 0);
});
