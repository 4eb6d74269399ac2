import { type EncryptionJwk, generateEncryptionKey, type Identity } from "../../src/auth/mod.ts";
import {
  type JoinRequest,
  readAnnouncement,
  readJoin,
  writeAnnouncement,
  writeJoin,
} from "../../src/broker/encryption/key_exchange.ts";
import { keyMembers, MAX_LEASE_MS } from "../../src/broker/encryption/key_members.ts";
import { MAX_MEMBERS, MAX_OF_ONE } from "../../src/broker/encryption/key_seats.ts";
import { costLimit, rateLimit } from "../../src/broker/encryption/key_rate.ts";
import type { VerifiedEvent } from "../../src/broker/verified_event.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clock, type World, world } from "../auth/_world.ts";
import { signedBus } from "./_signed_bus.ts";

const TOPIC = "postern.join.orders.v1.placed";
const subscriptionOf = (number: number) => `${number}`.padStart(22, "s");
const SUBSCRIPTION = subscriptionOf(0);

async function rig() {
  const own = await world();
  const { now } = own;
  const bus = await signedBus(own);
  const trial = generateEncryptionKey();
  const mayRead = ({ id }: { readonly id: string }) => {
    bus.judged++;
    return !bus.revoked.has(id);
  };
  const members = keyMembers({ mayRead, revision: () => bus.revision, ownKey: () => trial, now });
  const mail = await own.join("spiffe://example.org/mail");
  const { jwk } = await generateEncryptionKey();
  const ask = async (changes: Partial<JoinRequest> = {}, event: Partial<VerifiedEvent> = {}, by: Identity = mail) => {
    const request = { key: jwk, subscription: SUBSCRIPTION, until: now() + 60_000, ...changes };
    return await bus.eventOf(by, TOPIC, writeJoin(request), event);
  };
  return {
    ...own,
    bus,
    members,
    mail,
    jwk,
    ask,
    count: () => members.present().size,
    take: async (...asked: Parameters<typeof ask>) => await members.take(await ask(...asked)),
  };
}

/** So many identities as the topic's places take. */
const crowd = async ({ join }: World) =>
  await Promise.all(
    Array.from({ length: MAX_MEMBERS / MAX_OF_ONE }, (_, i) => join(`spiffe://example.org/crowd${i}`)),
  );

describe("who gets the keys of a topic", () => {
  test("take() takes a request, and says what it asks for; present() has who made it", async () => {
    const { take, members, mail } = await rig();
    const taken = await take({ kids: ["k".repeat(43)] });
    assert.deepEqual(taken!.kids, ["k".repeat(43)]);
    const { recipient } = taken!;
    assert.equal(recipient.id, mail.id);
    assert.deepEqual([...members.present()], [[`${mail.id} ${recipient.thumbprint}`, recipient]]);
  });

  test("present() is the same object until somebody comes or goes", async () => {
    const { take, members, now } = await rig();
    await take();
    const one = members.present();
    now.pass(1_000);
    await take();
    assert.equal(members.present(), one);
    await take({ subscription: subscriptionOf(1), key: (await generateEncryptionKey()).jwk });
    const two = members.present();
    assert.deepEqual([one.size, two.size], [1, 2]);
    assert.equal(members.present(), two);
    await take({ leave: true });
    assert.equal(members.present().size, 1);
  });

  test("take() leaves out a request that is over, or that asks for more than an hour", async () => {
    const { take, now, count } = await rig();
    for (const until of [now() - 1, now(), now() + MAX_LEASE_MS + 1]) assert.equal(await take({ until }), undefined);
    assert.equal(count(), 0);
    assert.ok(await take({ until: now() + MAX_LEASE_MS }));
    assert.equal(count(), 1);
  });

  test("present() has nobody whose time or token is over, who was revoked, or who left", async () => {
    const { take, now, count, bus, mail, join } = await rig();
    await take();
    now.pass(59_999);
    assert.equal(count(), 1);
    now.pass(1);
    assert.equal(count(), 0);
    await take();
    bus.revoked.add(mail.id);
    assert.equal(count(), 0);
    assert.equal(await take(), undefined);
    bus.revoked.delete(mail.id);
    assert.equal(count(), 0, "who was let go has to ask again");
    await take();
    assert.equal(count(), 1);
    await take({ leave: true });
    assert.equal(count(), 0);
    const brief = await join("spiffe://example.org/brief");
    const { publisher } = await bus.eventOf(brief, TOPIC, "");
    await take({}, { publisher: { ...publisher, expiresAtMs: now() + 1_000 } }, brief);
    assert.equal(count(), 1, "its token holds");
    now.pass(1_000);
    assert.equal(count(), 0, "its token is over");
  });

  test("a request that was held back counts for nothing once a newer one was taken", async () => {
    const { ask, take, members, count, now } = await rig();
    const held = await ask();
    const older = await ask({ until: now() + MAX_LEASE_MS });
    await take();
    await take({ leave: true });
    for (const event of [held, older, { ...older, timeMs: now() + 1_000 }]) {
      assert.equal(await members.take(event), undefined);
    }
    assert.equal(count(), 0);
    await take();
    assert.equal(count(), 1);
    const leave = await ask({ leave: true });
    await take();
    await members.take(leave);
    assert.equal(count(), 1, "nor does one to leave");
  });

  test("a request to leave that comes before the one to come is remembered", async () => {
    const { ask, members, count } = await rig();
    const come = await ask();
    const leave = await ask({ leave: true });
    await members.take(leave);
    assert.equal(await members.take(come), undefined);
    assert.equal(count(), 0);
  });

  test("present() asks for nobody again whether it may read because the time of another one is over", async () => {
    const { take, members, bus, now, join } = await rig();
    await take();
    await take({ until: now() + 500 }, {}, await join("spiffe://example.org/web"));
    assert.equal(members.present().size, 2);
    bus.judged = 0;
    now.pass(500);
    assert.equal(members.present().size, 1);
    assert.equal(bus.judged, 0);
  });

  test("hasLeft() knows who left by itself, and not who came again, may not read any more, or whose time is over", async () => {
    const { take, members, bus, mail, now } = await rig();
    const { recipient } = (await take())!;
    const name = `${mail.id} ${recipient.thumbprint}`;
    const goes = async () => {
      await take({ leave: true });
      assert.equal(members.present().size, 0);
      assert.equal(members.hasLeft(name), true);
    };
    assert.equal(members.hasLeft(name), false);
    await goes();
    await take();
    assert.equal(members.hasLeft(name), false, "it came again");
    await goes();
    now.pass(60_000);
    members.present();
    assert.equal(members.hasLeft(name), false, "its time is over");
    await take();
    await goes();
    bus.revoked.add(mail.id);
    members.present();
    assert.equal(members.hasLeft(name), false, "it was revoked");
  });

  test("a request is taken once", async () => {
    const { ask, members } = await rig();
    const event = await ask();
    assert.ok(await members.take(event));
    assert.equal(await members.take(event), undefined);
  });

  test("a request to leave takes no place for one who may not read, or asks too often", async () => {
    const { ask, take, members, bus, mail, now } = await rig();
    const come = await ask();
    bus.revoked.add(mail.id);
    await take({ leave: true });
    bus.revoked.delete(mail.id);
    assert.ok(await members.take(come));
    const other = await ask({ subscription: subscriptionOf(1) });
    for (let i = 1; i < 64; i++) await take({ kids: ["k".repeat(43)] });
    await take({ subscription: subscriptionOf(1), leave: true });
    now.pass(1_000);
    assert.ok(await members.take(other));
  });

  test("a request of another run of its publisher counts if it was made later", async () => {
    const { take, now, count } = await rig();
    await take({ leave: true }, { sequence: 900 });
    const producer = "q".repeat(22);
    assert.equal(await take({}, { producer, sequence: 1 }), undefined);
    assert.equal(await take({}, { producer, sequence: 1_000, timeMs: now() - 1 }), undefined);
    assert.ok(await take({}, { producer, sequence: 1, timeMs: now() + 1 }));
    assert.equal(count(), 1);
  });

  test("a subscription belongs to its identity and its key: nobody else ends it", async () => {
    const { take, join, count } = await rig();
    await take();
    await take({ leave: true }, {}, await join("spiffe://example.org/web"));
    await take({ leave: true, key: (await generateEncryptionKey()).jwk });
    await take({ leave: true, subscription: subscriptionOf(1) });
    assert.equal(count(), 1);
  });

  test("take() leaves out keys of small order, and those that are none", async () => {
    const { take, count, jwk } = await rig();
    const small = { ...jwk, x: toBase64Url(new Uint8Array(32)) };
    assert.equal(await take({ key: small }), undefined);
    assert.equal(await take({ key: { ...jwk, x: `${"A".repeat(42)}B` } }), undefined);
    assert.equal(count(), 0);
  });

  test("take() has 64 places for an identity, which those who are gone make free", async () => {
    const { take, now, count } = await rig();
    for (let i = 0; i < MAX_OF_ONE; i++) assert.ok(await take({ subscription: subscriptionOf(i) }), `${i}`);
    now.pass(20_000);
    assert.equal(await take({ subscription: subscriptionOf(99) }), undefined);
    await take({ subscription: subscriptionOf(7), leave: true });
    assert.ok(await take({ subscription: subscriptionOf(99) }));
    now.pass(60_000);
    assert.ok(await take({ subscription: subscriptionOf(100) }));
    assert.equal(count(), 1);
  });

  test("take() has 1,024 places for all, which those who are gone make free", async () => {
    const own = await rig();
    const all = await crowd(own);
    for (const [i, by] of all.entries()) {
      for (let j = 0; j < MAX_OF_ONE; j++) {
        const subscription = subscriptionOf(j);
        assert.ok(await own.take({ subscription }, {}, by), `${i} ${j}`);
      }
    }
    assert.equal(await own.take(), undefined);
    await own.take({ subscription: subscriptionOf(3), leave: true }, {}, all[3]);
    assert.ok(await own.take());
    assert.equal(own.count(), all.length + 1);
  });

  test("take() hears an identity 64 times at once, then 4 times a second, and who renews always", async () => {
    const { take, now } = await rig();
    for (let i = 0; i < 100; i++) assert.ok(await take(), "who is there spends nothing");
    for (let i = 1; i < 64; i++) assert.equal((await take({ kids: ["k".repeat(43)] }))!.kids.length, 1);
    assert.deepEqual((await take({ kids: ["k".repeat(43)] }))!.kids, []);
    assert.ok(await take());
    assert.equal(await take({ subscription: subscriptionOf(1) }), undefined);
    now.pass(250);
    assert.ok(await take({ subscription: subscriptionOf(1) }));
    assert.equal(await take({ subscription: subscriptionOf(2) }), undefined);
  });

  test("readJoin() reads what writeJoin() writes, and nothing else", () => {
    const key: EncryptionJwk = { kty: "OKP", crv: "X25519", x: "A".repeat(43) };
    const request = { key, subscription: SUBSCRIPTION, until: 1 };
    const kids = ["k".repeat(43)];
    for (const each of [request, { ...request, leave: true }, { ...request, kids }]) {
      assert.deepEqual(readJoin(writeJoin(each)), each);
    }
    assert.equal(writeJoin({ ...request, leave: false, kids: [] }), writeJoin(request));
    const others = [
      { ...request, more: 1 },
      { ...request, key: { ...key, crv: "Ed25519" } },
      { ...request, key: { ...key, d: "A".repeat(43) } },
      { ...request, key: { ...key, x: "A" } },
      { ...request, subscription: "short" },
      { ...request, until: "1" },
      { ...request, until: 1.5 },
      { ...request, leave: false },
      { ...request, kids: Array(9).fill("k".repeat(43)) },
      { ...request, kids: ["k"] },
      null,
      [],
    ];
    for (const other of others) assert.equal(readJoin(JSON.stringify(other)), undefined, JSON.stringify(other));
    for (const text of ["", "{", '{"until":1,"until":1}']) assert.equal(readJoin(text), undefined);
  });

  test("readAnnouncement() reads what writeAnnouncement() writes, up to 128 wraps, and nothing else", () => {
    const kid = "k".repeat(43);
    const wrap = { to: "t".repeat(43), id: `spiffe://example.org/${"o".repeat(2_000)}`, enc: kid, ct: "c".repeat(64) };
    for (const each of [{ wraps: [] }, { kid, wraps: [wrap] }, { kid, wraps: Array(128).fill(wrap) }]) {
      assert.deepEqual(readAnnouncement(writeAnnouncement(each)), each);
    }
    const others = [
      { kid },
      { kid, wraps: Array(129).fill(wrap) },
      { kid: "k", wraps: [] },
      { kid, wraps: [], more: 1 },
      { kid, wraps: [{ ...wrap, more: 1 }] },
      { kid, wraps: [{ ...wrap, to: "t" }] },
      { kid, wraps: [{ ...wrap, enc: "" }] },
      { kid, wraps: [{ ...wrap, ct: "c".repeat(65) }] },
    ];
    for (const other of others) assert.equal(readAnnouncement(JSON.stringify(other)), undefined, JSON.stringify(other));
  });

  test("costLimit() lets as much be done at once as it may cost, and then no more than goes by in time", () => {
    const now = clock();
    const may = costLimit({ mostMs: 3_000, now });
    assert.deepEqual([may(1_000), may(1_000), may(500), may(10_000), may(1)], [true, true, true, true, false]);
    now.pass(9_500);
    assert.equal(may(1), false);
    now.pass(1);
    assert.deepEqual([may(1), may(1)], [true, false]);
    now.pass(-60_000); // a clock that was set back gives nothing away
    assert.equal(may(1), false);
    now.pass(60_000);
    assert.equal(may(1), true);
  });

  test("rateLimit() lets each do something so often at once, and then so often in a second", () => {
    const now = clock();
    const may = rateLimit({ burst: 2, perSecond: 2, now });
    const asked = (times: number) => Array.from({ length: times }, () => may("a"));
    assert.deepEqual(asked(3), [true, true, false]);
    assert.equal(may("b"), true);
    now.pass(499);
    assert.deepEqual(asked(1), [false]);
    now.pass(1);
    assert.deepEqual(asked(2), [true, false]);
    now.pass(60_000);
    assert.deepEqual(asked(3), [true, true, false]);
    now.pass(-60_000); // a clock that was set back gives nothing away
    assert.deepEqual(asked(1), [false]);
  });
});
