import { readCapability } from "../../src/auth/capability_token.ts";
import { signJws } from "../../src/auth/jws.ts";
import { generateKey } from "../../src/auth/mod.ts";
import { CAPABILITY_DETAILS, HOLDER_MEMBER, TOKEN_TYPES } from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertRefused, byId, byKey, type Claims, details, rootClaims, SAY, sign, witOf } from "./_forge.ts";
import { WEB, world } from "./_world.ts";

const here = await world();
const key = await generateKey();
const { jwk } = byKey(key);
const good = rootClaims(here, byId(WEB));
const read = async (more: Claims) => readCapability(await sign({ ...good, ...more }, key));

test("readCapability() gives the claims and what the signature is over", async () => {
  const token = await sign(good, key, "k1");
  const { claims, jws } = readCapability(token);
  assert.deepEqual(claims, good);
  assert.equal(jws.kid, "k1");
  assert.equal(jws.signingInput, token.split(".").slice(0, 2).join("."));
});

const accepted: readonly (readonly [name: string, more: Claims])[] = [
  ["an audience", { aud: "https://echo.test" }],
  ["an audience of 2,048 characters", { aud: "a".repeat(2048) }],
  ["a holder by its key", { cnf: { jwk } }],
  ["a holder by its key with its algorithm", { cnf: { jwk: { ...jwk, alg: "Ed25519" } } }],
  ["a parent", { par_hash: "A".repeat(43) }],
  ["times from 0 to the year 9999", { iat: 0, exp: 253402300799 }],
  ["a depth of 8", { del_depth: 8, del_max_depth: 8 }],
  ["an id of 16 characters", { jti: "a-Z_0123456789ab" }],
  ["an id of 128 characters", { jti: "a".repeat(128) }],
];
for (const [name, more] of accepted) {
  test(`readCapability() takes ${name}`, async () => {
    assert.deepEqual((await read(more)).claims, { ...good, ...more });
  });
}

for (const name of Object.keys(good)) {
  test(`readCapability() refuses claims without "${name}"`, async () => {
    await assertRefused(read({ [name]: undefined }), "wrong_token", new RegExp(`"${name}`));
  });
}

/** Values of which none is what any claim must be. */
const strange: readonly unknown[] = [null, true, [], {}, -1, 1.5, "", ["a"], { a: 1 }];
for (const name of [...Object.keys(good), "aud", "par_hash"]) {
  test(`readCapability() refuses every value of another kind for "${name}"`, async () => {
    for (const value of strange) {
      if (name === "iss" && value === "") continue; // a text, and the root's check refuses it
      await assertRefused(read({ [name]: value }), "wrong_token");
    }
  });
}

const refused: readonly (readonly [name: string, more: Claims])[] = [
  // A member that is not known may be a restriction.
  ["a member more", { nbf: 1 }],
  ["a member of the draft that is not understood", { status: { status_list: { idx: 1, uri: "https://a.test" } } }],
  ["a subject", { sub: WEB }],
  ["a member that is called constructor", { constructor: 1 }],
  ["a member more beside the holder's identity", { cnf: { ...byId(WEB), more: 1 } }],
  ["a member more beside the holder's key", { cnf: { jwk, kid: "k1" } }],
  ["a member more in the holder's key", { cnf: { jwk: { ...jwk, use: "sig" } } }],
  ["a private part in the holder's key", { cnf: { jwk: { ...jwk, d: "A".repeat(43) } } }],
  ["a thumbprint in place of the holder's key", { cnf: { jkt: key.thumbprint } }],
  ["a holder of another kind", { cnf: { "urn:example:sub": WEB } }],
  ["a holder by key and by identity", { cnf: { jwk, ...byId(WEB) } }],
  ["no holder", { cnf: {} }],
  ["a holder that is null", { cnf: { [HOLDER_MEMBER]: null } }],
  ["a holder that is a list", { cnf: { [HOLDER_MEMBER]: [WEB] } }],
  ["a holder of 2,049 characters", { cnf: byId("a".repeat(2049)) }],
  ["a holder's key of another kind", { cnf: { jwk: { ...jwk, kty: "EC" } } }],
  ["a holder's key on another curve", { cnf: { jwk: { ...jwk, crv: "X25519" } } }],
  ["a holder's key for another algorithm", { cnf: { jwk: { ...jwk, alg: "EdDSA" } } }],
  ["a holder's key of 42 characters", { cnf: { jwk: { ...jwk, x: jwk.x.slice(1) } } }],
  ["a symmetric key", { cnf: { jwk: { kty: "oct", k: "AAAA" } } }],
  ["no entry of what it allows", { authorization_details: [] }],
  ["two entries of what it allows", { authorization_details: [...details(SAY), ...details({})] }],
  ["one entry that is no list", { authorization_details: details(SAY)[0] }],
  ["an entry of another type", { authorization_details: [{ type: "payment_initiation", tools: SAY }] }],
  ["an entry of the type in capitals", {
    authorization_details: [{ type: CAPABILITY_DETAILS.toUpperCase(), tools: SAY }],
  }],
  ["an entry without a type", { authorization_details: [{ tools: SAY }] }],
  ["an entry without tools", { authorization_details: [{ type: CAPABILITY_DETAILS }] }],
  ["an entry with a member more", { authorization_details: [{ ...details(SAY)[0], actions: ["read"] }] }],
  ["an audience of 2,049 characters", { aud: "a".repeat(2049) }],
  ["several audiences", { aud: [WEB, WEB] }],
  ["an issuer of 2,049 characters", { iss: "a".repeat(2049) }],
  ["a depth of 9", { del_depth: 9 }],
  ["a depth to pass it on of 9", { del_max_depth: 9 }],
  ["a depth that is a text", { del_depth: "0" }],
  ["an id of 15 characters", { jti: "a".repeat(15) }],
  ["an id of 129 characters", { jti: "a".repeat(129) }],
  ["an id with a space", { jti: "a b".repeat(8) }],
  ["an id with a line break at its end", { jti: "a".repeat(32) + "\n" }],
  ["a parent of 42 characters", { par_hash: "A".repeat(42) }],
  ["a parent of 44 characters", { par_hash: "A".repeat(44) }],
  ["a parent with padding", { par_hash: "A".repeat(42) + "=" }],
  ["a parent with a line break at its end", { par_hash: "A".repeat(43) + "\n" }],
  ...["exp", "iat"].map((name) => [`a time "${name}" that is a text`, { [name]: "1800000000" }] as const),
];
for (const [name, more] of refused) {
  test(`readCapability() refuses ${name}`, async () => {
    await assertRefused(read(more), "wrong_token");
  });
}

for (const name of ["exp", "iat", "del_depth", "del_max_depth"]) {
  for (const value of [-1, 1.5, 253402300800, 2 ** 53 - 1]) {
    test(`readCapability() refuses ${value} for "${name}"`, async () => {
      await assertRefused(read({ [name]: value }), "wrong_token", new RegExp(`"${name}"`));
    });
  }
}

test("readCapability() refuses a member that is called __proto__", async () => {
  await assertRefused(read({ ["__proto__"]: {} }), "malformed_token");
});

test("readCapability() refuses a token of another type", async () => {
  const web = await here.join(WEB);
  await assertRefused(Promise.resolve().then(async () => readCapability(await witOf(web))), "malformed_token", /type/);
  for (const type of [TOKEN_TYPES.bundle, TOKEN_TYPES.enrollment, "JWT", "at+jwt", "AAT+JWT", "application/aat+jwt"]) {
    const token = await signJws(type, good, { sign: key.sign });
    await assertRefused(Promise.resolve().then(() => readCapability(token)), "malformed_token", /type/);
  }
});

test("readCapability() says which claim is wrong and never its value", async () => {
  const error = await assertRefused(read({ aud: ["c4nary-of-a-value"] }), "wrong_token");
  assert.match(error.message, /"aud"/);
  assert.ok(!error.message.includes("c4nary"));
});
