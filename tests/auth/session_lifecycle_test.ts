import { allow, issueCapability, memoryReplay, policy, protect, prove } from "../../src/auth/mod.ts";
import { createClient, createServer, fetchTransport, implement, rpc, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gate, rejection, Text, type Words } from "../rpc/_rig.ts";
import { type ServerSession, serverSessions } from "../../src/auth/server_session.ts";
import { sceneOf } from "./_attack.ts";
import {
  counted,
  counterOf,
  heldBack,
  kindOf,
  kindsOf,
  reasonsOf,
  remade,
  send,
  spyHash,
  underSession,
} from "./_sessions.ts";
import { type Captured, ECHO, protectedEcho, requestOf, watchedAudit, WEB, world } from "./_world.ts";

const SAY = { "echo.v1/say": {} };
const say = (client: { say(message: Words): Promise<unknown> }, text = "x") => client.say({ text });

describe("prove() and sessions", () => {
  test("prove() signs the first call, opens a session with the second, and makes the others under it", async () => {
    const { client, captured, echo } = await underSession();
    await say(client, "third");
    await client.look({ text: "fourth" });
    assert.deepEqual(kindsOf(captured), ["signed", "opening", "session", "session"]);
    assert.deepEqual(echo.calls.map(({ message }) => message.text), ["first", "second", "third", "fourth"]);
    assert.deepEqual(captured.slice(2).map(counterOf), [1, 2]);
    for (const { headers } of captured.slice(2)) {
      assert.deepEqual(Object.keys(headers).filter((name) => /token|session|authorization/.test(name)), []);
    }
    for (const { context } of echo.calls) assert.equal(context.caller?.id, WEB);
    assert.deepEqual(reasonsOf(echo), [undefined, undefined, undefined, undefined], "one event for each call");
  });

  test("prove() lets one of many calls open the session, while the others are signed", async () => {
    const { echo, web } = await sceneOf();
    const captured: Captured[] = [];
    const client = echo.client(web, { captured });
    await say(client);
    await Promise.all(Array.from({ length: 32 }, () => say(client)));
    const kinds = kindsOf(captured);
    assert.equal(kinds.filter((kind) => kind === "opening").length, 1);
    await Promise.all(Array.from({ length: 32 }, () => say(client)));
    assert.deepEqual([...new Set(kindsOf(captured.slice(33)))], ["session"]);
    assert.equal(new Set(captured.slice(33).map(counterOf)).size, 32);
    assert.equal(echo.calls.length, 65);
  });

  test("prove() tries again after a while where the request that was to open the session got no answer", async () => {
    const { echo, web, world: { now } } = await sceneOf();
    const captured: Captured[] = [];
    let isCut = false;
    const client = echo.client(web, {
      captured,
      through: async (request, pass) => {
        const response = await pass(request);
        return isCut ? Promise.reject(new Error("cut")) : response;
      },
    });
    await say(client);
    isCut = true;
    await rejection(say(client));
    isCut = false;
    await say(client);
    now.pass(2_000);
    await say(client);
    await say(client);
    assert.deepEqual(kindsOf(captured), ["signed", "opening", "signed", "opening", "session"]);
    const [, first, , second] = captured.map(({ headers }) => headers["postern-session"]?.slice(0, 50));
    assert.equal(first, second, "the same session: it is opened once more");
  });

  test("prove() has a session for each right, and one without", async () => {
    const { now, join, trust, authority } = await world();
    const at = { now, join, trust, authority };
    const [web, echo] = [await join(WEB), await protectedEcho(at)];
    const rights = await Promise.all(
      [1, 2].map(() => issueCapability(echo.identity, { holder: WEB, tools: SAY }, { now })),
    );
    let turn = 0;
    const captured: Captured[] = [];
    const client = echo.client(web, { captured, capability: () => rights[turn++ % 2]! });
    for (let i = 0; i < 8; i++) await say(client);
    assert.deepEqual(kindsOf(captured), ["signed", "opening", "opening", ...Array(5).fill("session")]);
    const ids = captured.slice(3).map(({ headers }) => /keyid="([^"]*)"/.exec(headers["signature-input"]!)![1]);
    assert.equal(new Set(ids).size, 2);
    const shown = echo.calls.slice(3).map(({ context }) => context.capability!.tokenIds[0]);
    assert.deepEqual(shown, [0, 1, 2, 3, 4].map((i) => rights[(i + 3) % 2]!.tokenIds[0]));
    await client.look({ text: "outside of the rights" });
    await client.look({ text: "outside of the rights" });
    assert.deepEqual(kindsOf(captured.slice(8)), ["opening", "session"]);
    assert.equal(echo.calls.at(-1)!.context.capability, undefined);
  });

  test("prove() signs each call of a method that wants it, and protect() refuses it under a session", async () => {
    const Bank = service("echo.v1", { pay: rpc(Text, Text, { proof: "signature" }), say: rpc(Text, Text) });
    const { now, join, trust } = await world();
    const identity = await join(ECHO, { serves: ["echo.v1"] });
    const calls: string[] = [];
    const handle = (message: Words) => (calls.push(message.text), message);
    const [audit, captured] = [watchedAudit(), [] as Captured[]];
    const server = createServer(implement(Bank, { pay: handle, say: handle }), {
      log: () => {},
      guard: protect({
        ...{ identity, trust, now, audit, replay: memoryReplay({ now }) },
        policy: policy([allow({ caller: WEB, call: "echo.v1/*" })]),
      }),
    });
    const fetch = (url: string, { method, headers, body }: RequestInit) => {
      const request = { url, method: method!, headers: headers as Record<string, string>, body: body as string };
      captured.push(request);
      return server.fetch(requestOf(request));
    };
    const prover = prove({ identity: await join(WEB), trust, peer: ECHO, now });
    const client = createClient(Bank, fetchTransport("https://echo.test", { prover, fetch }));
    await client.say({ text: "a" });
    await client.say({ text: "b" });
    await client.pay({ text: "c" });
    await client.say({ text: "d" });
    assert.deepEqual(kindsOf(captured), ["signed", "opening", "signed", "session"]);
    // A client of an older contract does not know that the method wants it.
    const Older = service("echo.v1", { pay: rpc(Text, Text), say: rpc(Text, Text) });
    const older = createClient(Older, fetchTransport("https://echo.test", { prover, fetch }));
    const error = await rejection(older.pay({ text: "e" }));
    assert.equal(error.code, "failed_precondition");
    assert.equal(kindOf(captured.at(-1)!), "session");
    assert.deepEqual(calls, ["a", "b", "c", "d"]);
    assert.equal(audit.events.at(-1)!.reason, "signature_required");
    await older.say({ text: "f" });
    assert.equal(kindOf(captured.at(-1)!), "session", "the session goes on");
  });

  test("prove() opens no session with a server that is about to end, or by a right that is", async () => {
    const { now, join, trust, authority } = await world();
    const at = { now, join, trust, authority };
    const [web, echo] = [await join(WEB), await protectedEcho(at)];
    const grant = { holder: WEB, tools: SAY, lifetimeMs: 4_000 };
    const capability = await issueCapability(echo.identity, grant, { now });
    const captured: Captured[] = [];
    const client = echo.client(web, { captured, capability });
    for (let i = 0; i < 3; i++) await say(client);
    assert.deepEqual(kindsOf(captured), ["signed", "signed", "signed"]);
  });
});

describe("the end of a session", () => {
  test("prove() opens a new one after 9 minutes, and protect() knows the old one for 10", async () => {
    const under = await underSession();
    const { client, captured, echo, keys, world: { now } } = under;
    await say(client);
    const request = await heldBack(under);
    const fresh = (ms: number) => {
      now.pass(ms);
      const terms = (all: string) => all.replace(/created=\d+/, `created=${Math.floor(now() / 1_000)}`);
      return { request: remade(request, { terms }, keys[0]!), terms };
    };
    now.pass(539_999);
    await say(client);
    assert.equal(kindOf(captured.at(-1)!), "session");
    now.pass(1);
    await say(client);
    await say(client);
    assert.deepEqual(kindsOf(captured.slice(-2)), ["opening", "session"]);
    const calls = echo.calls.length;
    assert.equal((await send(echo, fresh(59_999).request)).status, 200);
    const { terms } = fresh(1);
    const late = remade(request, { terms: (all) => counted(900)(terms(all)) }, keys[0]!);
    assert.equal((await send(echo, late)).status, 503);
    assert.equal(reasonsOf(echo).at(-1), "unknown_session");
    assert.equal(echo.calls.length, calls + 1);
  });

  const fresh = (now: () => number) => (terms: string) =>
    terms.replace(/created=\d+/, `created=${Math.floor(now() / 1_000)}`);

  test("protect() knows a session no longer than its right lasts", async () => {
    const under = await underSession({
      proving: async ({ echo, world: { now } }) => ({
        capability: await issueCapability(echo.identity, { holder: WEB, tools: SAY, lifetimeMs: 60_000 }, { now }),
      }),
    });
    const { echo, keys, world: { now } } = under;
    const request = await heldBack(under);
    now.pass(59_999);
    assert.equal((await send(echo, remade(request, { terms: fresh(now) }, keys[0]!))).status, 200);
    now.pass(1);
    const terms = (all: string) => counted(7)(fresh(now)(all));
    assert.equal((await send(echo, remade(request, { terms }, keys[0]!))).status, 503);
    assert.equal(reasonsOf(echo).at(-1), "unknown_session");
  });

  test("protect() and prove() know a session no longer than the caller's token lasts", async () => {
    const at = await world();
    const { now } = at;
    const web = await at.join(WEB);
    const { expiresAtMs } = await web.credential();
    now.pass(expiresAtMs - now() - 30_000);
    const echo = await protectedEcho(at); // its own token ends later
    const [captured, hash] = [[] as Captured[], spyHash()];
    let isHeld = false;
    const client = echo.client(web, {
      ...{ captured, hash },
      through: (request, pass) => isHeld ? Promise.reject(new Error("held back")) : pass(request),
    });
    for (let i = 0; i < 3; i++) await say(client);
    assert.equal(kindOf(captured.at(-1)!), "session");
    isHeld = true;
    await rejection(say(client));
    isHeld = false;
    const request = captured.at(-1)!;
    now.pass(25_000);
    await say(client);
    assert.equal(kindOf(captured.at(-1)!), "signed", "5 s before the end");
    now.pass(4_999);
    assert.equal((await send(echo, remade(request, { terms: fresh(now) }, hash.keys[0]!))).status, 200);
    now.pass(1);
    const terms = (all: string) => counted(7)(fresh(now)(all));
    assert.equal((await send(echo, remade(request, { terms }, hash.keys[0]!))).status, 503);
    assert.equal(reasonsOf(echo).at(-1), "unknown_session");
  });
});

describe("protect() and the room for sessions", () => {
  test("protect() keeps 64 sessions of one caller, serves it without beyond, and forgets ended ones", async () => {
    const { echo, web, world: { now } } = await sceneOf();
    const kinds = async () => {
      const captured: Captured[] = [];
      const client = echo.client(web, { captured });
      for (let i = 0; i < 3; i++) await say(client);
      return kindsOf(captured).at(-1);
    };
    for (let i = 0; i < 64; i++) assert.equal(await kinds(), "session");
    assert.equal(await kinds(), "signed");
    now.pass(659_999); // ended, and remembered for a minute
    assert.equal(await kinds(), "signed");
    now.pass(1);
    assert.equal(await kinds(), "session");
  });

  test("serverSessions() keeps 8,192 sessions of all callers, and makes room a minute after they have ended", () => {
    const at = { nowMs: 1_000 };
    const sessions = serverSessions(() => at.nowMs);
    const of = (i: number) =>
      ({ id: `${i}`, caller: { id: `${i % 200}` }, endsAtMs: 2_000 }) as unknown as ServerSession;
    for (let i = 0; i < 8_192; i++) sessions.set(of(i));
    assert.equal(sessions.hasRoom({ id: "nobody", thumbprint: "none" }), false);
    at.nowMs = 1_999;
    assert.ok(sessions.get("7"));
    at.nowMs = 2_000;
    assert.deepEqual([sessions.get("7"), sessions.remembered("7")?.id], [undefined, "7"]);
    at.nowMs = 61_999;
    assert.deepEqual([sessions.remembered("7")?.id, sessions.hasRoom({ id: "nobody", thumbprint: "none" })], [
      "7",
      false,
    ]);
    at.nowMs = 62_000;
    assert.deepEqual([sessions.remembered("7"), sessions.hasRoom({ id: "nobody", thumbprint: "none" })], [
      undefined,
      true,
    ]);
  });

  test("protect() takes a request by GET under a session, which has no body and no digest", async () => {
    const under = await underSession();
    const request = await heldBack(under, "look");
    const change = {
      method: "GET",
      url: `https://echo.test/echo.v1/look?connect=v1&encoding=json&message=${encodeURIComponent('{"text":"got"}')}`,
      headers: { "content-type": undefined, "content-digest": undefined },
      components: (all: readonly string[]) => all.filter((each) => !each.startsWith('"content')),
    };
    assert.equal((await send(under.echo, remade(request, change, under.keys[0]!))).status, 200);
    assert.equal(under.echo.calls.at(-1)!.message.text, "got");
  });

  test("protect() answers what came before its caller's session was opened again as a replay, and the rest as ever", async () => {
    const under = await underSession();
    const { echo, client, web } = under;
    const early = await heldBack(under);
    const audience = echo.identity.id;
    assert.ok(audience && web && client);
    const again = under.captured[1]!;
    assert.equal((await send(echo, again)).status, 401, "an opening is good once");
    assert.equal((await send(echo, early)).status, 200);
    assert.deepEqual(reasonsOf(echo).slice(-2), ["replayed", undefined]);
  });

  test("protect() admits calls under one session side by side, and gives their places back", async () => {
    const { opened, open } = gate();
    const under = await underSession({
      options: {
        maxConcurrentCallsPerCaller: 3,
        answer: async (message) => (message.text === "wait" && await opened, message),
      },
    });
    const waiting = [1, 2, 3].map(() => say(under.client, "wait"));
    const error = await rejection(say(under.client));
    assert.equal(error.code, "resource_exhausted");
    open();
    await Promise.all(waiting);
    await say(under.client);
    assert.deepEqual(kindsOf(under.captured.slice(2)), Array(5).fill("session"));
  });
});
