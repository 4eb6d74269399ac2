import { memoryRegistry, type Registry, RegistryError } from "../../src/registry/mod.ts";
import { feedsOf } from "../../src/registry/feed.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { mustCome } from "../_patience.ts";
import { giving, SERVICE } from "./_rig.ts";
import { nameOf, NEVER, recordOf, settled, told } from "./_feed.ts";

describe("feedsOf()", () => {
  /** A store that counts who watches it. */
  function watchedStore() {
    const store = memoryRegistry({ now: () => 1_800_000_000_000 });
    const watching = new Set<string>();
    let watches = 0;
    const registry: Registry = {
      ...store,
      async *watch(service, options) {
        watches++;
        watching.add(service);
        try {
          yield* store.watch(service, options);
        } finally {
          watching.delete(service);
        }
      },
    };
    return { registry, watching, watches: () => watches };
  }

  test("feedsOf() follows a service once, however many read it", async () => {
    const { registry, watches } = watchedStore();
    const feeds = feedsOf(registry, () => 0);
    for (let i = 0; i < 10; i++) await feeds.of(SERVICE).since(undefined, 0, NEVER);
    assert.equal(watches(), 1);
    await feeds.of("b.v1").since(undefined, 0, NEVER);
    assert.equal(watches(), 2);
    feeds[Symbol.dispose]();
  });

  test("feedsOf() ends what it follows, and who waits, when it is disposed", async () => {
    const { registry, watching } = watchedStore();
    const feeds = feedsOf(registry, () => 0);
    const feed = feeds.of(SERVICE);
    const { cursor } = await feed.since(undefined, 0, NEVER);
    const waiting = feed.since(cursor, 20_000, NEVER);
    waiting.catch(() => {});
    await settled();
    feeds[Symbol.dispose]();
    await assert.rejects(mustCome(waiting, "the end of who waits"), { reason: "unreachable" });
    assert.equal(watching.size, 0);
    assert.throws(() => feeds.of(SERVICE), { reason: "unreachable" });
  });

  test("feedsOf() says what failed to who waits, and follows again for who comes next", async () => {
    const store = giving([recordOf("a")]);
    let failing = true;
    const feeds = feedsOf({
      ...store,
      async *watch(service, options) {
        if (failing) throw new RegistryError("unreachable", "Cannot reach it");
        yield* store.watch(service, options);
      },
    }, () => 0);
    await assert.rejects(feeds.of(SERVICE).since(undefined, 0, NEVER), { reason: "unreachable" });
    failing = false;
    assert.equal((await feeds.of(SERVICE).since(undefined, 0, NEVER)).records.length, 1);
    feeds[Symbol.dispose]();
  });

  test("feedsOf() takes the end of a watch for a failure", async () => {
    const feeds = feedsOf({
      ...giving([]),
      async *watch() {
        yield [recordOf("a")];
      },
    }, () => 0);
    const feed = feeds.of(SERVICE);
    await settled();
    await assert.rejects(feed.since(undefined, 0, NEVER), { reason: "unreachable" });
    feeds[Symbol.dispose]();
  });

  test("feedsOf() gives no record that has expired, though the store says nothing, and tells that it is gone", async () => {
    let nowMs = 1_800_000_299_999;
    const feeds = feedsOf(giving([recordOf("a")]), () => nowMs);
    const feed = feeds.of(SERVICE);
    const { cursor, records } = await feed.since(undefined, 0, NEVER);
    assert.equal(records.length, 1);
    nowMs++;
    const fresh = await feed.since(undefined, 0, NEVER);
    assert.deepEqual([fresh.records, fresh.gone], [[], []]);
    const later = await feed.since(cursor, 0, NEVER);
    assert.deepEqual([later.reset, later.records, later.gone], [false, [], [nameOf("a")]]);
    const last = await feed.since(later.cursor, 0, NEVER);
    assert.deepEqual(last.gone, [], "once is enough");
    feeds[Symbol.dispose]();
  });

  test("feedsOf() follows 1,024 services at once and no more", async () => {
    const { registry, watching } = watchedStore();
    const feeds = feedsOf(registry, () => 0);
    for (let i = 0; i < 1_024; i++) feeds.of(`s${i}.v1`);
    await settled();
    assert.equal(watching.size, 1_024);
    try {
      feeds.of("more.v1");
    } catch (error) {
      assert.ok(error instanceof RegistryError && error.reason === "too_many");
    }
    await settled();
    assert.ok(watching.size <= 1_024);
    feeds.of("s0.v1");
    feeds[Symbol.dispose]();
    await settled();
    assert.equal(watching.size, 0);
  });

  test("feedsOf() takes no further service while all that it follows have records", async () => {
    const feeds = feedsOf(giving([recordOf("a")]), () => 0);
    for (let i = 0; i < 1_024; i++) await feeds.of(`s${i}.v1`).since(undefined, 0, NEVER);
    assert.throws(() => feeds.of("more.v1"), { reason: "too_many" });
    assert.equal((await feeds.of("s0.v1").since(undefined, 0, NEVER)).records.length, 1);
    feeds[Symbol.dispose]();
  });

  test("feedsOf() goes on giving a service that has records while somebody asks for names that have none", async () => {
    const { registry } = watchedStore();
    await registry.register(recordOf("a"));
    const feeds = feedsOf(registry, () => 0);
    for (let i = 0; i < 1_024; i++) await feeds.of(`made.up${i}`).since(undefined, 0, NEVER);
    assert.equal((await feeds.of(SERVICE).since(undefined, 0, NEVER)).records.length, 1);
    feeds[Symbol.dispose]();
  });
});

test("feedsOf() keeps nothing of those who asked: 1,000 polls of a quiet service leave no listener and no waker", async () => {
  const { feed, feeds, tell } = told();
  await tell([recordOf("a")]);
  const { cursor } = await feed.since(undefined, 0, NEVER);
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener: add, removeEventListener: remove } = signal;
  Object.assign(signal, {
    addEventListener: (...given: Parameters<typeof add>) => (listeners++, add.apply(signal, given)),
    removeEventListener: (...given: Parameters<typeof remove>) => (listeners--, remove.apply(signal, given)),
  });
  let most = 0;
  for (let i = 0; i < 5; i++) {
    const polls = Array.from({ length: 200 }, () => feed.since(cursor, 1, signal));
    most = Math.max(most, listeners);
    for (const { records } of await Promise.all(polls)) assert.deepEqual(records, []);
  }
  assert.deepEqual([most > 0, listeners], [true, 0]);
  const { abort } = AbortController.prototype;
  let woken = 0;
  AbortController.prototype.abort = function (reason) {
    woken++;
    abort.call(this, reason);
  };
  try {
    const waiting = feed.since(cursor, 20_000, NEVER);
    await tell([recordOf("a"), recordOf("b")]);
    assert.equal((await waiting).records.length, 1);
    assert.equal(woken, 1, "who waits, and nobody who waited");
  } finally {
    AbortController.prototype.abort = abort;
    feeds[Symbol.dispose]();
  }
});
