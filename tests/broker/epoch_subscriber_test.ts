import { BrokerError } from "../../src/broker/broker_error.ts";
import { readJoin, writeAnnouncement } from "../../src/broker/encryption/key_exchange.ts";
import { subscribeFrom } from "../../src/broker/encryption/key_subscription.ts";
import { keysTopic } from "../../src/broker/topic_rules.ts";
import { joinRequests } from "../../src/broker/encryption/join_requests.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { messageOf } from "./_signed_bus.ts";
import { ASK_MS, epochs, TOPIC, WAIT_MS } from "./_epochs.ts";

const because = (reason: string) => ({ name: "BrokerError", reason });

describe("the keys that a subscriber asks for", () => {
  test("a subscriber uses a publisher's keys for that publisher's messages only", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using other = await rig.publisher("web");
    await using reader = await rig.reader(await rig.join("billing"));
    const message = await publisher.say("one");
    const epoch = await publisher.keys.current(TOPIC);
    const stolen = { identity: other.identity, keys: { ...publisher.keys, current: () => Promise.resolve(epoch) } };
    await assert.rejects(messageOf(rig.bus, stolen, TOPIC, "forged"), TypeError);
    const event = await rig.bus.eventOf(other.identity, TOPIC, message.data, { contentType: "application/jose" });
    assert.equal(await rig.outcome(reader, { ...event, id: message.id, kid: message.kid }), "not_decrypted");
    assert.equal(await rig.outcome(reader, await other.say("two")), "two");
  });

  test("a subscriber does not take a key that somebody announces for another publisher or topic", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    const mail = await rig.join("mail");
    await using stays = await rig.reader(await rig.join("billing"));
    await publisher.say("one");
    await using reader = await rig.reader(mail);
    const message = await publisher.say("two");
    const wrap = rig.bus.log.findLast(({ topic }) => topic === keysTopic(TOPIC))!;
    await using late = await rig.reader({ ...mail });
    const web = await rig.join("web");
    rig.bus.deliver(await rig.bus.eventOf(web, wrap.topic, wrap.data));
    rig.bus.deliver(await rig.bus.eventOf(publisher.identity, keysTopic("other.v1"), wrap.data));
    await rig.bus.idle();
    const { kid } = message;
    const other = { ...message, publisher: (await rig.bus.eventOf(web, TOPIC, "")).publisher };
    assert.equal(await rig.outcome(late, other), "not_decrypted");
    assert.equal(await rig.outcome(late, message), "two"); // it asked, and its identity was given it
    assert.equal(await rig.outcome(stays, message), "two");
    assert.equal(await rig.outcome(reader, { ...message, kid }), "two");
  });

  test("decrypt() refuses what is not encrypted, and what is no JWE", async () => {
    using rig = await epochs();
    const mail = await rig.join("mail");
    await using reader = await rig.reader(mail);
    const plain = await rig.bus.eventOf(mail, TOPIC, "{}");
    await assert.rejects(reader.decrypt(plain), because("not_encrypted"));
    await assert.rejects(reader.decrypt({ ...plain, contentType: "application/jose" }), because("malformed_event"));
  });

  test("a message waits for its key, which is asked for only if it does not come by itself", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using reader = await rig.reader(await rig.join("billing"));
    const signed = await rig.bus.as(await rig.join("mail"));
    const log = rig.bus.log;
    const message = await publisher.say("one");
    const announcement = log.find(({ topic, data }) => topic === keysTopic(TOPIC) && data.includes(message.kid))!;
    assert.ok(signed && announcement);
    await reader[Symbol.asyncDispose]();

    await using late = await rig.reader(await rig.join("billing"));
    const asked = log.length;
    const reading = late.decrypt(message);
    await rig.timers.settle();
    assert.deepEqual(rig.timers.waits().filter((ms) => ms === ASK_MS || ms === WAIT_MS), [WAIT_MS, ASK_MS]);
    assert.equal(log.length, asked);
    await rig.fire(ASK_MS);
    assert.equal(log.length, asked + 1);
    await rig.fire(50); // its identity was given that key before, by another one of its own
    assert.equal(await reading, "one");
  });

  test("a key that did not come is not waited for again at once, but half a minute later", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using _first = await rig.reader(await rig.join("billing"));
    const message = await publisher.say("one");
    await publisher[Symbol.asyncDispose]();
    await using reader = await rig.reader(await rig.join("mail"));
    assert.equal(await rig.outcome(reader, message), "no_key");
    await assert.rejects(reader.decrypt(message), because("no_key"));
    rig.world.now.pass(30_000);
    const reading = assert.rejects(reader.decrypt(message), because("no_key"));
    await rig.timers.settle();
    await rig.fire(WAIT_MS);
    await reading;
  });

  test("keysFor() fails, and holds nothing, where the topic's publishers cannot be asked", async () => {
    using rig = await epochs();
    rig.bus.gate = () => {
      throw new BrokerError("refused", "Cannot publish there");
    };
    await assert.rejects(rig.reader(await rig.join("mail")), because("refused"));
    assert.equal(rig.bus.listening(), 0);
    assert.deepEqual(rig.timers.waits(), []);
  });

  test("ask() asks for the keys that have not come by themselves, 8 at a time", async () => {
    using rig = await epochs();
    const mail = await rig.join("mail");
    const sent: (readonly string[])[] = [];
    const publish = (_: string, data: string) => Promise.resolve(void sent.push(readJoin(data)!.kids ?? []));
    const { jwk: key } = await mail.encryptionKey();
    const expiresAtMs = () => Promise.resolve(rig.world.now() + 60_000);
    const awaited = new Set<string>();
    const isAwaited = ({ kid }: { readonly kid: string }) => awaited.has(kid);
    const signed = { ...await rig.bus.as(mail), publish };
    await using requests = joinRequests(signed, { key, expiresAtMs, isAwaited, now: rig.world.now });
    await requests.join(TOPIC);
    const kids = Array.from({ length: 10 }, (_, i) => `${i}`.padStart(43, "k"));
    const ask = () => kids.forEach((kid) => requests.ask({ publisher: "p", topic: TOPIC, kid }));
    ask();
    await rig.fire(ASK_MS);
    assert.deepEqual(sent, [[]], "all of them came");
    kids.slice(1).forEach((kid) => awaited.add(kid));
    ask();
    await rig.fire(ASK_MS);
    assert.deepEqual(sent, [[], kids.slice(1, 9), kids.slice(9)]);
    requests.ask({ publisher: "p", topic: TOPIC });
    await rig.fire(ASK_MS);
    assert.deepEqual(sent.at(-1), []);
  });

  test("a subscriber answers a publisher that asks who is there at once, and one that asks just then a moment later", async () => {
    using rig = await epochs();
    await using _reader = await rig.reader(await rig.join("billing"), "orders.>");
    const orders = await rig.join("orders");
    const question = async () => {
      rig.bus.deliver(await rig.bus.eventOf(orders, keysTopic(TOPIC), writeAnnouncement({ wraps: [] })));
      await rig.bus.idle();
      return rig.bus.log.length;
    };
    assert.equal(await question(), 1);
    assert.equal(await question(), 1);
    await rig.fire(ASK_MS);
    assert.equal(rig.bus.log.length, 2);
    rig.world.now.pass(ASK_MS);
    assert.equal(await question(), 3);
  });

  test("a key that was wrapped wrongly is left out, and the next one is taken", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    const mail = await rig.join("mail");
    await using reader = await rig.reader(mail);
    await publisher.say("one");
    const good = rig.announced().at(-1)!;
    const bad = { kid: "k".repeat(43), wraps: good.wraps };
    rig.bus.deliver(await rig.bus.eventOf(publisher.identity, keysTopic(TOPIC), writeAnnouncement(bad)));
    await rig.bus.idle();
    rig.world.now.pass(60_000);
    await using _other = await rig.reader(await rig.join("web"));
    const message = await publisher.say("two");
    assert.equal(await reader.decrypt(message), "two", "at once");
  });

  test("subscribeFrom() begins with the earliest, or where that is unsupported with what follows", async () => {
    using rig = await epochs();
    const signed = await rig.bus.as(await rig.join("mail"));
    const starts: unknown[] = [];
    let reason: "unsupported" | "refused" | undefined;
    const subscribe: typeof signed.subscribe = (pattern, options) => {
      starts.push(options?.start);
      if (reason && options) throw new BrokerError(reason, "Cannot subscribe");
      return signed.subscribe(pattern);
    };
    await subscribeFrom({ ...signed, subscribe }, TOPIC, "earliest");
    reason = "unsupported";
    await subscribeFrom({ ...signed, subscribe }, TOPIC, "earliest");
    reason = "refused";
    await assert.rejects(subscribeFrom({ ...signed, subscribe }, TOPIC, "earliest"), because("refused"));
    assert.deepEqual(starts, ["earliest", "earliest", undefined, "earliest"]);
  });

  test("joinRequests() asks for the keys of 1,024 topics, and of more gives up those of whoever shows the most", async () => {
    using rig = await epochs();
    const mail = await rig.join("mail");
    const asked = new Set<string>();
    const publish = (topic: string, data: string) => {
      assert.equal(readJoin(data)!.until, rig.world.now() + 60_000, "for as long as the token holds");
      return Promise.resolve(void asked.add(topic));
    };
    const signed = { ...await rig.bus.as(mail), publish };
    const { jwk: key } = await mail.encryptionKey();
    const expiresAtMs = () => Promise.resolve(rig.world.now() + 60_000);
    await using requests = joinRequests(signed, { key, expiresAtMs, isAwaited: () => true, now: rig.world.now });
    for (let i = 0; i < 4; i++) requests.ask({ publisher: "honest", topic: `own${i}` });
    for (let i = 0; i < 1_020; i++) requests.ask({ publisher: "loud", topic: `t${i}` });
    await rig.timers.settle();
    assert.equal(asked.size, 1_024);
    requests.keep("t0");
    for (let i = 1_020; i < 1_030; i++) requests.ask({ publisher: "loud", topic: `t${i}` });
    requests.ask({ publisher: "honest", topic: "own4" });
    const has = (topics: readonly string[]) => topics.map((topic) => requests.has(topic));
    assert.deepEqual(has(["own0", "own1", "own2", "own3", "own4"]), [true, true, true, true, true]);
    assert.deepEqual(has(["t0", "t1", "t11", "t12", "t1029"]), [true, false, false, true, true]);
  });

  test("what is disposed has no timers, gives no keys and waits for none", async () => {
    using rig = await epochs();
    const publisher = await rig.publisher();
    const reader = await rig.reader(await rig.join("billing"));
    await publisher.say("one");
    const stranger = await rig.publisher("web");
    const message = await stranger.say("two");
    await stranger[Symbol.asyncDispose]();
    const lost = await rig.reader(await rig.join("mail"));
    const waiting = assert.rejects(lost.decrypt(message), because("no_key"));
    await rig.timers.settle();
    for (const each of [lost, reader, publisher]) await each[Symbol.asyncDispose]();
    await waiting;
    await assert.rejects(publisher.keys.current(TOPIC), because("closed"));
    await assert.rejects(lost.decrypt(message), because("no_key"));
    assert.deepEqual(rig.timers.waits(), []);
    const leaves = rig.bus.log.filter(({ data }) => readJoin(data)?.leave);
    assert.deepEqual(leaves.map(({ publisher: { id } }) => id.split("/").at(-1)), ["mail", "billing"]);
  });
});
