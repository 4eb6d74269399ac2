import { AuthError, createAuthority, generateIdentity, generateKey, joinTokens } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clock, ECHO, WEB } from "./_world.ts";

const request = { thumbprint: "k" };

const notAttested = (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, "not_attested");
  return true;
};

describe("joinTokens()", () => {
  test("joinTokens() judges the evidence that is called join_token", () =>
    assert.equal(joinTokens().type, "join_token"));

  test("JoinTokens.create() makes a token that hides itself, of 256 bits, another each time", () => {
    const tokens = joinTokens();
    const texts = Array.from({ length: 32 }, () => tokens.create({ id: WEB }));
    for (const token of texts) {
      assert.equal(`${token}`, "[secret]");
      assert.match(token.reveal(), /^[\w-]{43}$/);
    }
    assert.equal(new Set(texts.map((token) => token.reveal())).size, 32);
  });

  test("JoinTokens.attest() says for which workload a token was made", async () => {
    const tokens = joinTokens();
    const web = { id: WEB, roles: ["r"], serves: ["a.v1"], attributes: { site: "x" } };
    const [first, second] = [tokens.create(web), tokens.create({ id: ECHO })];
    assert.deepEqual(await tokens.attest(second.reveal(), request), { id: ECHO });
    assert.deepEqual(await tokens.attest(first.reveal(), request), web);
  });

  test("JoinTokens.attest() takes a token once", () => {
    const tokens = joinTokens();
    const token = tokens.create({ id: WEB }).reveal();
    tokens.attest(token, request);
    assert.throws(() => tokens.attest(token, request), notAttested);
  });

  test("JoinTokens.attest() takes a token until it ends, and not again if a clock is set back", () => {
    for (const [passedMs, holds] of [[599_999, true], [600_000, false], [600_001, false]] as const) {
      const now = clock();
      const tokens = joinTokens({ now });
      const token = tokens.create({ id: WEB }).reveal();
      now.pass(passedMs);
      if (holds) assert.ok(tokens.attest(token, request));
      else assert.throws(() => tokens.attest(token, request), notAttested);
      now.pass(-passedMs);
      assert.throws(() => tokens.attest(token, request), notAttested);
    }
  });

  test("JoinTokens.create() makes a token for as long as it is told", () => {
    const now = clock();
    const tokens = joinTokens({ now });
    const [first, second] = [1_000, 1_000].map((lifetimeMs) => tokens.create({ id: WEB }, { lifetimeMs }).reveal());
    now.pass(999);
    assert.ok(tokens.attest(first!, request));
    now.pass(1);
    assert.throws(() => tokens.attest(second!, request), notAttested);
  });

  for (const lifetimeMs of [NaN, Infinity, -1, 0, 86_400_001]) {
    test(`JoinTokens.create() refuses to make a token that lives for ${lifetimeMs} ms`, () => {
      assert.throws(() => joinTokens().create({ id: WEB }, { lifetimeMs }), RangeError);
    });
  }

  test("JoinTokens.create() makes tokens for a millisecond and for a day", () => {
    for (const lifetimeMs of [1, 86_400_000]) assert.ok(joinTokens().create({ id: WEB }, { lifetimeMs }));
  });

  test("JoinTokens.attest() refuses what is no token of its own", () => {
    const tokens = joinTokens();
    const token = tokens.create({ id: WEB }).reveal();
    const other = joinTokens().create({ id: WEB }).reveal();
    for (const text of ["", other, token + "=", token + " ", token.slice(0, -1), token.toLowerCase(), "constructor"]) {
      assert.throws(() => tokens.attest(text, request), notAttested);
    }
    assert.ok(tokens.attest(token, request), "guesses leave the others alone");
  });

  test("JoinTokens.create() keeps no more open than it may, those that ended aside", () => {
    const now = clock();
    const tokens = joinTokens({ now, maxOpenTokens: 2 });
    const first = tokens.create({ id: WEB }, { lifetimeMs: 1_000 }).reveal();
    tokens.create({ id: WEB });
    assert.throws(() => tokens.create({ id: WEB }), RangeError);
    tokens.attest(first, request);
    tokens.create({ id: WEB }, { lifetimeMs: 1_000 });
    assert.throws(() => tokens.create({ id: WEB }), RangeError);
    now.pass(1_000);
    assert.ok(tokens.create({ id: WEB }));
  });

  test("joinTokens() gives an identity to one workload only", async () => {
    const tokens = joinTokens();
    const authority = await createAuthority("example.org", { attestors: [tokens] });
    const evidence = { type: "join_token", token: tokens.create({ id: WEB, roles: ["r"] }).reveal() };
    const { id, roles } = await generateIdentity(authority, { evidence });
    assert.deepEqual({ id, roles }, { id: WEB, roles: ["r"] });
    await assert.rejects(generateIdentity(authority, { evidence, key: await generateKey() }), notAttested);
  });

  test("joinTokens() gives no identity of another trust domain", async () => {
    const tokens = joinTokens();
    const authority = await createAuthority("example.org", { attestors: [tokens] });
    const evidence = { type: "join_token", token: tokens.create({ id: "spiffe://other.test/web" }).reveal() };
    await assert.rejects(generateIdentity(authority, { evidence }), { reason: "malformed_id" });
  });
});
