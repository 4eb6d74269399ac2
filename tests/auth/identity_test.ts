import {
  AuthError,
  type AuthReason,
  createAuthority,
  createTrust,
  type Enroller,
  type Evidence,
  generateIdentity,
  generateKey,
  type Identity,
  importIdentity,
  type SigningKey,
} from "../../src/auth/mod.ts";
import { readJws, signJws } from "../../src/auth/jws.ts";
import { readWit } from "../../src/auth/wit.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { clock, ECHO, WEB } from "./_world.ts";
const DOMAIN = "example.org";
const HALF_MS = 1_800_000;
const EVIDENCE: Evidence = { type: "any", token: "first" };

const refused = (reason: AuthReason) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};

/** An authority that a test stands in front of. */
async function office() {
  const now = clock();
  const authority = await createAuthority(DOMAIN, { now, attestors: [{ type: "any", attest: () => ({ id: WEB }) }] });
  /** The evidence of each request that came. */
  const asked: Evidence[] = [];
  const desk: { answer: (request: string) => Promise<string> } = { answer: (request) => authority.enroll(request) };
  const enroller: Enroller = {
    trustDomain: DOMAIN,
    enroll(request) {
      asked.push((readJws(request, "wit-request+jwt").claims as { readonly evidence: Evidence }).evidence);
      return desk.answer(request);
    },
  };
  return { now, authority, enroller, asked, desk };
}

/** Lets everything go on that needs no time. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((done) => setTimeout(done, 0));
}

const tokenOf = (identity: Identity): string => {
  const credential = identity.credential();
  assert.ok(!(credential instanceof Promise), "there is one that holds");
  return credential.token.reveal();
};

/** Asks until a renewal that is under way has come to its end. */
async function renewedFrom(identity: Identity, token: string): Promise<string> {
  for (let i = 0; i < 100 && tokenOf(identity) === token; i++) await settle();
  assert.notEqual(tokenOf(identity), token);
  return tokenOf(identity);
}

describe("generateIdentity()", () => {
  test("generateIdentity() gets an identity that others believe", async () => {
    const { now, authority, enroller, asked } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const { id, trustDomain, key, publicKey } = identity;
    assert.deepEqual({ id, trustDomain }, { id: WEB, trustDomain: DOMAIN });
    assert.equal(publicKey, key.publicKey);
    assert.deepEqual(asked, [EVIDENCE]);
    const workload = await (await createTrust({ [DOMAIN]: authority.bundle() }, { now })).verify(tokenOf(identity));
    assert.deepEqual([workload.id, workload.thumbprint], [WEB, key.thumbprint]);
    assert.equal((await identity.credential()).expiresAtMs, now() + 2 * HALF_MS);
  });

  test("generateIdentity() uses a key that it is given, and evidence that is got when it is needed", async () => {
    const { now, enroller, asked } = await office();
    const key = await generateKey();
    const evidence = () => Promise.resolve({ type: "any", token: "asked for" });
    const identity = await generateIdentity(enroller, { evidence, key, now });
    assert.equal(identity.key, key);
    assert.deepEqual(asked, [{ type: "any", token: "asked for" }]);
  });

  test("generateIdentity() is refused where the authority refuses", async () => {
    const { now, enroller } = await office();
    await assert.rejects(
      generateIdentity(enroller, { evidence: { type: "nobody", token: "" }, now }),
      refused("not_attested"),
    );
  });

  test("generateIdentity() takes no token for another key than its own", async () => {
    const { now, authority, enroller, desk } = await office();
    const other = await generateKey();
    desk.answer = () => authority.issue(other.jwk, { id: WEB });
    await assert.rejects(generateIdentity(enroller, { evidence: EVIDENCE, now }), refused("wrong_token"));
  });

  test("generateIdentity() takes no answer that is no token", async () => {
    const { now, enroller, desk } = await office();
    desk.answer = () => Promise.resolve("welcome");
    await assert.rejects(generateIdentity(enroller, { evidence: EVIDENCE, now }), refused("malformed_token"));
  });

  test("generateIdentity() shows its token and its key to nobody who prints it", async () => {
    const { now, enroller } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const token = tokenOf(identity);
    const shown = inspect(identity, { depth: 9, showHidden: true }) + JSON.stringify(identity) +
      inspect(identity.credential(), { depth: 9 }) + JSON.stringify(identity.credential());
    assert.ok(!shown.includes(token) && !shown.includes(token.split(".")[2]!));
    assert.ok(Object.isFrozen(identity));
  });
});

describe("Identity.credential()", () => {
  test("Identity.credential() keeps its token for the first half of its life", async () => {
    const { now, enroller, asked } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const token = tokenOf(identity);
    now.pass(HALF_MS - 1);
    assert.equal(tokenOf(identity), token);
    await settle();
    assert.equal(asked.length, 1);
  });

  test("Identity.credential() renews at half of its life, once, and answers with the old token meanwhile", async () => {
    const { now, enroller, asked, desk } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const token = tokenOf(identity);
    const { answer } = desk;
    let open = () => {};
    const gate = new Promise<void>((done) => open = done);
    desk.answer = (request) => gate.then(() => answer(request));
    now.pass(HALF_MS);
    for (let i = 0; i < 5; i++) {
      assert.equal(tokenOf(identity), token);
      await settle();
    }
    now.pass(10_000);
    assert.equal(tokenOf(identity), token);
    await settle();
    assert.deepEqual(asked, [EVIDENCE, { type: "wit", token }]);
    open();
    const renewed = await renewedFrom(identity, token);
    assert.equal(readWit(renewed).claims.cnf.jwk.x, identity.key.jwk.x);
    assert.equal((await identity.credential()).expiresAtMs, now() + 2 * HALF_MS);
    assert.equal(asked.length, 2);
  });

  test("Identity.credential() renews again and again, each time by the token before", async () => {
    const { now, enroller, asked } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    for (let i = 0; i < 3; i++) {
      const token = tokenOf(identity);
      now.pass(HALF_MS);
      await renewedFrom(identity, token);
      assert.deepEqual(asked.at(-1), { type: "wit", token });
    }
    assert.equal(asked.length, 4);
  });

  test("Identity.credential() tries a renewal that failed again after 5 seconds, and keeps its token", async () => {
    const { now, enroller, asked, desk } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const token = tokenOf(identity);
    const { answer } = desk;
    desk.answer = () => Promise.reject(new TypeError("out of reach"));
    now.pass(HALF_MS);
    for (const [passMs, requests] of [[0, 2], [4_999, 2], [1, 3], [0, 3], [5_000, 4]] as const) {
      now.pass(passMs);
      assert.equal(tokenOf(identity), token);
      await settle();
      assert.equal(asked.length, requests);
    }
    desk.answer = answer;
    now.pass(5_000);
    const renewed = await renewedFrom(identity, token);
    now.pass(HALF_MS);
    await renewedFrom(identity, renewed);
    assert.equal(asked.length, 6);
  });

  const wrongTokens: readonly [
    title: string,
    make: (key: SigningKey, more: { issue(key: SigningKey, id: string): Promise<string> }) => Promise<string>,
  ][] = [
    ["for another key", async (_, { issue }) => await issue(await generateKey(), WEB)],
    ["for another identity", async (key, { issue }) => await issue(key, ECHO)],
    ["that is none", () => Promise.resolve("a.b.c")],
    ["of another kind", async (key) => await signJws("aat+jwt", {}, key)],
  ];
  for (const [title, make] of wrongTokens) {
    test(`Identity.credential() takes no renewed token ${title}`, async () => {
      const { now, authority, enroller, desk, asked } = await office();
      const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
      const token = tokenOf(identity);
      desk.answer = () => make(identity.key, { issue: (key, id) => authority.issue(key.jwk, { id }) });
      now.pass(HALF_MS);
      tokenOf(identity);
      await settle();
      assert.equal(asked.length, 2);
      assert.equal(tokenOf(identity), token);
      now.pass(HALF_MS);
      await assert.rejects(async () => await identity.credential(), AuthError);
    });
  }

  test("Identity.credential() shows its evidence again where the token ended, got anew if it is a function", async () => {
    const { now, enroller, asked } = await office();
    let count = 0;
    const evidence = () => ({ type: "any", token: `number ${++count}` });
    const identity = await generateIdentity(enroller, { evidence, now });
    const token = tokenOf(identity);
    now.pass(2 * HALF_MS);
    const credential = identity.credential();
    assert.ok(credential instanceof Promise, "there is none that holds");
    const { token: renewed, expiresAtMs } = await credential;
    assert.notEqual(renewed.reveal(), token);
    assert.equal(expiresAtMs, now() + 2 * HALF_MS);
    assert.deepEqual(asked, [{ type: "any", token: "number 1" }, { type: "any", token: "number 2" }]);
  });

  test("Identity.credential() shows its present token up to the last millisecond, and never an ended one", async () => {
    for (const [passMs, type] of [[2 * HALF_MS - 1, "wit"], [2 * HALF_MS, "any"]] as const) {
      const { now, enroller, asked } = await office();
      const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
      now.pass(passMs);
      await identity.credential();
      for (let turn = 0; turn < 100 && asked.length < 2; turn++) await settle();
      assert.equal(asked.at(-1)!.type, type);
    }
  });

  test("Identity.credential() asks once for many that need it at once", async () => {
    const { now, enroller, asked } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    now.pass(2 * HALF_MS);
    const credentials = await Promise.all(Array.from({ length: 9 }, () => identity.credential()));
    assert.equal(new Set(credentials.map(({ token }) => token.reveal())).size, 1);
    assert.equal(asked.length, 2);
  });

  test("Identity.credential() fails where the token ended and the authority refuses, and works once it does not", async () => {
    const { now, enroller, desk } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const { answer } = desk;
    desk.answer = () => Promise.reject(new AuthError("not_attested", "Cannot attest"));
    now.pass(2 * HALF_MS);
    await assert.rejects(async () => await identity.credential(), refused("not_attested"));
    desk.answer = answer; // the authority is not asked again at once
    await assert.rejects(async () => await identity.credential(), refused("expired_token"));
    now.pass(5_000);
    assert.ok((await identity.credential()).expiresAtMs > now());
  });

  test("Identity.credential() never gives a token that has ended, whatever the authority answers", async () => {
    const { now, enroller, desk } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const token = tokenOf(identity);
    desk.answer = () => Promise.resolve(token);
    now.pass(2 * HALF_MS);
    await assert.rejects(async () => await identity.credential(), refused("expired_token"));
  });
});

describe("importIdentity()", () => {
  test("importIdentity() uses a key and a token that were made elsewhere", async () => {
    const { now, authority } = await office();
    const key = await generateKey();
    const more = { serves: ["a.v1"], roles: ["r"], attributes: { site: "x" } };
    const identity = importIdentity(key, await authority.issue(key.jwk, { id: WEB, ...more }), { now });
    const { id, trustDomain, serves, roles, attributes } = identity;
    assert.deepEqual({ id, trustDomain, serves, roles, attributes }, { id: WEB, trustDomain: DOMAIN, ...more });
    assert.ok([serves, roles, attributes].every(Object.isFrozen));
    const bytes = new TextEncoder().encode("x");
    assert.deepEqual(await identity.sign(bytes), await key.sign(bytes));
  });

  test("importIdentity() refuses the token of another key, and what is no token", async () => {
    const { authority } = await office();
    const [key, other] = [await generateKey(), await generateKey()];
    const token = await authority.issue(other.jwk, { id: WEB });
    assert.throws(() => importIdentity(key, token), refused("wrong_token"));
    assert.throws(() => importIdentity(key, ""), refused("malformed_token"));
  });

  test("importIdentity() without an authority ends with its token", async () => {
    const { now, authority } = await office();
    const key = await generateKey();
    const identity = importIdentity(key, await authority.issue(key.jwk, { id: WEB }), { now });
    const token = tokenOf(identity);
    now.pass(2 * HALF_MS - 1);
    assert.equal(tokenOf(identity), token);
    now.pass(1);
    await assert.rejects(async () => await identity.credential(), refused("expired_token"));
    identity.keepFresh()[Symbol.dispose]();
  });

  test("importIdentity() with an authority renews by its token, and not after it ended", async () => {
    const { now, authority, enroller, asked } = await office();
    const key = await generateKey();
    const first = await authority.issue(key.jwk, { id: WEB });
    const identity = importIdentity(key, first, { authority: enroller, now });
    now.pass(HALF_MS);
    await renewedFrom(identity, first);
    assert.deepEqual(asked, [{ type: "wit", token: first }]);
    now.pass(2 * HALF_MS);
    await assert.rejects(async () => await identity.credential(), refused("expired_token"));
    assert.equal(asked.length, 1);
  });
});

describe("Identity.keepFresh()", () => {
  /** Timers that a test fires; what they are set to is what matters. */
  function heldTimers(refuse?: () => never) {
    const { setTimeout: set, clearTimeout: clear } = globalThis;
    const timers = new Map<number, { readonly run: () => void; readonly ms: number }>();
    let count = 0;
    const own = (run: () => void, ms = 0) => (timers.set(++count, { run, ms }), count);
    Object.assign(globalThis, { setTimeout: refuse ?? own, clearTimeout: (id: number) => void timers.delete(id) });
    return {
      /** How long the timers that are set will wait. */
      waits: () => [...timers.values()].map(({ ms }) => ms),
      fire() {
        const [[id, { run }]] = timers as unknown as [[number, { run: () => void }]];
        timers.delete(id);
        run();
      },
      [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout: set, clearTimeout: clear }),
      settle: async () => {
        for (let i = 0; i < 3; i++) await new Promise((done) => set(done, 0));
      },
    };
  }

  test("Identity.keepFresh() renews an identity that nobody uses, at half of its life, until it is disposed", async () => {
    const { now, enroller, asked } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    const first = tokenOf(identity);
    using timers = heldTimers();
    const fresh = identity.keepFresh();
    assert.deepEqual(timers.waits(), [HALF_MS]);
    now.pass(HALF_MS - 1_000);
    timers.fire(); // a timer that came too early
    assert.deepEqual([asked.length, timers.waits()], [1, [5_000]]);
    now.pass(1_000);
    timers.fire();
    for (let i = 0; i < 100 && tokenOf(identity) === first; i++) await timers.settle();
    assert.deepEqual(asked.at(-1), { type: "wit", token: first });
    assert.notEqual(tokenOf(identity), first);
    assert.equal(timers.waits().length, 1);
    fresh[Symbol.dispose]();
    assert.deepEqual(timers.waits(), []);
  });

  test("Identity.keepFresh() looks again after 5 seconds where a renewal failed, and lets nobody know", async () => {
    const { now, enroller, asked, desk } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    desk.answer = () => Promise.reject(new TypeError("out of reach"));
    using timers = heldTimers();
    const fresh = identity.keepFresh();
    now.pass(HALF_MS);
    timers.fire();
    await timers.settle();
    assert.deepEqual(timers.waits(), [5_000]);
    now.pass(5_000);
    timers.fire();
    await timers.settle();
    assert.equal(asked.length, 3);
    fresh[Symbol.dispose]();
  });

  test("Identity.keepFresh() waits no longer than an hour, which a suspended machine is late by at most", async () => {
    const now = clock();
    const authority = await createAuthority(DOMAIN, { now, tokenLifetimeMs: 86_400_000 });
    const key = await generateKey();
    const identity = importIdentity(key, await authority.issue(key.jwk, { id: WEB }), { now, authority });
    using timers = heldTimers();
    using _fresh = identity.keepFresh();
    assert.deepEqual(timers.waits(), [3_600_000]);
  });

  test("Identity.keepFresh() does without timers where a runtime has none", async () => {
    const { now, enroller } = await office();
    const identity = await generateIdentity(enroller, { evidence: EVIDENCE, now });
    using _timers = heldTimers(() => {
      throw new Error("Disallowed operation called within global scope");
    });
    identity.keepFresh()[Symbol.dispose]();
  });

  test("Identity.keepFresh() leaves no timer of the runtime behind, which its sanitizer would see", async () => {
    const { now, enroller } = await office();
    using _fresh = (await generateIdentity(enroller, { evidence: EVIDENCE, now })).keepFresh();
  });
});
