import type { BalancedTransportOptions } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { after, failing, hanging, heldTime, mesh, refusing, watching } from "./_mesh.ts";

const BOOK = { item: "book" };
/** The first of the candidates, so that a test knows where a call goes. */
const inOrder: BalancedTransportOptions["selector"] = ({ candidates }) => {
  const [first] = [...candidates].sort((a, b) => a.instance.id < b.instance.id ? -1 : 1);
  return () => first!;
};

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

test("balancedTransport() does not eject an instance as failed for being overtaken, however often", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", hanging);
  const shop = await ready({ selector: inOrder, hedgeAfterMs: 50 });
  using time = heldTime();
  for (let i = 0; i < 20; i++) {
    const call = watching(shop.look(BOOK));
    await time.pass(50);
    await time.settle();
    assert.deepEqual(call.outcome, { value: BOOK });
  }
  assert.equal(attempts.join(""), "ab".repeat(20));
});

test("balancedTransport() finds out that an instance is slow which is overtaken each time", async () => {
  const { ready, attempts, behaviours } = await mesh("a", "b", "c", "d");
  behaviours.set("a", hanging);
  const found: string[] = [];
  let calls = 0;
  const selector: BalancedTransportOptions["selector"] = ({ candidates, ejected }) => {
    found.push(...ejected.map(({ instance }) => instance.id));
    return () => candidates[calls % candidates.length]!;
  };
  const shop = await ready({ selector, hedgeAfterMs: 200 });
  using time = heldTime();
  for (; calls < 80; calls++) {
    const call = watching(shop.look(BOOK));
    await time.pass(201);
    await time.settle();
    assert.deepEqual(call.outcome, { value: BOOK });
  }
  assert.ok(found.length > 0 && found.every((id) => id === "a"), found.join());
  assert.ok(attempts.filter((id) => id === "a").length < 20, attempts.join(""));
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

test("balancedTransport() keeps what it knows of an instance when its record is renewed, or it moves", async () => {
  const { ready, attempts, behaviours, add, now, connected } = await mesh("a", "b");
  behaviours.set("a", failing("internal"));
  const shop = await ready({ selector: inOrder });
  using time = heldTime();
  for (let i = 0; i < 3; i++) await shop.buy(BOOK).catch(() => {});
  await add("a", { weight: 50 });
  now.pass(6_001);
  await shop.buy(BOOK);
  assert.equal(attempts.join(""), "aaab");
  assert.equal(connected.length, 2);
  await add("a", { endpoints: ["https://moved.example.org"] });
  now.pass(6_001);
  await shop.buy(BOOK);
  assert.equal(attempts.join(""), "aaabb", "it does not get out of being ejected by moving");
  assert.deepEqual(connected.slice(2), ["https://moved.example.org"]);
  behaviours.delete("a");
  await time.pass(1_000);
  for (let i = 0; i < 2; i++) await shop.look(BOOK);
  assert.equal(attempts.join(""), "aaabbaa", "it is tried again where it is now");
});

/** An instance is tried again while a call is under way that began before it was ejected, and ends before the try does. */
async function overlapping(end: "fails" | "is canceled") {
  const { ready, attempts, behaviours } = await mesh("a", "b");
  behaviours.set("a", after(1_500, failing("internal")));
  const shop = await ready({ selector: inOrder, random: { below: () => 0 } });
  const time = heldTime();
  const ending = new AbortController();
  const older = watching(shop.buy(BOOK, { signal: ending.signal }));
  await time.settle();
  behaviours.set("a", refusing);
  await shop.look(BOOK);
  behaviours.set("a", hanging);
  await time.pass(1_000);
  const tried = watching(shop.look(BOOK));
  await time.pass(499);
  if (end === "is canceled") ending.abort();
  await time.pass(1);
  await time.settle();
  assert.equal(older.outcome?.error?.code, end === "fails" ? "internal" : "canceled");
  assert.ok(tried.pending);
  assert.equal(attempts.splice(0).join(""), "aaba");
  return { shop, attempts, behaviours, time, tried };
}

for (const end of ["fails", "is canceled"] as const) {
  test(`balancedTransport() does not take an older call that ${end} for the one that tries an instance again`, async () => {
    const { shop, attempts, behaviours, time: held, tried } = await overlapping(end);
    using time = held;
    await shop.look(BOOK);
    assert.equal(attempts.join(""), "b", "one at a time");
    await time.pass(500);
    await time.settle();
    assert.deepEqual(tried.outcome, { value: BOOK });
    behaviours.delete("a");
    await time.pass(1_999);
    await shop.look(BOOK);
    assert.equal(attempts.join(""), "bbb", "it is kept out for two seconds from when the try failed");
    await time.pass(1);
    await shop.look(BOOK);
    assert.equal(attempts.join(""), "bbba");
  });
}

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
