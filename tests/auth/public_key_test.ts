import { AuthError, type AuthReason, type PublicJwk } from "../../src/auth/mod.ts";
import { importPublicKey, publicJwkSchema, rawKeyOf, thumbprintOf } from "../../src/auth/public_key.ts";
import { fromBase64, toBase64, toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as v from "valibot";

// https://www.rfc-editor.org/rfc/rfc8037#appendix-A
const X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const JWK: PublicJwk = { kty: "OKP", crv: "Ed25519", x: X };
const of = (x: string): PublicJwk => ({ ...JWK, x });

const refused = (reason: AuthReason) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};

describe("thumbprintOf()", () => {
  test("thumbprintOf() is the one of RFC 8037, appendix A.3", () => {
    assert.equal(thumbprintOf(JWK), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
  });

  test("thumbprintOf() hashes the required members only, sorted and without spaces, as RFC 7638 says", async () => {
    const text = JSON.stringify(Object.fromEntries(Object.entries(JWK).sort()));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    for (const jwk of [JWK, { ...JWK, alg: "Ed25519" as const }, { x: X, crv: "Ed25519", kty: "OKP" } as const]) {
      assert.equal(thumbprintOf(jwk), toBase64Url(new Uint8Array(digest)));
    }
    assert.notEqual(thumbprintOf(of("A".repeat(43))), thumbprintOf(JWK));
  });
});

const notKeys: readonly [title: string, x: string][] = [
  ["no bytes", ""],
  ["31 bytes", toBase64Url(new Uint8Array(31))],
  ["33 bytes", toBase64Url(new Uint8Array(33))],
  ["64 bytes", toBase64Url(new Uint8Array(64))],
  ["stray bits in the last character", X.slice(0, -1) + "p"],
  ["a space", X + " "],
  ["a newline", X + "\n"],
  ["no base64", "!".repeat(43)],
];

describe("rawKeyOf()", () => {
  test("rawKeyOf() is the 32 bytes", () => {
    assert.equal(toBase64Url(rawKeyOf(JWK)), X);
    assert.equal(rawKeyOf(JWK).length, 32);
  });

  for (const [title, x] of notKeys) {
    test(`rawKeyOf() refuses ${title}`, () => assert.throws(() => rawKeyOf(of(x)), refused("malformed_key")));
  }

  test("rawKeyOf() refuses a spelling that has another thumbprint: padding, and the other alphabet", () => {
    const bytes = new Uint8Array(32).fill(0xfb);
    for (const x of [`${X}=`, toBase64(bytes), toBase64(bytes).slice(0, 43), toBase64Url(bytes) + "="]) {
      assert.throws(() => rawKeyOf(of(x)), refused("malformed_key"), x);
    }
  });
});

describe("importPublicKey()", () => {
  test("importPublicKey() makes a key that checks signatures and does nothing else", async () => {
    const key = await importPublicKey(JWK);
    assert.deepEqual([key.type, key.algorithm.name, key.usages], ["public", "Ed25519", ["verify"]]);
  });

  for (const [title, x] of notKeys) {
    test(`importPublicKey() refuses ${title}`, async () => {
      await assert.rejects(importPublicKey(of(x)), refused("malformed_key"));
      await assert.rejects(importPublicKey(of(x)), /not 32 bytes in base64url/);
    });
  }

  test("importPublicKey() says what it is that a runtime does not take", async () => {
    const refusing = () => Promise.reject(new DOMException("no", "DataError"));
    await withSubtle("importKey", refusing, async () => {
      await assert.rejects(importPublicKey(JWK), refused("malformed_key"));
    });
  });
});

/** Every way to put something else where a public key belongs. */
const others: readonly [title: string, jwk: unknown][] = [
  ["a private part", { ...JWK, d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" }],
  ["an empty private part", { ...JWK, d: "" }],
  ["a symmetric key", { kty: "oct", k: X }],
  ["a symmetric key beside", { ...JWK, k: X }],
  ["an EC key", { kty: "EC", crv: "P-256", x: X, y: X }],
  ["an EC key that says OKP", { kty: "OKP", crv: "P-256", x: X, y: X }],
  ["an RSA key", { kty: "RSA", n: X, e: "AQAB" }],
  ["the curve Ed448", { ...JWK, crv: "Ed448" }],
  ["the curve X25519", { ...JWK, crv: "X25519" }],
  ["a lower-case curve", { ...JWK, crv: "ed25519" }],
  ["a lower-case type", { ...JWK, kty: "okp" }],
  ["no curve", { kty: "OKP", x: X }],
  ["no type", { crv: "Ed25519", x: X }],
  ["no bytes", { kty: "OKP", crv: "Ed25519" }],
  ["another algorithm", { ...JWK, alg: "EdDSA" }],
  ["a symmetric algorithm", { ...JWK, alg: "HS256" }],
  ["a use", { ...JWK, use: "sig" }],
  ["the use enc", { ...JWK, use: "enc" }],
  ["operations", { ...JWK, key_ops: ["verify"] }],
  ["the operation sign", { ...JWK, key_ops: ["sign"] }],
  ["a key id", { ...JWK, kid: "k1" }],
  ["a URL of certificates", { ...JWK, x5u: "https://evil.test/x" }],
  ["certificates", { ...JWK, x5c: ["MAo="] }],
  ["a URL of keys", { ...JWK, jku: "https://evil.test/jwks" }],
  ["that it can be exported", { ...JWK, ext: true }],
  ["31 bytes", of("A".repeat(42))],
  ["33 bytes", of("A".repeat(44))],
  ["padding", of(`${X}=`)],
  ["the other alphabet", of("+/" + "A".repeat(41))],
  ["bytes as a list", { ...JWK, x: [...fromBase64(X)!] }],
  ["a list of keys", [JWK]],
  ["a JWKS", { keys: [JWK] }],
  ["a text", JSON.stringify(JWK)],
  ["null", null],
];

describe("publicJwkSchema", () => {
  test("publicJwkSchema takes a key with and without its algorithm", () => {
    assert.ok(v.is(publicJwkSchema, JWK));
    assert.ok(v.is(publicJwkSchema, { ...JWK, alg: "Ed25519" }));
  });

  for (const [title, jwk] of others) {
    test(`publicJwkSchema refuses a key with ${title}`, () => assert.ok(!v.is(publicJwkSchema, jwk)));
  }
});

async function withSubtle(name: "importKey", stub: () => Promise<never>, run: () => Promise<void>): Promise<void> {
  Object.defineProperty(crypto.subtle, name, { value: stub, configurable: true });
  try {
    await run();
  } finally {
    Reflect.deleteProperty(crypto.subtle, name);
  }
}
