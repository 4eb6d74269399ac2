import { generateKey, type Identity, importIdentity } from "../../src/auth/mod.ts";
import {
  brokerId,
  type EventAttributes,
  JOSE_TYPE,
  JSON_TYPE,
  MAX_EVENT,
  signEvent,
  verifyEvent,
} from "../../src/broker/event.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, DOMAIN, WEB, world } from "../auth/_world.ts";
import { assertRefused, claimsOf, DATA, hash, HOUR_MS, partsOf, scene, TOPIC } from "./_event.ts";

test("verifyEvent() gives what signEvent() was told, and who said it", async () => {
  const { event, verify, attributes, now } = await scene();
  const { publisher, ...said } = await verify(event);
  assert.deepEqual(said, { ...attributes(), data: DATA });
  assert.deepEqual([publisher.id, publisher.roles, publisher.attributes], [WEB, ["r"], { team: "red" }]);
  assert.deepEqual(claimsOf(event), {
    specversion: "1.0",
    type: TOPIC,
    id: "event-1",
    source: WEB,
    producer: "A".repeat(22),
    sequence: "7",
    time: new Date(now()).toISOString(),
    datacontenttype: "application/json",
    datadigest: toBase64Url(hash.sha256(new TextEncoder().encode(DATA))),
    partitionkey: "customer-1",
  });
});

test("verifyEvent() takes events at the ends of what they may say", async () => {
  const { signed, verify, now } = await scene();
  const ends: readonly (readonly [Partial<EventAttributes>, string?])[] = [
    [{ orderingKey: undefined }],
    [{}, ""],
    [{}, "~~~"],
    [{}, "x".repeat(600_000)],
    [{ contentType: JOSE_TYPE }, "a.b.c.d.e"],
    [{ sequence: 1 }],
    [{ sequence: 999_999_999_999_999 }],
    [{ id: "!" }],
    [{ id: "~".repeat(128), orderingKey: "~".repeat(128) }],
    [{ timeMs: now() + 5_000 }],
    [{ timeMs: now() - 5_000 }],
  ];
  for (const [more, data = DATA] of ends) {
    const said = await verify(await signed(more, data));
    for (const [name, value] of Object.entries(more)) assert.equal(said[name as keyof typeof said], value, name);
    assert.equal(said.data, data);
  }
  const topic = `a${"b".repeat(127)}`;
  assert.equal((await verify(await signed({ topic }), topic)).topic, topic);
});

test("verifyEvent() refuses data that were changed", async () => {
  const { event, signed, verify } = await scene();
  const { jws, token, data } = partsOf(event);
  const changed = [
    "",
    data.slice(0, -1),
    data.slice(1),
    `${data} `,
    ` ${data}`,
    `\ufeff${data}`,
    `${data}~`,
    `~${data}`,
    data.replace("1", "2"),
    data.replace("é", "e\u0301"),
    data.toUpperCase(),
    data.replace("😀", "\ud83d"),
  ];
  for (const each of changed) await assertRefused(verify(`${jws}~${token}~${each}`), "wrong_digest", each);
  const other = partsOf(await signed({}, '{"id":"2"}'));
  await assertRefused(verify(`${jws}~${token}~${other.data}`), "wrong_digest");
  await assertRefused(verify(`${other.jws}~${token}~${data}`), "wrong_digest");
});

test("verifyEvent() never gives data whose bytes are not those that were signed", async () => {
  const { signed, verify } = await scene();
  // What is no character has the bytes of U+FFFD: texts that differ with one digest.
  const { jws, token } = partsOf(await signed({}, '{"id":"\ufffd"}'));
  for (const sign of ["\ud800", "\udc00", "\udbff"]) {
    const data = await verify(`${jws}~${token}~{"id":"${sign}"}`).then((said) => said.data, () => undefined);
    if (data === undefined) continue;
    assert.equal(new TextDecoder().decode(new TextEncoder().encode(data)), '{"id":"\ufffd"}');
  }
  await assertRefused(verify(`${jws}~${token}~{"id":"\ud800\ud800"}`), "wrong_digest");
});

test("verifyEvent() refuses an event with the identity token of another", async () => {
  const { event, join, verify, forged } = await scene();
  const { jws, data } = partsOf(event);
  const other = await join(`spiffe://${DOMAIN}/other`);
  const token = (await other.credential()).token.reveal();
  await assertRefused(verify(`${jws}~${token}~${data}`), "bad_token_signature");
  // Another instance of the same identity has another key.
  const twin = (await (await join(WEB)).credential()).token.reveal();
  await assertRefused(verify(`${jws}~${twin}~${data}`), "bad_token_signature");
  await assertRefused(verify(await forged({}, { identity: other })), "bad_token_signature");
});

test("verifyEvent() refuses a source that is not whose token and signature it is", async () => {
  const { join, verify, forged } = await scene();
  const other = await join(`spiffe://${DOMAIN}/other`);
  const token = (await other.credential()).token.reveal();
  await assertRefused(verify(await forged({}, { identity: other, token })), "malformed_event");
  assert.ok(await verify(await forged({ source: other.id }, { identity: other, token })));
  for (const source of ["", `${WEB}/`, WEB.toUpperCase(), "*", `spiffe://${DOMAIN}/*`]) {
    await assertRefused(verify(await forged({ source })), "malformed_event", source);
  }
});

test("verifyEvent() refuses a publisher whom no authority in use vouches for", async () => {
  const { verify, now, forged } = await scene();
  for (const domain of [DOMAIN, "other.test"]) {
    const stranger = await world(domain, now);
    const identity = await stranger.join(`spiffe://${domain}/web`);
    const token = (await identity.credential()).token.reveal();
    await assertRefused(verify(await forged({ source: identity.id }, { identity, token })), "unknown_issuer", domain);
  }
});

test("verifyEvent() takes an event whose token held when it was published, and has ended since", async () => {
  const { event, verify, now, signed } = await scene();
  now.pass(HOUR_MS - 1);
  const last = await signed({ timeMs: now() });
  now.pass(24 * HOUR_MS);
  assert.equal((await verify(event)).id, "event-1");
  assert.equal((await verify(last)).id, "event-1");
});

test("verifyEvent() refuses an event of a time at which its token had ended, or was not there yet", async () => {
  const { verify, now, signed } = await scene();
  const startMs = now();
  const after = await signed({ timeMs: startMs + HOUR_MS });
  const before = await signed({ timeMs: startMs - 5_001 });
  now.pass(HOUR_MS);
  await assertRefused(verify(after), "expired_token");
  await assertRefused(verify(before), "expired_token");
});

test("verifyEvent() takes an event of the very first time there is", async () => {
  const { join, trust, now } = await world(DOMAIN, clock(0));
  const identity = await join(WEB);
  const attributes = {
    topic: TOPIC,
    id: "1",
    producer: "A".repeat(22),
    sequence: 1,
    timeMs: 0,
    orderingKey: undefined,
  };
  const event = await signEvent(identity, { ...attributes, contentType: JSON_TYPE }, { data: DATA, hash });
  assert.equal((await verifyEvent(event, { trust, topic: TOPIC, nowMs: now(), hash })).timeMs, 0);
});

test("verifyEvent() refuses an event of who is revoked now, whenever it was published", async () => {
  const { event, verify, authority, trust } = await scene();
  assert.ok(await verify(event));
  authority.revoke({ ids: [WEB] });
  await trust.update(await authority.signedBundle());
  await assertRefused(verify(event), "revoked");
});

test("verifyEvent() refuses an event that came by another topic", async () => {
  const { event, verify } = await scene();
  for (
    const topic of ["orders.v1.paid", "orders.v1", "orders.v1.placed.x", "orders.v1.*", ">", "", "Orders.v1.placed"]
  ) {
    await assertRefused(verify(event, topic), "wrong_topic", topic);
  }
});

test("verifyEvent() refuses an event that is further ahead than clocks may differ", async () => {
  const { verify, now, signed } = await scene();
  const later = await signed({ timeMs: now() + 5_001 });
  await assertRefused(verify(later), "not_yet");
  await assertRefused(verify(await signed({ timeMs: now() + 24 * HOUR_MS })), "not_yet");
  now.pass(1);
  assert.ok(await verify(later));
});

test("verifyEvent() takes an event as long as one may be, and refuses a longer one before it reads it", async () => {
  const { event, signed, verify } = await scene();
  const room = MAX_EVENT - (event.length - DATA.length);
  const longest = await signed({}, "x".repeat(room));
  assert.deepEqual([longest.length, MAX_EVENT], [786_432, 786_432]);
  assert.equal((await verify(longest)).data.length, room);
  await assertRefused(verify(await signed({}, "x".repeat(room + 1))), "malformed_event");
  await assertRefused(verify("~".repeat(MAX_EVENT + 1)), "malformed_event");
});

test("verifyEvent() takes one signature over one event, whoever else has the key of it", async () => {
  const { event, verify, authority, now } = await scene();
  // A key that its authority gave to two identities: each event says whose it is.
  const key = await generateKey();
  const [first, second] = await Promise.all(
    ["a", "b"].map(async (name) =>
      importIdentity(key, await authority.issue(key.jwk, { id: `spiffe://${DOMAIN}/${name}` }), { now })
    ),
  ) as [Identity, Identity];
  const attributes = { ...(await verify(event)), timeMs: now() };
  const own = await signEvent(first, attributes, { data: DATA, hash });
  assert.equal((await verify(own)).publisher.id, first.id);
  const { jws, data } = partsOf(own);
  const moved = `${jws}~${(await second.credential()).token.reveal()}~${data}`;
  await assertRefused(verify(moved), "malformed_event");
});

test("brokerId() names an event by publisher, topic and id, none of which can pass for another", () => {
  const good = { publisher: WEB, topic: TOPIC, id: "1" };
  assert.match(brokerId(good, hash), /^[\w-]{43}$/);
  assert.equal(brokerId({ ...good }, hash), brokerId(good, hash));
  const others = [
    { ...good, publisher: `${WEB}2` },
    { ...good, topic: `${TOPIC}.1` },
    { ...good, id: "2" },
    { publisher: `${WEB}${TOPIC}`, topic: "", id: "1" },
    { ...good, topic: TOPIC.slice(0, -1), id: `${TOPIC.at(-1)}1` },
  ];
  const ids = new Set([good, ...others].map((each) => brokerId(each, hash)));
  assert.equal(ids.size, 1 + others.length);
});
