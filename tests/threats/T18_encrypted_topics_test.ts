import assert from "node:assert/strict";
import { test } from "node:test";
import { allow, type Policy, policy, type Rule } from "../../src/auth/mod.ts";
import { type Message, type Subscription, topic, topicPattern } from "../../src/broker/mod.ts";
import { openEpochKey } from "../../src/broker/encryption/epoch_key.ts";
import { JOSE_TYPE } from "../../src/broker/event.ts";
import { encryptData } from "../../src/broker/encryption/event_encryption.ts";
import { fromBase64 } from "../../src/internal/base64.ts";
import { CardCharged, id, OrderPlaced, RULES } from "../broker/_pubsub.ts";
import { type HeldTimers, heldTimers } from "../registry/_rig.ts";
import {
  arrives,
  attributesAt,
  forge,
  nextOf,
  partsOf,
  recorded,
  refusals,
  type Scene,
  scene,
  until,
} from "./_broker_scene.ts";
import type { LyingBroker } from "./_lying_broker.ts";

// The broker, and whoever reads over its shoulder, gets nothing of what is encrypted: no message, no key, and nobody it keeps.

const CANARY = "canary-4000-0566-5566-5556";
const CARDS = CardCharged.name;

/** Every AES key that is imported meanwhile, as code in the process can see it. */
async function spiedKeys<Value>(run: (keys: Uint8Array[]) => Promise<Value>): Promise<Value> {
  const { subtle } = crypto;
  const importKey = subtle.importKey;
  const keys: Uint8Array[] = [];
  Object.defineProperty(subtle, "importKey", {
    configurable: true,
    value: (...given: [string, BufferSource, unknown]) => {
      const [format, bytes, algorithm] = given;
      const name = typeof algorithm === "string" ? algorithm : (algorithm as { name: string }).name;
      if (format === "raw" && name === "AES-GCM") keys.push(new Uint8Array(bytes as Uint8Array<ArrayBuffer>));
      return importKey.apply(subtle, given as never);
    },
  });
  try {
    return await run(keys);
  } finally {
    delete (subtle as { importKey?: unknown }).importKey; // the prototype's own comes back
  }
}

/** Whether a secret is in a text: as it is, in hexadecimal, or in base64 of any offset, also of what is base64 itself. */
function isIn(held: string, secret: Uint8Array, depth = 2): boolean {
  const plain = String.fromCharCode(...secret);
  const hex = [...secret].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const inBase64 = [0, 1, 2].map((offset) => {
    const text = btoa("\0".repeat(offset) + plain);
    return text.slice(Math.ceil(offset * 4 / 3), -4).replaceAll("+", "-").replaceAll("/", "_");
  });
  const url = held.replaceAll("+", "-").replaceAll("/", "_");
  if (held.includes(plain) || held.toLowerCase().includes(hex) || inBase64.some((each) => url.includes(each))) {
    return true;
  }
  return depth > 0 && (held.match(/[\w+/-]{16,}/g) ?? []).some((text) => {
    const bytes = fromBase64(text);
    return bytes !== undefined && isIn(latin1(bytes), secret, depth - 1);
  });
}

const latin1 = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Waits until the shop has dealt with all who asked for keys so far. */
async function heard({ liar, shop }: Scene): Promise<void> {
  await until(() =>
    recorded(shop, "message.accept") + refusals(shop).length >=
      liar.events.filter(({ topic }) => topic.startsWith("postern.join.")).length
  );
  let turns = 0; // it is recorded first, and then looked at
  await until(() => ++turns > 30);
}

/** For whom the announcements of keys from a place on are. */
const wrapsFrom = ({ events }: LyingBroker, from: number): string[] =>
  events.slice(from).flatMap(({ topic, event }) =>
    topic === `postern.keys.${CARDS}` ? JSON.parse(partsOf(event)[2]).wraps.map((wrap: { id: string }) => wrap.id) : []
  );

test("T18 reads: neither a message nor a key is ever in the broker's hands, in whatever spelling", async () => {
  await spiedKeys(async (keys) => {
    await using all = await scene();
    const { liar, billing, shop, place } = all;
    const shipping = await place.join("shipping");
    await using cards = await billing.subscribe(CardCharged);
    await shop.publish(CardCharged, { id: CANARY });
    assert.equal((await nextOf(cards)).data.id, CANARY);
    await using others = await shipping.subscribe(CardCharged, { group: "g" });
    await heard(all);
    for (let n = 0; n < 5; n++) await shop.publish(CardCharged, { id: `${CANARY} ${n}` }, { orderingKey: "k" });
    for (let n = 0; n < 5; n++) assert.equal((await nextOf(cards)).data.id, `${CANARY} ${n}`);
    (await nextOf(others)).reject();
    const encryption = await (await place.world.join(id("x"))).encryptionKey();
    assert.equal(encryption.pair.privateKey.extractable, false);
    const secrets = [bytesOf(CANARY), ...keys];
    const unique = new Set(keys.map(String));
    assert.ok(unique.size >= 2 && keys.length > unique.size, "keys were made, and given to who reads");
    const text = [...new Set(liar.held)].join("\n");
    for (const secret of secrets) assert.equal(isIn(text, secret), false);
    // What is not encrypted would have been found, in all spellings.
    await shop.publish(OrderPlaced, { id: CANARY });
    assert.equal(isIn(liar.held.at(-1)! + liar.events.at(-1)!.event, secrets[0]!), true);
    for (const offset of ["", "x", "xy"]) {
      assert.equal(isIn(btoa(`${offset}${CANARY}yyy`), secrets[0]!), true);
      assert.equal(isIn(btoa(btoa(`${offset}${CANARY}`)), secrets[0]!), true);
    }
  });
});

test("T18 forges: a subscriber who has the key makes no message of the publisher", async () => {
  await spiedKeys(async (keys) => {
    const rules = [...RULES, allow({ caller: id("billing"), publish: CARDS })];
    await using all = await scene(rules);
    const { liar, billing, shop, place: { world: here, now, join } } = all;
    const shipping = await join("shipping", { rules });
    await using cards = await shipping.subscribe(CardCharged);
    await using own = await billing.subscribe(CardCharged);
    await shop.publish(CardCharged, { id: "1" });
    assert.deepEqual([(await nextOf(cards)).data.id, (await nextOf(own)).data.id], ["1", "1"]);
    const { kid } = JSON.parse(latin1(fromBase64(partsOf(liar.events.at(-1)!.event)[2].split(".")[0]!)!));
    const scope = { topic: CARDS, publisher: id("shop"), kid };
    const found = await Promise.all(
      keys.map((raw) => openEpochKey(raw as Uint8Array<ArrayBuffer>, scope).catch(() => undefined)),
    );
    const key = found.find((each) => each !== undefined);
    assert.ok(key, "the subscriber has it");
    const attributes = attributesAt(now(), { topic: CARDS, contentType: JOSE_TYPE });
    const data = await encryptData(key, { topic: CARDS, publisher: id("shop"), id: attributes.id }, '{"id":"forged"}');
    const thief = await here.join(id("billing"));
    const victim = await here.join(id("shop"));
    const event = [
      await forge({ ...victim, sign: thief.sign }, attributes, data), // signed by another key
      await forge({ ...thief, id: victim.id }, attributes, data), // signed by another identity
      await forge(thief, attributes, data), // by itself, with a text of somebody else
    ];
    // And the publisher's own ciphertext under the thief's signature.
    const copied = partsOf(liar.events.find(({ topic }) => topic === CARDS)!.event)[2];
    event.push(await forge(thief, attributesAt(now(), { topic: CARDS, contentType: JOSE_TYPE, sequence: 2 }), copied));
    for (const each of event) liar.inject({ topic: CARDS, event: each }, (pattern) => pattern === CARDS);
    await shop.publish(CardCharged, { id: "2" });
    assert.equal((await nextOf(cards)).data.id, "2");
    assert.deepEqual(refusals(shipping), ["bad_token_signature", "malformed_event", "not_decrypted", "not_decrypted"]);
  });
});

test("T18 alters: an encrypted message that is put in the clear, and one in the clear that says it is encrypted", async () => {
  await using all = await scene();
  const { liar, billing, shop, place: { world: here, now } } = all;
  await using cards = await billing.subscribe(CardCharged);
  const publisher = await here.join(id("shop")); // even if it is the publisher's own mistake
  await shop.publish(CardCharged, { id: "1" });
  assert.equal((await nextOf(cards)).data.id, "1");
  const clear = attributesAt(now(), { topic: CARDS });
  const events = [
    await forge(publisher, clear),
    await forge(publisher, { ...clear, contentType: JOSE_TYPE }),
    await forge(publisher, { ...clear, contentType: JOSE_TYPE }, "a.b.c.d.e"),
  ];
  for (const event of events) liar.inject({ topic: CARDS, event }, (pattern) => pattern === CARDS);
  await shop.publish(CardCharged, { id: "2" });
  assert.equal((await nextOf(cards)).data.id, "2");
  assert.deepEqual(refusals(billing), ["not_encrypted", "malformed_event", "malformed_event"]);
});

test("T18 alters: a message of a topic in the clear that says it is encrypted", async () => {
  await using all = await scene();
  const { liar, billing, place: { world: here, now } } = all;
  await using orders = await billing.subscribe(OrderPlaced);
  const publisher = await here.join(id("shop"));
  liar.inject({
    topic: OrderPlaced.name,
    event: await forge(publisher, attributesAt(now(), { contentType: JOSE_TYPE })),
  });
  await arrives(all, orders);
  assert.deepEqual(refusals(billing), ["malformed_message"]);
});

test("T18 moves: an encrypted message to another encrypted topic of the same subscription", async () => {
  await using all = await scene();
  const { liar, billing, shop } = all;
  const Refunded = topic("cards.v1.refunded", CardCharged.schema, { encrypted: true });
  await using cards = await billing.subscribe(topicPattern("cards.v1.*", CardCharged.schema, { encrypted: true }));
  await Promise.all([shop.publish(CardCharged, { id: "1" }), shop.publish(Refunded, { id: "1" })]);
  for (let n = 0; n < 2; n++) assert.equal((await nextOf(cards)).data.id, "1");
  for (const { topic, event } of liar.events.filter(({ topic }) => topic.startsWith("cards."))) {
    const other = topic === CARDS ? Refunded.name : CARDS;
    liar.inject({ topic: other, event }, (pattern) => pattern === "cards.v1.*");
  }
  await shop.publish(Refunded, { id: "2" });
  assert.equal((await nextOf(cards)).data.id, "2");
  assert.deepEqual(refusals(billing), ["wrong_topic", "wrong_topic"]);
});

/** What a subscriber makes of the next message, who waits for its key until there is no hope. */
async function made(timers: HeldTimers, spy: Subscription<Message>, isRefused: () => boolean): Promise<string> {
  let message: Message | undefined;
  spy[Symbol.asyncIterator]().next().then(({ value }) => message = value, () => {});
  for (let turns = 0; !isRefused() && !message; turns++) {
    assert.ok(turns < 50, "nothing comes of it");
    await timers.settle();
    for (const ms of [100, 50, 5_000]) if (timers.waits().includes(ms)) timers.fire(ms);
  }
  return message ? "read" : "refused";
}

interface Kept extends Scene {
  /** What the publisher goes by from now on. */
  change(rules: readonly Rule[]): void;
}

const KEPT: readonly (readonly [who: string, remove: (all: Kept) => Promise<void>])[] = [
  ["whose rule was taken away", ({ change, place: { now } }) => {
    change([
      allow({ caller: id("shop"), publish: "cards.v1.*" }),
      allow({ caller: id("billing"), subscribe: "cards.v1.*" }),
    ]);
    now.pass(1_000); // policies do not change, so this one is asked once a second
    return Promise.resolve();
  }],
  ["who was revoked", async ({ place: { world: { authority, trust } } }) => {
    authority.revoke({ ids: [id("shipping")] });
    await trust.update(await authority.signedBundle());
  }],
];

for (const [who, remove] of KEPT) {
  test(`T18 keeps removed subscribers: ${who} reads nothing later`, async () => {
    await using place = await scene();
    let current = policy(RULES);
    const changing: Policy = { ...current, matching: (question) => current.matching(question) };
    const shop = await place.place.join("shop", { policy: changing });
    const all: Kept = { ...place, shop, change: (rules) => void (current = policy(rules)) };
    const { liar, billing } = all;
    const shipping = await all.place.join("shipping");
    const spy = await shipping.subscribe(CardCharged);
    await using cards = await billing.subscribe(CardCharged);
    await shop.publish(CardCharged, { id: "1" });
    assert.deepEqual([(await nextOf(spy)).data.id, (await nextOf(cards)).data.id], ["1", "1"]);
    await remove(all);
    // Billing is there and says so, as it does by itself when half of its time is over.
    await using later = await billing.subscribe(CardCharged);
    const from = liar.events.length;
    await heard(all);
    using timers = heldTimers();
    await shop.publish(CardCharged, { id: "2" });
    assert.equal((await nextOf(later)).data.id, "2");
    assert.deepEqual(new Set(wrapsFrom(liar, from)), new Set([id("billing")]));
    assert.equal(await made(timers, spy, () => shipping.refused("no_key") > 0), "refused");
    assert.equal(wrapsFrom(liar, from).includes(id("shipping")), false, "also not when it asks for that key");
    await spy[Symbol.asyncDispose]();
  });
}

test("T18 keeps removed subscribers: whom the policy never let reads nothing, whatever it asks for", async () => {
  await using all = await scene();
  const { liar, billing, shop, place } = all;
  const rules = [...RULES, allow({ caller: id("mallory"), subscribe: ">" })];
  const mallory = await place.join("mallory", { rules });
  const spy = await mallory.subscribe(CardCharged);
  await using cards = await billing.subscribe(CardCharged);
  await shop.publish(CardCharged, { id: "0" });
  assert.equal((await nextOf(cards)).data.id, "0");
  using timers = heldTimers();
  await shop.publish(CardCharged, { id: "1" });
  assert.equal((await nextOf(cards)).data.id, "1");
  assert.equal(await made(timers, spy, () => mallory.refused("no_key") > 0), "refused");
  assert.equal(wrapsFrom(liar, 0).includes(id("mallory")), false);
  assert.ok(refusals(shop).includes("not_allowed"), "its request was refused and recorded");
  await spy[Symbol.asyncDispose]();
});
