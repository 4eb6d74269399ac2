import { AuthError, createAuthority, createTrust, type TrustBundle } from "../../src/auth/mod.ts";
import { importBundle, keyName } from "../../src/auth/trust_bundle.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const OTHER = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";
const KEY = { kty: "OKP", crv: "Ed25519", x: X, alg: "Ed25519", kid: "k1", use: "wit-svid" };
const BUNDLE = { keys: [KEY], spiffe_sequence: 1 };

const refusedAs = (reason: string) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};
const malformed = refusedAs("malformed_bundle");
const keys = (members: object) => ({ ...BUNDLE, keys: [{ ...KEY, ...members }] });
const revoking = (members: object) => ({
  ...BUNDLE,
  "urn:postern:revoked": { ids: [], keys: [], tokens: [], ...members },
});

describe("importBundle()", () => {
  test("importBundle() imports the keys by what they may sign and by their ids", async () => {
    const { keys, sequence } = await importBundle({
      keys: [KEY, { ...KEY, use: "aat" }, { ...KEY, kid: "k2", x: OTHER, alg: undefined }],
      spiffe_sequence: 7,
      spiffe_refresh_hint: 60,
    });
    assert.equal(sequence, 7);
    assert.deepEqual([...keys.keys()], ["wit-svid:k1", "aat:k1", "wit-svid:k2"]);
    assert.equal(keyName("aat", "k1"), "aat:k1");
    for (const { type, usages } of keys.values()) {
      assert.deepEqual({ type, usages }, { type: "public", usages: ["verify"] });
    }
  });

  test("importBundle() imports what is revoked", async () => {
    const bundle = await importBundle(revoking({ ids: ["i"], keys: ["k"], tokens: ["t"] }));
    assert.deepEqual([...bundle.revokedIds, ...bundle.revokedKeys, ...bundle.revokedTokens], ["i", "k", "t"]);
    assert.equal((await importBundle(BUNDLE)).revokedIds.size, 0);
  });

  test("importBundle() imports what an authority publishes", async () => {
    const authority = await createAuthority("example.org");
    authority.revoke({ ids: ["spiffe://example.org/web"] });
    assert.equal((await importBundle(authority.bundle())).sequence, 2);
  });

  test("importBundle() takes as many keys and revocations as it may", async () => {
    const many = Array.from({ length: 32 }, (_, index) => ({ ...KEY, kid: "k" + index }));
    assert.equal((await importBundle({ ...BUNDLE, keys: many })).keys.size, 32);
    const ids = Array.from({ length: 10_000 }, (_, index) => `spiffe://example.org/w${index}`);
    assert.equal((await importBundle(revoking({ ids }))).revokedIds.size, 10_000);
  });

  const wrong: readonly [title: string, bundle: unknown][] = [
    ["nothing", undefined],
    ["null", null],
    ["a text", JSON.stringify(BUNDLE)],
    ["a list of keys", [KEY]],
    ["no keys", { spiffe_sequence: 1 }],
    ["an empty list of keys", { ...BUNDLE, keys: [] }],
    ["33 keys", { ...BUNDLE, keys: Array.from({ length: 33 }, (_, index) => ({ ...KEY, kid: "k" + index })) }],
    ["a member that is not known", { ...BUNDLE, keys_url: "https://evil.test" }],
    ["no sequence", { keys: [KEY] }],
    ["a negative sequence", { ...BUNDLE, spiffe_sequence: -1 }],
    ["a sequence with a fraction", { ...BUNDLE, spiffe_sequence: 1.5 }],
    ["a sequence that is a text", { ...BUNDLE, spiffe_sequence: "1" }],
    ["a sequence that no double counts", { ...BUNDLE, spiffe_sequence: 2 ** 53 }],
    ["a refresh hint of 0", { ...BUNDLE, spiffe_refresh_hint: 0 }],
    ["a refresh hint with a fraction", { ...BUNDLE, spiffe_refresh_hint: 1.5 }],
    ["a refresh hint that is a text", { ...BUNDLE, spiffe_refresh_hint: "60" }],
    ["a private part", keys({ d: X })],
    ["a symmetric key", { ...BUNDLE, keys: [{ kty: "oct", k: X, kid: "k1", use: "wit-svid" }] }],
    ["an EC key", keys({ kty: "EC", crv: "P-256", y: X })],
    ["an RSA key", { ...BUNDLE, keys: [{ kty: "RSA", n: X, e: "AQAB", kid: "k1", use: "wit-svid" }] }],
    ["a key of another curve", keys({ crv: "X25519" })],
    ["a key of another algorithm", keys({ alg: "EdDSA" })],
    ["a key of 31 bytes", keys({ x: "A".repeat(42) })],
    ["a key of 33 bytes", keys({ x: "A".repeat(44) })],
    ["a key with padding", keys({ x: X + "=" })],
    ["a key in the other alphabet", keys({ x: "+/" + "A".repeat(41) })],
    ["a key without an id", keys({ kid: undefined })],
    ["a key with an empty id", keys({ kid: "" })],
    ["a key with an id of another alphabet", keys({ kid: "a:b" })],
    ["a key with an id of 129 characters", keys({ kid: "k".repeat(129) })],
    ["a key without a use", keys({ use: undefined })],
    ["a key of another use", keys({ use: "x509-svid" })],
    ["a key for encryption", keys({ use: "enc" })],
    ["a key with operations", keys({ key_ops: ["verify"] })],
    ["a key with a URL of certificates", keys({ x5u: "https://evil.test" })],
    ["two keys of one id and use", { ...BUNDLE, keys: [KEY, { ...KEY, x: OTHER }] }],
    ["the same key twice", { ...BUNDLE, keys: [KEY, KEY] }],
    ["revocations without keys", { ...BUNDLE, "urn:postern:revoked": { ids: [], tokens: [] } }],
    ["revocations of something unknown", revoking({ serials: [] })],
    ["a revoked identity that is a number", revoking({ ids: [1] })],
    ["a revoked token that is too long", revoking({ tokens: ["t".repeat(2049)] })],
    ["10,001 revocations", revoking({ tokens: Array(10_001).fill("t") })],
    ["revocations of null", { ...BUNDLE, "urn:postern:revoked": null }],
  ];
  for (const [title, bundle] of wrong) {
    test(`importBundle() refuses ${title}`, async () => await assert.rejects(importBundle(bundle), malformed));
  }

  test("importBundle() refuses a key with stray bits", async () => {
    await assert.rejects(importBundle(keys({ x: X.slice(0, -1) + "p" })), refusedAs("malformed_key"));
  });

  test("importBundle() says what it is, and shows no value of it", async () => {
    await assert.rejects(importBundle(keys({ d: "s3cret" })), (error: Error) => {
      assert.match(error.message, /"keys\.0\.d"/);
      return !error.message.includes("s3cret");
    });
  });

  test("importBundle() keeps nothing of the object that it was given", async () => {
    const ids = ["spiffe://example.org/web"];
    const given = revoking({ ids }) as TrustBundle;
    const { revokedIds } = await importBundle(given);
    ids.length = 0;
    assert.equal(revokedIds.size, 1);
  });
});

describe("createTrust()", () => {
  const bundle = async () => (await createAuthority("example.org")).bundle();

  test("createTrust() trusts the domains that it is given bundles of", async () => {
    const trust = await createTrust({ "a.test": await bundle(), "b.test": await bundle() });
    assert.deepEqual([...trust.trustDomains], ["a.test", "b.test"]);
    assert.ok(Object.isFrozen(trust.trustDomains));
    assert.equal(trust.revision, 0);
  });

  test("createTrust() refuses to trust nobody", async () => {
    await assert.rejects(createTrust({}), malformed);
  });

  test("createTrust() refuses a bundle that is none", async () => {
    const wrong = { keys: [], spiffe_sequence: 1 } as unknown as TrustBundle;
    await assert.rejects(createTrust({ "example.org": wrong }), malformed);
  });

  for (const domain of ["", "Example.org", "example.org:443", "a b", "*", "example.org/", "example.org/orders"]) {
    test(`createTrust() refuses the trust domain "${domain}"`, async () => {
      await assert.rejects(createTrust({ [domain]: await bundle() }), refusedAs("malformed_id"));
    });
  }
});
