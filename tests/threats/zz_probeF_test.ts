import assert from "node:assert/strict";
import { test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import { type Message, type Subscription, topic, topicPattern } from "../../src/broker/mod.ts";
import { openEpochKey } from "../../src/broker/encryption/epoch_key.ts";
import { JOSE_TYPE } from "../../src/broker/event.ts";
import { encryptData } from "../../src/broker/encryption/event_encryption.ts";
import { fromBase64 } from "../../src/internal/base64.ts";
import { CardCharged, id, OrderPlaced, RULES } from "../broker/_pubsub.ts";
import { heldTimers } from "../registry/_rig.ts";
import { attributesAt, forge, nextOf, partsOf, recorded, refusals, scene, until } from "./_broker_scene.ts";
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

/** For whom the announcements of keys from a place on are. */
const wrapsFrom = ({ events }: LyingBroker, from: number): string[] =>
  events.slice(from).flatMap(({ topic, event }) =>
    topic === `postern.keys.${CARDS}` ? JSON.parse(partsOf(event)[2]).wraps.map((wrap: { id: string }) => wrap.id) : []
  );

test("T18 reads: neither a message nor a key is ever in the broker's hands, in whatever spelling", async () => {
  await spiedKeys(async (keys) => {
    await using all = await scene();
console.error("STEP 2");
    const { liar, billing, shop, place } = all;
console.error("STEP 3");
    const shipping = await place.join("shipping");
console.error("STEP 4");
    await using cards = await billing.subscribe(CardCharged);
console.error("STEP 5");
    await shop.publish(CardCharged, { id: CANARY });
console.error("STEP 6");
    assert.equal((await nextOf(cards)).data.id, CANARY);
console.error("STEP 7");
    await using others = await shipping.subscribe(CardCharged, { group: "g" });
console.error("STEP 8");
    await until(() => recorded(shop, "message.accept") >= 2);
console.error("STEP 9");
    for (let n = 0; n < 5; n++) await shop.publish(CardCharged, { id: `${CANARY} ${n}` }, { orderingKey: "k" });
console.error("STEP 10");
    for (let n = 0; n < 5; n++) assert.equal((await nextOf(cards)).data.id, `${CANARY} ${n}`);
console.error("STEP 11");
    (await nextOf(others)).reject();
console.error("STEP 12");
    const encryption = await (await place.world.join(id("x"))).encryptionKey();
console.error("STEP 13");
    assert.equal(encryption.pair.privateKey.extractable, false);
console.error("STEP 14");
    const secrets = [bytesOf(CANARY), ...keys];
console.error("STEP 15");
    const unique = new Set(keys.map(String));
console.error("STEP 16");
    assert.ok(unique.size >= 2 && keys.length > unique.size, "keys were made, and given to who reads");
console.error("STEP 17");
    const text = [...new Set(liar.held)].join("\n");
console.error("STEP 18");
    for (const secret of secrets) assert.equal(isIn(text, secret), false);
console.error("STEP 19");
    // What is not encrypted would have been found, in all spellings.
    await shop.publish(OrderPlaced, { id: CANARY });
console.error("STEP 21");
    assert.equal(isIn(liar.held.at(-1)! + liar.events.at(-1)!.event, secrets[0]!), true);
console.error("STEP 22");
    for (const offset of ["", "x", "xy"]) {
      assert.equal(isIn(btoa(`${offset}${CANARY}yyy`), secrets[0]!), true);
console.error("STEP 24");
      assert.equal(isIn(btoa(btoa(`${offset}${CANARY}`)), secrets[0]!), true);
console.error("STEP 25");
    }
  });
});

