import { allow, createTrust, memoryReplay, policy, prove } from "../../src/auth/mod.ts";
import { anonymous, createClient, fetchTransport, type RpcCode, RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Echo, post, refusalOf, rejection } from "../rpc/_rig.ts";
import { assertRefused, type Attack, attacked, sceneOf, withoutId } from "./_attack.ts";
import { changed, renamed, resigned } from "./_messages.ts";
import { type Captured, ECHO, protectedEcho, requestOf, WEB, world } from "./_world.ts";

const rules = [allow({ caller: WEB, call: "echo.v1/*" })];

/** Attacks that make the call none of the caller's: each is refused unproven, in the same words. */
const unbelieved: Readonly<Record<string, Attack & { readonly reason: string }>> = {
  "without a signature": {
    reason: "unsigned",
    change: (request) => changed(request, { headers: { signature: undefined } }),
  },
  "with a signature that is none": {
    reason: "malformed_signature",
    change: (request) => changed(request, { headers: { signature: "wimse=:AAAA:" } }),
  },
  "with a header that is not covered": {
    reason: "wrong_coverage",
    change: (request) => changed(request, { headers: { "idempotency-key": "1" } }),
  },
  "signed too long ago": {
    reason: "stale",
    change: (request, { web }) =>
      resigned(request, { terms: (all) => all.replaceAll(/=(18\d{8})/g, "=1700000000") }, web),
  },
  "for another server": {
    reason: "wrong_audience",
    change: (request, { web }) => resigned(request, { terms: (all) => all.replace(ECHO, `${ECHO}o`) }, web),
  },
  "without a token": {
    reason: "malformed_token",
    change: (request, { web }) =>
      resigned(request, {
        headers: { "workload-identity-token": undefined },
        components: (all) => all.filter((name) => name !== '"workload-identity-token"'),
      }, web),
  },
  "with a token that is none": {
    reason: "malformed_token",
    change: (request, { web }) => resigned(request, { headers: { "workload-identity-token": "x" } }, web),
  },
  "with a token of an authority that nobody trusts": {
    reason: "unknown_issuer",
    change: async (request) => {
      const stranger = await (await world()).join(WEB);
      const { token } = await stranger.credential();
      return await resigned(request, { headers: { "workload-identity-token": token.reveal() } }, stranger);
    },
  },
  "with a token that was changed": {
    reason: "bad_token_signature",
    change: (request, { web }) => {
      const token = request.headers["workload-identity-token"]!;
      const other = token.replace(/\.([^.])([^.]*)$/, (_, first, rest) => `.${first === "A" ? "B" : "A"}${rest}`);
      return resigned(request, { headers: { "workload-identity-token": other } }, web);
    },
  },
  "with a token that has ended": {
    reason: "expired_token",
    change: (request, { world: { now }, web }) => {
      now.pass(3_600_000);
      return resigned(
        request,
        { terms: (all) => all.replaceAll(/=(18\d{8})/g, (_, s) => `=${Number(s) + 3_600}`) },
        web,
      );
    },
  },
  "with a token that was revoked": {
    reason: "revoked",
    async before({ world: { authority, trust } }) {
      authority.revoke({ ids: [WEB] });
      await trust.update(await authority.signedBundle());
    },
  },
  "with somebody else's token": {
    reason: "bad_signature",
    change: async (request, { world }) => await resigned(request, {}, await world.join(`${WEB}/other`)),
  },
  "with another nonce than was signed": {
    reason: "bad_signature",
    change: (request) =>
      changed(request, {
        headers: { "signature-input": request.headers["signature-input"]!.replace(/nonce="./, 'nonce="_') },
      }),
  },
  "with another body": {
    reason: "bad_digest",
    change: (request) => changed(request, { body: request.body.replace("secret", "public") }),
  },
  "with a body and no digest": {
    reason: "bad_digest",
    change: (request, { web }) =>
      resigned(request, {
        headers: { "content-digest": undefined },
        components: (all) => all.filter((name) => name !== '"content-digest"'),
      }, web),
  },
  "with the digest of another algorithm": {
    reason: "bad_digest",
    change: (request, { web }) => resigned(request, { headers: { "content-digest": "sha-512=:AAAA:" } }, web),
  },
  "that was sent before": {
    reason: "replayed",
    change: async (request, { echo }) => {
      const first = await echo.server.fetch(requestOf(request));
      assert.equal(first.status, 200);
      assert.equal(echo.calls.pop()?.message.text, "secret words");
      assert.equal(echo.audit.events.pop()?.event, "call.allow");
      return request;
    },
  },
};

describe("protect() refuses unproven, so that nobody on the way gets a proof for a copy that he broke", () => {
  for (const [title, { reason, ...attack }] of Object.entries(unbelieved)) {
    test(`protect() refuses a call ${title}`, async () => {
      assertRefused(await attacked(attack), reason, "unauthenticated", false);
    });
  }

  test("protect() refuses every one of them in the same words, and a call without credentials too", async () => {
    const answers = new Set<string>();
    for (const attack of Object.values(unbelieved)) answers.add(withoutId(await attacked(attack)));
    const { echo } = await sceneOf();
    const stranger = await echo.server.fetch(post("/echo.v1/say", { text: "" }));
    answers.add(withoutId({ status: stranger.status, headers: stranger.headers, text: await stranger.text() }));
    assert.equal(answers.size, 1, [...answers].join("\n"));
  });

  test("protect() refuses when it cannot remember more", async () => {
    const at = await world();
    const replay = memoryReplay({ now: at.now, maxNonces: 1 });
    const before = async ({ echo, web }: Parameters<NonNullable<Attack["before"]>>[0]) => {
      await echo.client(web).say({ text: "first" });
    };
    assertRefused(await attacked({ options: { replay }, before }), "replay_full", "unavailable", false);
  });
});

/** Attacks by, or upon, a caller whose request can never be let in again: the refusal is proven. */
const proven: Readonly<Record<string, Attack & { readonly reason: string; readonly code: RpcCode }>> = {
  "that came through nobody": {
    reason: "malformed_context",
    code: "unauthenticated",
    change: (request, { web }) => withHeader(request, "postern-callers", `""`, web),
  },
  "with a right of another kind": {
    reason: "malformed_chain",
    code: "permission_denied",
    change: (request, { web }) => withHeader(request, "authorization", "Bearer x", web),
  },
  "that no rule allows": {
    reason: "not_allowed",
    code: "permission_denied",
    method: "hidden",
    options: { rules: [allow({ caller: WEB, call: "echo.v1/say" })] },
  },
  "whose message no rule allows": {
    reason: "not_allowed",
    code: "permission_denied",
    options: { rules: [allow({ caller: WEB, call: "echo.v1/say", when: () => false })] },
  },
  "that cannot be recorded": {
    reason: "audit_full",
    code: "unavailable",
    before: ({ echo: { audit } }) => {
      const { record } = audit;
      audit.record = (event) => {
        if (event.event === "call.allow") throw new Error("full");
        record(event);
      };
    },
  },
};

function withHeader(request: Captured, name: string, value: string, web: Parameters<typeof resigned>[2]) {
  return resigned(request, { headers: { [name]: value }, components: (all) => [...all, `"${name}"`] }, web);
}

describe("protect() proves refusals after the nonce was taken", () => {
  for (const [title, { reason, code, ...attack }] of Object.entries(proven)) {
    test(`protect() refuses a call ${title}`, async () => {
      const outcome = await attacked(attack);
      assertRefused(outcome, reason, code, true);
      assert.equal(outcome.event.caller, WEB);
      assert.equal(outcome.event.correlationId, outcome.error.correlationId);
    });
  }

  test("protect() answers the same for a method that is not there and for one that is not the caller's", async () => {
    const options = { rules: [allow({ caller: WEB, call: "echo.v1/say" })] };
    const elsewhere = (path: string) =>
      attacked({
        options,
        change: (request, { web }) => resigned(request, { url: `https://echo.test${path}` }, web),
      }).then(withoutId);
    const forbidden = await elsewhere("/echo.v1/hidden");
    for (const path of ["/echo.v1/nothing", "/other.v1/say"]) assert.equal(await elsewhere(path), forbidden, path);
  });

  test("protect() refuses where it cannot even record that it refuses", async () => {
    const { echo, web } = await sceneOf({ audit: { record: () => assert.fail("full") } });
    assert.equal((await rejection(echo.client(web).say({ text: "" }))).code, "unavailable");
    const other = await sceneOf({ audit: { record: () => assert.fail("full") }, rules: [] });
    assert.equal((await rejection(other.echo.client(other.web).say({ text: "" }))).code, "permission_denied");
    assert.deepEqual([echo.calls, other.echo.calls], [[], []]);
  });

  test("protect() lets a failure of its own parts out as one, and lets nobody in", async () => {
    const trust = { ...await createTrust({ "example.org": (await world()).authority.bundle() }) };
    trust.verify = () => Promise.reject(new Error("the reason is nobody's business"));
    const scene = await sceneOf({ trust });
    const response: Response[] = [];
    const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
      response.push((await send(request)).clone());
      return response[0]!.clone();
    };
    await rejection(scene.echo.client(scene.web, { through }).say({ text: "" }));
    const { code, text } = await refusalOf(response[0]!);
    assert.equal(code, "internal");
    assert.doesNotMatch(text, /reason/);
    assert.deepEqual(scene.echo.audit.events.map(({ reason }) => reason), ["internal"]);
  });

  test("protect() passes on what a policy of somebody's own says as an RpcError", async () => {
    const own = { ...policy(rules), matching: () => assert.fail() as never };
    own.matching = () => {
      throw new RpcError("resource_exhausted", "No more today");
    };
    const outcome = await attacked({ options: { policy: own } });
    assertRefused(outcome, "resource_exhausted", "resource_exhausted", true);
  });
});

describe("protect() lets in", () => {
  test("protect() lets in who proves itself, says who it is, records it and proves the answer", async () => {
    const at = await world();
    const web = await at.join(WEB, { roles: ["reader"], attributes: { team: "a" } });
    const echo = await protectedEcho(at);
    assert.deepEqual(await echo.client(web).say({ text: "x" }), { text: "x" });
    const [{ context }] = echo.calls as [typeof echo.calls[0]];
    assert.deepEqual(context.caller, { id: WEB, roles: ["reader"], attributes: { team: "a" } });
    assert.deepEqual(context.chain, [WEB]);
    assert.equal(context.capability, undefined);
    assert.deepEqual(echo.audit.events, [{
      event: "call.allow",
      correlationId: context.correlationId,
      caller: WEB,
      method: "echo.v1/say",
      fields: undefined,
    }]);
  });

  test("protect() does without an audit, for what it lets in and for what it refuses", async () => {
    const rules = [allow({ caller: WEB, call: "echo.v1/say" })];
    const { echo, web } = await sceneOf({ rules, audit: undefined as never });
    assert.deepEqual(await echo.client(web).say({ text: "x" }), { text: "x" });
    assert.equal((await rejection(echo.client(web).look({ text: "x" }))).code, "permission_denied");
    assert.equal(echo.calls.length, 1);
  });

  test("protect() tells a handler whom a call came through and which trace it belongs to", async () => {
    const { echo, web } = await sceneOf();
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const callers = ["spiffe://example.org/a", "spiffe://other.org/b"];
    await echo.client(web).say({ text: "x" }, { origin: { callers, traceparent } } as never);
    const { chain, traceparent: seen } = echo.calls[0]!.context;
    assert.deepEqual(chain, [...callers, WEB]);
    assert.match(seen, /^00-0af7651916cd43dd8448eb211c80319c-/);
  });

  test("protect() lets in a GET, whose query is covered and which has no digest", async () => {
    const { echo, web } = await sceneOf();
    const captured: Captured[] = [];
    await echo.client(web, { captured }).look({ text: "x" });
    const { "content-type": _, "content-digest": __, ...headers } = captured[0]!.headers;
    const url = `https://echo.test/echo.v1/look?connect=v1&encoding=json&message=${encodeURIComponent('{"text":"y"}')}`;
    const components = (all: readonly string[]) => all.filter((name) => !/"content-/.test(name));
    const get = await resigned({ ...captured[0]!, headers: headers as Record<string, string> }, {
      method: "GET",
      url,
      components,
      terms: renamed,
    }, web);
    const other = { ...get, url: url.replace("y", "z") };
    assert.equal((await echo.server.fetch(requestOf(other))).status, 401);
    const response = await echo.server.fetch(requestOf(get));
    assert.deepEqual([response.status, await response.json()], [200, { text: "y" }]);
  });

  test("protect() lets strangers in where a rule says anyone, and nowhere else", async () => {
    const { echo } = await sceneOf({
      rules: [allow({ call: "echo.v1/look", anyone: true }), allow({ caller: WEB, call: "echo.v1/say" })],
    });
    const client = createClient(
      Echo,
      fetchTransport("https://echo.test", {
        prover: anonymous(),
        fetch: (url, init) => echo.server.fetch(new Request(url, init)),
      }),
    );
    assert.deepEqual(await client.look({ text: "x" }), { text: "x" });
    assert.equal(echo.calls[0]!.context.caller, undefined);
    assert.equal((await rejection(client.say({ text: "x" }))).code, "unauthenticated");
    assert.deepEqual(echo.audit.events.map(({ event, reason, caller }) => [event, reason, caller]), [
      ["call.allow", undefined, undefined],
      ["call.refuse", "unsigned", undefined],
    ]);
  });

  test("protect() takes calls of its own process for the server's own", async () => {
    const { echo } = await sceneOf({ rules: [allow({ caller: ECHO, call: "echo.v1/say" })] });
    const client = createClient(Echo, echo.server.call);
    assert.deepEqual(await client.say({ text: "x" }), { text: "x" });
    assert.equal(echo.calls[0]!.context.caller?.id, ECHO);
    assert.equal((await rejection(client.look({ text: "x" }))).code, "permission_denied");
    assert.deepEqual(echo.audit.events.map(({ reason, caller }) => [reason, caller]), [
      [undefined, ECHO],
      ["not_allowed", undefined],
    ]);
  });

  test("protect() accepts any of its audiences, and its identity only where it has none", async () => {
    const options = { audiences: ["https://one.test", "https://two.test"] };
    for (const audience of options.audiences) {
      const { echo, web } = await sceneOf(options);
      await echo.client(web, { audience }).say({ text: "x" });
    }
    assertRefused(await attacked({ options }), "wrong_audience", "unauthenticated", false);
    assertRefused(
      await attacked({ proving: () => ({ audience: "https://one.test" }) }),
      "wrong_audience",
      "unauthenticated",
      false,
    );
  });

  test("protect() counts the path that a router took off", async () => {
    const { echo, web } = await sceneOf({ mountedAt: "/api/v1" });
    assert.equal((await rejection(echo.client(web).say({ text: "x" }))).code, "unavailable");
    const { echo: mounted, web: caller, world: at } = await sceneOf({ mountedAt: "/api/v1" });
    const client = createClient(
      Echo,
      fetchTransport("https://echo.test/api/v1", {
        prover: prove({ identity: caller, trust: at.trust, peer: ECHO, now: at.now }),
        fetch: (url, init) => mounted.server.fetch(new Request(url.replace("/api/v1", ""), init)),
      }),
    );
    assert.deepEqual(await client.say({ text: "x" }), { text: "x" });
  });
});
