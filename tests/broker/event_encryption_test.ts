import { BrokerError, type BrokerReason } from "../../src/broker/broker_error.ts";
import { type EpochKey, newEpochKey, openEpochKey, rawEpochKey } from "../../src/broker/encryption/epoch_key.ts";
import { decryptData, encryptData, readEncrypted } from "../../src/broker/encryption/event_encryption.ts";
import { assertIvs } from "./_ivs.ts";
import { fromBase64, toBase64Url } from "../../src/internal/base64.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const OF = { topic: "orders.v1.placed", publisher: "spiffe://example.org/orders", id: "e1" };
const LARGEST = 524_288;
const because = (reason: BrokerReason, message?: RegExp) => (error: unknown) => {
  assert.ok(error instanceof BrokerError, `${error}`);
  assert.equal(error.reason, reason, error.message);
  if (message) assert.match(error.message, message);
  return true;
};
const utf8 = (text: string) => new TextEncoder().encode(text);
const headerOf = ({ topic, publisher, id }: typeof OF, kid: string) => ({
  alg: "dir",
  aud: topic,
  enc: "A256GCM",
  iss: publisher,
  jti: id,
  kid,
});

/** A JWE as RFC 7516, section 5.1, has it, written out once more: of any header, with a key's own tag. */
async function seal(epoch: EpochKey, header: string, plaintext: Uint8Array<ArrayBuffer> = utf8("hello")) {
  const first = toBase64Url(utf8(header));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const algorithm = { name: "AES-GCM", iv, additionalData: utf8(first), tagLength: 128 };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(algorithm, epoch.key, plaintext));
  const parts = [first, "", toBase64Url(iv), toBase64Url(sealed.slice(0, -16)), toBase64Url(sealed.slice(-16))];
  return parts.join(".");
}

/** The same for section 5.2. */
async function unseal(epoch: EpochKey, jwe: string) {
  const [first, , iv, ciphertext, tag] = jwe.split(".") as [string, string, string, string, string];
  const sealed = new Uint8Array([...fromBase64(ciphertext)!, ...fromBase64(tag)!]);
  const algorithm = { name: "AES-GCM", iv: fromBase64(iv)!, additionalData: utf8(first), tagLength: 128 };
  return new TextDecoder().decode(await crypto.subtle.decrypt(algorithm, epoch.key, sealed));
}

/** With one part of it changed. */
const changed = (jwe: string, index: number, change: (part: string) => string) =>
  jwe.split(".").map((part, at) => at === index ? change(part) : part).join(".");
/** With its first bit the other way round. */
const flipped = (part: string) => toBase64Url(fromBase64(part)!.map((byte, at) => at === 0 ? byte ^ 0x80 : byte));
/** The same bytes for whoever ignores the bits that are lost, or the next character where none are. */
const otherSpelling = (part: string) => {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1)!) + 1];
};

describe("the encryption of an event's data", () => {
  test("decryptData() gives what encryptData() was given, text and bytes", async () => {
    const epoch = await newEpochKey(OF);
    for (const text of ["", "{}", '{"a":"€ 𝄞 \\u0000"}', "\ufeff with a mark"]) {
      assert.equal(await decryptData(epoch, OF, await encryptData(epoch, OF, text)), text);
      assert.equal(await decryptData(epoch, OF, await encryptData(epoch, OF, utf8(text))), text);
    }
  });

  test("encryptData() makes the JWE of RFC 7516 with the header in canonical JSON, and decryptData() reads it", async () => {
    const epoch = await newEpochKey(OF);
    const jwe = await encryptData(epoch, OF, "hello");
    const header = `{"alg":"dir","aud":"orders.v1.placed","enc":"A256GCM","iss":"spiffe://example.org/orders",` +
      `"jti":"e1","kid":"${epoch.kid}"}`;
    assert.equal(new TextDecoder().decode(fromBase64(jwe.split(".")[0]!)), header);
    assert.equal(await unseal(epoch, jwe), "hello");
    assert.equal(await decryptData(epoch, OF, await seal(epoch, header)), "hello");
    assert.equal(readEncrypted(jwe, OF), epoch.kid);
  });

  test("decryptData() takes the ids that need to be escaped, and a publisher's longest", async () => {
    const of = { ...OF, publisher: `spiffe://example.org/${"o".repeat(2_027)}`, id: '"\\'.repeat(64) };
    const epoch = await newEpochKey(of);
    assert.equal(await decryptData(epoch, of, await encryptData(epoch, of, "hello")), "hello");
  });

  test("encryptData() and decryptData() take the largest message, and no larger one", async () => {
    const epoch = await newEpochKey(OF);
    const largest = "x".repeat(LARGEST);
    assert.equal(await decryptData(epoch, OF, await encryptData(epoch, OF, largest)), largest);
    await assert.rejects(encryptData(epoch, OF, `${largest}x`), { name: "RangeError", message: /524288 bytes/ });
    const header = JSON.stringify(headerOf(OF, epoch.kid));
    const tooLarge = await seal(epoch, header, new Uint8Array(LARGEST + 6_000));
    await assert.rejects(decryptData(epoch, OF, tooLarge), because("malformed_event", /too long/));
  });

  for (const [name, value] of Object.entries({ topic: "other.v1", publisher: "spiffe://example.org/b", id: "e2" })) {
    test(`decryptData() refuses what was moved to another event, by its ${name}`, async () => {
      const epoch = await newEpochKey(OF);
      const jwe = await encryptData(epoch, OF, "hello");
      const other = { ...OF, [name]: value };
      await assert.rejects(decryptData(epoch, other, jwe), because("not_decrypted", /not of this event/));
      const moved = await encryptData(await newEpochKey(other), other, "hello");
      await assert.rejects(decryptData(epoch, OF, moved), because("not_decrypted", /not of this event/));
    });
  }

  test("encryptData() and decryptData() refuse the key of another topic or publisher, whatever its name", async () => {
    for (const other of [{ ...OF, topic: "other.v1" }, { ...OF, publisher: "spiffe://example.org/b" }]) {
      const foreign = await newEpochKey(other);
      await assert.rejects(encryptData(foreign, OF, "hello"), {
        name: "TypeError",
        message: /another topic or publisher/,
      });
      const jwe = await encryptData({ ...foreign, ...OF }, OF, "hello");
      await assert.rejects(decryptData(foreign, OF, jwe), because("no_key"));
    }
  });

  test("decryptData() refuses a key that has another name, and one that only has the same name", async () => {
    const [epoch, other] = [await newEpochKey(OF), await newEpochKey(OF)];
    const jwe = await encryptData(epoch, OF, "hello");
    await assert.rejects(decryptData(other, OF, jwe), because("no_key"));
    await assert.rejects(decryptData({ ...epoch, kid: other.kid }, OF, jwe), because("no_key"));
    await assert.rejects(decryptData({ ...other, kid: epoch.kid }, OF, jwe), because("not_decrypted"));
  });

  const headers: readonly [string, (good: ReturnType<typeof headerOf>) => unknown][] = [
    ["another algorithm", (good) => ({ ...good, alg: "A256KW" })],
    ["another encryption", (good) => ({ ...good, enc: "A128GCM" })],
    ["compression", (good) => ({ ...good, zip: "DEF" })],
    ["a demand", (good) => ({ ...good, crit: ["exp"], exp: 1 })],
    ["a type", (good) => ({ ...good, typ: "JWT" })],
    ["a key", (good) => ({ ...good, jwk: {} })],
    ["a member before the others", (good) => ({ a: 1, ...good })],
    ["its members in another order", ({ alg, ...others }) => ({ ...others, alg })],
    ["no audience", ({ aud: _, ...others }) => others],
    ["no issuer", ({ iss: _, ...others }) => others],
    ["no id", ({ jti: _, ...others }) => others],
    ["no key's name", ({ kid: _, ...others }) => others],
    ["a list as its audience", (good) => ({ ...good, aud: [good.aud] })],
    ["a key's name that is none", (good) => ({ ...good, kid: "short" })],
    ["null", () => null],
  ];
  for (const [title, change] of headers) {
    test(`decryptData() refuses a header with ${title}, though its tag is right`, async () => {
      const epoch = await newEpochKey(OF);
      const jwe = await seal(epoch, JSON.stringify(change(headerOf(OF, epoch.kid))));
      await assert.rejects(decryptData(epoch, OF, jwe), because("not_decrypted", /not of this event/));
    });
  }

  test("decryptData() refuses a header in another spelling, though its tag is right", async () => {
    const epoch = await newEpochKey(OF);
    const good = JSON.stringify(headerOf(OF, epoch.kid));
    const spellings = [
      "",
      ` ${good}`,
      `${good} `,
      `\ufeff${good}`,
      good.replace('"dir"', '"\\u0064ir"'),
      good.replace("{", '{"kid":"x",'),
      good.replace(",", ", "),
      good.replace("spiffe:", "spiffe:\\"),
    ];
    for (const text of spellings) {
      await assert.rejects(decryptData(epoch, OF, await seal(epoch, text)), because("not_decrypted"), text);
    }
  });

  const parts = ["header", "key", "IV", "ciphertext", "tag"];
  for (const index of [2, 3, 4]) {
    test(`decryptData() refuses one bit of the ${parts[index]} the other way round`, async () => {
      const epoch = await newEpochKey(OF);
      const jwe = changed(await encryptData(epoch, OF, "hello"), index, flipped);
      await assert.rejects(decryptData(epoch, OF, jwe), because("not_decrypted", /not what was encrypted/));
    });
  }

  test("decryptData() refuses two ciphertexts exchanged, and another's IV or tag", async () => {
    const epoch = await newEpochKey(OF);
    const [one, two] = [await encryptData(epoch, OF, "hello"), await encryptData(epoch, OF, "jello")];
    for (const index of [2, 3, 4]) {
      const mixed = changed(one, index, () => two.split(".")[index]!);
      await assert.rejects(decryptData(epoch, OF, mixed), because("not_decrypted"));
    }
  });

  const texts: readonly [string, (jwe: string) => string][] = [
    ["nothing", () => ""],
    ["four parts", (jwe) => jwe.slice(0, jwe.lastIndexOf("."))],
    ["six parts", (jwe) => `${jwe}.AAAA`],
    ["a part without end", (jwe) => `${jwe}.`],
    ["an encrypted key", (jwe) => changed(jwe, 1, () => "AAAA")],
    ["a space in front", (jwe) => ` ${jwe}`],
    ["a line at the end", (jwe) => `${jwe}\n`],
    ["a longer IV", (jwe) => changed(jwe, 2, (part) => `${part}AAAA`)],
    ["a shorter IV", (jwe) => changed(jwe, 2, (part) => part.slice(4))],
    ["no IV", (jwe) => changed(jwe, 2, () => "")],
    ["a shorter tag", (jwe) => changed(jwe, 4, (part) => part.slice(0, 16))],
    ["no tag", (jwe) => changed(jwe, 4, () => "")],
    ["a header without end", (jwe) => changed(jwe, 0, (part) => part.padEnd(4_100, "A"))],
    ...[0, 2, 3, 4].flatMap((index): [string, (jwe: string) => string][] => [
      [`padding in the ${parts[index]}`, (jwe) => changed(jwe, index, (part) => `${part}=`)],
      [
        `right padding in the ${parts[index]}`,
        (jwe) => changed(jwe, index, (part) => part + "=".repeat(-part.length & 3)),
      ],
    ]).filter(([title]) => title !== "right padding in the IV"),
    ...[0, 3, 4].map((index): [string, (jwe: string) => string] => [
      `stray bits in the ${parts[index]}`,
      (jwe) => changed(jwe, index, otherSpelling),
    ]),
    ["the plain base64 alphabet", (jwe) => changed(jwe, 3, () => "++//")],
    ["white space in the ciphertext", (jwe) => changed(jwe, 3, (part) => `${part.slice(0, 2)} ${part.slice(2)}`)],
    ["a ciphertext of one character too many", (jwe) => changed(jwe, 3, () => "AAAAA")],
  ];
  for (const [title, change] of texts) {
    test(`decryptData() refuses a text with ${title}`, async () => {
      const epoch = await newEpochKey(OF);
      // With three characters, the header ends with bits that are lost.
      const of = { ...OF, id: title.includes("header") ? "e12" : "e1" };
      const jwe = change(await encryptData(epoch, of, "hello"));
      await assert.rejects(
        decryptData(epoch, of, jwe),
        because("malformed_event"),
      );
    });
  }

  test("decryptData() refuses stray bits in the ciphertext, however many there can be", async () => {
    const epoch = await newEpochKey(OF);
    for (const text of ["h", "he"]) {
      const jwe = changed(await encryptData(epoch, OF, text), 3, otherSpelling);
      await assert.rejects(decryptData(epoch, OF, jwe), because("malformed_event", /canonical/));
    }
  });

  test("decryptData() refuses data that are not UTF-8", async () => {
    const epoch = await newEpochKey(OF);
    const jwe = await seal(epoch, JSON.stringify(headerOf(OF, epoch.kid)), new Uint8Array([0x61, 0xff]));
    await assert.rejects(decryptData(epoch, OF, jwe), because("malformed_event", /not UTF-8/));
  });

  test("decryptData() gives no text for anything that differs in one character, whatever it is", async () => {
    const epoch = await newEpochKey(OF);
    const jwe = await encryptData(epoch, OF, "hello, hello, hello");
    const differing = fc.tuple(fc.nat(jwe.length - 1), fc.string({ minLength: 0, maxLength: 2 }));
    await fc.assert(fc.asyncProperty(differing, async ([at, instead]) => {
      const other = jwe.slice(0, at) + instead + jwe.slice(at + 1);
      fc.pre(other !== jwe);
      await assert.rejects(decryptData(epoch, OF, other), BrokerError);
    }));
  });

  test("encryptData() never uses an IV twice in 10,000 messages", async () => {
    await assertIvs(10_000); // on Node, each thousand takes a quarter of a second
  });
});

describe("the key of an epoch", () => {
  test("newEpochKey() makes another key and another name each time", async () => {
    const keys = await Promise.all(Array.from({ length: 16 }, () => newEpochKey(OF)));
    const raw = await Promise.all(keys.map(async (key) => toBase64Url(await rawEpochKey(key))));
    assert.equal(new Set([...raw, ...keys.map(({ kid }) => kid)]).size, 32);
    assert.deepEqual(new Set(raw.map(({ length }) => length)), new Set([43]));
  });

  test("openEpochKey() gives the key under its name, and nobody can export it", async () => {
    const epoch = await newEpochKey(OF);
    const opened = await openEpochKey(await rawEpochKey(epoch), { ...OF, kid: epoch.kid });
    assert.equal(opened.kid, epoch.kid);
    assert.equal(await decryptData(opened, OF, await encryptData(epoch, OF, "hello")), "hello");
    await assert.rejects(rawEpochKey(opened));
  });

  test("a key's name is SHA-256 over its label, its publisher, its topic and all of it", async () => {
    const epoch = await newEpochKey(OF);
    const label = utf8("16:postern-epoch-v127:spiffe://example.org/orders16:orders.v1.placed");
    const bytes = new Uint8Array([...label, ...await rawEpochKey(epoch)]);
    assert.equal(epoch.kid, toBase64Url(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))));
  });

  test("openEpochKey() refuses another key under a name, and the same for another topic or publisher", async () => {
    const [epoch, other] = [await newEpochKey(OF), await newEpochKey(OF)];
    const raw = await rawEpochKey(epoch);
    const wrong = because("wrong_key", /another key's/);
    await assert.rejects(openEpochKey(raw, { ...OF, kid: other.kid }), wrong);
    await assert.rejects(openEpochKey(raw, { ...OF, topic: "other.v1", kid: epoch.kid }), wrong);
    await assert.rejects(openEpochKey(raw, { ...OF, publisher: "spiffe://example.org/b", kid: epoch.kid }), wrong);
    const shifted = { publisher: `${OF.publisher}1`, topic: OF.topic.slice(1), kid: epoch.kid };
    await assert.rejects(openEpochKey(raw, shifted), wrong);
    await assert.rejects(openEpochKey(raw.slice(0, 16), { ...OF, kid: epoch.kid }), because("wrong_key", /32 bytes/));
  });
});
