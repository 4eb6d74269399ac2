import {
  allow,
  type AuthReason,
  exact,
  type Identity,
  issueCapability,
  prove,
  type ProveOptions,
} from "../../src/auth/mod.ts";
import { contentDigest } from "../../src/auth/content_digest.ts";
import { PROVE_AGAIN } from "../../src/rpc/connect_protocol.ts";
import { type Call, type Method, RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Echo, rejection } from "../rpc/_rig.ts";
import { sceneOf } from "./_attack.ts";
import { answerOf, changed, forge, forgedFrom, parameterOf, responseParts, targetOf } from "./_messages.ts";
import { valueOf } from "../../src/auth/response_signature.ts";
import { type Captured, ECHO, protectedEcho, watchedAudit, WEB, type World, world } from "./_world.ts";

describe("prove() refuses to be built", () => {
  const build = async (change: Partial<Record<keyof ProveOptions, unknown>>) => {
    const at = await world();
    return prove({ identity: await at.join(WEB), trust: at.trust, peer: ECHO, ...change } as ProveOptions);
  };

  for (const name of ["identity", "trust", "peer"] as const) {
    test(`prove() refuses to be built without "${name}"`, async () => {
      await assert.rejects(build({ [name]: undefined }), new TypeError(`Cannot prove calls without "${name}"`));
    });
  }

  test("prove() refuses to be built without anything", () => assert.throws(() => prove(undefined as never), TypeError));

  for (const peer of ["echo", "https://example.org/echo", "spiffe://example.org", "spiffe://example.org/echo/"]) {
    test(`prove() refuses the peer ${peer}`, async () => {
      await assert.rejects(build({ peer }), { name: "AuthError", reason: "malformed_id" });
    });
  }

  for (const audience of ["", "a b", 'a"b', "a\\b", "é"]) {
    test(`prove() refuses the audience ${JSON.stringify(audience)}`, async () => {
      await assert.rejects(build({ audience }), TypeError);
    });
  }
});

describe("prove() signs", () => {
  test("prove() sends nothing that a recipient may look at uncovered", async () => {
    const { echo, web, world: at } = await sceneOf();
    const captured: Captured[] = [];
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await echo.client(web, { captured }).say({ text: "x" }, { origin: { callers: [ECHO], traceparent } } as never);
    const { headers, body } = captured[0]!;
    const { components } = forgedFrom(headers);
    const uncovered = Object.keys(headers).filter((name) => !components.includes(`"${name}"`));
    assert.deepEqual(uncovered.sort(), ["connect-protocol-version", "signature", "signature-input"]);
    assert.equal(headers["content-digest"], await contentDigest(new TextEncoder().encode(body)));
    assert.equal(headers["postern-callers"], `"${ECHO}"`);
    assert.equal(parameterOf(headers, "created"), `${at.now() / 1_000}`);
    assert.equal(parameterOf(headers, "wimse-aud"), ECHO);
  });

  test("prove() takes a new nonce for every request", async () => {
    const { echo, web } = await sceneOf();
    const captured: Captured[] = [];
    for (let i = 0; i < 3; i++) await echo.client(web, { captured }).say({ text: "x" });
    assert.equal(new Set(captured.map(({ headers }) => parameterOf(headers, "nonce"))).size, 3);
  });

  test("prove() signs bytes as it signs text, and calls to a path below another", async () => {
    const at = await world();
    const prover = prove({ identity: await at.join(WEB), trust: at.trust, peer: ECHO, now: at.now });
    const call = { method: Echo.methods.say as Method, message: {}, timeoutMs: 1_000 };
    const request = { method: "POST", url: "https://echo.test/api/echo.v1/say?a=b", headers: {}, call };
    const body = new TextEncoder().encode("{}");
    const { headers } = await prover.prove({ ...request, body });
    assert.equal(headers!["content-digest"], await contentDigest(body));
    assert.equal(
      (await prover.prove({ ...request, body: "{}" })).headers!["content-digest"],
      await contentDigest(body),
    );
  });

  test("prove() does not sign for an identity that has ended", async () => {
    const { echo, web, world: at } = await sceneOf();
    at.now.pass(3_600_000);
    const captured: Captured[] = [];
    const error = await rejection(echo.client(web, { captured }).say({ text: "x" }));
    assert.deepEqual([error.code, captured], ["unauthenticated", []]);
  });

  const say = { "echo.v1/say": {} };
  const rules = [allow({ caller: WEB, call: "echo.v1/*" })];
  test("prove() shows a right for the methods that it names, and for no other", async () => {
    const { echo, web, world: at } = await sceneOf({ rules });
    const capability = await issueCapability(at.authority, { holder: WEB, tools: say }, { now: at.now });
    const captured: Captured[] = [];
    const client = echo.client(web, { capability, captured });
    await client.say({ text: "x" });
    await client.look({ text: "x" });
    assert.deepEqual(captured.map(({ headers }) => headers["authorization"]), [
      `AAT ${capability.chain.reveal()}`,
      undefined,
    ]);
  });

  test("prove() makes a right that was handed on narrower before the peer sees it, where it is not narrow", async () => {
    const { echo, web, world: at } = await sceneOf({ rules });
    const handed = async (grant: object) => {
      const delegation =
        (await issueCapability(at.authority, { holder: WEB, tools: say, ...grant }, { now: at.now })).chain;
      const captured: Captured[] = [];
      await echo.client(web, { captured }).say({ text: "x" }, { origin: { callers: [], delegation } } as never);
      const shown = captured[0]!.headers["authorization"]!.slice(4);
      return { isSame: shown === delegation.reveal(), right: echo.calls.at(-1)!.context.capability! };
    };
    const wide = await handed({ tools: { ...say, "echo.v1/look": {} } });
    assert.equal(wide.isSame, false);
    assert.deepEqual([Object.keys(wide.right.tools), wide.right.expiresAtMs], [["echo.v1/say"], at.now() + 60_000]);
    assert.equal((await handed({})).isSame, false, "it is for use anywhere");
    assert.equal((await handed({ audience: ECHO })).isSame, true);
    assert.equal((await handed({ audience: ECHO, tools: { ...say, "echo.v1/look": {} } })).isSame, false);
    assert.equal((await handed({ depth: 0 })).isSame, true, "it cannot be passed on");
  });

  test("prove() hands on what it is told to, to the peer, and fails where it holds nothing", async () => {
    const { echo, web, world: at } = await sceneOf({ rules });
    const capability = await issueCapability(at.authority, { holder: WEB, tools: say }, { now: at.now });
    const captured: Captured[] = [];
    const seen: Call[] = [];
    const delegate = (call: Call) => {
      seen.push(call);
      return { tools: { "echo.v1/say": { text: exact("x") } } };
    };
    await echo.client(web, { capability, captured, delegate }).say({ text: "x" });
    assert.deepEqual(seen.map(({ message }) => message), [{ text: "x" }]);
    const handed = captured[0]!.headers["postern-delegation"]!.split("~");
    assert.equal(handed.length, 3, "the right, who passes it on, and what is passed on");
    await echo.client(web, { capability, captured, delegate: () => undefined }).say({ text: "x" });
    assert.equal(captured[1]!.headers["postern-delegation"], undefined);
    const error = await rejection(echo.client(web, { captured, delegate }).say({ text: "x" }));
    assert.equal(error.code, "failed_precondition");
    assert.equal(captured.length, 2, "nothing was sent");
  });

  test("prove() asks for a right with each call where it is given what gives it", async () => {
    const { echo, web, world: at } = await sceneOf({ rules });
    const issue = () => issueCapability(at.authority, { holder: WEB, tools: say }, { now: at.now });
    const client = echo.client(web, { capability: issue });
    for (let i = 0; i < 2; i++) await client.say({ text: "x" });
    const [first, second] = echo.calls.map(({ context }) => context.capability!.tokenIds[0]);
    assert.ok(first && second && first !== second);
  });

  test("prove() does not send what would hand on more than it holds", async () => {
    const { echo, web, world: at } = await sceneOf({ rules });
    const capability = await issueCapability(at.authority, { holder: WEB, tools: say }, { now: at.now });
    const captured: Captured[] = [];
    const delegate = () => ({ tools: { "echo.v1/look": {} } });
    const error = await rejection(echo.client(web, { capability, captured, delegate }).say({ text: "x" }));
    assert.deepEqual([error.code, captured], ["failed_precondition", []]);
  });

  test("prove() says in which trace an answer was refused", async () => {
    const { echo, web } = await sceneOf();
    const audit = watchedAudit();
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const client = echo.client(web, { audit, through: () => Promise.resolve(new Response("{}")) });
    await rejection(client.say({ text: "x" }, { origin: { callers: [], traceparent } } as never));
    assert.deepEqual(audit.events[0]!.fields, { peer: ECHO, traceparent });
  });

  test("prove() does not send a call that goes in circles", async () => {
    const { echo, web } = await sceneOf();
    const captured: Captured[] = [];
    const through = (count: number) => ({ origin: { callers: Array.from({ length: count }, () => ECHO) } }) as never;
    await echo.client(web, { captured }).say({ text: "x" }, through(16));
    const error = await rejection(echo.client(web, { captured }).say({ text: "x" }, through(17)));
    assert.equal(error.code, "failed_precondition");
    assert.equal(captured.length, 1);
  });
});

describe("prove() accepts no answer that is not proven", () => {
  const BODY = '{"text":"forged"}';
  interface Answering {
    readonly at: World;
    readonly request: Captured;
    readonly identity: Identity;
  }
  const calling = async (answer: (answering: Answering) => Response | Promise<Response>) => {
    const at = await world();
    const echo = await protectedEcho(at);
    const audit = watchedAudit();
    const through = (request: Captured) => Promise.resolve(answer({ at, request, identity: echo.identity }));
    const client = echo.client(await at.join(WEB), { audit, through });
    const result = await client.say({ text: "x" }).then(({ text }) => text, (error: RpcError) => error);
    return { result, events: audit.events };
  };
  const changing =
    (change: (headers: Headers) => void, body = BODY, status = 200) => async ({ request, identity }: Answering) => {
      const response = await answerOf(identity, request, BODY);
      const headers = new Headers(response.headers);
      change(headers);
      // A text would get a media type.
      return new Response(new TextEncoder().encode(body), { status, headers });
    };

  test("prove() accepts the answer of the peer", async () => {
    const { result, events } = await calling(({ request, identity }) => answerOf(identity, request, BODY));
    assert.equal(result, "forged");
    assert.deepEqual(events, []);
  });

  test("prove() accepts an error of the peer, and its code", async () => {
    const { result } = await calling(({ request, identity }) =>
      answerOf(identity, request, '{"code":"not_found","message":"gone"}', { status: 404 })
    );
    assert.ok(result instanceof RpcError && result.code === "not_found");
  });

  const resigning =
    (change: (terms: string) => string, uncover?: string) => async ({ request, identity }: Answering) => {
      const response = await answerOf(identity, request, BODY);
      const headers = Object.fromEntries(response.headers);
      const { components, terms } = forgedFrom(headers);
      const token = request.headers["workload-identity-token"];
      const value = valueOf(responseParts(200, { method: "POST", target: targetOf(request.url), token }, headers));
      const forged = { components: components.filter((name) => name !== uncover), terms: change(terms) };
      return new Response(BODY, { headers: { ...headers, ...await forge(forged, value, identity) } });
    };
  const shifted = (created: number, expires: number) => (terms: string) =>
    terms.replace(/=(18\d{8});expires=\d+/, (_, s) => `=${Number(s) + created};expires=${Number(s) + expires}`);

  const refused: readonly [
    title: string,
    reason: AuthReason,
    answer: (answering: Answering) => Response | Promise<Response>,
  ][] = [
    ["without a signature", "unsigned", () => new Response(BODY, { headers: { "content-type": "application/json" } })],
    ["without what was signed", "unsigned", changing((headers) => headers.delete("signature-input"))],
    ["with another body", "bad_digest", changing(() => {}, '{"text":"Forged"}')],
    ["with no body", "bad_digest", changing(() => {}, "")],
    ["with another status", "bad_signature", changing(() => {}, BODY, 201)],
    [
      "with another media type",
      "bad_signature",
      changing((headers) => headers.set("content-type", "application/cbor")),
    ],
    ["without a media type", "wrong_coverage", changing((headers) => headers.delete("content-type"))],
    ["without a digest", "wrong_coverage", changing((headers) => headers.delete("content-digest"))],
    ["without a token", "malformed_token", changing((headers) => headers.delete("workload-identity-token"))],
    [
      "with a token that is none",
      "malformed_token",
      changing((headers) => headers.set("workload-identity-token", "x")),
    ],
    ["whose media type is not covered", "wrong_coverage", resigning((terms) => terms, '"content-type"')],
    ["whose digest is not covered", "wrong_coverage", resigning((terms) => terms, '"content-digest"')],
    ["whose token is not covered", "wrong_coverage", resigning((terms) => terms, '"workload-identity-token"')],
    ["whose status is not covered", "wrong_coverage", resigning((terms) => terms, '"@status"')],
    ["to no request", "wrong_exchange", resigning((terms) => terms.replace(/;wimse-req-nonce="[^"]*"/, ""))],
    ["to another request", "wrong_exchange", resigning((terms) => terms.replace(/req-nonce="[^"]/, 'req-nonce="_'))],
    ["from the future", "stale", resigning(shifted(6, 36))],
    ["from the past", "stale", resigning(shifted(-35, -5))],
    ["that lives too long", "stale", resigning(shifted(0, 61))],
    [
      "of another identity",
      "wrong_peer",
      async ({ at, request }) => await answerOf(await at.join(`${ECHO}/other`, { serves: ["echo.v1"] }), request, BODY),
    ],
    [
      "of the client itself",
      "wrong_peer",
      async ({ at, request }) => await answerOf(await at.join(WEB), request, BODY),
    ],
    [
      "of the peer that may not serve the service",
      "wrong_peer",
      async ({ at, request }) => await answerOf(await at.join(ECHO, { serves: ["other.v1"] }), request, BODY),
    ],
    [
      "of the peer in a domain that nobody trusts",
      "unknown_issuer",
      async ({ request }) => await answerOf(await (await world()).join(ECHO, { serves: ["echo.v1"] }), request, BODY),
    ],
    ["with the peer's token and another key", "bad_signature", async ({ at, request, identity }) => {
      const other = await at.join(ECHO, { serves: ["echo.v1"] });
      const credential = () => identity.credential();
      return await answerOf({ ...other, credential }, request, BODY);
    }],
    ["of a peer that was revoked", "revoked", async ({ at, request, identity }) => {
      at.authority.revoke({ ids: [ECHO] });
      await at.trust.update(await at.authority.signedBundle());
      return await answerOf(identity, request, BODY);
    }],
  ];
  /** Whose token was good, where the reason alone does not say it. */
  const answered: Readonly<Record<string, string>> = {
    "without a digest": ECHO,
    "without a media type": ECHO,
    "of another identity": `${ECHO}/other`,
    "of the client itself": WEB,
    "of the peer that may not serve the service": ECHO,
  };
  for (const [title, reason, answer] of refused) {
    test(`prove() counts an answer ${title} as none`, async () => {
      const { result, events } = await calling(answer);
      assert.ok(result instanceof RpcError, String(result));
      assert.equal(result.code, "unavailable");
      const answeredBy = answered[title] ?? (["bad_signature", "bad_digest"].includes(reason) ? ECHO : undefined);
      const fields = answeredBy === undefined ? { peer: ECHO } : { peer: ECHO, answeredBy };
      assert.deepEqual(events, [{ event: "answer.refuse", reason, method: "echo.v1/say", fields }]);
    });
  }

  for (const [created, expires] of [[5, 35], [-34, -4], [0, 60]] as const) {
    test(`prove() accepts an answer signed from ${created} s to ${expires} s from now`, async () => {
      assert.equal((await calling(resigning(shifted(created, expires)))).result, "forged");
    });
  }

  test("prove() refuses answers also where that cannot be recorded, or there is no audit", async () => {
    const { echo, web } = await sceneOf();
    const through = () => Promise.resolve(new Response("{}"));
    for (const proving of [{}, { audit: { record: () => assert.fail("full") } }]) {
      const error = await rejection(echo.client(web, { through, ...proving }).say({ text: "x" }));
      assert.equal(error.code, "unavailable");
    }
  });

  test("prove() records a failure of its own parts as one, and believes nothing", async () => {
    const at = await world();
    const echo = await protectedEcho(at);
    const audit = watchedAudit();
    const trust = { ...at.trust, verify: () => Promise.reject(new Error("x")) };
    const error = await rejection(echo.client(await at.join(WEB), { audit, trust }).say({ text: "x" }));
    assert.equal(error.code, "unavailable");
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["internal"]);
  });

  test("prove() proves again only after a proven answer, once, and later than the server's own time", async () => {
    const body = `{"code":"unavailable","message":"again","details":[{"type":"${PROVE_AGAIN}","value":"NjAwMDA"}]}`;
    for (const proven of [true, false]) {
      const requests: Captured[] = [];
      const { echo, web } = await sceneOf();
      const through = async (request: Captured) => {
        requests.push(changed(request, {}));
        const response = await answerOf(echo.identity, request, body, { status: 503, nowS: 1_800_000_003 });
        return proven ? response : new Response(body, { status: 503, headers: { "content-type": "application/json" } });
      };
      assert.equal((await rejection(echo.client(web, { through }).say({ text: "x" }))).code, "unavailable");
      const created = requests.map(({ headers }) => Number(parameterOf(headers, "created")));
      assert.deepEqual(created, proven ? [1_800_000_000, 1_800_000_004] : [1_800_000_000]);
    }
  });
});
