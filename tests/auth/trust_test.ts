import {
  AuthError,
  type Authority,
  type AuthReason,
  createAuthority,
  createTrust,
  generateKey,
  type SigningKey,
  type Trust,
} from "../../src/auth/mod.ts";
import { signJws } from "../../src/auth/jws.ts";
import { readWit } from "../../src/auth/wit.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Clock, clock, WEB } from "./_world.ts";

const DOMAIN = "example.org";

const refused = (reason: AuthReason) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};

/** A trust domain whose authority's keys are in the test's hands. */
interface Realm {
  readonly now: Clock;
  readonly authority: Authority;
  readonly trust: Trust;
  readonly wit: SigningKey;
  readonly capability: SigningKey;
  /** A token with claims that differ from a good one's. */
  token(claims?: object, signer?: { readonly kid?: string; readonly sign: SigningKey["sign"] }): Promise<string>;
}

async function realm(options: { readonly maxCachedTokens?: number } = {}): Promise<Realm> {
  const now = clock();
  const [wit, capability, holder] = [await generateKey(), await generateKey(), await generateKey()];
  const authority = await createAuthority(DOMAIN, { now, keys: [{ wit, capability }] });
  const trust = await createTrust({ [DOMAIN]: authority.bundle() }, { now, ...options });
  const nowS = now() / 1_000;
  return {
    now,
    authority,
    trust,
    wit,
    capability,
    async token(claims = {}, signer = { kid: wit.thumbprint, sign: wit.sign }) {
      const good = { sub: WEB, iat: nowS, exp: nowS + 60, jti: "t1", cnf: { jwk: holder.jwk } };
      return await signJws("wit+jwt", JSON.parse(JSON.stringify({ ...good, ...claims })), signer);
    },
  };
}

describe("Trust.verify()", () => {
  test("Trust.verify() says who a token is for", async () => {
    const { authority, trust, now } = await realm();
    const { jwk, thumbprint } = await generateKey();
    const more = { serves: ["a.v1"], roles: ["r"], attributes: { site: "x" }, certificate: "A".repeat(43) };
    const { key, tokenId, ...workload } = await trust.verify(await authority.issue(jwk, { id: WEB, ...more }));
    const times = { notBeforeMs: now(), expiresAtMs: now() + 3_600_000 };
    assert.deepEqual(workload, { id: WEB, trustDomain: DOMAIN, jwk, thumbprint, ...more, ...times });
    assert.deepEqual([key.type, [...key.usages]], ["public", ["verify"]]);
    assert.match(tokenId, /^[\w-]{36}$/);
  });

  test("Trust.verify() takes a token until it ends, to the millisecond and without grace", async () => {
    for (
      const [passedMs, holds] of [[59_000, true], [59_999, true], [60_000, false], [60_001, false], [
        61_000,
        false,
      ]] as const
    ) {
      const { trust, token, now } = await realm();
      const text = await token();
      now.pass(passedMs);
      if (holds) assert.equal((await trust.verify(text)).id, WEB);
      else await assert.rejects(trust.verify(text), refused("expired_token"));
    }
  });

  for (const member of ["nbf", "iat"] as const) {
    test(`Trust.verify() takes a token whose ${member} is as far ahead as clocks may differ, and no further`, async () => {
      const { trust, token, now } = await realm();
      const nowS = now() / 1_000;
      for (const ahead of [-1, 0, 1, 4, 5]) assert.ok(await trust.verify(await token({ [member]: nowS + ahead })));
      const later = await token({ [member]: nowS + 6 });
      await assert.rejects(trust.verify(later), refused("expired_token"));
      now.pass(999);
      await assert.rejects(trust.verify(later), refused("expired_token"));
      now.pass(1);
      assert.ok(await trust.verify(later));
    });
  }

  test("Trust.verify() refuses a token of an untrusted domain", async () => {
    const { trust, token } = await realm();
    const text = await token({ sub: "spiffe://evil.test/web" });
    await assert.rejects(trust.verify(text), refused("unknown_issuer"));
  });

  test("Trust.verify() does not look for keys where a token says they are", async () => {
    const { trust, token } = await realm();
    assert.ok(await trust.verify(await token({ iss: "spiffe://evil.test" })), "iss is for information only");
    await assert.rejects(trust.verify(await token({}, await generateKey())), refused("unknown_issuer"));
  });

  test("Trust.verify() refuses a token of a key that is not in the bundle, named or not", async () => {
    const { trust, token, wit } = await realm();
    const { sign, thumbprint } = await generateKey();
    await assert.rejects(trust.verify(await token({}, { kid: thumbprint, sign })), refused("unknown_issuer"));
    await assert.rejects(trust.verify(await token({}, { sign })), refused("unknown_issuer"));
    await assert.rejects(trust.verify(await token({}, { sign: wit.sign })), refused("unknown_issuer"));
    await assert.rejects(trust.verify(await token({}, { kid: "toString", sign })), refused("unknown_issuer"));
  });

  test("Trust.verify() refuses a token that uses the name of the authority's key", async () => {
    const { trust, token, wit } = await realm();
    const { sign } = await generateKey();
    await assert.rejects(trust.verify(await token({}, { kid: wit.thumbprint, sign })), refused("bad_token_signature"));
  });

  test("Trust.verify() refuses a token that the authority's key for capabilities signed", async () => {
    const { trust, token, capability } = await realm();
    const signer = { kid: capability.thumbprint, sign: capability.sign };
    await assert.rejects(trust.verify(await token({}, signer)), refused("unknown_issuer"));
  });

  test("Trust.verify() refuses a token with a key that is none", async () => {
    const { trust, token } = await realm();
    const x = "A".repeat(42) + "B";
    const text = await token({ cnf: { jwk: { kty: "OKP", crv: "Ed25519", x, alg: "Ed25519" } } });
    await assert.rejects(trust.verify(text), refused("malformed_key"));
  });

  test("Trust.verify() refuses a header that is missing", async () => {
    await assert.rejects((await realm()).trust.verify(""), refused("malformed_token"));
  });

  test("Trust.verify() remembers as many tokens as it may, and forgets the first", async () => {
    const { trust, token } = await realm({ maxCachedTokens: 2 });
    const [a, b, c] = [await token({ jti: "a" }), await token({ jti: "b" }), await token({ jti: "c" })];
    const first = await trust.verify(a);
    assert.equal(await trust.verify(a), first);
    const second = await trust.verify(b);
    assert.equal(await trust.verify(a), first);
    await trust.verify(c); // a goes
    assert.equal(await trust.verify(b), second);
    assert.notEqual(await trust.verify(a), first);
  });

  test("Trust.verify() remembers nothing where it must not, and 1,024 tokens where nothing is said", async () => {
    const { trust, token } = await realm({ maxCachedTokens: 0 });
    const text = await token();
    assert.notEqual(await trust.verify(text), await trust.verify(text));
    const kept = await realm();
    const workload = await kept.trust.verify(await kept.token());
    assert.equal(await kept.trust.verify(await kept.token()), workload);
    assert.ok(Object.isFrozen(workload));
  });

  test("Trust.verify() looks at the time of a token that it remembers", async () => {
    const { trust, token, now } = await realm();
    const text = await token({ nbf: now() / 1_000 + 5 });
    await trust.verify(text);
    now.pass(-1_000); // a clock that was set back
    await assert.rejects(trust.verify(text), refused("expired_token"));
    now.pass(61_000);
    await assert.rejects(trust.verify(text), refused("expired_token"));
  });

  test("Trust.verify() does not remember a token that it refused", async () => {
    const { trust, token, wit } = await realm();
    const text = await token({}, { kid: wit.thumbprint, sign: (await generateKey()).sign });
    for (let i = 0; i < 2; i++) await assert.rejects(trust.verify(text), refused("bad_token_signature"));
  });

  test("Trust.verify() does not remember what it verified while the key was taken back", async () => {
    const { authority, trust, token } = await realm();
    const text = await token();
    await authority.rotate();
    assert.ok(await trust.update(await authority.signedBundle()));
    authority.retire();
    const last = await authority.signedBundle();
    const { reached, go, restore } = stallWorkloadKey(readWit(text).claims.cnf.jwk.x);
    try {
      const verifying = trust.verify(text);
      await reached;
      await trust.update(last);
      go();
      await verifying.catch(() => {}); // in time or not, both are right
    } finally {
      restore();
    }
    await assert.rejects(trust.verify(text), refused("unknown_issuer"));
  });
});

describe("Trust.assertNotRevoked()", () => {
  const revoked = { id: WEB, key: "k", tokens: ["t"] };

  for (const name of ["id", "key", "tokens"] as const) {
    test(`Trust.assertNotRevoked() refuses by ${name}, of the domain that revoked it`, async () => {
      const [ours, theirs] = [await createAuthority(DOMAIN), await createAuthority("other.test")];
      ours.revoke({ ids: [WEB], keys: ["k"], tokens: ["t"] });
      const trust = await createTrust({ [DOMAIN]: ours.bundle(), "other.test": theirs.bundle() });
      assert.throws(() => trust.assertNotRevoked(DOMAIN, { [name]: revoked[name] }), refused("revoked"));
      trust.assertNotRevoked("other.test", { [name]: revoked[name] });
      trust.assertNotRevoked(DOMAIN, { id: `${WEB}2`, key: "K", tokens: ["t2", ""] });
      trust.assertNotRevoked(DOMAIN, {});
    });
  }

  test("Trust.assertNotRevoked() finds one of many tokens", async () => {
    const authority = await createAuthority(DOMAIN);
    authority.revoke({ tokens: ["t3"] });
    const trust = await createTrust({ [DOMAIN]: authority.bundle() });
    assert.throws(() => trust.assertNotRevoked(DOMAIN, { tokens: ["t1", "t2", "t3"] }), refused("revoked"));
  });

  test("Trust.assertNotRevoked() refuses a domain that is not trusted", async () => {
    const { trust } = await realm();
    assert.throws(() => trust.assertNotRevoked("evil.test", { id: WEB }), refused("unknown_issuer"));
  });
});

describe("Trust.update()", () => {
  for (const name of ["id", "key", "token"] as const) {
    test(`Trust.update() makes the next call of a revoked ${name} fail, remembered or not`, async () => {
      const { authority, trust, token } = await realm();
      const text = await token();
      const { id, thumbprint, tokenId } = await trust.verify(text);
      const revocation = { id: { ids: [id] }, key: { keys: [thumbprint] }, token: { tokens: [tokenId] } }[name];
      authority.revoke(revocation);
      assert.ok(await trust.verify(text), "nobody knows yet");
      assert.equal(await trust.update(await authority.signedBundle()), true);
      await assert.rejects(trust.verify(text), refused("revoked"));
      await assert.rejects(trust.verify(text), refused("revoked"));
    });
  }

  test("Trust.update() says whether there was any news", async () => {
    const { authority, trust } = await realm();
    const first = await authority.signedBundle();
    assert.equal(await trust.update(first), false);
    authority.revoke({ tokens: ["t"] });
    const second = await authority.signedBundle();
    assert.deepEqual([await trust.update(second), trust.revision], [true, 1]);
    assert.deepEqual([await trust.update(second), trust.revision], [false, 1]);
    assert.throws(() => trust.assertNotRevoked(DOMAIN, { tokens: ["t"] }), refused("revoked"));
    await assert.rejects(trust.update(first), refused("rollback"));
    assert.throws(() => trust.assertNotRevoked(DOMAIN, { tokens: ["t"] }), refused("revoked"));
    assert.equal(trust.revision, 1);
  });

  test("Trust.update() does not take other content under the sequence that it has", async () => {
    const { authority, trust, wit } = await realm();
    const bundle = { ...authority.bundle(), "urn:postern:revoked": { ids: [WEB], keys: [], tokens: [] } };
    const signed = await signedBundle({ bundle }, wit);
    assert.equal(await trust.update(signed), false);
    trust.assertNotRevoked(DOMAIN, { id: WEB });
  });

  test("Trust.update() forgets tokens of keys that are gone", async () => {
    const { authority, trust, token } = await realm();
    const text = await token();
    await trust.verify(text);
    await authority.rotate();
    await trust.update(await authority.signedBundle());
    assert.ok(await trust.verify(text), "both keys are trusted for a while");
    authority.retire();
    await trust.update(await authority.signedBundle());
    await assert.rejects(trust.verify(text), refused("unknown_issuer"));
  });

  test("Trust.update() replaces the keys of the one domain", async () => {
    const [ours, theirs] = [await createAuthority(DOMAIN), await createAuthority("other.test")];
    const trust = await createTrust({ [DOMAIN]: ours.bundle(), "other.test": theirs.bundle() });
    theirs.revoke({ ids: [WEB] });
    await trust.update(await theirs.signedBundle());
    trust.assertNotRevoked(DOMAIN, { id: WEB });
    assert.throws(() => trust.assertNotRevoked("other.test", { id: WEB }), refused("revoked"));
  });

  async function signedBundle(claims: object, signer: SigningKey, type = "trust-bundle+jwt"): Promise<string> {
    const all = { iss: `spiffe://${DOMAIN}`, iat: 1, ...claims };
    return await signJws(type, JSON.parse(JSON.stringify(all)), { kid: signer.thumbprint, sign: signer.sign });
  }
  const newer = ({ authority }: Realm) => ({ ...authority.bundle(), spiffe_sequence: 9 });

  test("Trust.update() refuses a bundle of an untrusted domain", async () => {
    const it = await realm();
    const signed = await signedBundle({ iss: "spiffe://evil.test", bundle: newer(it) }, it.wit);
    await assert.rejects(it.trust.update(signed), refused("unknown_issuer"));
  });

  test("Trust.update() refuses the bundle of one domain from the authority of another", async () => {
    const it = await realm();
    const wit = await generateKey();
    const theirs = await createAuthority("other.test", { keys: [{ wit, capability: wit }] });
    const trust = await createTrust({ [DOMAIN]: it.authority.bundle(), "other.test": theirs.bundle() });
    await assert.rejects(trust.update(await signedBundle({ bundle: newer(it) }, wit)), refused("unknown_issuer"));
    const named = { sign: wit.sign, thumbprint: it.wit.thumbprint } as SigningKey;
    await assert.rejects(
      trust.update(await signedBundle({ bundle: newer(it) }, named)),
      refused("bad_token_signature"),
    );
  });

  test("Trust.update() refuses a bundle that the key for capabilities signed", async () => {
    const it = await realm();
    const signed = await signedBundle({ bundle: newer(it) }, it.capability);
    await assert.rejects(it.trust.update(signed), refused("unknown_issuer"));
  });

  test("Trust.update() refuses a bundle that only new keys signed", async () => {
    const it = await realm();
    const other = await createAuthority(DOMAIN, { sequence: 9 });
    await assert.rejects(it.trust.update(await other.signedBundle()), refused("unknown_issuer"));
  });

  for (const type of ["wit+jwt", "aat+jwt", "JWT"]) {
    test(`Trust.update() refuses a bundle of the type ${type}`, async () => {
      const it = await realm();
      const signed = await signedBundle({ bundle: newer(it) }, it.wit, type);
      await assert.rejects(it.trust.update(signed), refused("malformed_token"));
    });
  }

  const wrong: readonly [title: string, claims: object, reason: AuthReason][] = [
    ["no issuer", { iss: undefined }, "malformed_id"],
    ["an issuer that is no id", { iss: "example.org" }, "malformed_id"],
    ["an issuer that is null", { iss: null }, "malformed_id"],
    ["an issuer that is a number", { iss: 1 }, "malformed_id"],
    ["no bundle", { bundle: undefined }, "malformed_bundle"],
    ["a bundle without keys", { bundle: { keys: [], spiffe_sequence: 9 } }, "malformed_bundle"],
  ];
  for (const [title, claims, reason] of wrong) {
    test(`Trust.update() refuses a bundle with ${title}`, async () => {
      const it = await realm();
      const signed = await signedBundle({ bundle: newer(it), ...claims }, it.wit);
      await assert.rejects(it.trust.update(signed), refused(reason));
      assert.equal(it.trust.revision, 0);
    });
  }

  for (const claims of [null, 1, "x", [], { iss: { toString: 1, valueOf: 1 } }]) {
    test(`Trust.update() throws nothing but AuthError for the claims ${JSON.stringify(claims)}`, async () => {
      const it = await realm();
      const token = await signJws("trust-bundle+jwt", claims, { kid: it.wit.thumbprint, sign: it.wit.sign });
      await assert.rejects(it.trust.update(token), AuthError);
    });
  }

  test("Trust.update() takes a bundle that is far longer than a token, and none of more than a mebibyte", async () => {
    const it = await realm();
    const ids = Array.from({ length: 10_000 }, (_, index) => `spiffe://${DOMAIN}/a-long-workload-name/number/${index}`);
    it.authority.revoke({ ids });
    const signed = await it.authority.signedBundle();
    assert.ok(signed.length > 500_000 && signed.length < 1_048_576);
    assert.ok(await it.trust.update(signed));
    await assert.rejects(it.trust.update("A".repeat(1_048_577)), (error: Error) => {
      assert.match(error.message, /too long/);
      return refused("malformed_token")(error);
    });
  });
});

/** Holds back the import of a workload's key: verification takes a while, and other things happen. */
function stallWorkloadKey(x: string): { readonly reached: Promise<void>; readonly go: () => void; restore(): void } {
  const [reached, gate] = [withResolvers<void>(), withResolvers<void>()];
  const original = crypto.subtle.importKey as (...given: unknown[]) => Promise<CryptoKey>;
  const value = async (...given: unknown[]) => {
    const raw = given[1];
    const text = raw instanceof Uint8Array ? btoa(String.fromCharCode(...raw)) : "";
    if (text.replaceAll("+", "-").replaceAll("/", "_").startsWith(x)) {
      reached.resolve();
      await gate.promise;
    }
    return await original.apply(crypto.subtle, given);
  };
  Object.defineProperty(crypto.subtle, "importKey", { value, configurable: true });
  return {
    reached: reached.promise,
    go: gate.resolve,
    restore: () => Reflect.deleteProperty(crypto.subtle, "importKey"),
  };
}

/** As `Promise.withResolvers`, which Node 20 does not have. */
function withResolvers<Value>(): { readonly promise: Promise<Value>; readonly resolve: (value: Value) => void } {
  let resolve: ((value: Value) => void) | undefined;
  const promise = new Promise<Value>((given) => resolve = given);
  return { promise, resolve: resolve! };
}
