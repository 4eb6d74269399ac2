import { chainVerifier } from "../../src/auth/capability_chain.ts";
import { createAuthority, createTrust, generateKey, type Trust } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { first, here, join, keys, now, terms, trust, watched, web } from "./_chains.ts";
import { assertRefused, byId, chainOf, root, rootClaims, sign, termsOf } from "./_forge.ts";
import { DOMAIN, WEB } from "./_world.ts";

const twin = await root(here, byId(WEB));

async function updatable() {
  const authority = await createAuthority(DOMAIN, { now });
  const trust = await createTrust({ [DOMAIN]: authority.bundle() }, { now });
  return { now, authority, trust, join: (id: string) => join(id) };
}

test("chainVerifier() verifies a chain once, and another text anew", async () => {
  const { trust: counted, asked } = watched(trust);
  const verifyOnce = chainVerifier({ ...terms, trust: counted });
  const chain = await verifyOnce(first);
  assert.equal(asked(), 1);
  assert.equal(await verifyOnce(first), chain);
  assert.equal(asked(), 1);
  assert.notEqual(await verifyOnce(twin), chain);
  assert.equal(asked(), 2);
});

test("chainVerifier() remembers no chain that it refused", async () => {
  const { trust: counted, asked } = watched(trust);
  const verifyOnce = chainVerifier({ ...terms, trust: counted });
  const forged = await sign(rootClaims(here, byId(WEB)), web.key, keys.capability.thumbprint);
  for (const times of [1, 2]) {
    await assertRefused(verifyOnce(forged), "bad_token_signature");
    assert.equal(asked(), times);
  }
});

test("chainVerifier() verifies anew once other keys are trusted", async () => {
  const there = await updatable();
  const verifyOnce = chainVerifier(termsOf(there));
  const token = await root(there, byId(WEB));
  await verifyOnce(token);
  await there.authority.rotate();
  await there.trust.update(await there.authority.signedBundle());
  await verifyOnce(token); // the old key is still trusted
  there.authority.retire();
  await there.trust.update(await there.authority.signedBundle());
  await assertRefused(verifyOnce(token), "unknown_issuer");
});

test("chainVerifier() does not remember what it verified while other keys came to be trusted", async () => {
  const there = await updatable();
  let meanwhile: () => Promise<void> = async () => {};
  const token = await root(there, byId(WEB));
  const slow = watched(there.trust);
  const wit = await (async () => {
    const key = await generateKey();
    const id = `spiffe://${DOMAIN}/slow`;
    return { id, key, token: await there.authority.issue(key.jwk, { id, serves: ["echo.v1"] }) };
  })();
  const trust: Trust = {
    ...slow.trust,
    get revision() {
      return there.trust.revision;
    },
    async verify(token) {
      const workload = await there.trust.verify(token);
      await meanwhile();
      return workload;
    },
  };
  const verifyOnce = chainVerifier({ trust, trustDomain: DOMAIN });
  const chain = chainOf(wit.token, await sign(rootClaims(there, byId(WEB), { iss: wit.id }), wit.key));
  meanwhile = async () => {
    meanwhile = async () => {};
    there.authority.revoke({ ids: [wit.id] });
    await there.trust.update(await there.authority.signedBundle());
    await verifyOnce(token); // which takes note of the change
  };
  await verifyOnce(chain); // it began when the service was still trusted
  await assertRefused(verifyOnce(chain), "revoked");
});

test("chainVerifier() forgets the chain that came first when there are more than 512", async () => {
  const { trust: counted, asked } = watched(trust);
  const verifyOnce = chainVerifier({ ...terms, trust: counted });
  const tokens = await Promise.all(Array.from({ length: 513 }, () => root(here, byId(WEB))));
  for (const token of tokens.slice(0, 512)) await verifyOnce(token);
  await verifyOnce(tokens[0]!);
  assert.equal(asked(), 512);
  await verifyOnce(tokens[512]!);
  await verifyOnce(tokens[1]!);
  assert.equal(asked(), 513);
  await verifyOnce(tokens[0]!);
  assert.equal(asked(), 514);
});
