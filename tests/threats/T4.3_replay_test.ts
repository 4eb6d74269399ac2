// Somebody who overheard a message sends it again: to the same server, to another, later, or as the answer to something else.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allow, type Identity, memoryReplay, type ReplayStore, type UsedNonce } from "../../src/auth/mod.ts";
import { assertRefused, attacked, sceneOf } from "../auth/_attack.ts";
import { changed, NOW_S, parameterOf, renamed, resigned } from "../auth/_messages.ts";
import { type Captured, ECHO, protectedEcho, requestOf, watchedAudit, WEB, world } from "../auth/_world.ts";
import { gate, refusalOf, rejection } from "../rpc/_rig.ts";

/** A call that was let in, and its bytes. */
async function overheard(options: Parameters<typeof sceneOf>[0] = {}, proving: { audience?: string } = {}) {
  const scene = await sceneOf(options);
  const captured: Captured[] = [];
  await scene.echo.client(scene.web, { captured, ...proving }).say({ text: "pay" });
  return { ...scene, request: captured[0]! };
}

const reasons = ({ audit }: Awaited<ReturnType<typeof protectedEcho>>) => audit.events.map(({ reason }) => reason);

describe("T4.3 a request that was sent before", () => {
  test("T4.3 a server lets the same bytes in once", async () => {
    const { echo, request } = await overheard();
    for (let i = 0; i < 3; i++) {
      const refusal = await refusalOf(await echo.server.fetch(requestOf(request)));
      assert.equal(refusal.code, "unauthenticated");
      assert.equal(refusal.headers.has("signature"), false);
    }
    assert.equal(echo.calls.length, 1);
    assert.deepEqual(reasons(echo), [undefined, "replayed", "replayed", "replayed"]);
  });

  test("T4.3 a server lets one of many copies in that arrive at once", async () => {
    const scene = await sceneOf();
    const statuses: number[] = [];
    const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
      const answers = await Promise.all(Array.from({ length: 20 }, () => send(request)));
      statuses.push(...answers.map(({ status }) => status));
      return answers.find(({ status }) => status === 200)!;
    };
    await scene.echo.client(scene.web, { through }).say({ text: "pay" });
    assert.deepEqual(statuses.filter((status) => status === 200).length, 1);
    assert.equal(scene.echo.calls.length, 1);
  });

  test("T4.3 a server remembers a request for as long as it would be in time", async () => {
    const { echo, request, world: { now } } = await overheard();
    for (let s = 1; s <= 40; s++) {
      now.pass(1_000);
      assert.equal((await echo.server.fetch(requestOf(request))).status, 401);
    }
    assert.equal(echo.calls.length, 1);
    assert.deepEqual([...new Set(reasons(echo))], [undefined, "replayed", "stale"]);
  });

  test("T4.3 a server refuses a request that was let in under another label or order: the nonce counts", async () => {
    const { echo, request, web } = await overheard();
    const other = await resigned(request, { label: "other", components: (all) => [...all].reverse() }, web);
    assert.equal((await echo.server.fetch(requestOf(other))).status, 401);
    assert.equal((await echo.server.fetch(requestOf(await resigned(request, { terms: renamed }, web)))).status, 200);
    assert.deepEqual(reasons(echo), [undefined, "replayed", undefined]);
  });
});

describe("T4.3 a request that was sent elsewhere", () => {
  test("T4.3 an instance with an audience of its own refuses what was sent to another", async () => {
    const { request, world: at, echo } = await overheard({ audiences: ["https://one.test"] }, {
      audience: "https://one.test",
    });
    const { identity } = echo;
    const two = await protectedEcho(at, { identity, audiences: ["https://two.test"] });
    assert.equal((await two.server.fetch(requestOf(request))).status, 401);
    assert.deepEqual([two.calls, reasons(two)], [[], ["wrong_audience"]]);
  });

  test("T4.3 another service refuses what was sent to this one", async () => {
    const { request, world: at } = await overheard();
    const identity = await at.join("spiffe://example.org/other", { serves: ["echo.v1"] });
    const other = await protectedEcho(at, { identity });
    assert.equal((await other.server.fetch(requestOf(request))).status, 401);
    assert.deepEqual([other.calls, reasons(other)], [[], ["wrong_audience"]]);
  });

  test("T4.3 a twin that shares the replay store refuses what its twin let in", async () => {
    const at = await world();
    const replay = memoryReplay({ now: at.now });
    const [one, two] = [await protectedEcho(at, { replay }), await protectedEcho(at, { replay })];
    const captured: Captured[] = [];
    await one.client(await at.join(WEB), { captured }).say({ text: "pay" });
    assert.equal((await two.server.fetch(requestOf(captured[0]!))).status, 401);
    assert.deepEqual([two.calls, reasons(two)], [[], ["replayed"]]);
  });

  test("T4.3 a shared replay store that cannot answer lets nobody in", async () => {
    const replay: ReplayStore = { sinceMs: 0, take: () => Promise.reject(new Error("the store is away")) };
    const outcome = await attacked({ options: { replay } });
    assertRefused(outcome, "internal", "internal", false);
  });
});

describe("T4.3 a request from before a restart", () => {
  test("T4.3 a server that has just started refuses what was signed before, however often, and says so provably", async () => {
    const { request, world: at, echo: { identity } } = await overheard();
    at.now.pass(1);
    const restarted = await protectedEcho(at, { identity });
    for (let i = 0; i < 3; i++) {
      const response = await restarted.server.fetch(requestOf(request));
      assert.equal(response.status, 503);
      assert.ok(response.headers.has("signature"), "it will never be let in, so that the refusal may be proven");
      at.now.pass(7_000);
    }
    assert.deepEqual([restarted.calls, [...new Set(reasons(restarted))]], [[], ["before_start"]]);
  });

  for (const sinceMs of [0, 1, 500, 999]) {
    test(`T4.3 an honest client gets through ${sinceMs} ms after a restart's second began, and its call runs once`, async () => {
      const at = await world();
      at.now.pass(sinceMs);
      const restarted = await protectedEcho(at);
      const captured: Captured[] = [];
      await restarted.client(await at.join(WEB), { captured }).say({ text: "pay" });
      assert.equal(captured.length, 1, "its nonce says the moment more closely than the second");
      assert.equal(restarted.calls.length, 1);
      for (const request of captured) assert.ok((await restarted.server.fetch(requestOf(request))).status >= 400);
      at.now.pass(2_000);
      for (const request of captured) assert.ok((await restarted.server.fetch(requestOf(request))).status >= 400);
      assert.equal(restarted.calls.length, 1, "the proof is not good for a second call");
    });
  }

  test("T4.3 a client whose clock is behind gets through by the server's", async () => {
    const at = await world();
    const web = await at.join(WEB);
    const late = () => at.now() - 4_000;
    at.now.pass(10_000);
    const echo = await protectedEcho(at);
    const captured: Captured[] = [];
    await echo.client(web, { captured, now: late }).look({ text: "pay" });
    assert.deepEqual([captured.length, echo.calls.length], [2, 1]);
  });

  test("T4.3 a call that must not run twice is not sent again to a server that is younger than the call", async () => {
    const at = await world();
    at.now.pass(1_000);
    const young = await protectedEcho(at);
    const captured: Captured[] = [];
    const before = () => at.now() - 500;
    const error = await rejection(young.client(await at.join(WEB), { captured, now: before }).say({ text: "pay" }));
    assert.deepEqual([error.code, captured.length, young.calls.length], ["unavailable", 1, 0]);
  });

  test("T4.3 a call that must not run twice is sent again to a server that is older than the call", async () => {
    const at = await world();
    const older: ReplayStore = { sinceMs: at.now() + 100, take: () => {} };
    at.now.pass(60_100); // the server runs for a minute, and the client's clock is a minute behind
    const echo = await protectedEcho(at, { replay: older });
    const behind = () => at.now() - 60_100;
    const captured: Captured[] = [];
    const error = await rejection(echo.client(await at.join(WEB), { captured, now: behind }).say({ text: "pay" }));
    assert.deepEqual([error.code, captured.length], ["unavailable", 1], "so far behind is out of time");
    const later: ReplayStore = { sinceMs: at.now() - 3_000, take: () => {} };
    const young = await protectedEcho(at, { replay: later });
    const little = () => at.now() - 4_000;
    await young.client(await at.join(WEB), { captured, now: little }).say({ text: "pay" });
    assert.deepEqual([captured.length, young.calls.length], [3, 1]);
  });

  test("T4.3 nobody makes a client prove again by a forged answer", async () => {
    const at = await world();
    at.now.pass(1_000);
    const echo = await protectedEcho(at);
    const captured: Captured[] = [];
    const now = () => at.now() - 500;
    const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
      const response = await send(request);
      const headers = new Headers(response.headers);
      for (const name of ["signature", "signature-input"]) headers.delete(name);
      return new Response(await response.text(), { status: response.status, headers });
    };
    const error = await rejection(echo.client(await at.join(WEB), { captured, through, now }).look({ text: "pay" }));
    assert.deepEqual([error.code, captured.length, echo.calls.length], ["unavailable", 1, 0]);
  });
});

describe("T4.3 a request out of its time", () => {
  const rows: readonly [title: string, created: number, expires: number, status: number][] = [
    ["signed 1 s ahead of the server", 1, 31, 200],
    ["signed 6 s ahead of the server", 6, 36, 401],
    ["over for 4 s", -30, -4, 200],
    ["over for 5 s", -30, -5, 401],
    ["over for 6 s", -30, -6, 401],
    ["good for 59 s", 0, 59, 200],
    ["good for 60 s", 0, 60, 200],
    ["good for 61 s", 0, 61, 401],
  ];
  for (const [title, created, expires, status] of rows) {
    test(`T4.3 a server ${status === 200 ? "lets in" : "refuses"} a request that is ${title}`, async () => {
      const old: ReplayStore = { sinceMs: 0, take: () => {} };
      const { echo, request, web } = await overheard({ replay: old });
      const terms = (all: string) =>
        all.replace(/created=\d+;expires=\d+/, `created=${NOW_S + created};expires=${NOW_S + expires}`);
      const response = await echo.server.fetch(requestOf(await resigned(request, { terms }, web)));
      assert.equal(response.status, status);
      assert.equal(reasons(echo)[1], status === 200 ? undefined : "stale");
    });
  }

  test("T4.3 a server asks its store to remember a request for as long as it lives, and 5 s", async () => {
    const used: UsedNonce[] = [];
    const { request } = await overheard({ replay: { sinceMs: 0, take: (each) => void used.push(each) } });
    const nonce = parameterOf(request.headers, "nonce");
    assert.deepEqual(used, [{ signer: WEB, nonce, expiresAtMs: (NOW_S + 35) * 1_000 }]);
  });

  for (const [ms, status] of [[-1_000, 503], [-1, 503], [0, 200], [1_000, 200]] as const) {
    test(`T4.3 a server answers ${status} to what was signed ${ms} ms after its store began`, async () => {
      const began = { sinceMs: NOW_S * 1_000 - ms, take: () => {} };
      const scene = await sceneOf({ replay: began });
      const { echo, web } = scene;
      const captured: Captured[] = [];
      await echo.client(web, { captured }).look({ text: "pay" });
      const request = captured[0]!;
      const again = await echo.server.fetch(requestOf(await resigned(request, { terms: renamed }, web)));
      assert.equal(again.status, status);
    });
  }
});

describe("T4.3 a replay store under attack", () => {
  test("T4.3 five hundred nonces that nobody signed take no place", async () => {
    const used: UsedNonce[] = [];
    const { echo, request, web } = await overheard({ replay: { sinceMs: 0, take: (each) => void used.push(each) } });
    used.length = 0;
    for (let i = 0; i < 500; i++) {
      const input = request.headers["signature-input"]!.replace(/nonce="[^"]*"/, `nonce="junk-${i}-junk"`);
      const headers = { "signature-input": input };
      await echo.server.fetch(requestOf(changed(request, { headers })));
    }
    assert.deepEqual(used, []);
    assert.equal(echo.calls.length, 1);
    assert.equal((await echo.server.fetch(requestOf(await resigned(request, { terms: renamed }, web)))).status, 200);
  });

  test("T4.3 a broken copy of a good request takes no nonce, and the good one is let in afterwards", async () => {
    const at = await world();
    const echo = await protectedEcho(at);
    const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
      const broken = [
        changed(request, { body: request.body + " " }),
        changed(request, { url: request.url.replace("say", "look") }),
        changed(request, { headers: { "workload-identity-token": "x" } }),
      ];
      for (const copy of broken) {
        const response = await send(copy);
        assert.deepEqual([response.status, response.headers.has("signature")], [401, false]);
      }
      return await send(request);
    };
    assert.deepEqual(await echo.client(await at.join(WEB), { through }).say({ text: "pay" }), { text: "pay" });
    assert.equal(echo.calls.length, 1);
  });

  test("T4.3 one caller that floods is refused, the others are served; a full store refuses everybody and forgets nothing", async () => {
    const at = await world();
    const rules = [allow({ caller: "spiffe://example.org/*", call: "echo.v1/*" })];
    const replay = memoryReplay({ now: at.now, maxNonces: 8, maxNoncesPerSigner: 5 });
    const echo = await protectedEcho(at, { rules, replay });
    const [flooding, other, third] = await Promise.all([WEB, `${WEB}/2`, `${WEB}/3`].map((id) => at.join(id))) as [
      Identity,
      Identity,
      Identity,
    ];
    const captured: Captured[] = [];
    for (let i = 0; i < 5; i++) await echo.client(flooding, { captured }).say({ text: "x" });
    for (let i = 0; i < 3; i++) {
      assert.equal((await rejection(echo.client(flooding).say({ text: "x" }))).code, "unavailable");
    }
    for (let i = 0; i < 3; i++) await echo.client(other).say({ text: "x" });
    assert.equal((await rejection(echo.client(third).say({ text: "x" }))).code, "unavailable");
    assert.deepEqual(reasons(echo).filter(Boolean), Array.from({ length: 4 }, () => "replay_full"));
    for (const request of captured) assert.equal((await echo.server.fetch(requestOf(request))).status, 401);
    assert.equal(reasons(echo).at(-1), "replayed");
    at.now.pass(40_000);
    await echo.client(third).say({ text: "x" });
    assert.equal(echo.calls.length, 9);
  });
});

describe("T4.3 an answer in another conversation", () => {
  test("T4.3 clients refuse answers that were swapped between two calls under way", async () => {
    const { echo, web } = await sceneOf();
    const audit = watchedAudit();
    const answers = [gate<Response>(), gate<Response>()] as const;
    const swapped = (own: 0 | 1) => async (request: Captured, send: (request: Captured) => Promise<Response>) => {
      answers[own].open(await send(request));
      return await answers[1 - own as 0 | 1].opened;
    };
    const calls = ([0, 1] as const).map((own) =>
      echo.client(web, { audit, through: swapped(own) }).say({ text: "same" })
    );
    for (const call of calls) assert.equal((await rejection(call)).code, "unavailable");
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["wrong_exchange", "wrong_exchange"]);
  });

  test("T4.3 a client refuses an earlier answer to the same call", async () => {
    const { echo, web } = await sceneOf();
    const audit = watchedAudit();
    let first: Response | undefined;
    const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
      first ??= await send(request);
      return first.clone();
    };
    const client = echo.client(web, { audit, through });
    await client.say({ text: "x" });
    assert.equal((await rejection(client.say({ text: "x" }))).code, "unavailable");
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["wrong_exchange"]);
  });

  test("T4.3 a client refuses the answer to another method, whose nonce is its own", async () => {
    const { echo, web } = await sceneOf();
    const audit = watchedAudit();
    const through = async (request: Captured, send: (request: Captured) => Promise<Response>) =>
      await send(await resigned(request, { url: request.url.replace("look", "say") }, web));
    assert.equal((await rejection(echo.client(web, { audit, through }).look({ text: "x" }))).code, "unavailable");
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["bad_signature"]);
    assert.equal(echo.identity.id, ECHO);
  });
});
