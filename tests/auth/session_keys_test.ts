import { expand, extract } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { generateEncryptionKey, importEncryptionKey, secret } from "../../src/auth/mod.ts";
import { type EncryptionKey, importEncryptionPublicKey } from "../../src/auth/encryption_key.ts";
import { acceptSessionKeys, openSessionKeys, type SessionTerms } from "../../src/auth/session_keys.ts";
import { fromBase64, toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { because } from "./_messages.ts";

// HPKE in Auth mode as RFC 9180 has it, written out once more: what the library does is compared with it.

const ascii = (text: string) => new TextEncoder().encode(text);
const hex = (text: string) => new Uint8Array(text.match(/../g)!.map((byte) => parseInt(byte, 16)));
const concat = (...parts: readonly Uint8Array[]) => new Uint8Array(parts.flatMap((part) => [...part]));
const KEM_SUITE = concat(ascii("KEM"), hex("0020"));
const HPKE_SUITE = concat(ascii("HPKE"), hex("00200001ffff"));
const NONE = new Uint8Array(0);

const labeledExtract = (suite: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array) =>
  extract(sha256, concat(ascii("HPKE-v1"), suite, ascii(label), ikm), salt);
const labeledExpand = (suite: Uint8Array, prk: Uint8Array, label: string, info: Uint8Array) =>
  expand(sha256, prk, concat(hex("0020"), ascii("HPKE-v1"), suite, ascii(label), info), 32);

interface Reference {
  readonly enc: Uint8Array;
  readonly recipient: CryptoKey;
  readonly recipientPublic: Uint8Array;
  readonly senderPublic: Uint8Array;
  readonly info: Uint8Array;
}

/** AuthDecap, KeySchedule and Export of RFC 9180, sections 4.1, 5.1 and 5.3. */
async function exporter({ enc, recipient, recipientPublic, senderPublic, info }: Reference) {
  const agree = async (raw: Uint8Array) => {
    const key = await crypto.subtle.importKey("raw", raw as BufferSource, "X25519", true, []);
    return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: key }, recipient, 256));
  };
  const dh = concat(await agree(enc), await agree(senderPublic));
  const prk = labeledExtract(KEM_SUITE, NONE, "eae_prk", dh);
  const shared = labeledExpand(KEM_SUITE, prk, "shared_secret", concat(enc, recipientPublic, senderPublic));
  const pskId = labeledExtract(HPKE_SUITE, NONE, "psk_id_hash", NONE);
  const context = concat(hex("02"), pskId, labeledExtract(HPKE_SUITE, NONE, "info_hash", info));
  const secret = labeledExtract(HPKE_SUITE, shared, "secret", NONE);
  const exporterSecret = labeledExpand(HPKE_SUITE, secret, "exp", context);
  return {
    shared,
    exporterSecret,
    key: (label: Uint8Array) => labeledExpand(HPKE_SUITE, exporterSecret, "sec", label),
  };
}

const jwkOf = (privateKey: string, publicKey: string) =>
  JSON.stringify({ kty: "OKP", crv: "X25519", d: toBase64Url(hex(privateKey)), x: toBase64Url(hex(publicKey)) });

const TERMS: SessionTerms = {
  client: { id: "spiffe://example.org/web", thumbprint: "c".repeat(43) },
  server: { id: "spiffe://example.org/echo", thumbprint: "s".repeat(43) },
  audience: "https://echo.test",
  token: "header.payload.signature",
  right: "AAT chain",
};

const rawOf = ({ jwk }: EncryptionKey) => fromBase64(jwk.x)!;

async function pair() {
  const [client, server] = [await generateEncryptionKey(), await generateEncryptionKey()];
  const { id, keys } = await openSessionKeys(client, server.jwk.x, TERMS);
  return { client, server, id, keys };
}

describe("the keys of a session", () => {
  test("the reference of these tests gives what RFC 9180, appendix A.7.3 (Auth, export-only), says", async () => {
    const skRm = "ed88cda0e91ca5da64b6ad7fc34a10f096fa92f0b9ceff9d2c55124304ed8b4a";
    const pkRm = "ffd7ac24694cb17939d95feb7c4c6539bb31621deb9b96d715a64abdd9d14b10";
    const { pair: { privateKey } } = await importEncryptionKey(secret(jwkOf(skRm, pkRm)));
    const { shared, exporterSecret, key } = await exporter({
      enc: hex("5ac1671a55c5c3875a8afe74664aa8bc68830be9ded0c5f633cd96400e8b5c05"),
      recipient: privateKey,
      recipientPublic: hex(pkRm),
      senderPublic: hex("89eb1feae431159a5250c5186f72a15962c8d0debd20a8389d8b6e4996e14306"),
      info: hex("4f6465206f6e2061204772656369616e2055726e"),
    });
    assert.deepEqual(shared, hex("e204156fd17fd65b132d53a0558cd67b7c0d7095ee494b00f47d686eb78f8fb3"));
    assert.deepEqual(exporterSecret, hex("276d87e5cb0655c7d3dad95e76e6fc02746739eb9d968955ccf8a6346c97509e"));
    assert.deepEqual(key(NONE), hex("83c1bac00a45ed4cb6bd8a6007d2ce4ec501f55e485c5642bd01bf6b6d7d6f0a"));
    assert.deepEqual(key(hex("00")), hex("08a1d1ad2af3ef5bc40232a64f920650eb9b1034fac3892f729f7949621bf06e"));
    const context = hex("54657374436f6e74657874");
    assert.deepEqual(key(context), hex("ff3b0e37a9954247fea53f251b799e2edd35aac7152c5795751a3da424feca73"));
  });

  test("openSessionKeys() and acceptSessionKeys() give the same two keys: those of RFC 9180 with the terms as info", async () => {
    const { client, server, id, keys } = await pair();
    assert.deepEqual(await acceptSessionKeys(server, { id, clientKey: client.jwk.x }, TERMS), keys);
    const parts = [TERMS.client.id, TERMS.client.thumbprint, TERMS.server.id, TERMS.server.thumbprint];
    const all = ["postern-session-v1", ...parts, TERMS.audience, TERMS.token, TERMS.right];
    const { key } = await exporter({
      enc: fromBase64(id)!,
      recipient: server.pair.privateKey,
      recipientPublic: rawOf(server),
      senderPublic: rawOf(client),
      info: ascii(all.map((part) => `${part.length}:${part}`).join("")),
    });
    assert.deepEqual(keys.client, key(ascii("client to server")));
    assert.deepEqual(keys.server, key(ascii("server to client")));
    assert.notDeepEqual(keys.client, keys.server);
    assert.deepEqual([keys.client.length, keys.server.length], [32, 32]);
  });

  test("openSessionKeys() makes other keys and another id each time, of the same keys and terms", async () => {
    const [client, server] = [await generateEncryptionKey(), await generateEncryptionKey()];
    const all = await Promise.all([1, 2, 3].map(() => openSessionKeys(client, server.jwk.x, TERMS)));
    const texts = all.flatMap(({ id, keys }) => [id, toBase64Url(keys.client), toBase64Url(keys.server)]);
    assert.equal(new Set(texts).size, 9);
  });

  const other: readonly [string, Partial<SessionTerms>][] = [
    ["the client's id", { client: { ...TERMS.client, id: "spiffe://example.org/web2" } }],
    ["the client's signing key", { client: { ...TERMS.client, thumbprint: "x".repeat(43) } }],
    ["the server's id", { server: { ...TERMS.server, id: "spiffe://example.org/other" } }],
    ["the server's signing key", { server: { ...TERMS.server, thumbprint: "x".repeat(43) } }],
    ["the audience", { audience: "https://other.test" }],
    ["the token", { token: "header.payload.other" }],
    ["the right", { right: "" }],
    ["where one part ends and the next begins", { audience: "https://echo.tes", token: "theader.payload.signature" }],
    ["who is the client and who the server", { client: TERMS.server, server: TERMS.client }],
  ];
  for (const [title, change] of other) {
    test(`acceptSessionKeys() gives two other keys where the two differ in ${title}`, async () => {
      const { client, server, id, keys } = await pair();
      const theirs = await acceptSessionKeys(server, { id, clientKey: client.jwk.x }, { ...TERMS, ...change });
      for (const [a, b] of [["client", "client"], ["server", "server"], ["client", "server"]] as const) {
        assert.notDeepEqual(theirs[a], keys[b]);
      }
    });
  }

  test("acceptSessionKeys() gives other keys where the client's encryption key, the server's or the encapsulated one is another", async () => {
    const { client, server, id, keys } = await pair();
    const third = await generateEncryptionKey();
    const tries = [
      await acceptSessionKeys(server, { id, clientKey: third.jwk.x }, TERMS),
      await acceptSessionKeys(third, { id, clientKey: client.jwk.x }, TERMS),
      await acceptSessionKeys(server, { id: third.jwk.x, clientKey: client.jwk.x }, TERMS),
      await acceptSessionKeys(server, { id: client.jwk.x, clientKey: id }, TERMS),
    ];
    for (const theirs of tries) assert.notDeepEqual(theirs.client, keys.client);
  });
});

/** Every point of small order, and each in its spellings beyond the field: all agree with everybody on zero. */
const SMALL_ORDER = [
  ["0", "00".repeat(32)],
  ["1", `01${"00".repeat(31)}`],
  ["a point of order 8", "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"],
  ["the other point of order 8", "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"],
  ["p - 1", `ec${"ff".repeat(30)}7f`],
  ["p", `ed${"ff".repeat(30)}7f`],
  ["p + 1", `ee${"ff".repeat(30)}7f`],
  ["0 with the bit that does not count", `${"00".repeat(31)}80`],
  ["1 with the bit that does not count", `01${"00".repeat(30)}80`],
  ["a point of order 8 with the bit", "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880"],
  ["the other one with the bit", "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7"],
  ["p - 1 with the bit", `ec${"ff".repeat(31)}`],
  ["p with the bit", `ed${"ff".repeat(31)}`],
  ["p + 1 with the bit", `ee${"ff".repeat(31)}`],
] as const;

describe("a key that everybody agrees with", () => {
  for (const [title, point] of SMALL_ORDER) {
    const x = toBase64Url(hex(point));
    test(`openSessionKeys() refuses ${title} as the server's key`, async () => {
      await assert.rejects(openSessionKeys(await generateEncryptionKey(), x, TERMS), because("malformed_key"));
    });
    test(`acceptSessionKeys() refuses ${title} as the encapsulated key, and as the client's`, async () => {
      const { client, server, id } = await pair();
      await assert.rejects(
        acceptSessionKeys(server, { id: x, clientKey: client.jwk.x }, TERMS),
        because("malformed_key"),
      );
      await assert.rejects(acceptSessionKeys(server, { id, clientKey: x }, TERMS), because("malformed_key"));
    });
  }

  for (
    const x of [
      "",
      "A",
      "A".repeat(42),
      "A".repeat(44),
      `${"A".repeat(42)}B`,
      `${"A".repeat(42)}=`,
      `${"A".repeat(42)} `,
    ]
  ) {
    test(`the keys of a session are refused where one is spelled "${x}"`, async () => {
      const { client, server, id } = await pair();
      await assert.rejects(openSessionKeys(client, x, TERMS), because("malformed_key"));
      await assert.rejects(acceptSessionKeys(server, { id, clientKey: x }, TERMS), because("malformed_key"));
      await assert.rejects(
        acceptSessionKeys(server, { id: x, clientKey: client.jwk.x }, TERMS),
        because("malformed_key"),
      );
      await assert.rejects(importEncryptionPublicKey(x), because("malformed_key"));
    });
  }
});

describe("importEncryptionKey()", () => {
  const RFC7748 = {
    d: toBase64Url(hex("77076d0a7318a57d3c16c17251b26645df4c6c3e8b9a7f0d2c9d5d3c4b5a2a2a")),
  };

  test("importEncryptionKey() gives a key that agrees, and that nobody can export", async () => {
    const raw = await crypto.subtle.generateKey("X25519", true, ["deriveBits"]) as CryptoKeyPair;
    const text = JSON.stringify(await crypto.subtle.exportKey("jwk", raw.privateKey));
    const server = await importEncryptionKey(secret(text));
    const client = await generateEncryptionKey();
    const { id, keys } = await openSessionKeys(client, server.jwk.x, TERMS);
    assert.deepEqual(await acceptSessionKeys(server, { id, clientKey: client.jwk.x }, TERMS), keys);
    for (const key of [server, client]) {
      assert.equal(key.pair.privateKey.extractable, false);
      await assert.rejects(crypto.subtle.exportKey("jwk", key.pair.privateKey));
    }
  });

  test("importEncryptionKey() refuses what is none, and shows nothing of it", async () => {
    const { jwk } = await generateEncryptionKey();
    const mixed = { ...jwk, d: RFC7748.d };
    const wrong = ["", "null", "[]", "secret words", JSON.stringify(jwk), JSON.stringify(mixed)];
    wrong.push(JSON.stringify({ ...mixed, crv: "Ed25519" }), JSON.stringify({ ...mixed, kty: "EC" }));
    wrong.push(JSON.stringify({ ...mixed, d: "secret words" }), JSON.stringify({ ...mixed, x: 1 }));
    for (const text of wrong) {
      await assert.rejects(importEncryptionKey(secret(text)), (error: Error) => {
        assert.ok(because("malformed_key")(error), text);
        assert.ok(!`${error.message} ${error.cause} ${error.stack}`.includes("secret words"));
        return true;
      });
    }
  });
});
