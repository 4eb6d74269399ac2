import type { EpochKey } from "../../src/broker/encryption/epoch_key.ts";
import { keyRing, MAX_KEYS, MAX_RINGS } from "../../src/broker/encryption/key_ring.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clock } from "../auth/_world.ts";
import { heldTimers } from "../registry/_rig.ts";

const nothing = () => {};
const SCOPE = { topic: "orders.v1.placed", publisher: "spiffe://example.org/orders" };
const key: EpochKey = { ...SCOPE, kid: "k".repeat(43), key: {} as CryptoKey };
const keyOf = (change: Partial<EpochKey>): EpochKey => ({ ...key, ...change });
const ring = (now = clock()) => keyRing({ keyWaitMs: 5_000, now });

describe("the keys of a subscriber", () => {
  test("get() gives a key for its publisher, its topic and its name, and for no other", () => {
    const own = ring();
    own.add(key);
    assert.equal(own.get(key), key);
    for (const change of [{ topic: "other.v1" }, { publisher: "spiffe://example.org/web" }, { kid: "other" }]) {
      assert.equal(own.get(keyOf(change)), undefined);
    }
  });

  test("add() keeps 64 keys of a publisher and topic, the newest", () => {
    const own = ring();
    for (let i = 0; i <= MAX_KEYS; i++) own.add(keyOf({ kid: `${i}` }));
    assert.equal(own.get(keyOf({ kid: "0" })), undefined);
    for (let i = 1; i <= MAX_KEYS; i++) assert.ok(own.get(keyOf({ kid: `${i}` })));
  });

  test("add() keeps the keys of 1,024 publishers and topics, those that gave one last", () => {
    const own = ring();
    for (let i = 0; i < MAX_RINGS; i++) own.add(keyOf({ publisher: `p${i}` }));
    own.add(keyOf({ publisher: "p0", kid: "again" }));
    own.add(keyOf({ publisher: "one more" }));
    assert.ok(own.get(keyOf({ publisher: "p0" })));
    assert.equal(own.get(keyOf({ publisher: "p1" })), undefined);
    assert.ok(own.get(keyOf({ publisher: "p2" })));
  });

  test("wait() asks once for all who wait, and gives the key when it comes", async () => {
    using timers = heldTimers();
    const own = ring();
    let asked = 0;
    const waiting = [1, 2, 3].map(() => own.wait(key, () => asked++));
    assert.deepEqual([asked, own.isAwaited(key), own.isAwaited(keyOf({ kid: "other" }))], [1, true, false]);
    own.add(key);
    assert.deepEqual(await Promise.all(waiting), [key, key, key]);
    assert.deepEqual([timers.waits(), own.isAwaited(key)], [[], false]);
  });

  test("wait() gives none when the time is over, nor at once for half a minute, unless the key comes", async () => {
    using timers = heldTimers();
    const now = clock();
    const own = ring(now);
    const waiting = own.wait(key, nothing);
    timers.fire(5_000);
    assert.equal(await waiting, undefined);
    now.pass(29_999);
    assert.equal(await own.wait(key, () => assert.fail("it was asked for")), undefined);
    now.pass(1);
    const again = own.wait(key, nothing);
    own.add(key);
    assert.equal(await again, key);
  });

  test("wait() waits for 1,024 keys at once", async () => {
    using timers = heldTimers();
    const own = ring();
    let asked = 0;
    const waiting = Array.from({ length: 1_024 }, (_, i) => own.wait(keyOf({ publisher: `p${i}` }), () => asked++));
    assert.equal(await own.wait(keyOf({ kid: "one more" }), () => assert.fail("it was asked for")), undefined);
    assert.equal(asked, 1_024);
    own[Symbol.dispose]();
    assert.deepEqual(new Set(await Promise.all(waiting)), new Set([undefined]));
    assert.deepEqual(timers.waits(), []);
  });

  test("wait() waits for 4 keys of one publisher and topic at once, and for 64 of one publisher", () => {
    using timers = heldTimers();
    const own = ring();
    const begun = (change: Partial<EpochKey>) => {
      let isAsked = false;
      own.wait(keyOf(change), () => isAsked = true);
      return isAsked;
    };
    const count = (change: (i: number) => Partial<EpochKey>) =>
      Array.from({ length: 100 }, (_, i) => begun(change(i))).filter(Boolean).length;
    assert.equal(count((i) => ({ kid: `${i}` })), 4);
    own.add(keyOf({ kid: "2" }));
    assert.equal(count((i) => ({ kid: `more${i}` })), 1);
    assert.equal(count((i) => ({ topic: `t${i}` })), 60);
    assert.equal(count((i) => ({ publisher: "other", kid: `${i}` })), 4, "others have their own");
    own[Symbol.dispose]();
    assert.deepEqual(timers.waits(), []);
  });

  test("wait() waits for no key of a publisher and topic after one did not come, and for those of others", async () => {
    using timers = heldTimers();
    const now = clock();
    const own = ring(now);
    const waiting = own.wait(key, nothing);
    now.pass(5_000);
    timers.fire(5_000);
    assert.equal(await waiting, undefined);
    now.pass(29_999);
    assert.equal(await own.wait(keyOf({ kid: "next" }), () => assert.fail("it was asked for")), undefined);
    let asked = 0;
    own.wait(keyOf({ publisher: "other" }), () => asked++);
    own.wait(keyOf({ topic: "other.v1" }), () => asked++);
    now.pass(1);
    own.wait(keyOf({ kid: "next" }), () => asked++);
    assert.equal(asked, 3);
    own[Symbol.dispose]();
  });

  test("wait() waits no longer for a publisher than a sixth of the time, however many topics it has", async () => {
    using timers = heldTimers();
    const now = clock();
    const own = ring(now);
    let waitedMs = 0;
    for (let i = 0; now() < clock()() + 300_000; i++) {
      let isAsked = false;
      const waiting = own.wait(keyOf({ topic: `t${i}` }), () => isAsked = true);
      now.pass(isAsked ? 4_999 : 1_000);
      if (!isAsked) continue;
      waitedMs += 4_999;
      // Each comes as late as it can.
      own.add(keyOf({ topic: `t${i}` }));
      await waiting;
    }
    assert.ok(waitedMs >= 40_000 && waitedMs <= 65_000, `${waitedMs}`);
    assert.deepEqual(timers.waits(), []);
  });
});
