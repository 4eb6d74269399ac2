// One part fails: the calls go elsewhere, the failure does not grow, and what is well again is called again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { after, failing, failsWith, hanging, heldTime, mesh, refusing, watching } from "../selector/_mesh.ts";

const BOOK = { item: "book" };
const shortest = { below: () => 0 };

test("T28 T15 calls go on without an error when one of three instances dies, whatever they do", async () => {
  const { client, behaviours, attempts } = await mesh("a", "b", "c");
  const shop = client({ random: shortest });
  for (let i = 0; i < 300; i++) {
    if (i === 100) behaviours.set("b", refusing);
    await shop[(["look", "put", "buy"] as const)[i % 3]!](BOOK);
  }
  assert.ok(attempts.filter((id) => id === "b").length < 100, "it is no longer called");
});

test("T28 T15 a retry storm does not happen: a service that is down sees at most 1.2 times the calls", async () => {
  for (const hedgeAfterMs of [undefined, 1]) {
    const { client, behaviours, attempts } = await mesh(..."abcdefgh");
    for (const id of "abcdefgh") behaviours.set(id, failing("unavailable"));
    const shop = client({ random: shortest, maxAttempts: 10, ...hedgeAfterMs === undefined ? {} : { hedgeAfterMs } });
    for (let i = 0; i < 2_000; i++) await failsWith(shop.look(BOOK), "unavailable");
    assert.ok(attempts.length <= 2_400, `${attempts.length} attempts for 2000 calls`);
  }
});

test("T28 T15 a slow service is not made slower: second attempts are at most 1.2 times the calls", async () => {
  const { ready, behaviours, attempts } = await mesh(..."abcdefgh");
  for (const id of "abcdefgh") behaviours.set(id, after(100));
  const shop = await ready({ hedgeAfterMs: 50 });
  using time = heldTime();
  for (let i = 0; i < 20; i++) {
    const calls = Array.from({ length: 100 }, () => watching(shop.look(BOOK)));
    await time.pass(1_000);
    assert.ok(calls.every(({ outcome }) => outcome && "value" in outcome));
  }
  assert.ok(attempts.length > 2_000 && attempts.length <= 2_400, `${attempts.length} attempts for 2000 calls`);
});

test("T28 T15 whoever makes calls fail everywhere cannot drive all of them to one instance", async () => {
  const { client, behaviours, attempts } = await mesh(..."abcdefghij");
  for (const id of "abcdefghi") behaviours.set(id, failing("internal"));
  const shop = client();
  for (let i = 0; i < 200; i++) await shop.buy(BOOK).catch(() => {});
  attempts.length = 0;
  for (let i = 0; i < 200; i++) await shop.buy(BOOK).catch(() => {});
  const last = attempts.filter((id) => id === "j").length;
  assert.ok(last < 80, `the last one gets ${last} of 200`);
});

test("T28 T15 a dead instance is tried again by one call at a time, and less often the longer it is dead", async () => {
  const { ready, behaviours, attempts } = await mesh("a", "b", "c");
  behaviours.set("a", refusing);
  const shop = await ready({ random: shortest });
  using time = heldTime();
  const tried: number[] = [];
  for (let second = 0; second < 120; second++) {
    const before = attempts.length;
    for (let i = 0; i < 20; i++) assert.deepEqual(await shop.buy(BOOK), BOOK);
    if (attempts.slice(before).includes("a")) tried.push(second);
    assert.ok(attempts.slice(before).filter((id) => id === "a").length <= 1, `second ${second}`);
    await time.pass(1_000);
  }
  const gaps = tried.slice(1).map((second, i) => second - tried[i]!);
  assert.deepEqual(gaps.slice(0, 5), [2, 4, 8, 16, 32], "a call that cannot be repeated waits twice as long");
});

test("T28 T15 a dead instance that is well again is called again", async () => {
  const { ready, behaviours, attempts } = await mesh("a", "b", "c");
  behaviours.set("a", refusing);
  const shop = await ready({ random: shortest });
  using time = heldTime();
  for (let i = 0; i < 20; i++) await shop.look(BOOK);
  behaviours.delete("a");
  await time.pass(1_000);
  attempts.length = 0;
  for (let i = 0; i < 300; i++) await shop.look(BOOK);
  const back = attempts.filter((id) => id === "a").length;
  assert.ok(back > 50, `it gets ${back} of 300`);
});

test("T28 T15 an instance that hangs costs a call no more than its deadline, three calls in all", async () => {
  const { ready, behaviours, attempts } = await mesh("a", "b");
  behaviours.set("a", hanging);
  const shop = await ready();
  using time = heldTime();
  let overdue = 0;
  for (let i = 0; i < 60; i++) {
    const call = watching(shop.buy(BOOK, { timeoutMs: 500 }));
    await time.pass(10);
    if (call.pending) {
      await time.pass(490);
      await time.settle();
      overdue++;
    }
    assert.ok(call.outcome);
    if (overdue === 3) break;
  }
  assert.equal(overdue, 3);
  attempts.length = 0;
  for (let i = 0; i < 20; i++) await shop.buy(BOOK, { timeoutMs: 500 });
  assert.ok(attempts.every((id) => id === "b"), "it is no longer called");
});

test("T28 T15 a slow instance is found out beside quick ones", async () => {
  const { ready, behaviours, attempts } = await mesh("a", "b", "c", "d");
  behaviours.set("a", after(900));
  const shop = await ready({ selector: ({ candidates }) => () => candidates[attempts.length % candidates.length]! });
  using time = heldTime();
  for (let i = 0; i < 60; i++) {
    watching(shop.look(BOOK));
    await time.pass(901);
  }
  // It comes back from time to time, to be measured again.
  const late = attempts.slice(-20).filter((id) => id === "a").length;
  assert.ok(attempts.filter((id) => id === "a").length < 30 && late <= 15, attempts.join(""));
  assert.ok(attempts.join("").match(/[bcd]{4}/), "calls went around it");
});
