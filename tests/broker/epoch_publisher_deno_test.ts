import { generateEncryptionKey } from "../../src/auth/mod.ts";
import { BrokerError } from "../../src/broker/broker_error.ts";
import { topicKeys } from "../../src/broker/encryption/epoch_publisher.ts";
import { writeJoin } from "../../src/broker/encryption/key_exchange.ts";
import { joinTopic, keysTopic } from "../../src/broker/topic_rules.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "./_signed_bus.ts";
import { ANSWER_MS, ASK_MS, epochs, GATHER_MS, QUIET_MS, TOPIC, WAIT_MS } from "./_epochs.ts";

const because = (reason: string) => ({ name: "BrokerError", reason });

describe("the keys of a publisher", () => {
  test("current() announces a key, and gives it only when that was acknowledged", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using _reader = await rig.reader(await rig.join("billing"));
    let acknowledge = () => {};
    const held = new Promise<void>((resolve) => acknowledge = resolve);
    let announcements = 0;
    rig.bus.gate = (topic) => topic === keysTopic(TOPIC) && ++announcements === 2 ? held : undefined;
    let given = false;
    const current = publisher.current().then(() => given = true);
    await until(() => announcements === 2);
    await rig.timers.settle();
    assert.equal(given, false);
    acknowledge();
    await current;
  });

  test("current() fails where the announcement does, and makes another key the next time", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher("orders", { rotateMs: 60_000 });
    await using reader = await rig.reader(await rig.join("billing"));
    const down = new BrokerError("unreachable", "Cannot reach the broker");
    const fail = (topic: string) => {
      if (topic === keysTopic(TOPIC)) throw down;
    };
    rig.bus.gate = fail;
    await assert.rejects(publisher.current(), because("unreachable"));
    rig.bus.gate = () => {};
    await rig.bus.idle();
    assert.equal(await rig.outcome(reader, await publisher.say("one")), "one");
    rig.world.now.pass(60_000);
    rig.bus.gate = fail;
    await assert.rejects(publisher.current(), because("unreachable"));
    rig.bus.gate = () => {};
    assert.equal(await rig.outcome(reader, await publisher.say("two")), "two");
  });

  test("current() announces a key to more than 128 subscribers in parts, all of them before it is given", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await publisher.current();
    const until = rig.world.now() + 60_000;
    for (let i = 0; i < 130; i++) {
      const signed = await rig.bus.as(await rig.join(`s${i % 3}`));
      const { jwk: key } = await generateEncryptionKey();
      await signed.publish(joinTopic(TOPIC), writeJoin({ key, subscription: `${i}`.padStart(22, "s"), until }));
    }
    await rig.bus.idle();
    const { kid } = await publisher.current();
    const parts = rig.announced().filter((each) => each.kid === kid);
    assert.deepEqual(parts.map(({ wraps }) => wraps.length), [128, 2]);
    assert.equal(new Set(parts.flatMap(({ wraps }) => wraps.map(({ to }) => to))).size, 130);
  });

  test("requests that come together are answered together", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    const mail = await rig.join("mail");
    await using _first = await rig.reader(mail);
    const message = await publisher.say("one");
    const before = rig.announced().length;
    const fresh = await Promise.all([1, 2, 3].map(() => generateEncryptionKey()));
    const identities = fresh.map((key) => ({ ...mail, encryptionKey: () => Promise.resolve(key) }));
    const readers = await Promise.all(identities.map((identity) => rig.reader(identity)));
    const read = readers.map((reader) => reader.decrypt(message));
    await rig.fire(ASK_MS);
    await rig.fire(ANSWER_MS);
    assert.deepEqual(await Promise.all(read), ["one", "one", "one"]);
    assert.deepEqual(rig.announced().slice(before).map(({ wraps }) => wraps.length), [3]);
    for (const reader of readers) await reader[Symbol.asyncDispose]();
  });

  test("a publisher that is disposed answers nobody any more", async () => {
    using rig = await epochs();
    const publisher = await rig.publisher();
    const mail = await rig.join("mail");
    await using _first = await rig.reader(mail);
    const message = await publisher.say("one");
    const fresh = await generateEncryptionKey();
    await using reader = await rig.reader({ ...mail, encryptionKey: () => Promise.resolve(fresh) });
    const reading = assert.rejects(reader.decrypt(message), because("no_key"));
    await rig.fire(ASK_MS);
    assert.ok(rig.timers.waits().includes(ANSWER_MS));
    const before = rig.announced().length;
    await publisher[Symbol.asyncDispose]();
    assert.ok(!rig.timers.waits().includes(ANSWER_MS));
    await rig.fire(WAIT_MS);
    await reading;
    assert.equal(rig.announced().length, before);
  });

  test("with nobody there, current() gives a key that is announced to nobody, and given to who comes while it is in use", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    const message = await publisher.say("one");
    assert.deepEqual(rig.announced(), [{ wraps: [] }]);
    await using reader = await rig.reader(await rig.join("billing"));
    assert.equal(await rig.outcome(reader, message), "one");
  });

  test("a publisher keeps its last 8 keys for those who come again", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher("orders", { maxMessages: 1 });
    const mail = await rig.join("mail");
    await using _first = await rig.reader(mail);
    const messages = [];
    for (let i = 0; i < 9; i++) messages.push(await publisher.say(`${i}`));
    const fresh = await generateEncryptionKey();
    await using again = await rig.reader({ ...mail, encryptionKey: () => Promise.resolve(fresh) });
    const outcomes = [];
    for (const message of messages.reverse()) outcomes.push(await rig.outcome(again, message));
    assert.deepEqual(outcomes, ["8", "7", "6", "5", "4", "3", "2", "1", "no_key"]);
  });

  test("current() gives a new key when the present one is an hour old, and not before", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    const first = await publisher.current();
    rig.world.now.pass(3_599_999);
    assert.equal(await publisher.current(), first);
    rig.world.now.pass(1);
    const second = await publisher.current();
    assert.notEqual(second.kid, first.kid);
    await using quick = await rig.publisher("web", { rotateMs: 1_000 });
    const { kid } = await quick.current();
    rig.world.now.pass(1_000);
    assert.notEqual((await quick.current()).kid, kid);
  });

  test("current() gives a key for as many messages as it may, however many ask at once", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher("orders", { maxMessages: 3 });
    await publisher.current();
    const keys = await Promise.all(Array.from({ length: 20 }, () => publisher.keys.current(TOPIC)));
    const uses = new Map<string, number>();
    for (const { kid } of keys) uses.set(kid, (uses.get(kid) ?? 0) + 1);
    assert.deepEqual([...uses.values()], [2, 3, 3, 3, 3, 3, 3]);
  });

  test("who asked while a key was being made has one of the next message, if that was asked for later", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using _first = await rig.reader(await rig.join("billing"));
    await publisher.current();
    rig.world.now.pass(60_000);
    let acknowledge = () => {};
    const held = new Promise<void>((resolve) => acknowledge = resolve);
    await using _second = await rig.reader(await rig.join("mail"));
    let announcing = false;
    rig.bus.gate = async (topic) => {
      if (topic !== keysTopic(TOPIC)) return;
      announcing = true;
      await held;
    };
    const early = publisher.keys.current(TOPIC);
    while (!announcing) await rig.timers.settle();
    await using third = await rig.reader(await rig.join("web"));
    const late = publisher.say("late");
    acknowledge();
    await early;
    assert.equal(await rig.outcome(third, await late), "late");
  });

  test("who leaves while a key is being made is not in the one that is used", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using _first = await rig.reader(await rig.join("billing"));
    await using second = await rig.reader(await rig.join("mail"));
    let kept = 0;
    rig.bus.gate = (topic) => {
      if (topic === keysTopic(TOPIC) && ++kept === 2) rig.bus.revoked.add("spiffe://example.org/mail");
    };
    const message = await publisher.say("one");
    assert.equal(await rig.outcome(second, message), "no_key");
    assert.deepEqual(rig.announced().map(({ wraps }) => wraps.length), [0, 2, 1]);
  });

  test("a publisher that was cut off listens again, and so does a subscriber", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using reader = await rig.reader(await rig.join("billing"));
    assert.equal(await rig.outcome(reader, await publisher.say("one")), "one");
    rig.bus.cut();
    await rig.timers.settle();
    await publisher.say("two");
    await using other = await rig.reader(await rig.join("mail"));
    const message = await publisher.say("three");
    assert.equal(await rig.outcome(other, message), "three");
    assert.equal(await rig.outcome(reader, message), "three");
  });

  test("a publisher begins with what the broker has kept of as long as a request may hold", async () => {
    using rig = await epochs();
    rig.bus.keeps = true;
    await using publisher = await rig.publisher();
    await publisher.current();
    const asked = rig.bus.starts.filter(({ pattern }) => pattern === joinTopic(TOPIC));
    assert.deepEqual(asked.map(({ start }) => start), [{ time: new Date(rig.world.now() - 660_000) }]);
  });

  test("a publisher listens on while requests keep coming, and for five seconds at most", async () => {
    using rig = await epochs();
    const mail = await rig.join("mail");
    const ask = async () => rig.bus.deliver(await rig.bus.eventOf(mail, joinTopic(TOPIC), "{}"));
    const gathered = async (isOver: (moments: number) => boolean) => {
      await using publisher = await rig.publisher();
      let given = false;
      const current = publisher.keys.current(TOPIC).then(() => given = true);
      await until(() => rig.timers.waits().includes(GATHER_MS));
      await rig.fire(GATHER_MS);
      let moments = 0;
      for (; !given; moments++) {
        await until(() => given || rig.timers.waits().includes(QUIET_MS));
        if (given) break;
        if (!isOver(moments)) await ask();
        await rig.bus.idle();
        rig.timers.fire(QUIET_MS);
        await rig.bus.idle();
      }
      await current;
      return moments;
    };
    assert.equal(await gathered(() => true), 1);
    assert.equal(await gathered((moments) => moments >= 5), 6);
    assert.equal(await gathered(() => false), 48);
  });

  test("a publisher listens for longer where the way to the broker is long", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    rig.bus.gate = () => rig.world.now.pass(200);
    const current = publisher.keys.current(TOPIC);
    await until(() => rig.timers.waits().length > 0);
    assert.deepEqual(rig.timers.waits(), [4 * 200 - QUIET_MS]);
    await publisher[Symbol.asyncDispose]();
    await assert.rejects(current, because("closed"));
  });

  test("current() ends when the publisher is disposed, whatever the broker does not answer", async () => {
    for (const silent of [1, 2]) {
      using rig = await epochs();
      await using publisher = await rig.publisher();
      await using _reader = await rig.reader(await rig.join("billing"));
      let announcements = 0;
      rig.bus.gate = (topic) =>
        topic === keysTopic(TOPIC) && ++announcements === silent ? new Promise<void>(() => {}) : undefined;
      const current = publisher.current();
      const refused = assert.rejects(current, because("closed"));
      await (async () => {
        while (announcements < silent) {
          await rig.timers.settle();
          for (const ms of [GATHER_MS, QUIET_MS]) if (rig.timers.waits().includes(ms)) await rig.fire(ms);
        }
      })();
      const signal = rig.bus.signals.at(-1);
      assert.equal(signal?.aborted, false);
      await publisher[Symbol.asyncDispose]();
      await refused;
      assert.equal(signal.aborted, true, "nor does the publish go on");
    }
  });

  test("who may read is asked again only when somebody was revoked, or a second later", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await publisher.current();
    await using _first = await rig.reader(await rig.join("billing"));
    await using _second = await rig.reader(await rig.join("mail"));
    await publisher.current();
    const judged = async (messages: number) => {
      rig.bus.judged = 0;
      for (let i = 0; i < messages; i++) await publisher.keys.current(TOPIC);
      return rig.bus.judged;
    };
    assert.equal(await judged(100), 0);
    rig.bus.revision = 7;
    assert.equal(await judged(100), 2);
    rig.world.now.pass(999);
    assert.equal(await judged(100), 0);
    rig.world.now.pass(1);
    assert.equal(await judged(100), 2);
  });

  test("who comes and goes by itself has 16 keys made at once, and then one a second, but nobody reads who may not", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using stays = await rig.reader(await rig.join("billing"));
    const mail = await rig.join("mail");
    const change = async () => {
      await using _reader = await rig.reader(mail);
      await publisher.say("there");
    };
    const kids = async (times: number) => {
      const all = new Set<string>();
      for (let i = 0; i < times; i++) {
        await change();
        await rig.bus.idle();
        all.add((await publisher.say("gone")).kid);
      }
      return all.size;
    };
    assert.equal(await kids(8), 8);
    assert.equal(await kids(8), 1);
    rig.world.now.pass(1_000);
    const before = rig.announced().length;
    await kids(8);
    const announced = rig.announced().slice(before).flatMap(({ kid }) => kid ?? []);
    assert.equal(new Set(announced).size, 1, "of those that were made before, none is given to who comes now");
    await using held = await rig.reader(mail);
    assert.equal(
      await rig.outcome(held, await publisher.say("while it waits")),
      "while it waits",
      "it is given the present key",
    );
    rig.bus.revoked.add(mail.id);
    const last = await publisher.say("last");
    assert.equal(await rig.outcome(stays, last), "last");
    assert.equal(await rig.outcome(held, last), "no_key");
  });

  test("a publisher that starts again finds out who is there, from what the broker keeps too", async () => {
    for (const keeps of [false, true]) {
      using rig = await epochs();
      rig.bus.keeps = keeps;
      await using reader = await rig.reader(await rig.join("billing"));
      {
        await using before = await rig.publisher();
        assert.equal(await rig.outcome(reader, await before.say("one")), "one");
      }
      await using after = await rig.publisher();
      assert.equal(await rig.outcome(reader, await after.say("two")), "two");
    }
  });

  test("current() gives keys for 1,024 topics, and for no more", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    rig.bus.gate = () => new Promise(() => {}); // none is announced before the last is asked for
    for (let i = 0; i < 1_024; i++) publisher.keys.current(`t${i}`).catch(() => {});
    await assert.rejects(publisher.keys.current("one_more"), because("full"));
  });

  test("topicKeys() refuses times and numbers out of their ranges", async () => {
    using rig = await epochs();
    const signed = await rig.bus.as(await rig.join("orders"));
    for (const rotateMs of [999, 86_400_001, 1_000.5, NaN]) {
      assert.throws(() => topicKeys(signed, { rotateMs }), { name: "RangeError", message: /rotateMs/ });
    }
    for (const maxMessages of [0, 2 ** 32 + 1, 1.5, NaN]) {
      assert.throws(() => topicKeys(signed, { maxMessages }), { name: "RangeError", message: /maxMessages/ });
    }
  });
});
