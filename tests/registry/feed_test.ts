import { feedsOf } from "../../src/registry/feed.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { giving, heldTimers, SERVICE } from "./_rig.ts";
import { assertSame, nameOf, NEVER, reader, recordOf, told } from "./_feed.ts";

describe("Feed.since()", () => {
  test("Feed.since() gives everything to who comes first, and then what has changed", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("a"), recordOf("b")]);
    const first = await feed.since(undefined, 0, NEVER);
    assert.deepEqual([first.reset, first.more, first.gone], [true, false, []]);
    assert.deepEqual(first.records.map(({ name }) => name), [nameOf("a"), nameOf("b")]);
    const none = await feed.since(first.cursor, 0, NEVER);
    assert.deepEqual(none, { cursor: first.cursor, reset: false, records: [], gone: [], more: false });
    await tell([recordOf("b"), recordOf("c"), recordOf("a", 2)]);
    const second = await feed.since(first.cursor, 0, NEVER);
    assert.deepEqual([second.reset, second.gone], [false, []]);
    assert.deepEqual(second.records, [{ name: nameOf("c"), record: recordOf("c") }, {
      name: nameOf("a"),
      record: recordOf("a", 2),
    }]);
    await tell([recordOf("c")]);
    const third = await feed.since(second.cursor, 0, NEVER);
    assert.deepEqual([third.records, third.gone.toSorted()], [[], [nameOf("a"), nameOf("b")]]);
    feeds[Symbol.dispose]();
  });

  test("Feed.since() gives everything to who comes with the cursor of another feed, or with one that is none", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("a")]);
    const other = told();
    await other.tell([recordOf("z")]);
    const { cursor } = await feed.since(undefined, 0, NEVER);
    const id = cursor.slice(0, cursor.indexOf("."));
    const foreign = (await other.feed.since(undefined, 0, NEVER)).cursor;
    const odd = [foreign, "", ".", "..", "x", id, `${id}.`, `${id}.-1`, `${id}.x`, `${id}.1e3`, `${id}.99`, `.1`];
    for (const each of [...odd, `${id}.${"9".repeat(30)}`, `${id}. 1`, "__proto__", `${id}.NaN`, `${id.slice(1)}.1`]) {
      const changes = await feed.since(each, 0, NEVER);
      assert.equal(changes.reset, true, each);
      assert.deepEqual(changes.records.map(({ name }) => name), [nameOf("a")], each);
    }
    for (const each of [feeds, other.feeds]) each[Symbol.dispose]();
  });

  test("Feed.since() gives cursors that fit into the contract", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("a")]);
    const { cursor } = await feed.since(undefined, 0, NEVER);
    assert.ok(cursor.length <= 64 - 2 * 15, "a big number fits too");
    feeds[Symbol.dispose]();
  });

  test("Feed.since() takes each name once and leaves out what is no record", async () => {
    const { feed, feeds, tell } = told();
    await tell(["garbage", recordOf("a"), recordOf("a", 2), "", "a.b.c", recordOf("b")]);
    const { records } = await feed.since(undefined, 0, NEVER);
    assert.deepEqual(records.map(({ record }) => record), [recordOf("a"), recordOf("b")]);
    feeds[Symbol.dispose]();
  });

  test("Feed.since() tells of what came back that it came back", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("a"), recordOf("b")]);
    const one = reader(feed);
    await one.follow();
    await tell([recordOf("b")]);
    await tell([recordOf("b"), recordOf("a", 3)]);
    await one.follow();
    assertSame(one.records(), [recordOf("b"), recordOf("a", 3)].sort());
    feeds[Symbol.dispose]();
  });
});

describe("Feed.since() in pages", () => {
  test("Feed.since() gives no more than a reader takes at once, and all of it in the end", async () => {
    const { feed, feeds, tell } = told();
    const records = Array.from({ length: 200 }, (_, i) => recordOf(`i${i}`, 1, 6_000));
    await tell(records);
    const one = reader(feed);
    let pages = 0;
    for (let more = true; more; pages++) {
      const changes = await one.page();
      assert.equal(changes.reset, pages === 0);
      assert.ok(JSON.stringify(changes).length <= 600 * 1_024, `${JSON.stringify(changes).length}`);
      more = changes.more;
    }
    assert.ok(pages >= 3, `${pages}`);
    assertSame(one.records(), records.toSorted());
    feeds[Symbol.dispose]();
  });

  test("Feed.since() goes on where a reader was, whatever changed between two pages", async () => {
    const { feed, feeds, tell } = told();
    const records = Array.from({ length: 200 }, (_, i) => recordOf(`i${i}`, 1, 6_000));
    await tell(records);
    const one = reader(feed);
    assert.equal((await one.page()).more, true);
    // of what it has already and of what it has not: changed, gone, gone and back
    const next = [...records.slice(2, 150), ...records.slice(152), recordOf("i0", 2, 6_000), recordOf("new")];
    await tell(next);
    await tell([...next, recordOf("i150", 2)]);
    await one.follow();
    assertSame(one.records(), [...next, recordOf("i150", 2)].sort());
    feeds[Symbol.dispose]();
  });

  test("Feed.since() gives everything where more is gone than fits", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("stays"), ...Array.from({ length: 1_200 }, (_, i) => recordOf(`i${i}`))]);
    const one = reader(feed);
    await one.follow();
    await tell([recordOf("stays")]);
    await one.follow();
    assert.deepEqual(one.names(), [nameOf("stays")]);
    feeds[Symbol.dispose]();
  });

  test("Feed.since() gives everything to who comes with a cursor that is too old", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("stays"), recordOf("goes")]);
    const one = reader(feed);
    await one.follow();
    for (let round = 0; round < 3; round++) {
      await tell([recordOf("stays"), ...Array.from({ length: 2_800 }, (_, i) => recordOf(`r${round}-${i}`))]);
    }
    await tell([recordOf("stays")]);
    await one.follow();
    assert.deepEqual(one.names(), [nameOf("stays")]);
    feeds[Symbol.dispose]();
  });

  test("Feed.since() ends for who comes first after many came and went", async () => {
    const { feed, feeds, tell } = told();
    const stay = Array.from({ length: 200 }, (_, i) => recordOf(`i${i}`, 1, 6_000));
    await tell(stay);
    await tell([...stay, ...Array.from({ length: 1_100 }, (_, i) => recordOf(`brief${i}`))]);
    await tell(stay);
    const one = reader(feed);
    await one.follow();
    assertSame(one.records(), stay.toSorted());
    feeds[Symbol.dispose]();
  });

  test("Feed.since() ends for who comes first after more came and went than it remembers", async () => {
    const { feed, feeds, tell } = told();
    const stay = Array.from({ length: 200 }, (_, i) => recordOf(`i${i}`, 1, 6_000));
    await tell(stay);
    for (let round = 0; round < 3; round++) {
      await tell([...stay, ...Array.from({ length: 2_800 }, (_, i) => recordOf(`r${round}-${i}`))]);
    }
    await tell(stay);
    const one = reader(feed);
    await one.follow();
    assertSame(one.records(), stay.toSorted());
    feeds[Symbol.dispose]();
  });

  test("Feed.since() gives readers, however they read, what the store has", async () => {
    const snapshot = fc.uniqueArray(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 3 })), {
      selector: ([id]) => id,
      maxLength: 60,
    });
    const step = fc.record({ snapshot, readers: fc.array(fc.nat(2), { maxLength: 4 }) });
    const property = fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
      const { feed, feeds, tell } = told();
      const readers = [reader(feed), reader(feed), reader(feed)];
      let present: string[] = [];
      for (const { snapshot, readers: who } of steps) {
        present = snapshot.map(([id, sequence]) => recordOf(`i${id}`, sequence, (id % 2) * 6_000 + 100));
        // Each with another beside it, so that they fill more than a page.
        present = present.flatMap((record, i) => [record, recordOf(`x${snapshot[i]![0]}`, snapshot[i]![1], 6_000)]);
        await tell(present);
        for (const each of who) await readers[each]!.page();
      }
      for (const each of readers) {
        await each.follow();
        assertSame(each.records(), present.toSorted());
      }
      feeds[Symbol.dispose]();
    });
    await fc.assert(property, { numRuns: 25 });
  });
});

describe("Feed.since() that waits", () => {
  test("Feed.since() waits for a change where there is none, and answers with it at once", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("a")]);
    const { cursor } = await feed.since(undefined, 20_000, NEVER);
    using timers = heldTimers();
    let answered = false;
    const waiting = feed.since(cursor, 20_000, NEVER).finally(() => answered = true);
    await timers.settle();
    assert.equal(answered, false);
    assert.deepEqual(timers.waits(), [20_000]);
    void tell([recordOf("a"), recordOf("b")]);
    for (let i = 0; i < 5 && !answered; i++) await timers.settle();
    assert.deepEqual((await waiting).records.map(({ name }) => name), [nameOf("b")]);
    timers[Symbol.dispose]();
    feeds[Symbol.dispose]();
  });

  test("Feed.since() answers with nothing when the time is up, and with the same cursor", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("a")]);
    const { cursor } = await feed.since(undefined, 0, NEVER);
    using timers = heldTimers();
    const waiting = feed.since(cursor, 15_000, NEVER);
    await timers.settle();
    timers.fire(15_000);
    assert.deepEqual(await waiting, { cursor, reset: false, records: [], gone: [], more: false });
    feeds[Symbol.dispose]();
  });

  test("Feed.since() waits for nobody who went away, and not at all for no time", async () => {
    const { feed, feeds, tell } = told();
    await tell([recordOf("a")]);
    const { cursor } = await feed.since(undefined, 0, NEVER);
    using timers = heldTimers();
    const leaving = new AbortController();
    const waiting = feed.since(cursor, 20_000, leaving.signal);
    await timers.settle();
    leaving.abort();
    assert.deepEqual((await waiting).records, []);
    for (const waitMs of [0, -1, NaN]) assert.deepEqual((await feed.since(cursor, waitMs, NEVER)).records, []);
    assert.deepEqual(timers.waits(), []);
    feeds[Symbol.dispose]();
  });

  test("Feed.since() gives a store 5 s for its first answer, and then says that it cannot be reached", async () => {
    const feeds = feedsOf({
      ...giving([]),
      // deno-lint-ignore require-yield
      async *watch(_, { signal } = {}) {
        await new Promise((resolve) => signal?.addEventListener("abort", resolve));
      },
    }, () => 0);
    using timers = heldTimers();
    const waiting = feeds.of(SERVICE).since(undefined, 0, NEVER);
    waiting.catch(() => {});
    await timers.settle();
    assert.deepEqual(timers.waits(), [5_000]);
    timers.fire();
    await assert.rejects(waiting, { reason: "unreachable" });
    feeds[Symbol.dispose]();
  });
});
