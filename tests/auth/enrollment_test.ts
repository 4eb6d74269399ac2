import {
  AuthError,
  type AuthorityOptions,
  type AuthReason,
  createAuthority,
  type Evidence,
  generateKey,
  type SigningKey,
} from "../../src/auth/mod.ts";
import { signEnrollment, verifyEnrollment } from "../../src/auth/enrollment.ts";
import { readJws, signJws } from "../../src/auth/jws.ts";
import { readWit } from "../../src/auth/wit.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clock, ECHO, watchedAudit, WEB } from "./_world.ts";

const X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const trustDomain = "example.org";
const nowMs = 1_800_000_000_000;
const nowS = nowMs / 1_000;
const evidence = { type: "join_token", token: "t" };

const refused = (reason: AuthReason) => async (promise: Promise<unknown>) =>
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
    assert.equal(error.reason, reason);
    return true;
  });

/** A request with claims that differ from a good one's. */
async function requestOf(claims: object, key: SigningKey, signer = key, type = "wit-request+jwt"): Promise<string> {
  const good = {
    aud: `spiffe://${trustDomain}`,
    cnf: { jwk: key.jwk },
    evidence,
    exp: nowS + 60,
    iat: nowS,
    jti: "a-request-of-its-own",
  };
  return await signJws(type, JSON.parse(JSON.stringify({ ...good, ...claims })), { sign: signer.sign });
}

const verify = (request: string, atMs = nowMs) => verifyEnrollment(request, { trustDomain, nowMs: atMs });

describe("signEnrollment()", () => {
  test("signEnrollment() says who wants what from whom, for a minute", async () => {
    const key = await generateKey();
    const { claims, kid } = readJws(await signEnrollment(key, { trustDomain, evidence, nowMs }), "wit-request+jwt");
    const { jti, ...others } = claims as { readonly jti: string };
    const times = { iat: nowS, exp: nowS + 60 };
    assert.deepEqual(others, { aud: "spiffe://example.org", cnf: { jwk: key.jwk }, evidence, ...times });
    assert.match(jti, /^[\w-]{36}$/);
    assert.equal(kid, undefined);
  });

  test("signEnrollment() makes another request each time", async () => {
    const key = await generateKey();
    const [a, b] = [0, 1].map(() => signEnrollment(key, { trustDomain, evidence, nowMs }));
    assert.notEqual(await a, await b);
  });

  test("signEnrollment() refuses a trust domain that is none", async () => {
    const key = await generateKey();
    await assert.rejects(async () => await signEnrollment(key, { trustDomain: "a/b", evidence, nowMs }), AuthError);
  });
});

describe("verifyEnrollment()", () => {
  test("verifyEnrollment() reads what signEnrollment() made", async () => {
    const key = await generateKey();
    const { requestId, ...request } = await verify(await signEnrollment(key, { trustDomain, evidence, nowMs }));
    assert.deepEqual(request, { jwk: key.jwk, evidence });
    assert.match(requestId, /^[\w-]{36}$/);
  });

  test("verifyEnrollment() refuses a request of another key than it names", async () => {
    const [key, other] = [await generateKey(), await generateKey()];
    await refused("bad_token_signature")(verify(await requestOf({}, key, other)));
  });

  test("verifyEnrollment() refuses a request whose key was exchanged on the way", async () => {
    const [key, other] = [await generateKey(), await generateKey()];
    const [header, , signature] = (await requestOf({}, key)).split(".");
    const claims = (await requestOf({}, other)).split(".")[1];
    await refused("bad_token_signature")(verify(`${header}.${claims}.${signature}`));
  });

  for (const aud of ["spiffe://other.test", "spiffe://example.org/", "spiffe://example.org/web", "example.org", ""]) {
    test(`verifyEnrollment() refuses a request for "${aud}"`, async () => {
      await refused("wrong_audience")(verify(await requestOf({ aud }, await generateKey())));
    });
  }

  const times: readonly [title: string, claims: object, holds: boolean][] = [
    ["that ends in a second", { iat: nowS - 59, exp: nowS + 1 }, true],
    ["that ends now", { iat: nowS - 60, exp: nowS }, false],
    ["that ended a second ago", { iat: nowS - 61, exp: nowS - 1 }, false],
    ["from 4 seconds ahead", { iat: nowS + 4, exp: nowS + 64 }, true],
    ["from 5 seconds ahead", { iat: nowS + 5, exp: nowS + 65 }, true],
    ["from 6 seconds ahead", { iat: nowS + 6, exp: nowS + 66 }, false],
    ["that lives for 59 seconds", { exp: nowS + 59 }, true],
    ["that lives for 60 seconds", { exp: nowS + 60 }, true],
    ["that lives for 61 seconds", { exp: nowS + 61 }, false],
    ["that lives for ever", { exp: Number.MAX_SAFE_INTEGER }, false],
  ];
  for (const [title, claims, holds] of times) {
    test(`verifyEnrollment() ${holds ? "takes" : "refuses"} a request ${title}`, async () => {
      const request = await requestOf(claims, await generateKey());
      if (holds) assert.ok(await verify(request));
      else await refused("expired_token")(verify(request));
    });
  }

  test("verifyEnrollment() looks at the time to the millisecond", async () => {
    const request = await requestOf({ iat: nowS + 6, exp: nowS + 60 }, await generateKey());
    await refused("expired_token")(verify(request, nowMs + 999));
    assert.ok(await verify(request, nowMs + 1_000));
    assert.ok(await verify(request, nowMs + 59_999));
    await refused("expired_token")(verify(request, nowMs + 60_000));
  });

  for (const type of ["wit+jwt", "aat+jwt", "trust-bundle+jwt", "JWT"]) {
    test(`verifyEnrollment() refuses a request of the type ${type}`, async () => {
      const key = await generateKey();
      await refused("malformed_token")(verify(await requestOf({}, key, key, type)));
    });
  }

  const jwk = { kty: "OKP", crv: "Ed25519", x: X };
  const wrong: readonly [title: string, claims: object][] = [
    ["no audience", { aud: undefined }],
    ["a list of audiences", { aud: ["spiffe://example.org"] }],
    ["no key", { cnf: undefined }],
    ["a private key", { cnf: { jwk: { ...jwk, d: X } } }],
    ["a symmetric key", { cnf: { jwk: { kty: "oct", k: X } } }],
    ["a key for encryption", { cnf: { jwk: { ...jwk, use: "enc" } } }],
    ["a key of 31 bytes", { cnf: { jwk: { ...jwk, x: "A".repeat(42) } } }],
    ["more than a key in cnf", { cnf: { jwk, kid: "k" } }],
    ["no evidence", { evidence: undefined }],
    ["evidence of no kind", { evidence: { token: "t" } }],
    ["evidence of an empty kind", { evidence: { type: "", token: "t" } }],
    ["evidence of a kind in upper case", { evidence: { type: "OIDC", token: "t" } }],
    ["evidence of a kind of 33 characters", { evidence: { type: "a".repeat(33), token: "t" } }],
    ["evidence without a token", { evidence: { type: "oidc" } }],
    ["evidence that is longer than any token", { evidence: { type: "oidc", token: "t".repeat(8_193) } }],
    ["evidence that says who it is", { evidence: { ...evidence, id: "spiffe://example.org/admin" } }],
    ["no end", { exp: undefined }],
    ["an end that is a text", { exp: "1" }],
    ["a negative beginning", { iat: -1 }],
    ["an end with a fraction", { exp: nowS + 0.5 }],
    ["no beginning", { iat: undefined }],
    ["no id", { jti: undefined }],
    ["an id that is too short to be one of its kind", { jti: "j".repeat(15) }],
    ["an id that is too long", { jti: "j".repeat(129) }],
    ["a claim that is not known", { sub: "spiffe://example.org/admin" }],
  ];
  for (const [title, claims] of wrong) {
    test(`verifyEnrollment() refuses a request with ${title}`, async () => {
      await refused("wrong_token")(verify(await requestOf(claims, await generateKey())));
    });
  }

  for (const claims of [null, [], "x", 1]) {
    test(`verifyEnrollment() refuses a request whose claims are ${JSON.stringify(claims)}`, async () => {
      await refused("wrong_token")(verify(await signJws("wit-request+jwt", claims, await generateKey())));
    });
  }

  test("verifyEnrollment() takes the longest evidence", async () => {
    const request = await requestOf({ evidence: { type: "a".repeat(32), token: "" } }, await generateKey());
    assert.ok(await verify(request));
    const long = { type: "oidc", token: "t".repeat(8_192) };
    assert.deepEqual((await verify(await requestOf({ evidence: long }, await generateKey()))).evidence, long);
  });
});

describe("Authority.enroll() by an identity token", () => {
  /** An authority, and what asks it. */
  async function office(attestors: AuthorityOptions["attestors"] = []) {
    const now = clock();
    const audit = watchedAudit();
    const authority = await createAuthority(trustDomain, { now, audit, attestors });
    const ask = (key: SigningKey, evidence: Evidence) => signEnrollment(key, { trustDomain, evidence, nowMs: now() });
    return { now, audit, authority, ask };
  }

  async function assertRefused(
    { authority, audit }: Awaited<ReturnType<typeof office>>,
    request: string,
    reason: AuthReason,
  ) {
    await refused(reason)(authority.enroll(request));
    assert.deepEqual(audit.events.at(-1), { event: "credential.refuse", reason });
  }

  const shown = (token: string) => ({ type: "wit", token });

  test("Authority.enroll() gives a new token for a present one, with all that it says", async () => {
    const it = await office();
    const key = await generateKey();
    const workload = { id: WEB, roles: ["r"], serves: ["a.v1"], attributes: { site: "x" }, certificate: X };
    const token = await it.authority.issue(key.jwk, workload);
    it.now.pass(1_800_000);
    const { claims } = readWit(await it.authority.enroll(await it.ask(key, shown(token))));
    const before = readWit(token).claims;
    assert.deepEqual(claims, { ...before, jti: claims.jti, iat: before.iat + 1_800, exp: before.exp + 1_800 });
    assert.notEqual(claims.jti, before.jti);
  });

  test("Authority.enroll() gives a new token for the longest one that it issues", async () => {
    const it = await office();
    const key = await generateKey();
    const attributes = Object.fromEntries(Array.from({ length: 19 }, (_, index) => [`a${index}`, "v".repeat(256)]));
    const token = await it.authority.issue(key.jwk, { id: WEB, attributes });
    assert.ok(token.length > 7_000 && token.length <= 8_192);
    const renewed = await it.authority.enroll(await it.ask(key, shown(token)));
    assert.deepEqual(readWit(renewed).claims["urn:postern:attributes"], attributes);
  });

  test("Authority.enroll() gives nothing for the token of another key", async () => {
    const it = await office();
    const [victim, attacker] = [await generateKey(), await generateKey()];
    const token = await it.authority.issue(victim.jwk, { id: WEB });
    await assertRefused(it, await it.ask(attacker, shown(token)), "not_attested");
  });

  test("Authority.enroll() gives nothing for a token that ended", async () => {
    const it = await office();
    const key = await generateKey();
    const token = await it.authority.issue(key.jwk, { id: WEB });
    it.now.pass(3_600_000);
    await assertRefused(it, await it.ask(key, shown(token)), "expired_token");
  });

  for (const name of ["id", "key", "token"] as const) {
    test(`Authority.enroll() gives nothing for a revoked ${name}`, async () => {
      const it = await office();
      const key = await generateKey();
      const token = await it.authority.issue(key.jwk, { id: WEB });
      const { jti } = readWit(token).claims;
      it.authority.revoke({ id: { ids: [WEB] }, key: { keys: [key.thumbprint] }, token: { tokens: [jti] } }[name]);
      await assertRefused(it, await it.ask(key, shown(token)), "revoked");
    });
  }

  test("Authority.enroll() gives nothing for a token of another authority", async () => {
    const [it, other] = [await office(), await office()];
    const key = await generateKey();
    const token = await other.authority.issue(key.jwk, { id: WEB });
    await assertRefused(it, await it.ask(key, shown(token)), "unknown_issuer");
  });

  test("Authority.enroll() gives nothing for a token of a retired key", async () => {
    const it = await office();
    const key = await generateKey();
    const token = await it.authority.issue(key.jwk, { id: WEB });
    await it.authority.rotate();
    assert.ok(await it.authority.enroll(await it.ask(key, shown(token))));
    it.authority.retire();
    await assertRefused(it, await it.ask(key, shown(token)), "unknown_issuer");
  });

  test("Authority.enroll() asks no attestor about it", async () => {
    const it = await office([{ type: "wit", attest: () => ({ id: ECHO }) }]);
    await assertRefused(it, await it.ask(await generateKey(), shown("anything")), "malformed_token");
  });
});
