// What is left of a message when somebody takes its proof away, on either side: nothing.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import { anonymous, createClient, fetchTransport } from "../../src/rpc/mod.ts";
import { assertRefused, attacked, sceneOf, withoutId } from "../auth/_attack.ts";
import { answerOf, changed } from "../auth/_messages.ts";
import { type Captured, ECHO, protectedEcho, requestOf, watchedAudit, WEB, world } from "../auth/_world.ts";
import { Echo, post, rejection, soon } from "../rpc/_rig.ts";

const open = [
  allow({ call: "echo.v1/look", anyone: true }),
  allow({ caller: WEB, call: ["echo.v1/say", "echo.v1/hidden"] }),
];

describe("T23 a request whose proof was taken away", () => {
  const PROOF = ["signature", "signature-input", "workload-identity-token", "content-digest", "content-type"] as const;
  for (const name of [...PROOF, "connect-timeout-ms"]) {
    test(`T23 a server refuses a request without its ${name}`, async () => {
      const { echo, web } = await sceneOf();
      const through = async (request: Captured) => {
        const { [name]: _, ...headers } = request.headers;
        // Bytes, because a text would get a media type.
        const { url, method } = request;
        const response = await echo.server.fetch(
          new Request(url, { method, headers, body: new TextEncoder().encode(request.body) }),
        );
        assert.ok(response.status === (name === "content-type" ? 415 : 401), `${response.status}`);
        assert.equal(response.headers.has("signature"), false);
        return response;
      };
      assert.equal((await rejection(echo.client(web, { through }).say({ text: "x" }))).code, "unavailable");
      assert.deepEqual(echo.calls, []);
    });
  }

  test("T23 a server refuses a request without any of its proof, in the same words", async () => {
    const bare = await attacked({
      change: (request) =>
        changed(request, { headers: Object.fromEntries(PROOF.slice(0, 4).map((name) => [name, undefined])) }),
    });
    assertRefused(bare, "unsigned", "unauthenticated", false);
    const partly = await attacked({ change: (request) => changed(request, { headers: { signature: undefined } }) });
    assert.equal(withoutId(bare), withoutId(partly));
  });

  const credentials = [
    ...["workload-identity-token", "signature-input", "signature", "authorization", "txn-token"],
    ...["postern-callers", "postern-delegation"],
  ];
  for (const name of credentials) {
    test(`T23 a server takes nobody with a ${name} alone for a stranger, also where anyone may call`, async () => {
      const { echo } = await sceneOf({ rules: open });
      const response = await echo.server.fetch(post("/echo.v1/look", { text: "x" }, { [name]: "x" }));
      assert.equal(response.status, 401);
      assert.deepEqual(echo.calls, []);
      const stranger = await echo.server.fetch(post("/echo.v1/look", { text: "x" }));
      assert.equal(stranger.status, 200, "the test itself: anyone may call");
    });
  }

  test("T23 a client that proves nothing gets nowhere", async () => {
    const { echo } = await sceneOf();
    const fetch = (url: string, init: RequestInit) => echo.server.fetch(new Request(url, init));
    const client = createClient(Echo, fetchTransport("https://echo.test", { prover: anonymous(), fetch }));
    for (const name of ["say", "look", "hidden"] as const) {
      assert.equal((await rejection(client[name]({ text: "x" }))).code, "unauthenticated");
    }
    assert.deepEqual(echo.calls, []);
    assert.deepEqual(
      echo.audit.events.map(({ reason, caller }) => [reason, caller]),
      Array(3).fill(["unsigned", undefined]),
    );
  });
});

describe("T23 an answer whose proof was taken away", () => {
  for (const name of ["signature", "signature-input", "workload-identity-token", "content-digest", "content-type"]) {
    test(`T23 a client refuses an answer without its ${name}`, async () => {
      const { echo, web } = await sceneOf();
      const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
        const response = await send(request);
        const headers = new Headers(response.headers);
        headers.delete(name);
        return new Response(await response.arrayBuffer(), { headers });
      };
      assert.equal((await rejection(echo.client(web, { through }).say({ text: "x" }))).code, "unavailable");
      assert.equal(echo.calls.length, 1);
    });
  }

  test("T23 a client does not fall back to a server that proves nothing", async () => {
    const { web, echo } = await sceneOf();
    const bare = await protectedEcho(await world(), { rules: [allow({ call: "echo.v1/*", anyone: true })] });
    const through = (request: Captured) => {
      const kept = Object.entries(request.headers).filter(([name]) => /^content-type|^connect/.test(name));
      return bare.server.fetch(requestOf({ ...request, headers: Object.fromEntries(kept) }));
    };
    const error = await rejection(echo.client(web, { through }).say({ text: "x" }));
    assert.equal(error.code, "unavailable");
    assert.equal(bare.calls.length, 1, "the test itself: that server did answer");
  });

  for (const status of [400, 401, 403, 404, 408, 429, 500, 502, 503, 504]) {
    test(`T23 a client makes "unavailable" of a forged ${status}, at once, and whatever it says of waiting`, async () => {
      const { echo, web } = await sceneOf();
      const audit = watchedAudit();
      let sent = 0;
      const through = () => {
        sent++;
        const headers = { "content-type": "application/json", "retry-after": "1000000000" };
        return Promise.resolve(new Response('{"code":"permission_denied","message":"go away"}', { status, headers }));
      };
      const error = await rejection(soon(echo.client(web, { audit, through }).say({ text: "x" })));
      assert.deepEqual([error.code, error.received, sent], ["unavailable", true, 1]);
      assert.doesNotMatch(error.message, /go away|1000000000/);
      assert.deepEqual(audit.events.map(({ reason }) => reason), ["unsigned"]);
    });
  }

  const unread: Readonly<Record<string, () => Response>> = {
    redirect: () => new Response(null, { status: 302, headers: { location: "https://elsewhere.test" } }),
    "answer that is too large": () => new Response(new Uint8Array(2_000_000)),
    "answer that says it is too large": () => new Response("x", { headers: { "content-length": "99999999" } }),
  };
  for (const [title, answer] of Object.entries(unread)) {
    test(`T23 a client makes "unavailable" of a forged ${title}, which it refuses before it could be proven`, async () => {
      const { echo, web } = await sceneOf();
      const error = await rejection(echo.client(web, { through: () => Promise.resolve(answer()) }).say({ text: "x" }));
      assert.equal(error.code, "unavailable");
    });
  }

  test("T23 a client refuses the good answer of another workload, and of one that may not serve the service", async () => {
    const at = await world();
    const identities = [
      await at.join("spiffe://example.org/evil", { serves: ["echo.v1"] }),
      await at.join(ECHO, { serves: [] }),
      await at.join(`${ECHO}/below`, { serves: ["echo.v1"] }),
    ];
    for (const identity of identities) {
      const echo = await protectedEcho(at);
      const audit = watchedAudit();
      const through = (request: Captured) => answerOf(identity, request, '{"text":"evil"}');
      const client = echo.client(await at.join(WEB), { audit, through });
      assert.equal((await rejection(client.say({ text: "x" }))).code, "unavailable");
      assert.deepEqual(audit.events.map(({ reason }) => reason), ["wrong_peer"]);
    }
  });

  test("T23 a whole server of another workload, which takes itself for the one that is called, is not believed", async () => {
    const at = await world();
    const identity = await at.join("spiffe://example.org/evil", { serves: ["echo.v1"] });
    const evil = await protectedEcho(at, { identity, audiences: [ECHO] });
    const audit = watchedAudit();
    const client = evil.client(await at.join(WEB), { peer: ECHO, audit });
    assert.equal((await rejection(client.say({ text: "x" }))).code, "unavailable");
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["wrong_peer"]);
    assert.equal(evil.calls.length, 1, "the test itself: it did answer");
  });
});
