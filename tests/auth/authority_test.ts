import {
  AuthError,
  type Authority,
  type AuthorityOptions,
  type AuthReason,
  createAuthority,
  createTrust,
  generateIdentity,
  generateKey,
  importIdentity,
  type PublicJwk,
  type SigningKey,
} from "../../src/auth/mod.ts";
import { signEnrollment } from "../../src/auth/enrollment.ts";
import { readJws } from "../../src/auth/jws.ts";
import { readWit } from "../../src/auth/wit.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clock, ECHO, watchedAudit, WEB } from "./_world.ts";

const DOMAIN = "example.org";

const refused = (reason: AuthReason) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};

const X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const JWK: PublicJwk = { kty: "OKP", crv: "Ed25519", x: X };

/** An attestor that believes everyone, so that the rest of an enrolment can be looked at. */
const believing = (id = WEB) => ({ type: "any", attest: () => ({ id }) });

async function office(options: AuthorityOptions = {}) {
  const now = clock();
  const audit = watchedAudit();
  const authority = await createAuthority(DOMAIN, { now, audit, attestors: [believing()], ...options });
  const ask = async (key: SigningKey, evidence = { type: "any", token: "" }, trustDomain = DOMAIN) =>
    await signEnrollment(key, { trustDomain, evidence, nowMs: now() });
  return { now, audit, authority, ask };
}

const trustOf = (authority: Authority, now: () => number) => createTrust({ [DOMAIN]: authority.bundle() }, { now });

describe("createAuthority()", () => {
  test("createAuthority() speaks as its trust domain", async () => {
    const { id, trustDomain } = await createAuthority(DOMAIN);
    assert.deepEqual({ id, trustDomain }, { id: "spiffe://example.org", trustDomain: DOMAIN });
  });

  for (const domain of ["", "Example.org", "example.org/", "example.org/web", "a b", "example.org:1"]) {
    test(`createAuthority() refuses the trust domain "${domain}"`, async () => {
      await assert.rejects(createAuthority(domain), refused("malformed_id"));
    });
  }

  for (const tokenLifetimeMs of [0, -1, 59_999, 86_400_001, NaN, Infinity]) {
    test(`createAuthority() refuses tokens for ${tokenLifetimeMs} ms`, async () => {
      await assert.rejects(createAuthority(DOMAIN, { tokenLifetimeMs }), RangeError);
    });
  }

  test("createAuthority() issues tokens for as long as it is told", async () => {
    for (const [tokenLifetimeMs, seconds] of [[60_000, 60], [86_400_000, 86_400], [undefined, 3_600]] as const) {
      const authority = await createAuthority(DOMAIN, tokenLifetimeMs === undefined ? {} : { tokenLifetimeMs });
      const { claims } = readWit(await authority.issue(JWK, { id: WEB }));
      assert.equal(claims.exp - claims.iat, seconds);
    }
  });

  test("createAuthority() goes on with kept keys, from a kept sequence, with what was revoked", async () => {
    const { now, authority } = await office();
    const trust = await trustOf(authority, now);
    const keys = [{ wit: await generateKey(), capability: await generateKey() }];
    const revoked = { ids: [ECHO], keys: [], tokens: [] };
    const again = await createAuthority(DOMAIN, { now, keys, sequence: 7, revoked });
    assert.deepEqual(again.bundle().keys.map(({ kid, use }) => [kid, use]), [
      [keys[0]!.wit.thumbprint, "wit-svid"],
      [keys[0]!.capability.thumbprint, "aat"],
    ]);
    assert.equal(again.bundle().spiffe_sequence, 7);
    assert.equal(again.key, keys[0]!.capability);
    await assert.rejects(again.issue(JWK, { id: ECHO }), refused("revoked"));
    await assert.rejects(trust.verify(await again.issue(JWK, { id: WEB })), refused("unknown_issuer"));
  });
});

describe("Authority.issue()", () => {
  test("Authority.issue() issues what its trust domain's members believe, and records it", async () => {
    const { now, audit, authority } = await office();
    const token = await authority.issue(JWK, { id: WEB, roles: ["r"] });
    const { id, roles, thumbprint, tokenId } = await (await trustOf(authority, now)).verify(token);
    assert.deepEqual({ id, roles }, { id: WEB, roles: ["r"] });
    const fields = { tokenId, key: thumbprint };
    assert.deepEqual(audit.events, [{ event: "credential.issue", caller: WEB, fields }]);
    assert.ok(!JSON.stringify(audit.events).includes(token));
  });

  test("Authority.issue() writes of a key what is public, and nothing that came with it", async () => {
    const { authority } = await office();
    const jwk = { ...JWK, d: "private", use: "enc", key_ops: ["sign"] } as PublicJwk;
    const { claims } = readWit(await authority.issue(jwk, { id: WEB }));
    assert.deepEqual(claims.cnf, { jwk: { ...JWK, alg: "Ed25519" } });
  });

  test("Authority.issue() gives each token its own id", async () => {
    const { authority } = await office();
    const [a, b] = [await authority.issue(JWK, { id: WEB }), await authority.issue(JWK, { id: WEB })];
    assert.notEqual(readWit(a).claims.jti, readWit(b).claims.jti);
  });

  for (
    const id of ["spiffe://other.test/web", "spiffe://example.org.evil.test/web", "spiffe://example.org", "web", ""]
  ) {
    test(`Authority.issue() issues nothing to "${id}"`, async () => {
      const { authority } = await office();
      await assert.rejects(authority.issue(JWK, { id }), refused("malformed_id"));
    });
  }

  for (const x of ["", "A".repeat(42), "A".repeat(44), X.slice(0, -1) + "p", "!".repeat(43)]) {
    test(`Authority.issue() issues nothing for the key "${x}"`, async () => {
      const { authority } = await office();
      await assert.rejects(authority.issue({ ...JWK, x }, { id: WEB }), refused("malformed_key"));
    });
  }

  const nobodyWouldTake: readonly [title: string, workload: object][] = [
    ["a role with a space", { roles: ["a b"] }],
    ["too many roles", { roles: Array(65).fill("r") }],
    ["a wildcard among what it serves", { serves: ["*"] }],
    ["an attribute that is too long", { attributes: { a: "v".repeat(257) } }],
    ["a certificate that is no thumbprint", { certificate: "x" }],
  ];
  for (const [title, workload] of nobodyWouldTake) {
    test(`Authority.issue() issues no token that nobody would take: ${title}`, async () => {
      const { audit, authority } = await office();
      await assert.rejects(authority.issue(JWK, { id: WEB, ...workload }), refused("wrong_token"));
      assert.deepEqual(audit.events, []);
    });
  }

  test("Authority.issue() issues nothing to an identity or a key that was revoked", async () => {
    const { authority } = await office();
    const { jwk, thumbprint } = await generateKey();
    authority.revoke({ ids: [ECHO], keys: [thumbprint] });
    await assert.rejects(authority.issue(JWK, { id: ECHO }), refused("revoked"));
    await assert.rejects(authority.issue(jwk, { id: WEB }), refused("revoked"));
    assert.ok(await authority.issue(JWK, { id: WEB }));
  });
});

describe("Authority.enroll()", () => {
  test("Authority.enroll() issues a token for the key that signed the request", async () => {
    const { now, authority, ask } = await office();
    const key = await generateKey();
    const workload = await (await trustOf(authority, now)).verify(await authority.enroll(await ask(key)));
    assert.deepEqual([workload.id, workload.thumbprint], [WEB, key.thumbprint]);
  });

  test("Authority.enroll() shows the attestor the evidence and the key that it came with", async () => {
    const seen: unknown[] = [];
    const attest = (...given: unknown[]) => (seen.push(given), { id: WEB });
    const { authority, ask } = await office({ attestors: [believing(ECHO), { type: "mine", attest }] });
    const key = await generateKey();
    const token = await authority.enroll(await ask(key, { type: "mine", token: "shown" }));
    assert.deepEqual(seen, [["shown", { thumbprint: key.thumbprint }]]);
    assert.equal(readWit(token).claims.sub, WEB);
  });

  /** Asserts that a request is refused, which leaves one event and no token. */
  async function assertRefused(
    { authority, audit }: Awaited<ReturnType<typeof office>>,
    request: string,
    reason: AuthReason,
  ) {
    const before = audit.events.length;
    await assert.rejects(authority.enroll(request), refused(reason));
    assert.deepEqual(audit.events.slice(before), [{ event: "credential.refuse", reason }]);
  }

  test("Authority.enroll() refuses a request that came before", async () => {
    const it = await office();
    const request = await it.ask(await generateKey());
    await it.authority.enroll(request);
    await assertRefused(it, request, "replayed");
    it.now.pass(59_999);
    await assertRefused(it, request, "replayed");
    it.now.pass(1);
    await assertRefused(it, request, "expired_token");
  });

  test("Authority.enroll() takes a request once, even if it comes again while it is judged", async () => {
    let open = () => {};
    const gate = new Promise<void>((done) => open = done);
    const attest = () => gate.then(() => ({ id: WEB }));
    const { authority, ask } = await office({ attestors: [{ type: "any", attest }] });
    const request = await ask(await generateKey());
    const answers = Promise.allSettled([1, 2, 3].map(() => authority.enroll(request)));
    for (let i = 0; i < 10; i++) await new Promise((done) => setTimeout(done, 0)); // all of them come as far as they can
    open();
    assert.deepEqual((await answers).map(({ status }) => status).sort(), ["fulfilled", "rejected", "rejected"]);
  });

  test("Authority.enroll() remembers a request for as long as any clock could take it", async () => {
    const it = await office();
    it.now.pass(5_000); // the workload's clock is ahead
    const request = await it.ask(await generateKey());
    it.now.pass(-5_000);
    await it.authority.enroll(request);
    it.now.pass(64_999);
    await it.authority.enroll(await it.ask(await generateKey())); // forgets what is old
    await assertRefused(it, request, "replayed");
  });

  test("Authority.enroll() refuses a request for another authority", async () => {
    const it = await office();
    await assertRefused(it, await it.ask(await generateKey(), undefined, "other.test"), "wrong_audience");
  });

  test("Authority.enroll() refuses a request from the future", async () => {
    const it = await office();
    it.now.pass(6_000);
    const request = await it.ask(await generateKey());
    it.now.pass(-6_000);
    await assertRefused(it, request, "expired_token");
  });

  test("Authority.enroll() refuses a request of another key than it names", async () => {
    const it = await office();
    const [key, other] = [await generateKey(), await generateKey()];
    await assertRefused(it, await it.ask({ ...key, sign: other.sign }), "bad_token_signature");
  });

  for (const type of ["nobody", "an", "anyy", "constructor"]) {
    test(`Authority.enroll() refuses evidence of the unknown kind "${type}"`, async () => {
      const it = await office();
      await assertRefused(it, await it.ask(await generateKey(), { type, token: "" }), "not_attested");
    });
  }

  test("Authority.enroll() records what an attestor throws as what it is", async () => {
    const fail = (error: Error) => ({ type: "any", attest: () => Promise.reject(error) });
    const bug = await office({ attestors: [fail(new TypeError("bug"))] });
    await assert.rejects(bug.authority.enroll(await bug.ask(await generateKey())), TypeError);
    assert.deepEqual(bug.audit.events, [{ event: "credential.refuse", reason: "not_attested" }]);
    const own = await office({ attestors: [fail(new AuthError("revoked", "Cannot"))] });
    await assertRefused(own, await own.ask(await generateKey()), "revoked");
  });

  test("Authority.enroll() issues nothing of another domain, whatever an attestor says", async () => {
    const it = await office({ attestors: [believing("spiffe://other.test/web")] });
    await assertRefused(it, await it.ask(await generateKey()), "malformed_id");
  });

  test("Authority.enroll() lets nobody fill its memory with evidence that is worth nothing", async () => {
    const it = await office();
    const request = await it.ask(await generateKey(), { type: "nobody", token: "" });
    await assertRefused(it, request, "not_attested");
    await assertRefused(it, request, "not_attested"); // it was judged again, so nothing was remembered
  });
});

describe("Authority.rotate()", () => {
  /** Tokens of each generation, and a trust that follows. */
  async function rotating() {
    const { now, authority, audit } = await office();
    const trust = await trustOf(authority, now);
    const issue = () => authority.issue(JWK, { id: WEB });
    const follow = async () => await trust.update(await authority.signedBundle());
    return { authority, audit, trust, issue, follow, old: await issue() };
  }

  test("Authority.rotate() signs with new keys while the old ones are still trusted", async () => {
    const { authority, audit, trust, issue, follow, old } = await rotating();
    const before = authority.key;
    await authority.rotate();
    assert.notEqual(authority.key.thumbprint, before.thumbprint);
    const fresh = await issue();
    assert.notEqual(readWit(fresh).jws.kid, readWit(old).jws.kid);
    await assert.rejects(trust.verify(fresh), refused("unknown_issuer"));
    assert.equal(await follow(), true);
    assert.deepEqual([(await trust.verify(fresh)).id, (await trust.verify(old)).id], [WEB, WEB]);
    assert.deepEqual(authority.bundle().keys.map(({ use }) => use), ["wit-svid", "aat", "wit-svid", "aat"]);
    const events = audit.events.filter(({ event }) => event !== "credential.issue");
    assert.deepEqual(events, [{ event: "authority.rotate", fields: { sequence: 2 } }]);
  });

  test("Authority.rotate() takes keys that were made elsewhere", async () => {
    const { authority } = await rotating();
    const keys = { wit: await generateKey(), capability: await generateKey() };
    await authority.rotate(keys);
    assert.equal(authority.key, keys.capability);
    assert.equal(authority.bundle().keys[0]!.kid, keys.wit.thumbprint);
  });

  test("Authority.retire() is a hard cut", async () => {
    const { authority, audit, trust, issue, follow, old } = await rotating();
    await authority.rotate();
    const fresh = await issue();
    await follow();
    authority.retire();
    assert.ok(await trust.verify(old), "nobody knows yet");
    await follow();
    await assert.rejects(trust.verify(old), refused("unknown_issuer"));
    assert.ok(await trust.verify(fresh));
    assert.deepEqual(audit.events.at(-1), { event: "authority.retire", fields: { sequence: 3 } });
  });

  test("Authority.signedBundle() is signed so that who has the previous one can take it", async () => {
    const { authority, trust, follow } = await rotating();
    for (let i = 0; i < 4; i++) {
      await authority.rotate();
      const signer = readJws(await authority.signedBundle(), "trust-bundle+jwt", 1_048_576).kid;
      assert.equal(signer, authority.bundle().keys.at(-2)!.kid, "the oldest that is trusted");
      assert.equal(await follow(), true);
    }
    authority.retire();
    assert.equal(await follow(), true);
    assert.equal(trust.revision, 5);
  });

  test("Authority.rotate() keeps three generations at most", async () => {
    const { authority, trust, follow, old } = await rotating();
    for (const count of [4, 6, 6, 6]) {
      await authority.rotate();
      await follow();
      assert.equal(authority.bundle().keys.length, count);
    }
    await assert.rejects(trust.verify(old), refused("unknown_issuer"));
  });

  test("Authority.rotate() leaves behind who missed every bundle before the cut", async () => {
    const { authority, follow } = await rotating();
    await authority.rotate();
    authority.retire();
    await assert.rejects(follow(), refused("unknown_issuer"));
  });
});

describe("Authority.revoke()", () => {
  test("Authority.revoke() adds to what is revoked, each once, and records how much", async () => {
    const { authority, audit } = await office();
    authority.revoke({ ids: [WEB], tokens: ["a"] });
    authority.revoke({ ids: [WEB, ECHO], keys: ["k"] });
    authority.revoke({});
    assert.deepEqual(authority.bundle()["urn:postern:revoked"], { ids: [WEB, ECHO], keys: ["k"], tokens: ["a"] });
    assert.equal(authority.bundle().spiffe_sequence, 4);
    assert.deepEqual(audit.events[1], {
      event: "authority.revoke",
      fields: { sequence: 3, ids: 2, keys: 1, tokens: 0 },
    });
  });

  test("Authority.revoke() changes no bundle that was given out", async () => {
    const { authority } = await office();
    const bundle = authority.bundle();
    authority.revoke({ ids: [WEB] });
    assert.deepEqual(bundle["urn:postern:revoked"]?.ids, []);
  });
});

test("an identity without a network and one that was enrolled are the same to who trusts the authority", async () => {
  const { now, authority } = await office();
  const key = await generateKey();
  const given = importIdentity(key, await authority.issue(key.jwk, { id: WEB }), { now });
  const got = await generateIdentity(authority, { evidence: { type: "any", token: "" }, now });
  const trust = await trustOf(authority, now);
  for (const { credential } of [given, got]) {
    assert.equal((await trust.verify((await credential()).token.reveal())).id, WEB);
  }
});
