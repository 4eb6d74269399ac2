import assert from "node:assert/strict";
import { test } from "node:test";
import { DOMAIN, world } from "../auth/_world.ts";
import { id, OrderPlaced } from "../broker/_pubsub.ts";
import {
  arrives,
  attributesAt,
  forge,
  heldBack,
  joined,
  ORDERS,
  partsOf,
  PRODUCER,
  refusals,
  reworded,
  scene,
} from "./_broker_scene.ts";

// The broker is the attacker's: whatever it alters, forges, replays, reorders, drops or moves is detected or harmless, and the
// honest message beside it arrives.
// Here: what it alters and forges.

const ALTERED: readonly (readonly [what: string, reason: string, change: (event: string) => string])[] = [
  ...[
    { type: "orders.v1.other" },
    { id: "other" },
    { source: id("mallory") },
    { producer: PRODUCER },
    { sequence: "7" },
    { time: "2027-01-15T08:00:00.001Z" },
    { partitionkey: "k" },
    { datadigest: "A".repeat(43) },
  ].map((changes): (typeof ALTERED)[number] => [
    `the attribute ${Object.keys(changes)}`,
    "bad_token_signature",
    (event) => {
      const [attributes, token, data] = partsOf(event);
      return joined(reworded(attributes, 1, (claims) => ({ ...claims, ...changes })), token, data);
    },
  ]),
  ["an attribute that there is not", "malformed_event", (event) => {
    const [attributes, token, data] = partsOf(event);
    return joined(reworded(attributes, 1, (claims) => ({ ...claims, more: "" })), token, data);
  }],
  ["the data", "wrong_digest", (event) => event.replace('"kept"', '"cept"')],
  ["the data's end", "wrong_digest", (event) => `${event} `],
  ["the data, which are left out", "wrong_digest", (event) => joined(...partsOf(event).slice(0, 2), "")],
  ["a part, which is left out", "malformed_event", (event) => joined(...partsOf(event).slice(1))],
  ["everything", "malformed_event", () => ""],
  ["the length", "malformed_event", (event) => event + " ".repeat(800_000)],
];

for (const [what, reason, change] of ALTERED) {
  test(`T18 alters: ${what}`, async () => {
    await using all = await scene();
    const { liar, billing } = all;
    await using orders = await billing.subscribe(OrderPlaced);
    const event = await heldBack(all);
    assert.notEqual(change(event), event);
    liar.inject({ topic: ORDERS, event: change(event) });
    await arrives(all, orders);
    assert.deepEqual(refusals(billing), [reason]);
  });
}

test("T18 alters: the identity token, for another one of the same trust domain, and its words", async () => {
  await using all = await scene();
  const { liar, billing, place } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  const [attributes, token, data] = partsOf(await heldBack(all));
  const other = await (await place.world.join(id("shop"))).credential();
  liar.inject({ topic: ORDERS, event: joined(attributes, other.token.reveal(), data) });
  liar.inject({
    topic: ORDERS,
    event: joined(attributes, reworded(token, 1, (claims) => ({ ...claims, sub: id("x") })), data),
  });
  liar.inject({
    topic: ORDERS,
    event: joined(attributes, reworded(token, 0, (header) => ({ ...header, alg: "none" })), data),
  });
  liar.inject({ topic: ORDERS, event: joined(attributes, "", data) });
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), [
    "bad_token_signature",
    "bad_token_signature",
    "malformed_token",
    "malformed_token",
  ]);
});

test("T18 alters: any bit of any character", async () => {
  await using all = await scene();
  const { liar, billing } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  const event = await heldBack(all);
  for (let index = 0; index < event.length; index++) {
    const flipped = String.fromCharCode(event.charCodeAt(index) ^ (1 << (index % 7)));
    liar.inject({ topic: ORDERS, event: event.slice(0, index) + flipped + event.slice(index + 1) });
  }
  // The last characters of signatures, in every spelling.
  const [attributes, token, data] = partsOf(event);
  const spellings = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/"];
  const others = spellings.flatMap((last) => [
    joined(attributes.slice(0, -1) + last, token, data),
    joined(attributes, token.slice(0, -1) + last, data),
  ]).filter((each) => each !== event);
  for (const each of others) liar.inject({ topic: ORDERS, event: each });
  await arrives(all, orders);
  assert.equal(refusals(billing).length, event.length + others.length);
  assert.equal(refusals(billing).includes("failed"), false);
});

test("T18 forges: events of an identity that may not publish, of nobody, and of who has not the key", async () => {
  await using all = await scene();
  const { liar, billing, place: { world: here, now, join } } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  const [mallory, real] = [await here.join(id("mallory")), await here.join(id("shop"))];
  const own = await forge(mallory, attributesAt(now()));
  // A domain of the same name, whose authority nobody trusts.
  const elsewhere = await (await world(DOMAIN)).join(id("shop"));
  const [attributes, , data] = partsOf(own);
  const { expiresAtMs } = await real.credential();
  const forgeries: readonly (readonly [reason: string, event: string])[] = [
    ["not_allowed", own],
    ["malformed_token", joined(attributes, "", data)],
    ["malformed_token", joined(attributes, "a.b.c", data)],
    ["bad_token_signature", await forge({ ...real, sign: mallory.sign }, attributesAt(now()))],
    ["malformed_event", await forge({ ...mallory, id: real.id }, attributesAt(now()))],
    ["unknown_issuer", await forge(elsewhere, attributesAt(now()))],
    ["not_yet", await forge(real, attributesAt(now() + 5_001))],
  ];
  for (const [, event] of forgeries) liar.inject({ topic: ORDERS, event });
  await arrives(all, orders);
  // A key that leaked signs for no time after its token.
  const afterwards = await forge(real, attributesAt(expiresAtMs));
  now.pass(expiresAtMs - now());
  liar.inject({ topic: ORDERS, event: afterwards });
  await arrives({ ...all, shop: await join("shop") }, orders);
  assert.deepEqual(refusals(billing), [...forgeries.map(([reason]) => reason), "expired_token"]);
  assert.deepEqual(billing.events.find(({ reason }) => reason === "not_allowed")?.caller, id("mallory"));
});

test("T18 forges: events of a publisher who was revoked, whenever they say that they were signed", async () => {
  await using all = await scene();
  const { liar, billing, place: { world: here, now, join } } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  const real = await here.join(id("shop"));
  const { tokenId } = await here.trust.verify((await real.credential()).token.reveal());
  now.pass(60_000);
  here.authority.revoke({ tokens: [tokenId] });
  await here.trust.update(await here.authority.signedBundle());
  for (const agoMs of [0, 1, 30_000]) {
    liar.inject({ topic: ORDERS, event: await forge(real, attributesAt(now() - agoMs)) });
  }
  await arrives({ ...all, shop: await join("shop") }, orders);
  assert.deepEqual(refusals(billing), ["revoked", "revoked", "revoked"]);
});

test("T18 forges: what is no event at all does no harm", async () => {
  await using all = await scene();
  const { liar, billing } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  const nothing = [undefined, null, 7, {}, [], new Uint8Array(9), "~~", "~".repeat(9), "\ud800~\ud800~", "{}"];
  for (const event of nothing) liar.inject({ topic: ORDERS, event: event as string });
  for (const attempt of [0, -1, NaN, Infinity, 1e9]) liar.inject({ topic: ORDERS, event: "~~", attempt });
  await arrives(all, orders);
  assert.equal(refusals(billing).length, nothing.length + 5);
  assert.equal(refusals(billing).includes("failed"), false);
});
