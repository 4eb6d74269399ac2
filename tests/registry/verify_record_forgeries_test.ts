import { AuthError, createAuthority, createTrust, generateKey, signJws } from "../../src/auth/mod.ts";
import { SERVES_CLAIM } from "../../src/auth/wire.ts";
import { RegistryError } from "../../src/registry/mod.ts";
import { verifyRecord } from "../../src/registry/verify_record.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  assertRefused,
  DOMAIN,
  joinOther,
  ORDERS,
  partsOf,
  rig,
  sealClaims,
  sealText,
  SERVICE,
  witOf,
} from "./_rig.ts";

const HEADER = '{"alg":"Ed25519","typ":"svc-record+jwt"}';

/** Each of these is a forgery of an honest record; none is accepted. */
describe("verifyRecord() refuses the forgery", () => {
  test("verifyRecord() refuses alg none and alg of other families", async () => {
    const { orders, forge, verify } = await rig();
    const [, payload, signature] = partsOf(await forge(orders));
    for (
      const alg of ["none", "None", "NONE", "", "EdDSA", "ed25519", "ES256", "RS256", "HS256", null, 1, ["Ed25519"]]
    ) {
      const header = JSON.stringify({ alg, typ: "svc-record+jwt" });
      await assertRefused(verify(await sealText(header, payload, orders)), "malformed_record");
    }
    const [first, second] = (await forge(orders)).split(".");
    for (const end of ["", ".", `.${"A".repeat(86)}`]) {
      const unsigned = `${first}.${second}${end}`;
      await assert.rejects(verify(unsigned), (error) => error instanceof RegistryError || error instanceof AuthError);
    }
    assert.equal(signature.length, 86);
  });

  test("verifyRecord() refuses HS256 under the public key as the secret", async () => {
    const { orders, forge, verify } = await rig();
    const [, payload] = partsOf(await forge(orders));
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", orders.publicKey, algorithm, false, ["sign"]);
    const sign = async (bytes: Uint8Array<ArrayBuffer>) => new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes));
    const header = '{"alg":"HS256","typ":"svc-record+jwt"}';
    await assertRefused(verify(await sealText(header, payload, { sign })), "malformed_record");
    // and padded to the length of the right algorithm's signatures
    const twice = async (bytes: Uint8Array<ArrayBuffer>) =>
      new Uint8Array([...await sign(bytes), ...await sign(bytes)]);
    await assertRefused(verify(await sealText(header, payload, { sign: twice })), "malformed_record");
    await assertRefused(verify(await sealText(HEADER, payload, { sign: twice })), "bad_token_signature");
  });

  test("verifyRecord() refuses the signature of another key, with and without its name", async () => {
    const world = await rig();
    const { orders, claimsOf, verify } = world;
    const other = await joinOther(world, "other");
    const claims = await claimsOf(orders);
    for (const signer of [await generateKey(), other.key, world.authority.key]) {
      await assertRefused(verify(await sealClaims(claims, { sign: signer.sign })), "bad_token_signature");
      const named = { sign: signer.sign, kid: signer.thumbprint };
      await assertRefused(verify(await sealClaims(claims, named)), "malformed_record", /two issuers/);
    }
  });

  test("verifyRecord() refuses the identity token of another, whoever signs", async () => {
    const world = await rig();
    const { orders, forge, verify } = world;
    const other = await joinOther(world, "other");
    await assertRefused(verify(await forge(other, { sub: ORDERS, iss: ORDERS })), "wrong_token", /another's/);
    await assertRefused(verify(await forge(orders, { wit: await witOf(other) })), "wrong_token", /another's/);
    await assertRefused(verify(await forge(other, { sub: ORDERS })), "malformed_record", /two issuers/);
    await assertRefused(verify(await forge(other, { iss: ORDERS })), "malformed_record", /two issuers/);
  });

  test("verifyRecord() refuses another key under a copied identity token", async () => {
    const { orders, claimsOf, verify } = await rig();
    const thief = await generateKey();
    await assertRefused(verify(await sealClaims(await claimsOf(orders), { sign: thief.sign })), "bad_token_signature");
  });

  test("verifyRecord() refuses the identity token of another trust domain, with the same path and the same key id", async () => {
    const now = (await rig()).now;
    const keys = async () => ({ wit: await generateKey(), capability: await generateKey() });
    const [ownKeys, foreignKeys] = [await keys(), await keys()];
    const own = await createAuthority(DOMAIN, { now, keys: [ownKeys] });
    const foreign = await createAuthority("partner.test", { now, keys: [foreignKeys] });
    const trust = await createTrust({ [DOMAIN]: own.bundle(), "partner.test": foreign.bundle() }, { now });
    const { claimsOf, expect } = await rig(DOMAIN, now);
    const expected = expect({ trust, trustDomains: [DOMAIN] });
    const partner = await rig("partner.test", now);
    const attacker = partner.orders;
    const claims = await claimsOf(attacker, { sub: ORDERS, iss: ORDERS });
    const wit = async (signer: typeof ownKeys, kid: string) => {
      const iat = now() / 1_000;
      const body = {
        sub: ORDERS,
        iat,
        exp: iat + 600,
        jti: "t",
        cnf: { jwk: { ...attacker.key.jwk, alg: "Ed25519" } },
      };
      return await signJws("wit+jwt", { ...body, [SERVES_CLAIM]: [SERVICE] }, { kid, sign: signer.wit.sign });
    };
    const verify = async (token: string) =>
      await verifyRecord(await sealClaims({ ...claims, wit: token }, attacker), SERVICE, expected, now());
    await assertRefused(verify(await wit(foreignKeys, foreignKeys.wit.thumbprint)), "unknown_issuer");
    await assertRefused(verify(await wit(foreignKeys, ownKeys.wit.thumbprint)), "bad_token_signature");
    const token = await foreign.issue(attacker.key.jwk, { id: "spiffe://partner.test/orders", serves: [SERVICE] });
    await assertRefused(verify(token), "wrong_token", /another's/);
    const honest = await claimsOf(attacker, { wit: token });
    const record = await sealClaims(honest, attacker);
    await assertRefused(verifyRecord(record, SERVICE, expected, now()), "wrong_domain");
  });

  test("verifyRecord() refuses an identity token as a record and a record as an identity token", async () => {
    const { orders, forge, claimsOf, verify, recordOf } = await rig();
    await assertRefused(verify(await witOf(orders)), "malformed_record");
    await assertRefused(verify(await forge(orders, { wit: await recordOf(orders) })), "malformed_token");
    const claims = JSON.parse(JSON.stringify(await claimsOf(orders)));
    for (const typ of ["JWT", "wit+jwt", "SVC-RECORD+JWT", "application/svc-record+jwt", ""]) {
      await assertRefused(verify(await signJws(typ, claims, { sign: orders.sign })), "malformed_record");
    }
    const [, payload] = partsOf(await forge(orders));
    await assertRefused(verify(await sealText('{"alg":"Ed25519"}', payload, orders)), "malformed_record");
  });

  test("verifyRecord() refuses members of the header that would bring a key, or want to be understood", async () => {
    const { orders, forge, verify } = await rig();
    const thief = await generateKey();
    const [, payload] = partsOf(await forge(orders));
    const members: Readonly<Record<string, unknown>> = {
      jwk: thief.jwk,
      jku: "https://evil.test/keys",
      x5u: "https://evil.test/chain",
      x5c: ["AA=="],
      crit: ["b64"],
      b64: false,
      zip: "DEF",
      cty: "JWT",
      ["__proto__"]: {},
    };
    for (const [name, value] of Object.entries(members)) {
      for (const { sign } of [orders, thief]) {
        const header = `{"alg":"Ed25519","typ":"svc-record+jwt",${JSON.stringify(name)}:${JSON.stringify(value)}}`;
        await assertRefused(verify(await sealText(header, payload, { sign })), "malformed_record");
      }
    }
    assert.equal((await verify(await sealText(HEADER, payload, orders))).identity, ORDERS);
  });

  test("verifyRecord() refuses two members of one name, in the header and in the claims", async () => {
    const { orders, forge, verify } = await rig();
    const [header, payload] = partsOf(await forge(orders));
    const twice = [
      [header.replace('"alg"', '"alg":"none","alg"'), payload],
      [header.replace('"alg":"Ed25519"', '"alg":"Ed25519","\\u0061lg":"Ed25519"'), payload],
      [header, payload.replace('"sub"', `"sub":"spiffe://${DOMAIN}/other","sub"`)],
      [header, payload.replace('"seq"', '"seq":1,"seq"')],
      [header, payload.replace('"exp"', '"exp":1,"\\u0065xp"')],
      [header, payload.replace(`"${SERVICE}":""`, `"${SERVICE}":"","${SERVICE}":""`)],
    ];
    for (const [changedHeader, changed] of twice as [string, string][]) {
      assert.notEqual(changedHeader + changed, header + payload);
      await assertRefused(verify(await sealText(changedHeader, changed, orders)), "malformed_record");
    }
  });

  test("verifyRecord() refuses other spellings of the same claims", async () => {
    const { orders, forge, verify } = await rig();
    const record = await forge(orders);
    const [header, payload] = partsOf(record);
    const claims = JSON.parse(payload);
    const spellings = [
      ` ${payload}`,
      `${payload}\n`,
      `\ufeff${payload}`,
      JSON.stringify(claims, null, 1),
      JSON.stringify(Object.fromEntries(Object.entries(claims).reverse())),
      payload.replace('"seq":1', '"seq":1.0'),
      payload.replace('"seq":1', '"seq":1e0'),
      payload.replace('"jti"', '"\\u006ati"'),
    ];
    for (const spelling of spellings) {
      assert.notEqual(spelling, payload);
      await assertRefused(verify(await sealText(header, spelling, orders)), "malformed_record");
    }
    const [one, two, three] = record.split(".") as [string, string, string];
    const last = three.at(-1)!;
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const near = alphabet[alphabet.indexOf(last) | 1]!; // the same bytes to a lenient reader
    const texts = [
      ...[`${record}=`, `${record}==`, ` ${record}`, `${record} `, `${record}\n`, `${record}.`, `.${record}`],
      ...[`${one}.${two}.${three.slice(0, -1)}${near}`, `${one}=.${two}.${three}`, `${one}.${two}.${three}.${three}`],
      ...[
        `${one}..${three}`,
        "",
        ".",
        "..",
        "a.b.c",
        JSON.stringify({ payload: two, signature: three, protected: one }),
      ],
    ];
    for (const text of texts) {
      if (text !== record) await assertRefused(verify(text), "malformed_record");
    }
  });

  test("verifyRecord() refuses the authority of another trust domain, and who is no authority", async () => {
    const world = await rig();
    const { issue, verify, authority, orders, claimsOf, now } = world;
    await assertRefused(verify(await issue({ iss: "spiffe://partner.test" })), "malformed_record", /not the authority/);
    await assertRefused(verify(await issue({ iss: ORDERS })), "malformed_record", /not the authority/);
    await assertRefused(
      verify(await issue({ iss: `spiffe://www.${DOMAIN}` })),
      "malformed_record",
      /not the authority/,
    );
    for (const iss of ["", DOMAIN, `spiffe://${DOMAIN}/`, `https://${DOMAIN}`]) {
      await assertRefused(verify(await issue({ iss })), "malformed_id");
    }
    const partner = await createAuthority("partner.test", { now });
    const trust = await createTrust({ [DOMAIN]: authority.bundle(), "partner.test": partner.bundle() }, { now });
    const claims = await claimsOf(orders, { iss: authority.id, wit: undefined });
    const foreign = { kid: partner.key.thumbprint, sign: partner.key.sign };
    await assertRefused(verify(await sealClaims(claims, foreign), { trust }), "unknown_issuer");
    const disguised = { kid: authority.key.thumbprint, sign: partner.key.sign };
    await assertRefused(verify(await sealClaims(claims, disguised), { trust }), "bad_token_signature");
    await assertRefused(verify(await sealClaims(claims, { sign: authority.key.sign })), "unknown_issuer");
  });

  test("verifyRecord() refuses the authority's key for identity tokens under a record", async () => {
    const { now, claimsOf, orders, expect } = await rig();
    const keys = { wit: await generateKey(), capability: await generateKey() };
    const authority = await createAuthority(DOMAIN, { now, keys: [keys] });
    const trust = await createTrust({ [DOMAIN]: authority.bundle() }, { now });
    const claims = await claimsOf(orders, { iss: authority.id, wit: undefined });
    const verify = async ({ thumbprint: kid, sign }: typeof keys.wit) =>
      await verifyRecord(await sealClaims(claims, { kid, sign }), SERVICE, expect({ trust }), now());
    await assertRefused(verify(keys.wit), "unknown_issuer");
    assert.equal((await verify(keys.capability)).identity, ORDERS);
  });

  test("verifyRecord() refuses an instance's own signature without its identity token", async () => {
    const { forge, orders, authority, verify } = await rig();
    await assertRefused(verify(await forge(orders, { wit: undefined })), "malformed_record", /no identity token/);
    await assertRefused(verify(await forge(orders, { wit: undefined, iss: authority.id })), "unknown_issuer");
    await assertRefused(verify(await forge(orders, { wit: "" })), "malformed_token");
  });

  test("verifyRecord() refuses an identity token that has ended inside of a fresh record", async () => {
    const { orders, now, verify } = await rig();
    const wit = await witOf(orders);
    const { expiresAtMs } = await orders.credential();
    now.pass(expiresAtMs - now());
    const iat = now() / 1_000;
    const claims = { iss: ORDERS, sub: ORDERS, wit, iat, exp: iat + 60 };
    const other = await rig(DOMAIN, now);
    const record = await sealClaims({ ...await other.claimsOf(other.orders), ...claims }, orders);
    await assertRefused(verify(record), "expired_token");
  });

  test("verifyRecord() refuses a revoked identity, key and token, in own records and in issued ones", async () => {
    const what = async (name: "ids" | "keys" | "tokens") => {
      const world = await rig();
      const { orders, forge, issue, verify, authority, trust } = world;
      const [own, issued] = [await forge(orders), await issue()];
      const [, payload] = partsOf(await witOf(orders));
      const revoked = { ids: [ORDERS], keys: [orders.key.thumbprint], tokens: [JSON.parse(payload).jti] };
      authority.revoke({ [name]: revoked[name] });
      await trust.update(await authority.signedBundle());
      await assertRefused(verify(own), "revoked");
      if (name === "ids") await assertRefused(verify(issued), "revoked");
      else assert.equal((await verify(issued)).identity, ORDERS);
    };
    for (const name of ["ids", "keys", "tokens"] as const) await what(name);
    const { issue, verify, authority, trust } = await rig();
    const issued = await issue({ jti: "lost" });
    authority.revoke({ tokens: ["lost"] });
    await trust.update(await authority.signedBundle());
    await assertRefused(verify(issued), "revoked");
  });

  test("verifyRecord() refuses what an authority signed with a key that it has retired", async () => {
    const { issue, forge, orders, verify, authority, trust, now } = await rig();
    const records = [await issue(), await forge(orders)];
    await authority.rotate();
    await trust.update(await authority.signedBundle());
    for (const record of records) assert.equal((await verify(record)).identity, ORDERS);
    authority.retire();
    const retired = await createTrust({ [DOMAIN]: authority.bundle() }, { now });
    for (const record of records) await assertRefused(verify(record, { trust: retired }), "unknown_issuer");
  });

  test("verifyRecord() refuses a record in which any bit was changed", async () => {
    const { orders, forge, issue, verify } = await rig();
    for (const record of [await forge(orders), await issue()]) {
      await verify(record);
      for (let at = 0; at < record.length; at++) {
        // Two of the seven bits of each character, others at the next.
        for (const bit of [at % 7, (at + 3) % 7]) {
          const code = record.charCodeAt(at) ^ (1 << bit);
          const changed = record.slice(0, at) + String.fromCharCode(code) + record.slice(at + 1);
          const error = await verify(changed).then(() => undefined, (thrown) => thrown);
          const isRefusal = error instanceof RegistryError || error instanceof AuthError;
          assert.ok(isRefusal, `bit ${bit} of character ${at}: ${error ?? "it was accepted"}`);
        }
      }
    }
  });

  test("verifyRecord() refuses a record of which a part is missing or there twice", async () => {
    const { orders, forge, verify } = await rig();
    const record = await forge(orders);
    for (let at = 0; at < record.length; at += 3) {
      for (const text of [record.slice(0, at), record.slice(at + 1), record.slice(0, at) + record.slice(at + 1)]) {
        await assert.rejects(verify(text), { reason: "malformed_record" });
      }
      await assert.rejects(verify(record.slice(0, at) + record[at] + record.slice(at)));
    }
  });
});
