import { memoryRegistry } from "../../src/registry/mod.ts";
import { RpcError } from "../../src/rpc/mod.ts";
import { balancedTransport, type BalancedTransportOptions, inRegion } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { failing, failsWith, heldTime, mesh, watching } from "./_mesh.ts";
import { callOf } from "./_pool.ts";

const BOOK = { item: "book" };
/** The first of the candidates, so that a test knows where a call goes. */
const inOrder: BalancedTransportOptions["selector"] = ({ candidates }) => {
  const [first] = [...candidates].sort((a, b) => a.instance.id < b.instance.id ? -1 : 1);
  return () => first!;
};

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
    maxAttempts: [0, 11, -1, 2.5, 9.999, NaN, Infinity],
    hedgeAfterMs: [0, 0.5, -1, NaN, 2 ** 31],
    panicShare: [-0.1, 1.1, NaN],
  })
) {
  for (const value of values) {
    test(`balancedTransport() refuses ${name} ${value}`, async () => {
      const { transport } = await mesh();
      assert.throws(() => transport({ [name]: value }), {
        name: "RangeError",
        message: new RegExp(`^Cannot call instances with ${name} ${value}: it must be `),
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
  assert.equal(call.outcome?.error?.received, true);
  await time.pass(60_000);
  assert.deepEqual(attempts, []);
  assert.equal(time.timers, 0);
});

test("balancedTransport() lets go of the caller's signal once the registry has answered", async () => {
  const { client, attempts } = await mesh("a");
  const { signal } = new AbortController();
  const [add, remove] = [signal.addEventListener, signal.removeEventListener];
  let [listeners, most] = [0, 0];
  signal.addEventListener = (...args: unknown[]) => {
    most = Math.max(most, ++listeners);
    Reflect.apply(add, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    Reflect.apply(remove, signal, args);
  };
  await client().look(BOOK, { signal });
  assert.deepEqual(attempts, ["a"]);
  assert.ok(most > 0, "it was listened to");
  assert.equal(listeners, 0);
});

test("balancedTransport() does not wait for the registry with a call that the caller has canceled already", async () => {
  const { transport, registry, attempts } = await mesh("a");
  registry.state = "hanging";
  using time = heldTime();
  const call = watching(transport()(callOf("look", "book", { signal: AbortSignal.abort() })));
  await time.settle();
  assert.equal(call.outcome?.error?.code, "canceled");
  await time.pass(60_000);
  assert.deepEqual(attempts, []);
});

test("balancedTransport() makes a call that can be canceled, and lets go of the signal", async () => {
  const { client } = await mesh("a");
  const { signal } = new AbortController();
  assert.deepEqual(await client().look(BOOK, { signal }), BOOK);
});

test("balancedTransport() makes no attempt for a call that has no time", async () => {
  const { transport, attempts } = await mesh("a");
  const own = transport();
  await own(callOf());
  using _time = heldTime();
  const error = await failsWith(own(callOf("look", "book", { timeoutMs: 0 })), "deadline_exceeded");
  assert.equal(error.received, true);
  assert.equal(attempts.length, 1);
});

test("balancedTransport() makes no call where the selector chooses what it was not given", async () => {
  const { client, attempts } = await mesh("a", "b");
  const selector: BalancedTransportOptions["selector"] = ({ candidates }) => () => ({ ...candidates[0]! });
  await assert.rejects(client({ selector }).look(BOOK), {
    name: "TypeError",
    message: "Cannot make the call: the selector chose an instance that it was not given",
  });
  assert.deepEqual(attempts, []);
});

test("balancedTransport() answers internal where a filter fails, each time, and makes no call", async () => {
  const { client, attempts } = await mesh("a");
  const wrong = new Error("a filter that is wrong");
  let isWrong = true;
  const filters = [() => {
    if (isWrong) throw wrong;
    return true;
  }];
  const shop = client({ filters });
  for (let i = 0; i < 3; i++) {
    const error = await failsWith(shop.look(BOOK), "internal");
    assert.equal(error.message, "Cannot choose an instance");
    assert.equal(error.cause, wrong);
    assert.equal(error.received, true);
  }
  assert.deepEqual(attempts, []);
  isWrong = false;
  assert.deepEqual(await shop.look(BOOK), BOOK);
});

test("balancedTransport() calls nobody whose record has ended where a filter fails", async () => {
  const { client, attempts, remove, add, now } = await mesh("a");
  let isWrong = false;
  const filters = [() => {
    if (isWrong) throw new Error("a filter that is wrong");
    return true;
  }];
  const shop = client({ filters });
  await shop.look(BOOK);
  remove("a");
  now.pass(60_001);
  await add("b");
  isWrong = true;
  for (let i = 0; i < 3; i++) await failsWith(shop.look(BOOK), "internal");
  assert.deepEqual(attempts, ["a"]);
});

test("balancedTransport() answers internal where no transport can be made, and makes no call", async () => {
  const wrong = new TypeError("a transport that cannot be made");
  const { client } = await mesh("a");
  const shop = client({
    connect() {
      throw wrong;
    },
  });
  for (let i = 0; i < 2; i++) assert.equal((await failsWith(shop.look(BOOK), "internal")).cause, wrong);
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

test("balancedTransport() gives every error as an RpcError that is not passed on", async () => {
  const { client, registry } = await mesh();
  for (const state of ["well", "failing"] as const) {
    registry.state = state;
    const error = await client().look(BOOK).catch((thrown) => thrown);
    assert.ok(error instanceof RpcError && error.received, state);
  }
});
