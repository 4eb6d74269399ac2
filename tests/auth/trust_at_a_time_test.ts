import { AuthError, type AuthReason, generateKey } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, DOMAIN, WEB, type World, world } from "./_world.ts";

const HOUR_MS = 3_600_000; // how long the authority's tokens hold

const refused = (reason: AuthReason) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};

async function tokenIn({ authority }: World): Promise<string> {
  return await authority.issue((await generateKey()).jwk, { id: WEB });
}

test("Trust.verify() takes a token that has ended for a time at which it held", async () => {
  const it = await world();
  const token = await tokenIn(it);
  const startMs = it.now();
  it.now.pass(2 * HOUR_MS);
  await assert.rejects(it.trust.verify(token), refused("expired_token"));
  for (const atMs of [startMs, startMs + 1, startMs + HOUR_MS - 1]) {
    assert.equal((await it.trust.verify(token, atMs)).id, WEB);
  }
  for (const atMs of [startMs + HOUR_MS, startMs + HOUR_MS + 1, it.now(), Infinity]) {
    await assert.rejects(it.trust.verify(token, atMs), refused("expired_token"));
  }
});

test("Trust.verify() refuses a token for a time before it was there, but for what clocks differ", async () => {
  const it = await world();
  const token = await tokenIn(it);
  assert.ok(await it.trust.verify(token, it.now() - 5_000));
  for (const atMs of [it.now() - 5_001, it.now() - HOUR_MS, 0, -1, -Infinity]) {
    await assert.rejects(it.trust.verify(token, atMs), refused("expired_token"));
  }
});

test("Trust.verify() refuses a token for a time to come that it does not reach", async () => {
  const it = await world();
  const token = await tokenIn(it);
  assert.ok(await it.trust.verify(token, it.now() + HOUR_MS - 1));
  await assert.rejects(it.trust.verify(token, it.now() + HOUR_MS), refused("expired_token"));
});

for (const by of ["ids", "keys", "tokens"] as const) {
  test(`Trust.verify() refuses what is revoked now by ${by} for any time`, async () => {
    const it = await world();
    const token = await tokenIn(it);
    const { id, thumbprint, tokenId } = await it.trust.verify(token);
    it.now.pass(HOUR_MS / 2);
    it.authority.revoke({ [by]: [{ ids: id, keys: thumbprint, tokens: tokenId }[by]] });
    await it.trust.update(await it.authority.signedBundle());
    for (const atMs of [undefined, it.now(), it.now() - HOUR_MS / 4, it.now() - HOUR_MS / 2]) {
      await assert.rejects(it.trust.verify(token, atMs), refused("revoked"));
    }
  });
}

test("Trust.verify() says that a token has ended before it says that it was revoked, at its time", async () => {
  const it = await world();
  const token = await tokenIn(it);
  it.authority.revoke({ ids: [WEB] });
  await it.trust.update(await it.authority.signedBundle());
  await assert.rejects(it.trust.verify(token, it.now() + HOUR_MS), refused("expired_token"));
});

test("Trust.verify() does not mix up the times of a token that it remembers", async () => {
  const it = await world();
  const token = await tokenIn(it);
  const startMs = it.now();
  it.now.pass(2 * HOUR_MS);
  const earlier = await it.trust.verify(token, startMs);
  await assert.rejects(it.trust.verify(token), refused("expired_token"));
  assert.equal(await it.trust.verify(token, startMs + 1), earlier);
  await assert.rejects(it.trust.verify(token, startMs - 5_001), refused("expired_token"));
  await assert.rejects(it.trust.verify(token, it.now()), refused("expired_token"));
  assert.equal(await it.trust.verify(token, startMs), earlier);
});

test("Trust.verify() takes no time for granted: where none is given it is now, at each call", async () => {
  const it = await world();
  const token = await tokenIn(it);
  assert.ok(await it.trust.verify(token, undefined));
  it.now.pass(HOUR_MS);
  await assert.rejects(it.trust.verify(token, undefined), refused("expired_token"));
});

test("Trust.verify() asks who signed a token for every time", async () => {
  const it = await world();
  const other = await world(DOMAIN, clock());
  const token = await tokenIn(other);
  for (const atMs of [undefined, it.now(), 0, Infinity]) {
    await assert.rejects(it.trust.verify(token, atMs), refused("unknown_issuer"));
  }
});

test("Trust.verify() refuses a time that is none", async () => {
  const it = await world();
  const token = await tokenIn(it);
  assert.ok(await it.trust.verify(token));
  await assert.rejects(it.trust.verify(token, NaN), refused("expired_token"));
});
