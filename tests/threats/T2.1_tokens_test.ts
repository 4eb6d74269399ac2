import {
  AuthError,
  createAuthority,
  createTrust,
  generateKey,
  type Identity,
  importIdentity,
  issueCapability,
  joinTokens,
  readChain,
  secret,
  type SigningKey,
} from "../../src/auth/mod.ts";
import { verifyChain } from "../../src/auth/capability_chain.ts";
import { signEnrollment } from "../../src/auth/enrollment.ts";
import { readJws, signJws } from "../../src/auth/jws.ts";
import { RpcError } from "../../src/rpc/mod.ts";
import { UnsecuredJWT } from "jose";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Captured, clock, ECHO, protectedEcho, requestOf, watchedAudit, WEB, type World } from "../auth/_world.ts";

// The attacker has tokens of every kind, old ones and other people's, and tries each wherever the toolkit takes one.

const DOMAIN = "example.org";
const TOOLS = { "echo.v1/say": { text: { constraint_type: "wildcard" } } } as const;

interface Realm extends World {
  readonly wit: SigningKey;
  readonly capability: SigningKey;
}

/** A trust domain whose authority's keys are in the test's hands. */
async function realm(): Promise<Realm> {
  const now = clock();
  const [wit, capability] = [await generateKey(), await generateKey()];
  const authority = await createAuthority(DOMAIN, {
    now,
    keys: [{ wit, capability }],
    attestors: [joinTokens({ now })],
  });
  const trust = await createTrust({ [DOMAIN]: authority.bundle() }, { now });
  return {
    now,
    authority,
    trust,
    wit,
    capability,
    async join(id, more = {}) {
      const key = await generateKey();
      return importIdentity(key, await authority.issue(key.jwk, { id, ...more }), { now });
    },
  };
}

const tokenOf = async ({ credential }: Identity) => (await credential()).token.reveal();
/** An identity that shows another token than its own. */
const showing = (identity: Identity, token: string): Identity => ({
  ...identity,
  credential: () => ({ token: secret(token), expiresAtMs: Number.MAX_SAFE_INTEGER }),
});

/** Calls the server of the rig, and says why it refused; a handler must not have run then. */
async function refusalOf(world: World, caller: Identity, more: { readonly capability?: string } = {}) {
  const echo = await protectedEcho(world);
  const capability = more.capability === undefined ? {} : {
    capability: { ...await anyRight(world), chain: secret(more.capability) },
  };
  let status = 0;
  const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
    const response = await send(request);
    status = response.status; // a client maps every answer that is not proven to "unavailable"
    return response;
  };
  const error = await echo.client(caller, { ...capability, through }).say({ text: "x" })
    .then(() => undefined, (thrown) => thrown);
  assert.ok(error === undefined || error instanceof RpcError, String(error));
  assert.equal(echo.calls.length, error ? 0 : 1);
  return error && { status, reason: echo.audit.events.at(-1)!.reason };
}

const anyRight = ({ authority, now }: World) => issueCapability(authority, { holder: WEB, tools: TOOLS }, { now });

const KINDS = ["wit+jwt", "aat+jwt", "trust-bundle+jwt", "wit-request+jwt"] as const;
type Kind = typeof KINDS[number];

/** A good token of each kind, and the key that signed it. */
async function tokens(
  it: Realm,
): Promise<Readonly<Record<Kind, { readonly token: string; readonly key: SigningKey }>>> {
  const identity = await it.join(WEB);
  it.authority.revoke({ tokens: ["x"] });
  const evidence = { type: "wit", token: await tokenOf(identity) };
  return {
    "wit+jwt": { token: await tokenOf(identity), key: it.wit },
    "aat+jwt": { token: (await anyRight(it)).chain.reveal(), key: it.capability },
    "trust-bundle+jwt": { token: await it.authority.signedBundle(), key: it.wit },
    "wit-request+jwt": {
      token: await signEnrollment(identity.key, { trustDomain: DOMAIN, evidence, nowMs: it.now() }),
      key: identity.key,
    },
  };
}

/** Where a token of each kind belongs. */
const places: Readonly<Record<Kind, (it: Realm, token: string) => Promise<unknown>>> = {
  "wit+jwt": ({ trust }, token) => trust.verify(token),
  "aat+jwt": ({ trust }, token) => verifyChain(token, { trust, trustDomain: DOMAIN }),
  "trust-bundle+jwt": ({ trust }, token) => trust.update(token),
  "wit-request+jwt": ({ authority }, token) => authority.enroll(token),
};

describe("T2.1 T11 a token is taken where it belongs and nowhere else", () => {
  for (const place of KINDS) {
    for (const kind of KINDS) {
      test(`T2.1 a ${kind} is ${kind === place ? "taken" : "refused"} in place of a ${place}`, async () => {
        const it = await realm();
        const { token } = (await tokens(it))[kind];
        if (kind === place) assert.ok(await places[place](it, token));
        else await assert.rejects(places[place](it, token), AuthError);
      });

      if (kind === place) continue;
      test(`T2.1 the claims of a ${place} are refused as a ${kind}, whoever signed them`, async () => {
        const it = await realm();
        const { token, key } = (await tokens(it))[place];
        const { claims, kid } = readJws(token, place);
        const same = await signJws(place, claims, { kid, sign: key.sign });
        assert.equal(same, token, "the type alone makes the difference");
        const other = await signJws(kind, claims, { kid, sign: key.sign });
        await assert.rejects(places[place](it, other), { reason: "malformed_token" });
      });
    }

    for (
      const typ of [undefined, "JWT", "jwt", `application/${place}`, place.toUpperCase(), "txntoken+jwt", "wpt+jwt"]
    ) {
      test(`T2.1 the claims of a ${place} are refused as ${typ ?? "no type"}`, async () => {
        const it = await realm();
        const { token, key } = (await tokens(it))[place];
        const { claims, kid } = readJws(token, place);
        const other = await signJws(typ as string ?? "", claims, { kid, sign: key.sign });
        await assert.rejects(places[place](it, other), { reason: "malformed_token" });
      });
    }
  }

  const notTokens: readonly [title: string, text: (it: Realm) => string | Promise<string>][] = [
    ["a join token", ({ now }) => joinTokens({ now }).create({ id: WEB }).reveal()],
    ["a platform's unsigned token", () => new UnsecuredJWT({ sub: WEB }).encode()],
    ["a key", async () => JSON.stringify((await generateKey()).jwk)],
    ["two tokens", async (it) => `${(await tokens(it))["wit+jwt"].token}~${(await tokens(it))["wit+jwt"].token}`],
    ["an id", () => WEB],
    ["nothing", () => ""],
  ];
  for (const [title, text] of notTokens) {
    for (const place of KINDS) {
      test(`T2.1 ${title} is refused in place of a ${place}`, async () => {
        const it = await realm();
        await assert.rejects(places[place](it, await text(it)), AuthError);
      });
    }
  }

  test("T2.1 T11 server refuses tokens of other kinds in place of the caller's", async () => {
    const it = await realm();
    const all = await tokens(it);
    const caller = await it.join(WEB);
    for (const kind of KINDS.slice(1)) {
      const refusal = await refusalOf(it, showing(caller, all[kind].token));
      assert.deepEqual(refusal, { status: 401, reason: "malformed_token" }, kind);
    }
  });

  test("T2.1 server refuses tokens of other kinds in place of a right", async () => {
    const it = await realm();
    const all = await tokens(it);
    const caller = await it.join(WEB);
    assert.equal(await refusalOf(it, caller, { capability: all["aat+jwt"].token }), undefined);
    for (const kind of ["wit+jwt", "trust-bundle+jwt", "wit-request+jwt"] as const) {
      const refusal = await refusalOf(it, caller, { capability: all[kind].token });
      assert.ok(refusal, kind);
      assert.ok(["malformed_token", "malformed_chain"].includes(refusal.reason!), refusal.reason);
      assert.throws(() => readChain(secret(all[kind].token)), AuthError);
    }
  });
});

describe("T2.1 a token counts for its time, and to its audience", () => {
  const signed = async (it: Realm, key: SigningKey, claims: object) => {
    const iat = it.now() / 1_000;
    const all = { sub: WEB, iat, exp: iat + 60, jti: "t1", cnf: { jwk: key.jwk }, ...claims };
    return await signJws("wit+jwt", all, { kid: it.wit.thumbprint, sign: it.wit.sign });
  };
  const expired = { status: 401, reason: "expired_token" };

  const times: readonly [title: string, member: "exp" | "nbf" | "iat", seconds: number, holds: boolean][] = [
    ["ended a second ago", "exp", -1, false],
    ["ends now", "exp", 0, false],
    ["ends in a second", "exp", 1, true],
    ["holds in 4 seconds", "nbf", 4, true],
    ["holds in 5 seconds", "nbf", 5, true],
    ["holds in 6 seconds", "nbf", 6, false],
    ["was made 4 seconds ahead", "iat", 4, true],
    ["was made 5 seconds ahead", "iat", 5, true],
    ["was made 6 seconds ahead", "iat", 6, false],
  ];
  for (const [title, member, seconds, holds] of times) {
    test(`T2.1 server ${holds ? "lets in" : "refuses"} a caller whose token ${title}`, async () => {
      const it = await realm();
      const caller = await it.join(WEB);
      const token = await signed(it, caller.key, { [member]: it.now() / 1_000 + seconds });
      assert.deepEqual(await refusalOf(it, showing(caller, token)), holds ? undefined : expired);
    });
  }

  test("T2.1 server refuses a caller whose token ended since its last call", async () => {
    const it = await realm();
    const echo = await protectedEcho(it);
    const caller = await it.join(WEB);
    const token = await signed(it, caller.key, {});
    const client = echo.client(showing(caller, token));
    await client.say({ text: "x" });
    it.now.pass(60_000);
    await assert.rejects(client.say({ text: "x" }), { code: "unavailable" });
    assert.equal(echo.audit.events.at(-1)!.reason, "expired_token");
  });

  test("T2.1 authority refuses a request that was meant for another", async () => {
    const it = await realm();
    const { key } = await it.join(WEB);
    const evidence = { type: "join_token", token: "" };
    const request = await signEnrollment(key, { trustDomain: "other.test", evidence, nowMs: it.now() });
    await assert.rejects(it.authority.enroll(request), { reason: "wrong_audience" });
  });
});

describe("T2.1 a token is worth nothing without its key", () => {
  test("T2.1 server refuses a stolen token of who has another key", async () => {
    const it = await realm();
    const [victim, thief] = [await it.join(WEB), await it.join(`spiffe://${DOMAIN}/thief`)];
    const refusal = await refusalOf(it, showing(thief, await tokenOf(victim)));
    assert.deepEqual(refusal, { status: 401, reason: "bad_signature" });
    assert.equal(await refusalOf(it, victim), undefined);
  });

  test("T2.1 server refuses a stolen token and a stolen right of who has another key", async () => {
    const it = await realm();
    const [victim, thief] = [await it.join(WEB), await it.join(`spiffe://${DOMAIN}/thief`)];
    const right = (await anyRight(it)).chain.reveal();
    const stolen = await refusalOf(it, showing(thief, await tokenOf(victim)), { capability: right });
    assert.equal(stolen?.reason, "bad_signature");
    assert.equal((await refusalOf(it, thief, { capability: right }))?.reason, "wrong_holder");
  });

  for (const name of ["workload-identity-token", "authorization"]) {
    test(`T2.1 server refuses a stolen token alone, as a bearer's in ${name}`, async () => {
      const it = await realm();
      const echo = await protectedEcho(it);
      const token = await tokenOf(await it.join(WEB));
      const headers = {
        "content-type": "application/json",
        [name]: name === "authorization" ? `Bearer ${token}` : token,
      };
      const response = await echo.server.fetch(
        requestOf({ url: "https://echo.test/echo.v1/say", method: "POST", headers, body: '{"text":"x"}' }),
      );
      assert.equal(response.status, 401);
      await response.text();
      assert.equal(echo.calls.length, 0);
      assert.equal(echo.audit.events.at(-1)!.reason, "unsigned");
    });
  }

  test("T2.1 client refuses an answer with a stolen token", async () => {
    const it = await realm();
    const server = await it.join(ECHO, { serves: ["echo.v1"] });
    const thief = await it.join(ECHO + "2", { serves: ["echo.v1"] });
    const audit = watchedAudit();
    const echo = await protectedEcho(it, { identity: { ...showing(thief, await tokenOf(server)), id: ECHO } });
    await assert.rejects(echo.client(await it.join(WEB), { audit }).say({ text: "x" }), { code: "unavailable" });
    assert.equal(audit.events[0]?.reason, "bad_signature");
  });

  test("T2.1 authority gives nothing for a stolen token", async () => {
    const it = await realm();
    const [victim, thief] = [await it.join(WEB), await generateKey()];
    const evidence = { type: "wit", token: await tokenOf(victim) };
    const request = await signEnrollment(thief, { trustDomain: DOMAIN, evidence, nowMs: it.now() });
    await assert.rejects(it.authority.enroll(request), { reason: "not_attested" });
  });
});

describe("T2.1 what was revoked is refused at the next call", () => {
  const revocations = ["identity", "key", "token"] as const;
  const revocationOf = async (identity: Identity, what: typeof revocations[number]) => {
    const { jti } = readJws(await tokenOf(identity), "wit+jwt").claims as { readonly jti: string };
    return {
      identity: { ids: [identity.id] },
      key: { keys: [identity.key.thumbprint] },
      token: { tokens: [jti] },
    }[what];
  };

  for (const what of revocations) {
    test(`T2.1 server refuses a caller whose ${what} was revoked since its last call`, async () => {
      const it = await realm();
      const echo = await protectedEcho(it);
      const [caller, other] = [await it.join(WEB), await it.join(WEB)];
      const client = echo.client(caller);
      await client.say({ text: "1" });
      it.authority.revoke(await revocationOf(caller, what));
      await client.say({ text: "2" });
      assert.ok(await it.trust.update(await it.authority.signedBundle()));
      await assert.rejects(client.say({ text: "3" }), { code: "unavailable" });
      assert.equal(echo.audit.events.at(-1)!.reason, "revoked");
      assert.equal(echo.calls.length, 2);
      if (what !== "identity") await echo.client(other).say({ text: "4" });
    });

    test(`T2.1 client refuses a server whose ${what} was revoked since its last answer`, async () => {
      const it = await realm();
      const echo = await protectedEcho(it);
      const audit = watchedAudit();
      const client = echo.client(await it.join(WEB), { audit });
      await client.say({ text: "1" });
      it.authority.revoke(await revocationOf(echo.identity, what));
      await it.trust.update(await it.authority.signedBundle());
      await assert.rejects(client.say({ text: "2" }), { code: "unavailable" });
      assert.equal(audit.events.at(-1)?.reason, "revoked");
    });
  }

  test("T2.1 server refuses a right that was revoked since it was used", async () => {
    const it = await realm();
    const echo = await protectedEcho(it);
    const capability = await anyRight(it);
    const client = echo.client(await it.join(WEB), { capability });
    await client.say({ text: "1" });
    it.authority.revoke({ tokens: capability.tokenIds });
    await it.trust.update(await it.authority.signedBundle());
    await assert.rejects(client.say({ text: "2" }));
    assert.equal(echo.audit.events.at(-1)!.reason, "revoked");
  });

  test("T2.1 server refuses tokens of a retired key at the next call", async () => {
    const it = await realm();
    const echo = await protectedEcho(it);
    const client = echo.client(await it.join(WEB));
    await it.authority.rotate();
    await it.trust.update(await it.authority.signedBundle());
    await client.say({ text: "1" });
    it.authority.retire();
    await it.trust.update(await it.authority.signedBundle());
    await assert.rejects(client.say({ text: "2" }), { code: "unavailable" });
    assert.equal(echo.audit.events.at(-1)!.reason, "unknown_issuer");
  });
});
