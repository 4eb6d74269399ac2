import { expand, extract } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import {
  type EncryptionKey,
  generateEncryptionKey,
  importEncryptionKey,
  importPeerKey,
  secret,
} from "../../src/auth/mod.ts";
import { BrokerError, type BrokerReason } from "../../src/broker/broker_error.ts";
import { newEpochKey, rawEpochKey } from "../../src/broker/encryption/epoch_key.ts";
import { encryptionThumbprint, unwrapKey, wrapKey, type WrappedAs } from "../../src/broker/encryption/key_wrap.ts";
import { fromBase64, toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

// HPKE in base mode as RFC 9180 has it, written out once more: what the library does is compared with it.

const ascii = (text: string) => new TextEncoder().encode(text);
const hex = (text: string) => new Uint8Array((text.match(/../g) ?? []).map((byte) => parseInt(byte, 16)));
const concat = (...parts: readonly Uint8Array[]) => new Uint8Array(parts.flatMap((part) => [...part]));
const NONE = new Uint8Array(0);

const labeledExtract = (suite: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array) =>
  extract(sha256, concat(ascii("HPKE-v1"), suite, ascii(label), ikm), salt);
const labeledExpand = (suite: Uint8Array, { prk, label, info, length = 32 }: {
  readonly prk: Uint8Array;
  readonly label: string;
  readonly info: Uint8Array;
  readonly length?: number;
}) =>
  expand(
    sha256,
    prk,
    concat(hex(length.toString(16).padStart(4, "0")), ascii("HPKE-v1"), suite, ascii(label), info),
    length,
  );

interface Reference {
  readonly enc: Uint8Array<ArrayBuffer>;
  readonly recipient: CryptoKey;
  readonly recipientPublic: Uint8Array;
  readonly info: Uint8Array;
  readonly aad: Uint8Array<ArrayBuffer>;
  readonly ct: Uint8Array<ArrayBuffer>;
  /** The number of the AEAD and the length of its key. */
  readonly aead: readonly [string, number];
}

/** Decap, KeySchedule and Open of RFC 9180, sections 4.1, 5.1 and 5.2. */
async function open({ enc, recipient, recipientPublic, info, aad, ct, aead: [aead, length] }: Reference) {
  const kem = concat(ascii("KEM"), hex("0020"));
  const hpke = concat(ascii("HPKE"), hex(`00200001${aead}`));
  const theirs = await crypto.subtle.importKey("raw", enc, "X25519", true, []);
  const dh = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, recipient, 256));
  const prk = labeledExtract(kem, NONE, "eae_prk", dh);
  const shared = labeledExpand(kem, { prk, label: "shared_secret", info: concat(enc, recipientPublic) });
  const pskId = labeledExtract(hpke, NONE, "psk_id_hash", NONE);
  const context = concat(hex("00"), pskId, labeledExtract(hpke, NONE, "info_hash", info));
  const schedule = labeledExtract(hpke, shared, "secret", NONE);
  const raw = labeledExpand(hpke, { prk: schedule, label: "key", info: context, length });
  const iv = labeledExpand(hpke, { prk: schedule, label: "base_nonce", info: context, length: 12 });
  const key = await crypto.subtle.importKey("raw", raw as BufferSource, "AES-GCM", false, ["decrypt"]);
  const algorithm = { name: "AES-GCM", iv: iv as BufferSource, additionalData: aad };
  return { shared, raw, iv, pt: new Uint8Array(await crypto.subtle.decrypt(algorithm, key, ct)) };
}

const SCOPE = { topic: "orders.v1.placed", publisher: "spiffe://example.org/orders" };
const BILLING = "spiffe://example.org/billing";
const because = (reason: BrokerReason) => (error: unknown) => {
  assert.ok(error instanceof BrokerError, `${error}`);
  assert.equal(error.reason, reason, error.message);
  return true;
};

async function recipientOf(own: EncryptionKey, id = BILLING) {
  const key = await importPeerKey(own.jwk.x, await generateEncryptionKey());
  return { id, thumbprint: await encryptionThumbprint(own.jwk), key };
}

async function wrapped() {
  const [epoch, own] = [await newEpochKey(SCOPE), await generateEncryptionKey()];
  const { key, ...subscriber } = await recipientOf(own);
  const as: WrappedAs = { ...SCOPE, kid: epoch.kid, subscriber };
  return { epoch, own, as, wrap: await wrapKey(epoch, { key, ...subscriber }) };
}

describe("a key that is wrapped for a subscriber", () => {
  test("the reference of these tests gives what RFC 9180, appendix A.1.1 (Base, AES-128-GCM), says", async () => {
    const skRm = hex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8");
    const pkRm = hex("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d");
    const jwk = { kty: "OKP", crv: "X25519", d: toBase64Url(skRm), x: toBase64Url(pkRm) };
    const { pair: { privateKey } } = await importEncryptionKey(secret(JSON.stringify(jwk)));
    const { shared, raw, iv, pt } = await open({
      enc: hex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"),
      recipient: privateKey,
      recipientPublic: pkRm,
      info: hex("4f6465206f6e2061204772656369616e2055726e"),
      aad: hex("436f756e742d30"),
      ct: hex(
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
      ),
      aead: ["0001", 16],
    });
    assert.deepEqual(shared, hex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"));
    assert.deepEqual(raw, hex("4531685d41d65f03dc48f6b8302c05b0"));
    assert.deepEqual(iv, hex("56d890e5accaaf011cff4b7d"));
    assert.deepEqual(pt, ascii("Beauty is truth, truth beauty"));
  });

  test("wrapKey() seals as RFC 9180 does with AES-256-GCM, with all that the key is said to be as info", async () => {
    const { epoch, own, as: { subscriber, topic, publisher, kid }, wrap } = await wrapped();
    const parts = ["postern-key-wrap-v1", topic, kid, publisher, subscriber.id, subscriber.thumbprint];
    const { pt } = await open({
      enc: fromBase64(wrap.enc)!,
      recipient: own.pair.privateKey,
      recipientPublic: fromBase64(own.jwk.x)!,
      info: ascii(parts.map((part) => `${part.length}:${part}`).join("")),
      aad: NONE,
      ct: fromBase64(wrap.ct)!,
      aead: ["0002", 32],
    });
    assert.deepEqual(pt, await rawEpochKey(epoch));
    assert.deepEqual([wrap.enc.length, wrap.ct.length], [43, 64]);
  });

  test("unwrapKey() gives the key that wrapKey() was given, which wraps otherwise each time", async () => {
    const { epoch, own, as, wrap } = await wrapped();
    const { kid, topic, publisher, key } = await unwrapKey(own, wrap, as);
    assert.deepEqual({ kid, topic, publisher }, { kid: epoch.kid, ...SCOPE });
    assert.equal(key.extractable, false);
    const again = await wrapKey(epoch, await recipientOf(own));
    assert.notEqual(again.enc, wrap.enc);
    assert.notEqual(again.ct, wrap.ct);
  });

  const others: readonly [string, Partial<WrappedAs>][] = [
    ["topic", { topic: "other.v1" }],
    ["publisher", { publisher: "spiffe://example.org/other" }],
    ["kid", { kid: "A".repeat(43) }],
  ];
  for (const [name, change] of others) {
    test(`unwrapKey() refuses a key that is said to be of another ${name}`, async () => {
      const { own, as, wrap } = await wrapped();
      await assert.rejects(unwrapKey(own, wrap, { ...as, ...change }), because("not_decrypted"));
    });
  }

  test("unwrapKey() refuses a key that was wrapped for another identity or thumbprint, or for another key", async () => {
    const { own, as, wrap } = await wrapped();
    const { subscriber } = as;
    for (const change of [{ id: "spiffe://example.org/web" }, { thumbprint: "A".repeat(43) }]) {
      const other = { ...as, subscriber: { ...subscriber, ...change } };
      await assert.rejects(unwrapKey(own, wrap, other), because("not_decrypted"));
    }
    await assert.rejects(unwrapKey(await generateEncryptionKey(), wrap, as), because("not_decrypted"));
  });

  test("unwrapKey() refuses another enc, another ct, and what is none", async () => {
    const { own, as, wrap } = await wrapped();
    const { wrap: other } = await wrapped();
    const flipped = toBase64Url(fromBase64(wrap.ct)!.map((byte, at) => at === 0 ? byte ^ 1 : byte));
    for (const ct of [other.ct, flipped, "", "*".repeat(64)]) {
      await assert.rejects(unwrapKey(own, { ...wrap, ct }, as), because("not_decrypted"));
    }
    for (const enc of [other.enc, "", "*".repeat(43), `${wrap.enc}A`]) {
      await assert.rejects(unwrapKey(own, { ...wrap, enc }, as), because("not_decrypted"));
    }
  });

  test("unwrapKey() refuses a key under a name that another key has", async () => {
    const { own, epoch } = await wrapped();
    const lie = { ...await newEpochKey(SCOPE), kid: epoch.kid };
    const { key, ...subscriber } = await recipientOf(own);
    const wrap = await wrapKey(lie, { key, ...subscriber });
    await assert.rejects(unwrapKey(own, wrap, { ...SCOPE, kid: epoch.kid, subscriber }), because("wrong_key"));
  });

  /** Points of order 1, 2, 4 and 8, and the first of them with a coordinate that is too large. */
  const small = [
    "00".repeat(32),
    `01${"00".repeat(31)}`,
    `ec${"ff".repeat(30)}7f`,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    `ed${"ff".repeat(30)}7f`,
  ];
  test("importPeerKey() refuses keys of small order, on a runtime that does not too, and what is no key", async () => {
    const own = await generateEncryptionKey();
    const refused = { name: "AuthError", reason: "malformed_key", message: /small order/ };
    for (const point of small) {
      await assert.rejects(importPeerKey(toBase64Url(hex(point)), own), refused, point);
      await laxly(() => assert.rejects(importPeerKey(toBase64Url(hex(point)), own), refused, point));
    }
    await assert.rejects(importPeerKey("short", own), { reason: "malformed_key", message: /32 bytes/ });
  });

  test("unwrapKey() refuses an encapsulated key of small order, though what follows of it is right", async () => {
    const { own, as, epoch } = await wrapped();
    for (const point of small) {
      const wrap = await sealWithZero(hex(point), { own, as, raw: await rawEpochKey(epoch) });
      await assert.rejects(unwrapKey(own, wrap, as), because("not_decrypted"), point);
      await laxly(() => assert.rejects(unwrapKey(own, wrap, as), because("not_decrypted"), point));
    }
  });

  test("encryptionThumbprint() hashes the members that RFC 7638 wants, in its order, and no others", async () => {
    const members = '{"crv":"X25519","kty":"OKP","x":"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}';
    const jwk = { kty: "OKP", crv: "X25519", x: "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08" } as const;
    const more = { ...jwk, use: "enc" };
    assert.equal(await encryptionThumbprint(more), toBase64Url(sha256(ascii(members))));
  });
});

/** What somebody makes who knows that the two agree on nothing but zeros. */
async function sealWithZero(
  enc: Uint8Array,
  { own, as, raw }: { readonly own: EncryptionKey; readonly as: WrappedAs; readonly raw: Uint8Array<ArrayBuffer> },
) {
  const kem = concat(ascii("KEM"), hex("0020"));
  const hpke = concat(ascii("HPKE"), hex("002000010002"));
  const prk = labeledExtract(kem, NONE, "eae_prk", new Uint8Array(32));
  const shared = labeledExpand(kem, { prk, label: "shared_secret", info: concat(enc, fromBase64(own.jwk.x)!) });
  const { subscriber, topic, publisher, kid } = as;
  const parts = ["postern-key-wrap-v1", topic, kid, publisher, subscriber.id, subscriber.thumbprint];
  const info = ascii(parts.map((part) => `${part.length}:${part}`).join(""));
  const pskId = labeledExtract(hpke, NONE, "psk_id_hash", NONE);
  const context = concat(hex("00"), pskId, labeledExtract(hpke, NONE, "info_hash", info));
  const schedule = labeledExtract(hpke, shared, "secret", NONE);
  const bytes = labeledExpand(hpke, { prk: schedule, label: "key", info: context });
  const iv = labeledExpand(hpke, { prk: schedule, label: "base_nonce", info: context, length: 12 });
  const key = await crypto.subtle.importKey("raw", bytes as BufferSource, "AES-GCM", false, ["encrypt"]);
  const ct = await crypto.subtle.encrypt({ name: "AES-GCM", iv: iv as BufferSource }, key, raw);
  return { enc: toBase64Url(enc), ct: toBase64Url(new Uint8Array(ct)) };
}

/** Does something as on a runtime that agrees on zeros where others refuse to. */
async function laxly(run: () => Promise<void>): Promise<void> {
  const { subtle } = crypto;
  const zeros = () => new ArrayBuffer(32);
  const value: SubtleCrypto["deriveBits"] = (...asked) =>
    SubtleCrypto.prototype.deriveBits.apply(subtle, asked).catch(zeros);
  Object.defineProperty(subtle, "deriveBits", { value, configurable: true });
  try {
    await run();
  } finally {
    Reflect.deleteProperty(subtle, "deriveBits");
  }
}
