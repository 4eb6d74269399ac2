import { generateEncryptionKey } from "../../src/auth/mod.ts";
import type { BrokerError } from "../../src/broker/broker_error.ts";
import { keysFor, type TopicReader } from "../../src/broker/encryption/epoch_subscriber.ts";
import { readJoin, writeJoin } from "../../src/broker/encryption/key_exchange.ts";
import { joinTopic } from "../../src/broker/topic_rules.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Epochs, epochs, spyOf, TOPIC, WAIT_MS } from "./_epochs.ts";

describe("who reads an encrypted topic", () => {
  test("a subscriber decrypts what is published after it came, the first message too", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using reader = await rig.reader(await rig.join("billing"));
    assert.equal(await rig.outcome(reader, await publisher.say("one")), "one");
    assert.equal(await rig.outcome(reader, await publisher.say("two")), "two");
    assert.equal(rig.announced().filter(({ kid }) => kid).length, 1);
  });

  test("a subscriber that was there before its publisher decrypts the first message, of a pattern too", async () => {
    using rig = await epochs();
    await using reader = await rig.reader(await rig.join("billing"), "orders.v1.*");
    await using other = await rig.reader(await rig.join("mail"), ">");
    await using publisher = await rig.publisher();
    const message = await publisher.say("one");
    assert.equal(await rig.outcome(reader, message), "one");
    assert.equal(await rig.outcome(other, message), "one");
  });

  test("a new subscriber decrypts nothing of a key that was not in use any more when it came, whatever it asks for", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher("orders", { rotateMs: 1_000 });
    await using _first = await rig.reader(await rig.join("billing"));
    const before = await publisher.say("before");
    rig.world.now.pass(1_000);
    await publisher.current();
    await using second = await rig.reader(await rig.join("mail"));
    assert.equal(await rig.outcome(second, await publisher.say("after")), "after");
    assert.equal(await rig.outcome(second, before), "no_key");
    const asked = rig.bus.log.map(({ data }) => readJoin(data)?.kids).filter((kids) => kids);
    assert.deepEqual(asked, [[before.kid]], "it was asked for, once");
    assert.equal(await rig.outcome(second, before), "no_key");
  });

  test("who came before its publisher heard of it reads what was said meanwhile, also when there is another key", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using _first = await rig.reader(await rig.join("billing"));
    const one = await publisher.say("one");
    await using second = await rig.reader(await rig.join("mail"));
    const two = await publisher.say("two");
    assert.notEqual(one.kid, two.kid);
    assert.equal(await rig.outcome(second, two), "two");
    assert.equal(await rig.outcome(second, one), "one");
  });

  test("who came while a key was being made, and before the one after it, reads what it was used for", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using _first = await rig.reader(await rig.join("billing"));
    let announced = 0;
    let third: TopicReader | undefined;
    rig.bus.gate = async (topic) => {
      if (!topic.startsWith("postern.keys.") || ++announced !== 2) return;
      third = await keysFor(await rig.bus.as(mail), TOPIC, { identity: mail, now: rig.world.now });
      await rig.bus.idle();
    };
    const mail = await rig.join("mail");
    const one = await publisher.say("one");
    const two = await publisher.say("two");
    assert.notEqual(one.kid, two.kid);
    assert.equal(await rig.outcome(third!, one), "one");
    await third![Symbol.asyncDispose]();
  });

  const goings: readonly [string, (rig: Epochs, gone: TopicReader) => unknown][] = [
    ["left", (_, gone) => gone[Symbol.asyncDispose]()],
    ["was revoked", (rig) => rig.bus.revoked.add("spiffe://example.org/mail")],
  ];

  for (const [title, go] of goings) {
    test(`a subscriber that ${title} decrypts nothing later, and others do`, async () => {
      using rig = await epochs();
      await using publisher = await rig.publisher();
      await using stays = await rig.reader(await rig.join("billing"));
      const mail = await rig.join("mail");
      await using gone = await rig.reader(mail);
      await using spy = await spyOf(rig, mail);
      assert.equal(await rig.outcome(gone, await publisher.say("one")), "one");
      await go(rig, gone);
      await rig.bus.idle();
      const later = await publisher.say("two");
      assert.equal(await rig.outcome(stays, later), "two");
      assert.equal(await rig.outcome(spy, later), "no_key");
      const { wraps } = rig.announced().at(-1)!;
      assert.deepEqual(wraps.map(({ id }) => id), ["spiffe://example.org/billing"]);
    });
  }

  test("a subscriber that does not ask again in time decrypts nothing later, and one that does goes on", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using stays = await rig.reader(await rig.join("billing"));
    const mail = await rig.join("mail");
    const signed = await rig.bus.as(mail);
    let isDown = false;
    const publish: typeof signed.publish = (topic, data) =>
      isDown ? Promise.reject(new Error()) : signed.publish(topic, data);
    await using gone = await keysFor({ ...signed, publish }, TOPIC, { identity: mail, now: rig.world.now });
    assert.equal(await rig.outcome(gone, await publisher.say("one")), "one");
    isDown = true;
    const half = Math.max(...rig.timers.waits());
    rig.world.now.pass(half);
    await rig.fire(half);
    assert.equal(await rig.outcome(gone, await publisher.say("two")), "two");
    rig.world.now.pass(half);
    const later = await publisher.say("three");
    assert.equal(await rig.outcome(stays, later), "three");
    assert.equal(await rig.outcome(gone, later), "no_key");
    isDown = false;
    await rig.fire(WAIT_MS); // it tries again
    assert.equal(await rig.outcome(gone, await publisher.say("four")), "four");
  });

  test("a subscriber is sent no key for longer than its identity token holds", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    const { authority, now } = rig.world;
    const mail = await rig.join("mail");
    await using reader = await rig.reader(mail);
    await publisher.say("one");
    const { expiresAtMs } = await mail.credential();
    assert.ok(authority && expiresAtMs > now());
    const signed = await rig.bus.as(mail);
    const until = now() + 3_600_000;
    const request = { key: (await mail.encryptionKey()).jwk, subscription: "s".repeat(22), until };
    await signed.publish(joinTopic(TOPIC), writeJoin(request));
    await rig.bus.idle();
    now.pass(expiresAtMs - now() - 1);
    await publisher.current();
    assert.equal(rig.announced().at(-1)!.wraps.length, 1);
    now.pass(1);
    const { kid } = await publisher.current();
    assert.notEqual(rig.announced().at(-1)!.kid, kid);
    await reader[Symbol.asyncDispose]();
  });

  test("one that comes again with another key is given what its identity was given, and the present key, and no more", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    await using stays = await rig.reader(await rig.join("billing"));
    const mail = await rig.join("mail");
    const early = await publisher.say("early");
    await using _web = await rig.reader(await rig.join("web"));
    await publisher.say("with another key");
    await using first = await rig.reader(mail);
    const own = await publisher.say("own");
    await first[Symbol.asyncDispose]();
    await rig.bus.idle();
    const missed = await publisher.say("missed");
    const fresh = await generateEncryptionKey();
    await using again = await rig.reader({ ...mail, encryptionKey: () => Promise.resolve(fresh) });
    assert.equal(await rig.outcome(again, own), "own");
    assert.equal(await rig.outcome(again, missed), "missed", "of the key in use when it came again");
    assert.equal(await rig.outcome(stays, missed), "missed");
    assert.equal(await rig.outcome(again, await publisher.say("next")), "next");
    assert.equal(await rig.outcome(again, early), "no_key");
  });

  test("of two subscriptions of one identity, one that ends leaves the other its keys", async () => {
    using rig = await epochs();
    await using publisher = await rig.publisher();
    const mail = await rig.join("mail");
    await using one = await rig.reader(mail);
    await using two = await rig.reader(mail, "orders.>");
    assert.equal(await rig.outcome(two, await publisher.say("one")), "one");
    assert.equal(rig.announced().at(-1)!.wraps.length, 1, "they are of one key");
    await one[Symbol.asyncDispose]();
    await rig.bus.idle();
    assert.equal(await rig.outcome(two, await publisher.say("two")), "two");
    await two[Symbol.asyncDispose]();
    await rig.bus.idle();
    const { kid } = await publisher.say("three");
    assert.notEqual(rig.announced().at(-1)!.kid, kid);
  });

  test("exactly those decrypt a message who are there when it is published, whoever comes and goes", async () => {
    const names = ["a", "b", "c", "d"] as const;
    const step = fc.oneof(
      fc.record({ kind: fc.constant("join" as const), who: fc.nat(3) }),
      fc.record({ kind: fc.constant("leave" as const), who: fc.nat(3) }),
      fc.record({ kind: fc.constant("revoke" as const), who: fc.nat(3) }),
      fc.record({ kind: fc.constant("publish" as const), who: fc.constant(0) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 16 }), async (steps) => {
        using rig = await epochs();
        await using publisher = await rig.publisher();
        const identities = await Promise.all(names.map((name) => rig.join(name)));
        const spies = await Promise.all(identities.map((identity) => spyOf(rig, identity)));
        const there = new Map<number, TopicReader>();
        const said: { message: Awaited<ReturnType<typeof publisher.say>>; by: Set<number> }[] = [];
        for (const { kind, who } of [...steps, { kind: "publish" as const, who: 0 }]) {
          const identity = identities[who]!;
          if (kind === "publish") {
            said.push({ message: await publisher.say(`${said.length}`), by: new Set(there.keys()) });
            continue;
          }
          const present = there.get(who);
          if (kind === "join" && !present) {
            rig.bus.revoked.delete(identity.id);
            there.set(who, await rig.reader(identity));
          }
          if (kind === "leave") await present?.[Symbol.asyncDispose]();
          if (kind === "revoke") rig.bus.revoked.add(identity.id);
          if (kind !== "join") there.delete(who);
          await rig.bus.idle();
        }
        const read = said.map(({ message }) =>
          spies.map((spy) => spy.decrypt(message).catch(({ reason }: BrokerError) => reason))
        );
        await rig.timers.settle();
        await rig.fire(WAIT_MS);
        const outcomes = await Promise.all(read.map((all) => Promise.all(all)));
        const expected = said.map(({ by }, index) => names.map((_, who) => by.has(who) ? `${index}` : "no_key"));
        assert.deepEqual(outcomes, expected);
        for (const each of [...there.values(), ...spies]) await each[Symbol.asyncDispose]();
      }),
      { numRuns: 12 },
    );
  });
});
