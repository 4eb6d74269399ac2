import {
  allow,
  type AuthReason,
  createAuthority,
  createTrust,
  generateEncryptionKey,
  generateKey,
  type Identity,
  importIdentity,
  policy,
  prove,
  secret,
  type SigningKey,
} from "../../src/auth/mod.ts";
import { signJws } from "../../src/auth/jws.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import { RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clock, ECHO, protectedEcho, watchedAudit, WEB, type World } from "../auth/_world.ts";

// The attacker runs a real workload, with a real token of a real authority, and wants to be taken for another: by its
// name, by its trust domain, or by the service that it answers for.

const DOMAIN = "example.org";
const FOREIGN = "partner.test";

/** Two trust domains that are both trusted, and the keys with which their authorities sign. */
async function twoDomains() {
  const now = clock();
  const keysOf = async () => ({ wit: await generateKey(), capability: await generateKey() });
  const [ownKeys, foreignKeys] = [await keysOf(), await keysOf()];
  const authority = await createAuthority(DOMAIN, { now, keys: [ownKeys] });
  const foreign = await createAuthority(FOREIGN, { now, keys: [foreignKeys] });
  const trust = await createTrust({ [DOMAIN]: authority.bundle(), [FOREIGN]: foreign.bundle() }, { now });
  const world: World = {
    now,
    authority,
    trust,
    async join(id, more = {}) {
      const key = await generateKey();
      const issuer = id.startsWith(`spiffe://${FOREIGN}/`) ? foreign : authority;
      return importIdentity(key, await issuer.issue(key.jwk, { id, ...more }), { now });
    },
  };
  return { world, ownKeys, foreignKeys };
}

/** An identity whose token says whatever somebody with a key signed. */
async function impostor(now: () => number, sub: string, signer: { kid: string; sign: SigningKey["sign"] }, more = {}) {
  const key = await generateKey();
  const iat = now() / 1_000;
  const claims = { cnf: { jwk: key.jwk }, exp: iat + 600, iat, jti: "t1", sub, ...more };
  const token = secret(await signJws("wit+jwt", claims, signer));
  const own: Pick<Identity, "id" | "key" | "publicKey" | "sign" | "credential" | "encryptionKey"> = {
    id: sub,
    key,
    publicKey: key.publicKey,
    sign: key.sign,
    encryptionKey: generateEncryptionKey,
    credential: () => ({ token, expiresAtMs: now() + 600_000 }),
  };
  return {
    trustDomain: DOMAIN,
    serves: [],
    roles: [],
    attributes: {},
    keepFresh: () => ({ [Symbol.dispose]() {} }),
    ...own,
  };
}

const byName = ({ wit }: { readonly wit: SigningKey }) => ({ kid: wit.thumbprint, sign: wit.sign });

/** Calls the protected server as somebody, and says why it refused. */
async function refusalOf(world: World, caller: Identity, rules = [allow({ caller: WEB, call: "echo.v1/*" })]) {
  const echo = await protectedEcho(world, { rules });
  const error = await echo.client(caller).say({ text: "x" }).then(() => undefined, (thrown) => thrown);
  assert.ok(error === undefined || error instanceof RpcError, String(error));
  assert.equal(echo.calls.length, error ? 0 : 1);
  return error && echo.audit.events.at(-1)!.reason;
}

describe("T1.2 an authority speaks for its own trust domain only", () => {
  test("T1.2 server lets in the caller that the right authority named", async () => {
    const { world, ownKeys } = await twoDomains();
    assert.equal(await refusalOf(world, await impostor(world.now, WEB, byName(ownKeys))), undefined);
  });

  test("T1.2 server refuses the id of one domain from the authority of another", async () => {
    const { world, foreignKeys } = await twoDomains();
    const caller = await impostor(world.now, WEB, byName(foreignKeys));
    assert.equal(await refusalOf(world, caller), "unknown_issuer");
  });

  test("T1.2 server refuses the id of one domain from the authority of another under the same key id", async () => {
    const { world, ownKeys, foreignKeys } = await twoDomains();
    const caller = await impostor(world.now, WEB, { ...byName(foreignKeys), kid: ownKeys.wit.thumbprint });
    assert.equal(await refusalOf(world, caller), "bad_token_signature");
  });

  test("T1.2 server refuses the issuer that a token claims for itself", async () => {
    const { world, foreignKeys } = await twoDomains();
    const caller = await impostor(world.now, WEB, byName(foreignKeys), { iss: `spiffe://${DOMAIN}` });
    assert.equal(await refusalOf(world, caller), "unknown_issuer");
  });

  test("T1.2 server refuses the same path of another trust domain", async () => {
    const { world } = await twoDomains();
    assert.equal(await refusalOf(world, await world.join(`spiffe://${FOREIGN}/web`)), "not_allowed");
  });

  test("T1.2 server refuses a domain that nobody vouches for", async () => {
    const { world } = await twoDomains();
    const wit = await generateKey();
    for (const domain of ["evil.test", `${DOMAIN}.evil.test`, `evil-${DOMAIN}`, "org", `www.${DOMAIN}`]) {
      const caller = await impostor(world.now, `spiffe://${domain}/web`, byName({ wit }));
      assert.equal(await refusalOf(world, caller), "unknown_issuer");
    }
  });

  test("T1.2 server refuses an identity that the key for capabilities signed", async () => {
    const { world, ownKeys } = await twoDomains();
    const caller = await impostor(world.now, WEB, byName({ wit: ownKeys.capability }));
    assert.equal(await refusalOf(world, caller), "unknown_issuer");
  });

  test("T1.2 server refuses an identity that a workload signed", async () => {
    const { world } = await twoDomains();
    const { key } = await world.join(WEB);
    const caller = await impostor(world.now, `spiffe://${DOMAIN}/admin`, { kid: key.thumbprint, sign: key.sign });
    assert.equal(await refusalOf(world, caller), "unknown_issuer");
  });
});

describe("T1.2 an id has one spelling", () => {
  const lookAlikes = [
    "spiffe://example.org/web/",
    "spiffe://example.org//web",
    "spiffe://example.org/./web",
    "spiffe://example.org/x/../web",
    "spiffe://example.org/%77eb",
    "spiffe://example.org/web%00",
    "spiffe://example.org/web?",
    "spiffe://example.org/web#",
    "spiffe://example.org/web;v=1",
    "spiffe://example.org/web\n",
    "spiffe://example.org/web ",
    " spiffe://example.org/web",
    "spiffe://example.org:443/web",
    "spiffe://x@example.org/web",
    "spiffe://EXAMPLE.ORG/web",
    "SPIFFE://example.org/web",
    "spiffe:/example.org/web",
    "spiffe://example.org\\web",
    "spiffe://example.org/w\u0435b",
    "spiffe://ex\u0430mple.org/web",
    "spiffe://example.org/\u200bweb",
    "spiffe://example.org/*",
    "spiffe://example.org",
    "spiffe://example.org/",
    "",
  ];
  for (const id of lookAlikes) {
    test(`T1.2 server refuses the look-alike ${JSON.stringify(id)}, even if its authority signed it`, async () => {
      const { world, ownKeys } = await twoDomains();
      assert.equal(await refusalOf(world, await impostor(world.now, id, byName(ownKeys))), "malformed_id");
    });

    test(`T1.2 authority names nobody ${JSON.stringify(id)}`, async () => {
      const { world } = await twoDomains();
      await assert.rejects(world.authority.issue((await generateKey()).jwk, { id }), { reason: "malformed_id" });
    });

    test(`T1.2 client means to call nobody whose id is ${JSON.stringify(id)}`, async () => {
      const { world } = await twoDomains();
      const identity = await world.join(WEB);
      assert.throws(() => prove({ identity, trust: world.trust, peer: id }));
    });
  }

  const neighbours: readonly [rule: string, id: string, allowed: boolean][] = [
    ["spiffe://example.org/svc/pay", "spiffe://example.org/svc/pay", true],
    ["spiffe://example.org/svc/pay", "spiffe://example.org/svc/payments", false],
    ["spiffe://example.org/svc/pay", "spiffe://example.org/svc/pay/x", false],
    ["spiffe://example.org/svc/pay", "spiffe://example.org/svc/Pay", false],
    ["spiffe://example.org/svc/pay", "spiffe://example.org/svc/pay.", false],
    ["spiffe://example.org/svc/pay", "spiffe://example.org/x/svc/pay", false],
    ["spiffe://example.org/svc/pay", "spiffe://example.org/svc", false],
    ["spiffe://example.org/svc/pay/*", "spiffe://example.org/svc/pay/x", true],
    ["spiffe://example.org/svc/pay/*", "spiffe://example.org/svc/pay/x/y", true],
    ["spiffe://example.org/svc/pay/*", "spiffe://example.org/svc/payments", false],
    ["spiffe://example.org/svc/pay/*", "spiffe://example.org/svc/payments/x", false],
    ["spiffe://example.org/svc/pay/*", "spiffe://example.org/svc/pay", false],
    ["spiffe://example.org/svc/pay/*", "spiffe://partner.test/svc/pay/x", false],
    ["spiffe://example.org/*", "spiffe://example.org/web", true],
    ["spiffe://example.org/*", "spiffe://partner.test/web", false],
  ];
  for (const [caller, id, allowed] of neighbours) {
    test(`T1.2 server ${allowed ? "lets in" : "refuses"} ${id} where a rule says ${caller}`, async () => {
      const { world } = await twoDomains();
      const rules = [allow({ caller, call: "echo.v1/*" })];
      assert.equal(await refusalOf(world, await world.join(id), rules), allowed ? undefined : "not_allowed");
      assert.equal(
        policy(rules).matching({
          caller: { id, roles: [], attributes: {} },
          call: "echo.v1/say",
          capability: false,
        }).length,
        allowed ? 1 : 0,
      );
    });
  }
});

describe("T1.2 an instance serves a name only if its authority says so", () => {
  /** What a client makes of an answer of the rogue, to whom the call was led. */
  async function answerOf(world: World, rogue: Identity) {
    const echo = await protectedEcho(world, { identity: rogue, audiences: [ECHO] });
    const audit = watchedAudit();
    const caller = await world.join(WEB);
    const client = echo.client(caller, { peer: ECHO, audience: ECHO, audit });
    const error = await client.say({ text: "x" }).then(() => undefined, (thrown) => thrown);
    return { error, audit };
  }
  const serves = ["echo.v1"];

  test("T1.2 client takes the answer of the instance that it meant", async () => {
    const { world } = await twoDomains();
    assert.equal((await answerOf(world, await world.join(ECHO, { serves }))).error, undefined);
  });

  const rogues: readonly [title: string, id: string][] = [
    ["another workload that may serve the same", `spiffe://${DOMAIN}/other`],
    ["the same path of another trust domain", `spiffe://${FOREIGN}/echo`],
    ["a workload below it", `${ECHO}/x`],
    ["the client's own identity", WEB],
  ];
  for (const [title, id] of rogues) {
    test(`T1.2 client refuses the answer of ${title}, and records it`, async () => {
      const { world } = await twoDomains();
      const { error, audit } = await answerOf(world, await world.join(id, { serves }));
      assert.ok(error instanceof RpcError);
      assert.equal(error.code, "unavailable");
      assert.deepEqual(audit.events.map(({ event, reason }) => [event, reason]), [["answer.refuse", "wrong_peer"]]);
    });
  }

  test('T1.2 client refuses an instance whose identity may not serve "echo.v1"', async () => {
    const { world } = await twoDomains();
    for (const allowed of [[], ["other.v1"], ["echo.v2"], ["echo"], ["echo.v11"], ["ECHO.V1"]]) {
      const rogue = { ...await world.join(ECHO, { serves: allowed }), serves }; // its own start would refuse
      const { error, audit } = await answerOf(world, rogue);
      assert.equal((error as RpcError | undefined)?.code, "unavailable");
      assert.equal(audit.events[0]?.reason, "wrong_peer");
    }
  });

  test('T1.2 server does not start with an identity that may not serve "echo.v1"', async () => {
    const { world } = await twoDomains();
    await assert.rejects(protectedEcho(world, { identity: await world.join(ECHO) }), TypeError);
  });
});

describe("T1.2 T2.1 a token that was forged is refused", () => {
  const encoded = (text: string) => toBase64Url(new TextEncoder().encode(text));
  interface Signer {
    readonly wit: SigningKey;
  }
  const header = (it: Signer, members: object) =>
    encoded(JSON.stringify({ alg: "Ed25519", kid: it.wit.thumbprint, typ: "wit+jwt", ...members }));
  const sign = async (key: Pick<SigningKey, "sign">, input: string) =>
    `${input}.${toBase64Url(await key.sign(new TextEncoder().encode(input)))}`;

  const forgeries: readonly [
    title: string,
    forge: (it: Signer, claims: string) => Promise<string> | string,
    reason: AuthReason,
  ][] = [
    ["alg none, without a signature", (it, c) => `${header(it, { alg: "none" })}.${c}.`, "malformed_token"],
    [
      "alg none, with any signature",
      (it, c) => `${header(it, { alg: "none" })}.${c}.${"A".repeat(86)}`,
      "malformed_token",
    ],
    ["alg None", (it, c) => `${header(it, { alg: "None" })}.${c}.${"A".repeat(86)}`, "malformed_token"],
    ["no alg", (it, c) => `${header(it, { alg: undefined })}.${c}.${"A".repeat(86)}`, "malformed_token"],
    ["zeros for a signature", (it, c) => `${header(it, {})}.${c}.${"A".repeat(86)}`, "bad_token_signature"],
    [
      "an own key under the authority's id",
      async (it, c) => await sign(await generateKey(), `${header(it, {})}.${c}`),
      "bad_token_signature",
    ],
    ["an own key, under its own id", async (it, c) => {
      const key = await generateKey();
      return await sign(key, `${header(it, { kid: key.thumbprint })}.${c}`);
    }, "unknown_issuer"],
    ["an own key, sent along", async (it, c) => {
      const key = await generateKey();
      return await sign(key, `${header(it, { jwk: key.jwk })}.${c}`);
    }, "malformed_token"],
    ["an own key, at a URL", async (it, c) => {
      return await sign(await generateKey(), `${header(it, { jku: "https://evil.test/jwks.json" })}.${c}`);
    }, "malformed_token"],
    ["an own certificate, at a URL", async (it, c) => {
      return await sign(await generateKey(), `${header(it, { x5u: "https://evil.test/x.pem" })}.${c}`);
    }, "malformed_token"],
    ["HS256 with the authority's public key as the secret", async (it, c) => {
      const hmac = { name: "HMAC", hash: "SHA-256" };
      const key = await crypto.subtle.importKey("raw", it.wit.publicKey, hmac, false, ["sign"]);
      const input = `${header(it, { alg: "HS256" })}.${c}`;
      const mac = await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(input));
      return `${input}.${toBase64Url(new Uint8Array(mac))}`;
    }, "malformed_token"],
    ["ES256 with an own key", async (it, c) => {
      const ecdsa = { name: "ECDSA", namedCurve: "P-256" };
      const { privateKey } = await crypto.subtle.generateKey(ecdsa, false, ["sign", "verify"]) as CryptoKeyPair;
      const input = `${header(it, { alg: "ES256" })}.${c}`;
      const bytes = await crypto.subtle.sign(
        { name: "ECDSA", hash: "SHA-256" },
        privateKey,
        new TextEncoder().encode(input),
      );
      return `${input}.${toBase64Url(new Uint8Array(bytes))}`;
    }, "malformed_token"],
    [
      "a demand that is not understood",
      async (it, c) => await sign(it.wit, `${header(it, { crit: ["x"], x: 1 })}.${c}`),
      "malformed_token",
    ],
    ["other claims under an old signature", async (it, c) => {
      const [, , signature] = (await sign(it.wit, `${header(it, {})}.${c}`)).split(".");
      return `${header(it, {})}.${
        encoded(atob(c.replaceAll("-", "+").replaceAll("_", "/")).replace("/web", "/wed"))
      }.${signature}`;
    }, "bad_token_signature"],
  ];
  for (const [title, forge, reason] of forgeries) {
    test(`T1.2 T2.1 server refuses a token with ${title}, and fetches nothing for it`, async () => {
      const { world, ownKeys } = await twoDomains();
      const caller = await world.join(WEB);
      const [, claims] = (await caller.credential()).token.reveal().split(".");
      const token = secret(await forge(ownKeys, claims!));
      const forger = { ...caller, credential: () => ({ token, expiresAtMs: Number.MAX_SAFE_INTEGER }) };
      const original = globalThis.fetch;
      const fetched: unknown[] = [];
      globalThis.fetch = (input) => (fetched.push(input), Promise.reject(new TypeError("no network")));
      try {
        assert.equal(await refusalOf(world, forger), reason);
      } finally {
        globalThis.fetch = original;
      }
      assert.deepEqual(fetched, []);
    });
  }
});
