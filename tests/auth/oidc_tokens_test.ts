import {
  AuthError,
  createAuthority,
  generateIdentity,
  oidcTokens,
  type OidcTokensOptions,
} from "../../src/auth/mod.ts";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Clock, clock, WEB } from "./_world.ts";

const ISSUER = "https://platform.test";
const AUDIENCE = "spiffe://example.org";
const SUBJECT = "repo:shop/web";
const URL_OF_KEYS = "https://platform.test/keys";
const request = { thumbprint: "k" };

const notAttested = (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, "not_attested");
  return true;
};

interface Platform {
  readonly now: Clock;
  readonly jwk: JWK;
  /** What was asked for, in order. */
  readonly fetches: { readonly url: string; readonly init: RequestInit }[];
  readonly attestor: ReturnType<typeof oidcTokens>;
  /** What the platform answers from now on. */
  answers(answer: (init: RequestInit) => Response | Promise<Response>): void;
  token(
    claims?: object,
    header?: { readonly kid?: string; readonly alg?: string; readonly key?: CryptoKey },
  ): Promise<string>;
}

const jwks = (...keys: readonly JWK[]) => new Response(JSON.stringify({ keys }));

async function platform(options: Partial<OidcTokensOptions> = {}): Promise<Platform> {
  const now = clock();
  const { privateKey, publicKey } = await generateKeyPair("Ed25519");
  const jwk = { ...await exportJWK(publicKey), kid: "p1", alg: "Ed25519", use: "sig" };
  const fetches: Platform["fetches"] = [];
  let answer: (init: RequestInit) => Response | Promise<Response> = () => jwks(jwk);
  const attestor = oidcTokens({
    issuer: ISSUER,
    audience: AUDIENCE,
    subjects: { [SUBJECT]: { id: WEB, roles: ["r"] } },
    jwksUrl: URL_OF_KEYS,
    fetch: async (url, init) => {
      fetches.push({ url, init });
      return await answer(init);
    },
    now,
    ...options,
  });
  return {
    now,
    jwk,
    fetches,
    attestor,
    answers: (next) => void (answer = next),
    async token(claims = {}, { kid = "p1", alg = "Ed25519", key = privateKey } = {}) {
      const iat = Math.floor(now() / 1_000);
      const good = { iss: ISSUER, aud: AUDIENCE, sub: SUBJECT, iat, exp: iat + 300 };
      const all = JSON.parse(JSON.stringify({ ...good, ...claims }));
      return await new SignJWT(all).setProtectedHeader({ alg, kid, typ: "JWT" }).sign(key);
    },
  };
}

const attest = async ({ attestor }: Platform, token: string) => await attestor.attest(token, request);

describe("oidcTokens()", () => {
  test("oidcTokens() judges the evidence that is called oidc", async () => {
    assert.equal((await platform()).attestor.type, "oidc");
  });

  test("oidcTokens() says which workload a subject is", async () => {
    const it = await platform();
    assert.deepEqual(await attest(it, await it.token()), { id: WEB, roles: ["r"] });
    assert.deepEqual(it.fetches.map(({ url }) => url), [URL_OF_KEYS]);
  });

  test("oidcTokens() gives an identity to what runs on the platform", async () => {
    const it = await platform();
    const authority = await createAuthority("example.org", { attestors: [it.attestor], now: it.now });
    const evidence = async () => ({ type: "oidc", token: await it.token() });
    assert.equal((await generateIdentity(authority, { evidence, now: it.now })).id, WEB);
  });

  for (
    const jwksUrl of ["http://platform.test/keys", "//platform.test/keys", "/keys", "", "file:///keys", "data:,{}"]
  ) {
    test(`oidcTokens() refuses to get keys from "${jwksUrl}"`, async () => {
      await assert.rejects(platform({ jwksUrl }), TypeError);
    });
  }

  describe("the claims", () => {
    const wrong: readonly [title: string, claims: object][] = [
      ["another issuer", { iss: "https://evil.test" }],
      ["an issuer with a slash more", { iss: `${ISSUER}/` }],
      ["no issuer", { iss: undefined }],
      ["another audience", { aud: "spiffe://other.test" }],
      ["no audience", { aud: undefined }],
      ["an audience that begins alike", { aud: `${AUDIENCE}.evil.test` }],
      ["a subject that is not known", { sub: "repo:shop/other" }],
      ["a subject that begins alike", { sub: `${SUBJECT}-fork` }],
      ["a subject that every object has", { sub: "constructor" }],
      ["a subject that every object has a prototype by", { sub: "__proto__" }],
      ["no subject", { sub: undefined }],
      ["a subject that is a list", { sub: [SUBJECT] }],
      ["no end", { exp: undefined }],
      ["no beginning", { iat: undefined }],
      ["an end that is a text", { exp: "9999999999" }],
    ];
    for (const [title, claims] of wrong) {
      test(`oidcTokens() refuses a token with ${title}`, async () => {
        const it = await platform();
        await assert.rejects(attest(it, await it.token(claims)), notAttested);
      });
    }

    const nowS = clock()() / 1_000;
    const times: readonly [title: string, claims: object, holds: boolean][] = [
      ["that ended within what clocks differ", { exp: nowS - 4 }, true],
      ["that ended before what clocks differ", { exp: nowS - 5 }, false],
      ["that holds within what clocks differ", { nbf: nowS + 5 }, true],
      ["that holds after what clocks differ", { nbf: nowS + 6 }, false],
      ["from as far ahead as clocks differ", { iat: nowS + 5 }, true],
      ["from further ahead than clocks differ", { iat: nowS + 6 }, false],
      ["that was made an hour ago", { iat: nowS - 3_605, exp: nowS + 60 }, true],
      ["that was made more than an hour ago", { iat: nowS - 3_606, exp: nowS + 60 }, false],
    ];
    for (const [title, claims, holds] of times) {
      test(`oidcTokens() ${holds ? "takes" : "refuses"} a token ${title}`, async () => {
        const it = await platform();
        const token = await it.token(claims);
        if (holds) assert.ok(await attest(it, token));
        else await assert.rejects(attest(it, token), notAttested);
      });
    }

    test("oidcTokens() finds the audience in a list", async () => {
      const it = await platform();
      assert.ok(await attest(it, await it.token({ aud: ["x", AUDIENCE] })));
    });
  });

  describe("the signature", () => {
    for (const text of ["", "x", "a.b.c", `${btoa('{"alg":"none"}').replace(/=+$/, "")}.e30.`]) {
      test(`oidcTokens() refuses "${text}"`, async () => {
        const it = await platform();
        await assert.rejects(attest(it, text), notAttested);
      });
    }

    test("oidcTokens() refuses a token of another key under the platform's key id", async () => {
      const it = await platform();
      const { privateKey } = await generateKeyPair("Ed25519");
      await assert.rejects(attest(it, await it.token({}, { key: privateKey })), notAttested);
      assert.equal(it.fetches.length, 1);
    });

    test("oidcTokens() refuses a token that was signed with a public key as a shared secret", async () => {
      const it = await platform();
      const text = new TextEncoder().encode(JSON.stringify(it.jwk));
      const hmac = { name: "HMAC", hash: "SHA-256" };
      const key = await crypto.subtle.importKey("raw", text, hmac, false, ["sign"]);
      await assert.rejects(attest(it, await it.token({}, { alg: "HS256", key })), notAttested);
    });

    test("oidcTokens() refuses a shared secret, even where the platform publishes one", async () => {
      const it = await platform();
      const bytes = new Uint8Array(32).fill(7);
      const hmac = { name: "HMAC", hash: "SHA-256" };
      const key = await crypto.subtle.importKey("raw", bytes, hmac, true, ["sign"]);
      it.answers(async () => jwks(await exportJWK(key) as JWK));
      await assert.rejects(attest(it, await it.token({}, { alg: "HS256", key })), notAttested);
    });

    test("oidcTokens() takes no algorithm beside those that it names", async () => {
      const it = await platform();
      const { privateKey, publicKey } = await generateKeyPair("RS512");
      it.answers(async () => jwks({ ...await exportJWK(publicKey), kid: "p1" }));
      await assert.rejects(attest(it, await it.token({}, { alg: "RS512", key: privateKey })), notAttested);
    });

    for (const alg of ["RS256", "PS256", "ES256", "ES384"]) {
      test(`oidcTokens() takes ${alg}`, async () => {
        const it = await platform();
        const { privateKey, publicKey } = await generateKeyPair(alg);
        it.answers(async () => jwks({ ...await exportJWK(publicKey), kid: "p1" }));
        assert.ok(await attest(it, await it.token({}, { alg, key: privateKey })));
      });
    }
  });

  describe("the keys", () => {
    test("oidcTokens() fetches keys once, and again when they are too old", async () => {
      const it = await platform();
      for (let i = 0; i < 3; i++) await attest(it, await it.token());
      assert.equal(it.fetches.length, 1);
      it.now.pass(599_999);
      await attest(it, await it.token());
      assert.equal(it.fetches.length, 1);
      it.now.pass(1);
      await attest(it, await it.token());
      assert.equal(it.fetches.length, 2);
    });

    test("oidcTokens() fetches keys once for many that ask at once", async () => {
      const it = await platform();
      const tokens = await Promise.all(Array.from({ length: 20 }, () => it.token()));
      await Promise.all(tokens.map((token) => attest(it, token)));
      assert.equal(it.fetches.length, 1);
    });

    test("oidcTokens() fetches no more than once in a cooldown for 1,000 unknown keys", async () => {
      const it = await platform();
      await attest(it, await it.token());
      const unknown = await Promise.all(
        Array.from({ length: 1_000 }, (_, index) => it.token({}, { kid: `x${index}` })),
      );
      it.now.pass(29_999);
      for (const token of unknown.slice(0, 500)) await assert.rejects(attest(it, token), notAttested);
      assert.equal(it.fetches.length, 1);
      it.now.pass(1);
      const verdicts = await Promise.allSettled(unknown.map((token) => attest(it, token)));
      assert.ok(verdicts.every(({ status }) => status === "rejected"));
      for (const token of unknown.slice(0, 100)) await assert.rejects(attest(it, token), notAttested);
      assert.equal(it.fetches.length, 2);
      it.now.pass(29_999);
      await assert.rejects(attest(it, unknown[0]!), notAttested);
      assert.equal(it.fetches.length, 2);
      assert.ok(await attest(it, await it.token()), "the platform's own tokens are taken all the time");
    });

    test("oidcTokens() finds a key that the platform changed to", async () => {
      const it = await platform();
      await attest(it, await it.token());
      const { privateKey, publicKey } = await generateKeyPair("Ed25519");
      it.answers(async () => jwks(it.jwk, { ...await exportJWK(publicKey), kid: "p2" }));
      it.now.pass(30_000);
      assert.ok(await attest(it, await it.token({}, { kid: "p2", key: privateKey })));
      assert.equal(it.fetches.length, 2);
    });

    test("oidcTokens() refuses a key that the platform took back", async () => {
      const it = await platform();
      await attest(it, await it.token());
      const { publicKey } = await generateKeyPair("Ed25519");
      it.answers(async () => jwks({ ...await exportJWK(publicKey), kid: "p2" }));
      it.now.pass(600_000);
      await assert.rejects(attest(it, await it.token()), notAttested);
    });

    test("oidcTokens() waits as long as it is told", async () => {
      const it = await platform({ maxAgeMs: 2_000, cooldownMs: 1_000 });
      await attest(it, await it.token());
      const unknown = await it.token({}, { kid: "x" });
      for (const [passMs, fetches] of [[999, 1], [1, 2]] as const) {
        it.now.pass(passMs);
        await assert.rejects(attest(it, unknown), notAttested);
        assert.equal(it.fetches.length, fetches);
      }
      it.now.pass(2_000);
      await attest(it, await it.token());
      assert.equal(it.fetches.length, 3);
    });

    const failures: readonly [title: string, answer: (it: Platform) => () => Response | Promise<Response>][] = [
      ["does not answer", () => () => Promise.reject(new TypeError("refused"))],
      ["answers with an error", () => () => new Response("{}", { status: 500 })],
      [
        "answers with keys and an error",
        ({ jwk }) => () => new Response(JSON.stringify({ keys: [jwk] }), { status: 404 }),
      ],
      ["answers with a redirect", () => () => new Response(null, { status: 302, headers: { location: URL_OF_KEYS } })],
      [
        "answers with keys and a redirect",
        ({ jwk }) => () => new Response(JSON.stringify({ keys: [jwk] }), { status: 307 }),
      ],
      [
        "answers with another success",
        ({ jwk }) => () => new Response(JSON.stringify({ keys: [jwk] }), { status: 203 }),
      ],
      ["answers with nothing", () => () => new Response(null)],
      ["answers with what is no JSON", () => () => new Response("<html>")],
      ["answers with bytes that are no UTF-8", () => () => new Response(new Uint8Array([0x7b, 0xff, 0x7d]))],
      ["answers with half a character", () => () => new Response(new Uint8Array([0x7b, 0x7d, 0xe2, 0x82]))],
      ["answers with null", () => () => new Response("null")],
      ["answers without keys", () => () => new Response("{}")],
      ["answers with keys that are no list", ({ jwk }) => () => new Response(JSON.stringify({ keys: { 0: jwk } }))],
      ["answers with a key that is a text", ({ jwk }) => () => new Response(JSON.stringify({ keys: [jwk, "x"] }))],
      [
        "answers with 101 keys",
        ({ jwk }) => () => jwks(...Array.from({ length: 101 }, (_, i) => ({ ...jwk, kid: `p${i}` }))),
      ],
      [
        "answers with more than 64 KiB",
        ({ jwk }) => () => new Response(JSON.stringify({ keys: [jwk] }) + " ".repeat(65_536)),
      ],
    ];
    for (const [title, answer] of failures) {
      test(`oidcTokens() attests nobody where the platform ${title}, and asks again after the cooldown`, async () => {
        const it = await platform();
        it.answers(answer(it));
        const token = await it.token();
        for (let i = 0; i < 2; i++) await assert.rejects(attest(it, token), notAttested);
        await assert.rejects(attest(it, token), /keys are out of reach$/);
        it.now.pass(29_999);
        await assert.rejects(attest(it, await it.token()), notAttested);
        assert.equal(it.fetches.length, 1);
        it.answers(() => jwks(it.jwk));
        it.now.pass(1);
        assert.ok(await attest(it, await it.token()));
        assert.equal(it.fetches.length, 2);
      });

      test(`oidcTokens() keeps the keys that it has where the platform ${title}`, async () => {
        const it = await platform();
        await attest(it, await it.token());
        it.answers(answer(it));
        it.now.pass(600_000);
        assert.ok(await attest(it, await it.token()));
        assert.equal(it.fetches.length, 2);
      });
    }

    test("oidcTokens() takes keys of exactly 64 KiB, and 100 of them", async () => {
      const it = await platform();
      const text = JSON.stringify({ keys: [it.jwk] });
      it.answers(() => new Response(text + " ".repeat(65_536 - text.length)));
      assert.ok(await attest(it, await it.token()));
      const many = await platform();
      many.answers(() => jwks(...Array.from({ length: 100 }, (_, i) => ({ ...many.jwk, kid: `p${i}` }))));
      assert.ok(await attest(many, await many.token()));
    });

    test("oidcTokens() reads an endless answer no further than its limit", async () => {
      const it = await platform();
      const read = { bytes: 0, cancelled: false };
      it.answers(() => {
        const pull = (controller: ReadableStreamDefaultController) => {
          read.bytes += 16_384;
          controller.enqueue(new Uint8Array(16_384).fill(0x20));
        };
        return new Response(new ReadableStream({ pull, cancel: () => void (read.cancelled = true) }));
      });
      await assert.rejects(attest(it, await it.token()), notAttested);
      assert.ok(read.bytes <= 65_536 + 3 * 16_384, `${read.bytes} bytes`);
      assert.ok(read.cancelled);
    });

    test("oidcTokens() lets go of an answer that it does not read", async () => {
      const it = await platform();
      let cancelled = false;
      it.answers(() => new Response(new ReadableStream({ cancel: () => void (cancelled = true) }), { status: 500 }));
      await assert.rejects(attest(it, await it.token()), notAttested);
      assert.ok(cancelled, "a runtime would keep the connection for it");
    });

    test("oidcTokens() follows no redirect, and waits for 5 seconds at most", async () => {
      const it = await platform();
      const waits: number[] = [];
      const impatience = new AbortController();
      const original = AbortSignal.timeout;
      AbortSignal.timeout = (ms) => (waits.push(ms), impatience.signal);
      try {
        it.answers(({ signal }) =>
          new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason)))
        );
        const attesting = attest(it, await it.token());
        while (it.fetches.length === 0) await Promise.resolve();
        impatience.abort();
        await assert.rejects(attesting, notAttested);
      } finally {
        AbortSignal.timeout = original;
      }
      assert.deepEqual(waits, [5_000]);
      assert.equal(it.fetches[0]!.init.redirect, "manual");
    });

    test("oidcTokens() shows nothing of a token in what it throws", async () => {
      const it = await platform();
      const token = await it.token({ aud: "other" });
      await assert.rejects(attest(it, token), (error: Error) => !error.message.includes(token.slice(0, 20)));
    });
  });
});
