import { memoryRegistry } from "../../src/registry/mod.ts";
import { RpcError } from "../../src/rpc/mod.ts";
import { balancedTransport, type BalancedTransportOptions, inRegion, roundRobin } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { after, failing, failsWith, hanging, heldTime, mesh, refusing, watching } from "./_mesh.ts";
import { callOf } from "./_pool.ts";
import { seeded } from "./_stats.ts";

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

test("balancedTransport() finds an instance and calls it", async () => {
  const { client, attempts, connected } = await mesh("a");
  assert.deepEqual(await client().look(BOOK), BOOK);
  assert.deepEqual(attempts, ["a"]);
  assert.deepEqual(connected, ["https://a.example.org"]);
});

test("balancedTransport() asks the registry once for many calls, and connects once to each", async () => {
  const { client, registry, attempts, connected } = await mesh("a", "b", "c");
  const shop = client();
  await Promise.all(Array.from({ length: 50 }, () => shop.look(BOOK)));
  assert.equal(registry.reads, 1);
  assert.equal(connected.length, 3);
  assert.deepEqual(new Set(attempts), new Set(["a", "b", "c"]));
});

test("balancedTransport() takes the calls of two services, each to its own instances", async () => {
  const { transport, add, attempts, behaviours } = await mesh();
  const own = transport({ selector: inOrder });
  await add("one", { services: { "shop.v1": "" } });
  await add("two", { services: { "shop.v2": "" } });
  const second = { ...callOf().method, service: "shop.v2", path: "/shop.v2/look" };
  await own(callOf());
  await own({ ...callOf(), method: second });
  assert.deepEqual(attempts, ["one", "two"]);
  behaviours.set("one", failing("internal"));
  for (let i = 0; i < 3; i++) await failsWith(own(callOf("buy")), "internal");
  await own({ ...callOf(), method: second });
  assert.equal(attempts.at(-1), "two");
});

for (const name of ["identity", "trust"] as const) {
  test(`balancedTransport() refuses to be made without "${name}"`, async () => {
    const { transport } = await mesh();
    assert.throws(() => transport({ [name]: undefined }), {
      name: "TypeError",
      message: `Cannot call instances without "${name}"`,
    });
  });
}

for (
  const [name, values] of Object.entries({
    maxAttempts: [0, 11, -1, NaN, Infinity],
    hedgeAfterMs: [0, 0.5, -1, NaN, 2 ** 31],
    panicShare: [-0.1, 1.1, NaN],
  })
) {
  for (const value of values) {
    test(`balancedTransport() refuses ${name} ${value}`, async () => {
      const { transport } = await mesh();
      assert.throws(() => transport({ [name]: value }), {
        name: "RangeError",
        message: new RegExp(`^Cannot call instances with ${name} ${value}: it must be from `),
      });
    });
  }
}

test("balancedTransport() takes the first and the last of each number", async () => {
  const { transport } = await mesh();
  for (const maxAttempts of [1, 10]) transport({ maxAttempts });
  for (const hedgeAfterMs of [1, 2 ** 31 - 1]) transport({ hedgeAfterMs });
  for (const panicShare of [0, 1]) transport({ panicShare });
});

test("balancedTransport() refuses a registry that promises too little, and a refresh that is out of range", async () => {
  const { web, trust, transport } = await mesh();
  const registry = { ...memoryRegistry(), properties: { encrypted: true, accessControlled: false } as never };
  assert.throws(() => balancedTransport(registry, { identity: web, trust }), TypeError);
  assert.throws(() => transport({ refreshMs: 1 }), RangeError);
});

test("balancedTransport() answers unavailable where there is no instance, and finds one that comes", async () => {
  const { client, add, now } = await mesh();
  const shop = client();
  const error = await failsWith(shop.look(BOOK), "unavailable");
  assert.equal(error.message, 'There is no instance of "shop.v1" that can be trusted');
  assert.equal(error.received, true);
  await add("a");
  now.pass(3_001);
  assert.deepEqual(await shop.look(BOOK), BOOK);
});

test("balancedTransport() answers unavailable where no instance is accepted", async () => {
  const { client, add, attempts } = await mesh("a");
  await failsWith(client({ filters: [inRegion("eu")] }).look(BOOK), "unavailable");
  await failsWith(client({ filters: [() => true, () => false] }).look(BOOK), "unavailable");
  assert.deepEqual(attempts, []);
  await add("b", { region: "eu" });
  assert.deepEqual(await client({ filters: [inRegion("eu"), () => true] }).look(BOOK), BOOK);
  assert.deepEqual(attempts, ["b"]);
});

test("balancedTransport() answers unavailable while the registry is out of reach, and works once it is back", async () => {
  const { client, registry, now } = await mesh("a");
  const shop = client();
  registry.state = "failing";
  const error = await failsWith(shop.look(BOOK), "unavailable");
  assert.equal(error.message, 'Cannot find an instance of "shop.v1": the registry cannot be read');
  assert.equal(error.received, true);
  registry.state = "well";
  now.pass(1_000);
  assert.deepEqual(await shop.look(BOOK), BOOK);
});

test("balancedTransport() goes on while the registry is out of reach, as long as the records hold", async () => {
  const { client, registry, now, attempts } = await mesh("a");
  const shop = client();
  await shop.look(BOOK);
  registry.state = "failing";
  now.pass(59_000);
  await shop.look(BOOK);
  assert.deepEqual(attempts, ["a", "a"]);
  now.pass(1_001);
  await failsWith(shop.look(BOOK), "unavailable");
  assert.equal(attempts.length, 2);
});

test("balancedTransport() waits for the registry no longer than the call may take", async () => {
  const { client, registry, attempts } = await mesh("a");
  registry.state = "hanging";
  using time = heldTime();
  const call = watching(client().look(BOOK, { timeoutMs: 200 }));
  await time.pass(199);
  assert.ok(call.pending);
  await time.pass(1);
  await time.settle();
  assert.equal(call.outcome?.error?.code, "deadline_exceeded");
  assert.deepEqual(attempts, []);
  await time.pass(10_000);
  assert.equal(time.timers, 0);
});

test("balancedTransport() ends when the caller cancels while the registry is waited for", async () => {
  const { client, registry, attempts } = await mesh("a");
  registry.state = "hanging";
  using time = heldTime();
  const ending = new AbortController();
  const call = watching(client().look(BOOK, { signal: ending.signal }));
  await time.settle();
  ending.abort();
  await time.settle();
  assert.equal(call.outcome?.error?.code, "canceled");
  await time.pass(60_000);
  assert.deepEqual(attempts, []);
});

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

for (const method of ["put", "buy"] as const) {
  test(`balancedTransport() makes no slow call of "${method}" a second time`, async () => {
    const { ready, attempts, behaviours } = await mesh("a", "b");
    for (const id of "ab") behaviours.set(id, hanging);
    const shop = await ready({ hedgeAfterMs: 10 });
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

test("balancedTransport() pays second attempts from the budget", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(100));
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  // Both are slow, so that neither is ejected for being overtaken.
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
    const { shop, attempts } = await ejected();
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
    assert.deepEqual(attempts.slice(2), ["b", "b"], "it is kept out for twice as long");
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

test("balancedTransport() holds an instance well whose transport fails with what is no RpcError", async () => {
  for (const error of [Object.assign(new Error("wrong"), { code: "internal" }), null, undefined]) {
    const { client, attempts, behaviours } = await mesh("a", "b");
    behaviours.set("a", () => Promise.reject(error));
    const shop = client({ selector: inOrder });
    for (let i = 0; i < 4; i++) {
      assert.equal(await shop.buy(BOOK).then(() => "answered", (thrown) => thrown), error);
    }
    assert.equal(attempts.join(""), "aaaa");
  }
});

/** What three calls in a row come to say of the instance that they go to. */
const VERDICTS = [
  ["unavailable", true, "ejected"],
  ["unavailable", false, "ejected"],
  ["internal", true, "ejected"],
  ["internal", false, "ejected"],
  ["unknown", false, "ejected"],
  ["data_loss", true, "ejected"],
  ["not_found", true, "well"],
  ["invalid_argument", true, "well"],
  ["permission_denied", true, "well"],
  ["resource_exhausted", true, "well"],
  ["canceled", true, "well"],
  ["unauthenticated", false, "well"],
  ["deadline_exceeded", false, "well"],
] as const;

for (const [code, proven, expected] of VERDICTS) {
  test(`balancedTransport() holds an instance ${expected} whose calls are ${code}, ${proven ? "" : "not "}by its own word`, async () => {
    const { client, attempts, behaviours } = await mesh("a", "b");
    behaviours.set("a", failing(code, proven));
    const shop = client({ selector: inOrder, maxAttempts: 1 });
    for (let i = 0; i < 6; i++) await shop.buy(BOOK).catch(() => {});
    assert.equal(attempts.join(""), expected === "well" ? "aaaaaa" : "aaabbb");
  });
}

test("balancedTransport() holds an instance that says no well: what failed before is forgotten", async () => {
  const { client, attempts, behaviours } = await mesh("a", "b");
  const answers = ["internal", "internal", "not_found", "internal", "internal", "not_found"] as const;
  behaviours.set("a", (call) => failing(answers[(attempts.length - 1) % 6]!)(call));
  const shop = client({ selector: inOrder });
  for (let i = 0; i < 12; i++) await shop.buy(BOOK).catch(() => {});
  assert.ok(!attempts.includes("b"));
});

for (const code of ["resource_exhausted", "canceled"] as const) {
  test(`balancedTransport() does not forget failures for what is ${code}`, async () => {
    const { client, attempts, behaviours } = await mesh("a", "b");
    const answers = ["internal", "internal", code, "internal"] as const;
    behaviours.set("a", (call) => failing(answers[attempts.length - 1]!)(call));
    const shop = client({ selector: inOrder });
    for (let i = 0; i < 5; i++) await shop.buy(BOOK).catch(() => {});
    assert.equal(attempts.join(""), "aaaab");
  });
}

for (const [timeoutMs, expected] of [[99, "aaaa"], [100, "aaab"]] as const) {
  test(`balancedTransport() ${timeoutMs < 100 ? "does not eject" : "ejects"} an instance that is silent for ${timeoutMs} ms`, async () => {
    const { ready, attempts, behaviours } = await mesh("a", "b");
    behaviours.set("a", hanging);
    const shop = await ready({ selector: inOrder });
    using time = heldTime();
    for (let i = 0; i < 4; i++) {
      watching(shop.buy(BOOK, { timeoutMs }));
      await time.pass(timeoutMs);
      await time.settle();
    }
    assert.equal(attempts.join(""), expected);
  });
}

test("balancedTransport() ejects an instance that is overtaken three times", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", hanging);
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  for (let i = 0; i < 4; i++) {
    const call = watching(shop.look(BOOK));
    await time.pass(50);
    await time.settle();
    assert.deepEqual(call.outcome, { value: BOOK });
  }
  assert.equal(attempts.join(""), "abababb");
});

test("balancedTransport() does not hold it against the second attempt that the first was quicker", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b", "c");
  behaviours.set("a", after(60)).set("b", hanging);
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  for (let i = 0; i < 5; i++) {
    watching(shop.look(BOOK));
    await time.pass(60);
    await time.settle();
  }
  assert.equal(attempts.join(""), "ababababab");
});

test("balancedTransport() does not hold it against an instance that callers cancel", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", hanging);
  const shop = await ready({ selector: inOrder });
  using time = heldTime();
  for (let i = 0; i < 5; i++) {
    const ending = new AbortController();
    watching(shop.look(BOOK, { signal: ending.signal }));
    await time.pass(500);
    ending.abort();
    await time.settle();
  }
  assert.equal(attempts.join(""), "aaaaa");
});

test("balancedTransport() keeps what it knows of an instance when its record is renewed", async () => {
  const { client, attempts, behaviours, add, now, connected } = await mesh("a", "b");
  behaviours.set("a", failing("internal"));
  const shop = client({ selector: inOrder });
  for (let i = 0; i < 3; i++) await shop.buy(BOOK).catch(() => {});
  await add("a", { weight: 50 });
  now.pass(6_001);
  await shop.buy(BOOK);
  assert.equal(attempts.join(""), "aaab");
  assert.equal(connected.length, 2);
  await add("a", { endpoints: ["https://moved.example.org"] });
  now.pass(6_001);
  await shop.buy(BOOK).catch(() => {});
  assert.equal(attempts.join(""), "aaaba");
  assert.equal(connected.at(-1), "https://moved.example.org");
});

test("balancedTransport() calls an instance that drains only where there is no other", async () => {
  const { client, add, attempts, now } = await mesh("a", "b");
  const shop = client({ selector: inOrder });
  await add("a", { draining: true });
  await shop.look(BOOK);
  await add("b", { draining: true });
  now.pass(6_001);
  await shop.look(BOOK);
  assert.deepEqual(attempts, ["b", "a"]);
});

test("balancedTransport() makes no call where the selector chooses what it was not given", async () => {
  const { client, attempts } = await mesh("a", "b");
  const stranger = (await mesh("evil")).transport;
  assert.ok(stranger);
  const selector: BalancedTransportOptions["selector"] = ({ candidates }) => () => ({ ...candidates[0]! });
  await assert.rejects(client({ selector }).look(BOOK), {
    name: "TypeError",
    message: "Cannot make the call: the selector chose an instance that it was not given",
  });
  assert.deepEqual(attempts, []);
});

test("balancedTransport() answers with an error where a filter fails, and makes no call", async () => {
  const { client, attempts } = await mesh("a");
  const filters = [() => {
    throw new Error("a filter that is wrong");
  }];
  await assert.rejects(client({ filters }).look(BOOK));
  assert.deepEqual(attempts, []);
});

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

test("follow() takes over what the registry tells, until it is disposed", async () => {
  const { transport, registry, attempts, now } = await mesh("a");
  const own = transport();
  const following = own.follow("shop.v1");
  await own(callOf());
  assert.deepEqual(attempts, ["a"]);
  following[Symbol.dispose]();
  now.pass(10_000);
  await own(callOf());
  assert.ok(registry.reads >= 1);
});

test("balancedTransport() leaves no timer, no listener and no load behind after 10,000 calls", async () => {
  const { ready, behaviours, attempts } = await mesh("a", "b", "c");
  const loads = new Set<{ readonly inFlight: number }>();
  const selector: BalancedTransportOptions["selector"] = ({ candidates, ejected }) => {
    for (const each of [...candidates, ...ejected]) loads.add(each);
    return roundRobin({ random: shortest })({ candidates, ejected });
  };
  const shop = await ready({ selector, random: shortest, hedgeAfterMs: 1_000 });
  behaviours.set("b", (call) => attempts.length % 3 ? failing("unavailable")(call) : { message: call.message });
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

test("balancedTransport() gives every error as an RpcError that is not passed on", async () => {
  const { client, registry } = await mesh();
  for (const state of ["well", "failing"] as const) {
    registry.state = state;
    const error = await client().look(BOOK).catch((thrown) => thrown);
    assert.ok(error instanceof RpcError && error.received, state);
  }
});
