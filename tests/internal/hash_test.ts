import { type HashProvider, nobleHash } from "../../src/internal/hash.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";

const noble = nobleHash();

const utf8 = new TextEncoder();
const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte);

/** FIPS 180-4's examples, and a message longer than one block. */
const hashes: readonly (readonly [name: string, data: Uint8Array, hash: string])[] = [
  ["nothing", utf8.encode(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
  ["abc", utf8.encode("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
  [
    "56 bytes",
    utf8.encode("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
  ],
];

/** RFC 4231, sections 4.2 to 4.8 without 4.6, which is about a cut result. */
const macs: readonly (readonly [name: string, key: Uint8Array, data: Uint8Array, mac: string])[] = [
  [
    "case 1",
    filled(20, 0x0b),
    utf8.encode("Hi There"),
    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
  ],
  [
    "case 2",
    utf8.encode("Jefe"),
    utf8.encode("what do ya want for nothing?"),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  ],
  ["case 3", filled(20, 0xaa), filled(50, 0xdd), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"],
  [
    "case 4",
    Uint8Array.from({ length: 25 }, (_, n) => n + 1),
    filled(50, 0xcd),
    "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
  ],
  [
    "case 6",
    filled(131, 0xaa),
    utf8.encode("Test Using Larger Than Block-Size Key - Hash Key First"),
    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
  ],
  [
    "case 7",
    filled(131, 0xaa),
    utf8.encode(
      "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
    ),
    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
  ],
];

for (const [name, data, hash] of hashes) {
  test(`nobleHash().sha256() hashes ${name} as FIPS 180-4 does`, () => assert.equal(hex(noble.sha256(data)), hash));
}

for (const [name, key, data, mac] of macs) {
  test(`nobleHash().hmac() gives RFC 4231's ${name}, twice`, () => {
    const compute = noble.hmac(key);
    assert.deepEqual([hex(compute(data)), hex(compute(data))], [mac, mac]);
  });
}

test("nobleHash().hmac() agrees with WebCrypto for any key and messages", async () => {
  const bytes = fc.uint8Array({ maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(bytes, fc.array(bytes, { minLength: 1, maxLength: 4 }), async (key, messages) => {
      const compute = noble.hmac(key);
      const expected = await Promise.all(messages.map((message) => webHmac(key, message)));
      assert.deepEqual(messages.map((message) => hex(compute(message))), expected);
    }),
    { numRuns: 50 },
  );
});

test("nobleHash().hmac() keeps its key when the caller's bytes change", () => {
  const key = filled(32, 1);
  const compute: ReturnType<HashProvider["hmac"]> = noble.hmac(key);
  key.fill(2);
  assert.deepEqual(compute(key), noble.hmac(filled(32, 1))(key));
});

/** WebCrypto refuses an empty key, which HMAC pads with zeros anyway. */
async function webHmac(key: Uint8Array, message: Uint8Array): Promise<string> {
  const raw = key.length > 0 ? new Uint8Array(key) : new Uint8Array(1);
  const hmacKey = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return hex(new Uint8Array(await crypto.subtle.sign("HMAC", hmacKey, new Uint8Array(message))));
}
