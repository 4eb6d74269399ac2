import { AuthError, oidcTokens } from "../../src/auth/mod.ts";
import { createFetch } from "../../src/runtime/deno.ts";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import assert from "node:assert/strict";
import { test } from "node:test";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";

const SUBJECT = "repo:shop/web";
const WEB = "spiffe://example.org/web";

const notAttested = (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, "not_attested");
  return true;
};

const { privateKey, publicKey } = await generateKeyPair("ES256");
const JWKS = JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: "p1" }] });
const { cert, key, ca } = await testAuthority();

const tokenOf = (issuer: string, kid = "p1") =>
  new SignJWT({ sub: SUBJECT }).setProtectedHeader({ alg: "ES256", kid }).setIssuer(issuer).setAudience("us")
    .setIssuedAt().setExpirationTime("5m").sign(privateKey);

/** A platform on loopback, over TLS, and an attestor that believes it. */
function platform(answer: (request: Request) => Response | Promise<Response>, trusted = true) {
  const requests: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, cert, key, onListen() {} }, (request) => {
    requests.push(new URL(request.url).pathname);
    return answer(request);
  });
  const issuer = `https://localhost:${server.addr.port}`;
  const send = createFetch(trusted ? { caCerts: [ca] } : {});
  const subjects = { [SUBJECT]: { id: WEB } };
  const attestor = oidcTokens({ issuer, audience: "us", subjects, jwksUrl: `${issuer}/keys`, fetch: send });
  return {
    requests,
    issuer,
    attest: async (token: string) => await attestor.attest(token, { thumbprint: "k" }),
    async [Symbol.asyncDispose]() {
      send[Symbol.dispose]();
      await server.shutdown();
    },
  };
}

test("oidcTokens() gets the platform's keys over TLS, once", async () => {
  await using it = platform(() => new Response(JWKS));
  const token = await tokenOf(it.issuer);
  for (let i = 0; i < 3; i++) assert.deepEqual(await it.attest(token), { id: WEB });
  assert.deepEqual(it.requests, ["/keys"]);
});

test("oidcTokens() asks the platform once for 200 tokens of unknown keys", async () => {
  await using it = platform(() => new Response(JWKS));
  const tokens = await Promise.all(Array.from({ length: 200 }, (_, index) => tokenOf(it.issuer, `x${index}`)));
  for (const token of tokens) await assert.rejects(it.attest(token), notAttested);
  assert.deepEqual(it.requests, ["/keys"]);
});

test("oidcTokens() takes no keys of a platform whose certificate nobody trusts", async () => {
  await using it = platform(() => new Response(JWKS), false);
  await assert.rejects(it.attest(await tokenOf(it.issuer)), notAttested);
  assert.deepEqual(it.requests, []);
});

test("oidcTokens() follows no redirect of the platform", async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    await using it = platform((request) =>
      new URL(request.url).pathname === "/keys"
        ? new Response("moved", { status, headers: { location: "/elsewhere" } })
        : new Response(JWKS)
    );
    await assert.rejects(it.attest(await tokenOf(it.issuer)), notAttested);
    assert.deepEqual(it.requests, ["/keys"]);
  }
});

test("oidcTokens() hangs up on a platform that sends without end", async () => {
  const gone = Promise.withResolvers<void>();
  let sent = 0;
  await using it = platform(() => {
    const pull = (controller: ReadableStreamDefaultController) => {
      sent += 65_536;
      controller.enqueue(new Uint8Array(65_536).fill(0x20));
    };
    return new Response(new ReadableStream({ pull, cancel: () => gone.resolve() }));
  });
  await assert.rejects(it.attest(await tokenOf(it.issuer)), notAttested);
  await mustCome(gone.promise, "the end of the connection");
  assert.ok(sent < 16 * 1_048_576, `${sent} bytes`);
});

test("oidcTokens() hangs up on a platform that says half and no more", async () => {
  const [begun, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using it = platform(() => {
    const start = (controller: ReadableStreamDefaultController) => {
      controller.enqueue(new TextEncoder().encode(JWKS.slice(0, 20)));
      begun.resolve();
    };
    return new Response(new ReadableStream({ start, cancel: () => gone.resolve() }));
  });
  const impatience = new AbortController();
  const original = AbortSignal.timeout;
  AbortSignal.timeout = () => impatience.signal; // 5 seconds that are over when the test says so
  try {
    const attesting = it.attest(await tokenOf(it.issuer));
    await begun.promise;
    impatience.abort(new DOMException("over", "TimeoutError"));
    await assert.rejects(attesting, notAttested);
    await mustCome(gone.promise, "the end of the connection");
  } finally {
    AbortSignal.timeout = original;
  }
});
