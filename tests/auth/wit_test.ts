import { AuthError, type AuthReason, createAuthority, generateKey, type SigningKey } from "../../src/auth/mod.ts";
import { signJws } from "../../src/auth/jws.ts";
import { readWit } from "../../src/auth/wit.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const JWK = { kty: "OKP", crv: "Ed25519", x: X, alg: "Ed25519" };
const CLAIMS = { sub: "spiffe://example.org/web", iat: 1, exp: 2, jti: "t1", cnf: { jwk: JWK } };

const refused = (reason: AuthReason) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};

const made: { key?: Promise<SigningKey> } = {};
/** A token with these claims, a member of `undefined` left out. */
async function witOf(claims: object, type = "wit+jwt"): Promise<string> {
  const { sign } = await (made.key ??= generateKey());
  return await signJws(type, JSON.parse(JSON.stringify({ ...CLAIMS, ...claims })), { kid: "k1", sign });
}

describe("readWit()", () => {
  test("readWit() reads what an authority issues", async () => {
    const authority = await createAuthority("example.org", { now: () => 1_800_000_000_000 });
    const { jwk } = await generateKey();
    const workload = { id: CLAIMS.sub, roles: ["r"], serves: ["a.v1"], attributes: { site: "x" }, certificate: X };
    const { claims, trustDomain, jws } = readWit(await authority.issue(jwk, workload));
    assert.equal(trustDomain, "example.org");
    assert.equal(jws.kid, authority.bundle().keys[0]!.kid);
    const { jti, ...others } = claims;
    assert.match(jti, /^[\w-]{36}$/);
    assert.deepEqual(others, {
      iss: "spiffe://example.org",
      sub: CLAIMS.sub,
      iat: 1_800_000_000,
      exp: 1_800_003_600,
      cnf: { jwk, "x5t#S256": X },
      roles: ["r"],
      "urn:postern:serves": ["a.v1"],
      "urn:postern:attributes": { site: "x" },
    });
  });

  test("readWit() gives defaults for what may be missing, and drops claims of others", async () => {
    const { claims } = readWit(await witOf({ aud: "x", scope: "admin", admin: true }));
    assert.deepEqual(claims, { ...CLAIMS, roles: [], "urn:postern:serves": [], "urn:postern:attributes": {} });
  });

  const longest = [
    { roles: Array(64).fill("r") },
    { roles: ["r".repeat(128)] },
    { roles: ["a.v1/b:c-d_E"] },
    { jti: "j".repeat(128) },
    { exp: 253402300799 },
    { iat: 0, exp: 0, nbf: 0 },
    { iss: "i".repeat(2048) },
    { "urn:postern:attributes": { ["n".repeat(64)]: "v".repeat(256), empty: "" } },
  ];
  for (const claims of longest) {
    test(`readWit() takes ${JSON.stringify(claims).slice(0, 60)}`, async () => {
      assert.ok(readWit(await witOf(claims)));
    });
  }

  for (const type of ["aat+jwt", "trust-bundle+jwt", "wit-request+jwt", "JWT", "wpt+jwt", "txntoken+jwt"]) {
    test(`readWit() refuses a token of the type ${type}`, async () => {
      const token = await witOf({}, type);
      assert.throws(() => readWit(token), refused("malformed_token"));
    });
  }

  const wrong: readonly [title: string, claims: object][] = [
    ["no sub", { sub: undefined }],
    ["a sub that is a list", { sub: [CLAIMS.sub] }],
    ["no iat", { iat: undefined }],
    ["no exp", { exp: undefined }],
    ["no jti", { jti: undefined }],
    ["no cnf", { cnf: undefined }],
    ["no key in cnf", { cnf: {} }],
    ["a key id in place of the key", { cnf: { kid: "k1" } }],
    ["a thumbprint in place of the key", { cnf: { jkt: X } }],
    ["a thumbprint beside the key", { cnf: { jwk: JWK, jkt: X } }],
    ["a URL of keys in cnf", { cnf: { jwk: JWK, jku: "https://evil.test" } }],
    ["a holder by identity, as capabilities have it", { cnf: { "urn:postern:sub": CLAIMS.sub } }],
    ["a private part", { cnf: { jwk: { ...JWK, d: X } } }],
    ["a symmetric key", { cnf: { jwk: { kty: "oct", k: X } } }],
    ["an EC key", { cnf: { jwk: { kty: "EC", crv: "P-256", x: X, y: X } } }],
    ["a key of another curve", { cnf: { jwk: { ...JWK, crv: "X25519" } } }],
    ["a key without its algorithm", { cnf: { jwk: { ...JWK, alg: undefined } } }],
    ["a key of another algorithm", { cnf: { jwk: { ...JWK, alg: "EdDSA" } } }],
    ["a key for encryption", { cnf: { jwk: { ...JWK, use: "enc" } } }],
    ["a key with operations", { cnf: { jwk: { ...JWK, key_ops: ["verify"] } } }],
    ["a key of 31 bytes", { cnf: { jwk: { ...JWK, x: "A".repeat(42) } } }],
    ["a key of 33 bytes", { cnf: { jwk: { ...JWK, x: "A".repeat(44) } } }],
    ["a certificate that is no thumbprint", { cnf: { jwk: JWK, "x5t#S256": "A".repeat(42) } }],
    ["a certificate of null", { cnf: { jwk: JWK, "x5t#S256": null } }],
    ["an exp that is a text", { exp: "2" }],
    ["an exp with a fraction", { exp: 2.5 }],
    ["a negative exp", { exp: -1 }],
    ["an exp in milliseconds, in the year 58,000", { exp: 1_800_000_000_000 }],
    ["an exp that no date holds", { exp: 253402300800 }],
    ["an exp of null", { exp: null }],
    ["an iat that is a text", { iat: "1" }],
    ["a negative iat", { iat: -1 }],
    ["an nbf that is a text", { nbf: "1" }],
    ["an nbf of null", { nbf: null }],
    ["a negative nbf", { nbf: -1 }],
    ["an empty jti", { jti: "" }],
    ["a jti with a space", { jti: "a b" }],
    ["a jti with a newline", { jti: "a\n" }],
    ["a jti of 129 characters", { jti: "j".repeat(129) }],
    ["a jti that is a number", { jti: 1 }],
    ["an iss that is a number", { iss: 1 }],
    ["an iss of 2,049 characters", { iss: "i".repeat(2049) }],
    ["roles that are a text", { roles: "admin" }],
    ["a role that is a number", { roles: [1] }],
    ["an empty role", { roles: [""] }],
    ["a role with a space", { roles: ["a b"] }],
    ["a role of 129 characters", { roles: ["r".repeat(129)] }],
    ["65 roles", { roles: Array(65).fill("r") }],
    ["serves that is a text", { "urn:postern:serves": "a.v1" }],
    ["65 names that it serves", { "urn:postern:serves": Array(65).fill("a.v1") }],
    ["serves with a wildcard", { "urn:postern:serves": ["*"] }],
    ["attributes that are a list", { "urn:postern:attributes": [["a", "b"]] }],
    ["an attribute that is a number", { "urn:postern:attributes": { a: 1 } }],
    ["an attribute of 257 characters", { "urn:postern:attributes": { a: "v".repeat(257) } }],
    ["an attribute without a name", { "urn:postern:attributes": { "": "v" } }],
    ["an attribute with a name of 65 characters", { "urn:postern:attributes": { ["n".repeat(65)]: "v" } }],
  ];
  for (const [title, claims] of wrong) {
    test(`readWit() refuses a token with ${title}`, async () => {
      const token = await witOf(claims);
      assert.throws(() => readWit(token), refused("wrong_token"));
    });
  }

  for (const claims of [null, [], "sub", 1, true]) {
    test(`readWit() refuses a token whose claims are ${JSON.stringify(claims)}`, async () => {
      const token = await signJws("wit+jwt", claims, await generateKey());
      assert.throws(() => readWit(token), refused("wrong_token"));
    });
  }

  for (const sub of ["", "spiffe://example.org", "spiffe://example.org/web/", "spiffe://Example.org/web", "web"]) {
    test(`readWit() refuses a token for "${sub}"`, async () => {
      const token = await witOf({ sub });
      assert.throws(() => readWit(token), refused("malformed_id"));
    });
  }

  test("readWit() says which claim it is, and shows no value of it", async () => {
    const token = await witOf({ cnf: { jwk: { ...JWK, x: "s3cret" } } });
    assert.throws(() => readWit(token), (error: Error) => {
      assert.match(error.message, /"cnf\.jwk\.x"/);
      assert.ok(!error.message.includes("s3cret"));
      return true;
    });
  });
});
