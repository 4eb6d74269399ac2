import { allow, attenuate, exact, type Grant, type Identity, issueCapability } from "../../src/auth/mod.ts";
import { PEER_CERTIFICATE, type PeerCertificate, type RpcCode } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Gate, gate, rejection, soon } from "../rpc/_rig.ts";
import { assertRefused, attacked, type Scene, sceneOf } from "./_attack.ts";
import { resigned } from "./_messages.ts";
import { type Captured, ECHO, protectedEcho, requestOf, WEB, world } from "./_world.ts";

const OTHER = "spiffe://example.org/other";
const SAY = { "echo.v1/say": {} };
const byRight = [allow({ caller: WEB, call: "echo.v1/*", capability: true })];

describe("protect() with certificates", () => {
  const shown = (ids: readonly string[], thumbprint = "A".repeat(43)): PeerCertificate => ({
    ids,
    thumbprint,
    forwarded: false,
  });
  const call = async (bound: string | undefined, certificate: PeerCertificate | undefined) => {
    const at = await world();
    const web = await at.join(WEB, bound === undefined ? {} : { certificate: bound });
    const echo = await protectedEcho(at);
    const statuses: [number, boolean][] = [];
    const through = async (request: Captured) => {
      const info = certificate ? { [PEER_CERTIFICATE]: certificate } : {};
      const response = await echo.server.fetch(requestOf(request), info);
      statuses.push([response.status, response.headers.has("signature")]);
      return response;
    };
    const code = await echo.client(web, { through }).say({ text: "x" }).then(() => "ok", ({ code }) => code);
    return { code, statuses, calls: echo.calls.length, reason: echo.audit.events[0]!.reason };
  };

  const A = "A".repeat(43);
  const B = "B".repeat(43);
  const rows: readonly [
    title: string,
    bound: string | undefined,
    shown: PeerCertificate | undefined,
    allowed: boolean,
  ][] = [
    ["no certificate where none is bound", undefined, undefined, true],
    ["a certificate of the same name", undefined, shown([WEB]), true],
    ["a certificate of another name", undefined, shown([OTHER]), false],
    ["a certificate without a name", undefined, shown([]), false],
    ["a certificate of the name and another", undefined, shown([WEB, OTHER]), false],
    ["a certificate of another name and the name", undefined, shown([OTHER, WEB]), false],
    ["a certificate of a longer name", undefined, shown([`${WEB}/x`]), false],
    ["the bound certificate, whatever its name", A, shown([], A), true],
    ["the bound certificate with the name", A, shown([WEB], A), true],
    ["another certificate with the name", A, shown([WEB], B), false],
    ["another certificate without a name", A, shown([], B), false],
    ["no certificate where one is bound", A, undefined, false],
  ];
  for (const [title, bound, certificate, allowed] of rows) {
    test(`protect() ${allowed ? "lets in" : "refuses"} a caller with ${title}`, async () => {
      const { code, statuses, calls, reason } = await call(bound, certificate);
      assert.equal(calls, allowed ? 1 : 0);
      assert.equal(reason, allowed ? undefined : "certificate_mismatch");
      assert.equal(code, allowed ? "ok" : "unauthenticated");
      assert.deepEqual(statuses, [[allowed ? 200 : 401, true]]);
    });
  }

  test("protect() takes a right and a certificate as little as a stranger's", async () => {
    const { echo } = await sceneOf({ rules: [allow({ call: "echo.v1/look", anyone: true })] });
    const request = new Request("https://echo.test/echo.v1/say", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"text":""}',
    });
    const response = await echo.server.fetch(request, { [PEER_CERTIFICATE]: shown([WEB]) });
    assert.equal(response.status, 401, "a certificate alone is no proof");
  });
});

describe("protect() with rights", () => {
  const right = async ({ world: at }: Scene, grant: Partial<Grant> = {}, now = at.now as () => number) => ({
    capability: await issueCapability(at.authority, { holder: WEB, tools: SAY, ...grant }, { now }),
  });

  test("protect() lets in who shows a right, tells the handler and records it", async () => {
    const scene = await sceneOf({ rules: byRight });
    const { capability } = await right(scene);
    assert.deepEqual(await scene.echo.client(scene.web, { capability }).say({ text: "x" }), { text: "x" });
    const seen = scene.echo.calls[0]!.context.capability!;
    assert.deepEqual(seen.tokenIds, capability.tokenIds);
    assert.deepEqual(seen.tools, SAY);
    assert.equal(seen.expiresAtMs, capability.expiresAtMs);
    assert.deepEqual(Object.keys(seen).sort(), ["expiresAtMs", "path", "tokenIds", "tools"]);
    assert.deepEqual(scene.echo.audit.events[0]!.fields, { right: capability.tokenIds.join(" ") });
  });

  const accepted: readonly [title: string, grant: (scene: Scene) => Partial<Grant>][] = [
    ["that is held by key", ({ web }) => ({ holder: web.key.jwk })],
    ["that is for this server", () => ({ audience: ECHO })],
    ["for these arguments", () => ({ tools: { "echo.v1/say": { text: exact("secret words") } } })],
  ];
  for (const [title, grant] of accepted) {
    test(`protect() accepts a right ${title}`, async () => {
      const scene = await sceneOf({ rules: byRight });
      await scene.echo.client(scene.web, await right(scene, grant(scene))).say({ text: "secret words" });
      assert.equal(scene.echo.calls.length, 1);
    });
  }

  test("protect() accepts a right for one of its audiences", async () => {
    const audience = "https://one.test";
    const scene = await sceneOf({ rules: byRight, audiences: [audience] });
    const { capability } = await right(scene, { audience });
    await scene.echo.client(scene.web, { capability, audience }).say({ text: "x" });
    assert.equal(scene.echo.calls.length, 1);
  });

  const refused: readonly [
    title: string,
    reason: string,
    grant: (scene: Scene) => Promise<Partial<Grant>> | Partial<Grant>,
  ][] = [
    ["of another identity", "wrong_holder", () => ({ holder: OTHER })],
    ["of another key", "wrong_holder", async ({ world }) => ({ holder: (await world.join(WEB)).key.jwk })],
    ["for another server", "wrong_right_audience", () => ({ audience: OTHER })],
    ["for other arguments", "argument_not_allowed", () => ({ tools: { "echo.v1/say": { text: exact("x") } } })],
  ];
  for (const [title, reason, grant] of refused) {
    test(`protect() refuses a right ${title}`, async () => {
      const outcome = await attacked({
        options: { rules: byRight },
        proving: async (scene) => await right(scene, await grant(scene)),
      });
      assertRefused(outcome, reason, "permission_denied", true);
    });
  }

  test("protect() refuses a right for another audience of a chain, whatever the others are", async () => {
    const outcome = await attacked({
      options: { rules: byRight },
      async proving(scene) {
        const { capability } = await right(scene, { audience: OTHER });
        const { now } = scene.world;
        const tools = capability.tools;
        return { capability: await attenuate(capability, scene.web, { holder: WEB, tools, audience: OTHER }, { now }) };
      },
    });
    assertRefused(outcome, "wrong_right_audience", "permission_denied", true);
  });

  test("protect() refuses a right that does not name the method, also where a rule asks for none", async () => {
    const outcome = await attacked({
      async change(request, scene) {
        const { capability } = await right(scene, { tools: { "echo.v1/look": {} } });
        return await resigned(request, {
          headers: { authorization: `AAT ${capability.chain.reveal()}` },
          components: (all) => [...all, '"authorization"'],
        }, scene.web);
      },
    });
    assertRefused(outcome, "not_allowed", "permission_denied", true);
  });

  test("protect() refuses a call without a right where the rule asks for one", async () => {
    assertRefused(await attacked({ options: { rules: byRight } }), "not_allowed", "permission_denied", true);
  });

  for (
    const [scheme, text] of [["no", ""], ["a lower-case", "aat "], ["Bearer as its", "Bearer "]]
  ) {
    test(`protect() refuses a right with ${scheme} scheme`, async () => {
      const outcome = await attacked({
        async change(request, scene) {
          const { capability } = await right(scene);
          return await resigned(request, {
            headers: { authorization: text + capability.chain.reveal() },
            components: (all) => [...all, '"authorization"'],
          }, scene.web);
        },
      });
      assertRefused(outcome, "malformed_chain", "permission_denied", true);
    });
  }

  test("protect() refuses a right from its last millisecond on, and more than 5 s before its first", async () => {
    for (const [pass, allowed] of [[59_999, true], [60_000, false]] as const) {
      const scene = await sceneOf({ rules: byRight });
      const client = scene.echo.client(scene.web, await right(scene, { lifetimeMs: 60_000 }));
      scene.world.now.pass(pass);
      const code = await client.say({ text: "x" }).then(() => "ok", ({ code }) => code);
      assert.equal(code, allowed ? "ok" : "permission_denied", `after ${pass} ms`);
      assert.equal(scene.echo.audit.events[0]!.reason, allowed ? undefined : "expired_right");
    }
    for (const [aheadMs, allowed] of [[5_000, true], [6_000, false]] as const) {
      const scene = await sceneOf({ rules: byRight });
      const client = scene.echo.client(scene.web, await right(scene, {}, () => scene.world.now() + aheadMs));
      const code = await client.say({ text: "x" }).then(() => "ok", ({ code }) => code);
      assert.equal(code, allowed ? "ok" : "permission_denied", `${aheadMs} ms ahead`);
      assert.equal(scene.echo.audit.events[0]!.reason, allowed ? undefined : "expired_right");
    }
  });

  test("protect() refuses a right whose token was revoked, and one whose issuer was", async () => {
    for (const what of ["token", "issuer", "key"] as const) {
      const scene = await sceneOf({ rules: byRight });
      const { now, authority, trust, join } = scene.world;
      const owner = await join(OTHER, { serves: ["echo.v1"] });
      const capability = await issueCapability(owner, { holder: WEB, tools: SAY }, { now });
      const client = scene.echo.client(scene.web, { capability });
      await client.say({ text: "x" });
      authority.revoke(
        {
          token: { tokens: [capability.tokenIds[0]!] },
          issuer: { ids: [OTHER] },
          key: { keys: [owner.key.thumbprint] },
        }[what],
      );
      await trust.update(await authority.signedBundle());
      await rejection(client.say({ text: "x" }));
      assert.equal(scene.echo.audit.events.at(-1)!.reason, "revoked", what);
      assert.equal(scene.echo.calls.length, 1);
    }
  });
});

describe("protect() with what a call is part of", () => {
  const sixteen = Array.from({ length: 16 }, (_, i) => `"spiffe://example.org/${i}"`).join(", ");
  const delegated = async ({ world: at }: Scene, holder: Grant["holder"]) => {
    const capability = await issueCapability(at.authority, { holder, tools: SAY }, { now: at.now });
    return capability.chain.reveal();
  };
  const send = (name: string, value: (scene: Scene) => Promise<string> | string) =>
    attacked({
      change: async (request, scene) =>
        await resigned(request, {
          headers: { [name]: await value(scene) },
          components: (all) => [...all, `"${name}"`],
        }, scene.web),
      options: { answer: () => assert.fail() },
    });

  const malformed: readonly [title: string, value: string][] = [
    ["nobody", ""],
    ["a name without quotes", WEB],
    ["what is no SPIFFE id", '"https://example.org/a"'],
    ["a trust domain alone", '"spiffe://example.org"'],
    ["an id without a space before it", `"${WEB}","${OTHER}"`],
    ["an id with a parameter", `"${WEB}";a=1`],
    ["an id after nobody", `, "${WEB}"`],
    ["17 services", `${sixteen}, "${WEB}"`],
  ];
  for (const [title, value] of malformed) {
    test(`protect() refuses a call that came through ${title}`, async () => {
      assertRefused(await send("postern-callers", () => value), "malformed_context", "unauthenticated", true);
    });
  }

  const handed: readonly [title: string, value: (scene: Scene) => Promise<string> | string][] = [
    ["that is none", () => "x"],
    ["of another identity", (scene) => delegated(scene, OTHER)],
    ["of another key", async (scene) => await delegated(scene, (await scene.world.join(ECHO)).key.jwk)],
    ["of the caller", (scene) => delegated(scene, WEB)],
  ];
  for (const [title, value] of handed) {
    test(`protect() refuses to be handed a right ${title}`, async () => {
      assertRefused(await send("postern-delegation", value), "malformed_context", "unauthenticated", true);
    });
  }

  test("protect() gives a handler's own calls the right that was handed on, who came before, and the trace", async () => {
    const BACK = "spiffe://example.org/back";
    const at = await world();
    const identity = await at.join(BACK, { serves: ["echo.v1"] });
    const back = await protectedEcho(at, { identity, rules: [allow({ caller: ECHO, call: "echo.v1/*" })] });
    const captured: Captured[] = [];
    const front = await protectedEcho(at, {
      answer: (message, context) => context.call(back.client(front.identity, { captured })).say(message),
    });
    const web = await at.join(WEB);
    const delegation = {
      capability: await issueCapability(at.authority, { holder: WEB, tools: SAY }, { now: at.now }),
    };
    const delegate = () => ({ tools: SAY });
    await front.client(web).say({ text: "without" });
    await front.client(web, { ...delegation, delegate }).say({ text: "with" });
    assert.deepEqual(captured.map(({ headers }) => headers["authorization"] !== undefined), [false, true]);
    assert.deepEqual(back.calls.map(({ context }) => context.chain), [[WEB, ECHO], [WEB, ECHO]]);
    assert.deepEqual(back.calls.map(({ context }) => context.capability?.path.includes(WEB)), [undefined, true]);
    const traces = [...front.calls, ...back.calls].map(({ context }) => context.traceparent.slice(0, 35));
    assert.deepEqual(traces.slice(2), traces.slice(0, 2));
    assert.notEqual(traces[0], traces[1]);
  });

  test("protect() takes 16 services, and a right that is its own by name or by key", async () => {
    const holders: ((identity: Identity) => Grant["holder"])[] = [({ id }) => id, ({ key }) => key.jwk];
    for (const holder of holders) {
      const scene = await sceneOf();
      const chain = await delegated(scene, holder(scene.echo.identity));
      const more = { "postern-callers": sixteen, "postern-delegation": chain };
      const through = async (request: Captured, send: (request: Captured) => Promise<Response>) =>
        await send(
          await resigned(request, {
            headers: more,
            components: (all) => [...all, ...Object.keys(more).map((n) => `"${n}"`)],
          }, scene.web),
        );
      await scene.echo.client(scene.web, { through }).say({ text: "x" });
      assert.equal(scene.echo.calls[0]!.context.chain.length, 17);
    }
  });
});

describe("protect() with a quota for each caller", () => {
  const rules = [allow({ caller: [WEB, OTHER], call: "echo.v1/*" })];

  test("protect() takes so many calls of one caller at once, others meanwhile, and more afterwards", async () => {
    const gates = new Map<string, Gate>();
    const entered = new Map<string, Gate>();
    for (const name of ["1", "2", "4"]) [gates, entered].forEach((each) => each.set(name, gate()));
    const { echo, web, world: at } = await sceneOf({
      rules,
      maxConcurrentCallsPerCaller: 2,
      answer: async (message) => {
        entered.get(message.text)?.open();
        await gates.get(message.text)?.opened;
        return message;
      },
    });
    const client = echo.client(web);
    const running = ["1", "2"].map((text) => client.say({ text }));
    await Promise.all(["1", "2"].map((name) => entered.get(name)!.opened));
    const error = await rejection(client.say({ text: "3" }));
    assert.equal(error.code, "resource_exhausted", "proven, with its own code");
    assert.equal(echo.audit.events.at(-1)!.reason, "over_quota");
    await echo.client(await at.join(OTHER)).say({ text: "other" });
    gates.get("1")!.open();
    await running[0];
    const fourth = client.say({ text: "4" });
    await entered.get("4")!.opened;
    assert.equal((await rejection(client.say({ text: "5" }))).code, "resource_exhausted");
    for (const name of ["2", "4"]) gates.get(name)!.open();
    await Promise.all([running[1], fourth]);
    await client.say({ text: "6" });
  });

  const ends: readonly [title: string, code: RpcCode, options: Parameters<typeof sceneOf>[0]][] = [
    ["that fails", "internal", { answer: () => Promise.reject(new Error("x")) }],
    ["whose message is refused", "permission_denied", {
      rules: [allow({ caller: WEB, call: "echo.v1/*", when: () => false })],
    }],
  ];
  for (const [title, code, options] of ends) {
    test(`protect() gives the place of a call ${title} back`, async () => {
      const { echo, web } = await sceneOf({ maxConcurrentCallsPerCaller: 1, ...options });
      for (let i = 0; i < 3; i++) assert.equal((await rejection(echo.client(web).say({ text: "x" }))).code, code);
    });
  }

  test("protect() gives the place of a call back whose time was over before it was let in", async () => {
    const waiting = gate();
    let taken = 0;
    const replay = { sinceMs: 0, take: () => taken++ === 0 ? waiting.opened : undefined };
    const { echo, web } = await sceneOf({ maxConcurrentCallsPerCaller: 1, replay });
    const answers: Promise<Response>[] = [];
    const through = (request: Captured) => {
      answers.push(echo.server.fetch(requestOf(request)));
      return answers[0]!.then((response) => response.clone());
    };
    const late = echo.client(web, { through }).say({ text: "late" }, { timeoutMs: 400 });
    await rejection(soon(late)); // whichever deadline is noticed first
    assert.equal((await soon(answers[0]!)).status, 504, "the server has given it up too");
    waiting.open();
    await waiting.opened;
    assert.deepEqual(await echo.client(web).say({ text: "x" }), { text: "x" });
    assert.deepEqual(echo.calls.map(({ message }) => message.text), ["x"]);
  });

  test("protect() has 128 places for a caller where nothing else is said", async () => {
    const open = gate();
    let running = 0;
    const all = gate();
    const { echo, web } = await sceneOf({
      answer: async (message) => {
        if (++running === 128) all.open();
        await open.opened;
        return message;
      },
    });
    const calls = Array.from({ length: 128 }, () => echo.client(web).say({ text: "x" }));
    await all.opened;
    assert.equal((await rejection(echo.client(web).say({ text: "x" }))).code, "resource_exhausted");
    open.open();
    await Promise.all(calls);
  });
});
