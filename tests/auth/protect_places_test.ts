// Nobody takes more of a server than is his, however he goes about it.
import {
  allow,
  type AuthError,
  createTrust,
  generateKey,
  importIdentity,
  readChain,
  secret,
} from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { send, signedRequest } from "./_forge.ts";
import { gate, rejection, soon } from "../rpc/_rig.ts";
import { type Captured, ECHO, protectedEcho, WEB, world } from "./_world.ts";

/** A request whose proof is good and whose body never comes. */
function endless({ url, headers }: Captured): { readonly request: Request; readonly end: () => void } {
  let end!: () => void;
  const body = new ReadableStream({
    start(controller) {
      end = () => controller.close();
    },
  });
  return { request: new Request(url, { method: "POST", headers, body, duplex: "half" } as RequestInit), end };
}

test("protect() keeps few bodies of one caller waiting, whatever it may call", async () => {
  const here = await world();
  const echo = await protectedEcho(here, {
    maxConcurrentCallsPerCaller: 2,
    rules: [allow({ caller: WEB, call: "echo.v1/*" })],
  });
  const captured: Captured[] = [];
  await echo.client(await here.join(WEB), { captured }).say({ text: "a" });
  const flood = Array.from({ length: 3 }, () => endless(captured[0]!));
  const answers = flood.map(({ request }) => echo.server.fetch(request));
  assert.equal((await soon(Promise.race(answers))).status, 429, "the one whose signature was verified last");
  assert.equal(echo.audit.events.at(-1)!.reason, "over_quota");
  for (const { end } of flood) end();
  assert.deepEqual((await Promise.all(answers)).map(({ status }) => status).sort(), [401, 401, 429]);
  assert.equal(echo.calls.length, 1);
  await echo.client(await here.join(WEB)).say({ text: "b" });
});

test("protect() lets in no copy of a request whose bodies came when its time, and its nonce's, was over", async () => {
  const here = await world();
  const echo = await protectedEcho(here);
  const overheard: Captured[] = [];
  const withheld = () => Promise.resolve(new Response(null, { status: 502 }));
  await rejection(echo.client(await here.join(WEB), { captured: overheard, through: withheld }).say({ text: "a" }));
  const [{ body, ...head }] = overheard as [Captured];
  const bodies = [gate(), gate()];
  const answers = bodies.map(({ opened }) => {
    const late = new ReadableStream({
      async pull(controller) {
        await opened;
        controller.enqueue(new TextEncoder().encode(body));
        controller.close();
      },
    });
    const init = { method: "POST", headers: head.headers, body: late, duplex: "half" } as RequestInit;
    return echo.server.fetch(new Request(head.url, init));
  });
  await new Promise((resolve) => setTimeout(resolve, 100)); // both are past their signature, and wait for their bodies
  here.now.pass(60_000);
  for (const { open } of bodies) open();
  assert.deepEqual((await Promise.all(answers)).map(({ status }) => status), [401, 401]);
  assert.deepEqual([echo.calls.length, echo.audit.events.map(({ reason }) => reason)], [0, ["stale", "stale"]]);
});

test("protect() counts a handler that outlives its deadline among its caller's", async () => {
  const here = await world();
  const stuck = gate();
  const echo = await protectedEcho(here, { maxConcurrentCallsPerCaller: 1, answer: () => stuck.opened });
  const client = echo.client(await here.join(WEB));
  while (echo.calls.length === 0) { // on a busy machine its time may be over before it is there
    assert.equal((await rejection(client.say({ text: "a" }, { timeoutMs: 30 }))).code, "deadline_exceeded");
  }
  assert.equal((await rejection(client.say({ text: "b" }))).code, "resource_exhausted");
  stuck.open();
});

test("protect() does not let a call run whose answer the server could not prove", async () => {
  const here = await world();
  const key = await generateKey();
  const token = await here.authority.issue(key.jwk, { id: ECHO, serves: ["echo.v1"] });
  const ended = importIdentity(key, token, { now: () => here.now() + 7_200_000 });
  const echo = await protectedEcho(here, { identity: ended });
  const error = await rejection(echo.client(await here.join(WEB)).say({ text: "a" }));
  assert.deepEqual([error.code, echo.calls.length], ["unavailable", 0]);
  assert.equal(echo.audit.events.at(-1)!.reason, "unavailable");
});

test("protect() records a call that was let in and never got as far as a decision", async () => {
  const here = await world();
  const echo = await protectedEcho(here);
  const request = await signedRequest(here, await here.join(WEB), { body: '{"text":1}' });
  assert.equal((await send(echo.server, request)).status, 400);
  assert.deepEqual(echo.audit.events.map(({ event, reason }) => [event, reason]), [["call.refuse", "not_decided"]]);
  assert.deepEqual([echo.audit.events[0]!.caller, echo.calls.length], [WEB, 0]);
});

test("protect() waits until a request is not from the future any more", async () => {
  const here = await world();
  here.now.pass(950);
  const echo = await protectedEcho(here, { replay: { sinceMs: 0, take: () => {} } });
  const ahead = () => here.now() + 50;
  const sentAt = performance.now();
  await echo.client(await here.join(WEB), { now: ahead }).say({ text: "a" });
  assert.ok(performance.now() - sentAt >= 45, "it was taken before its time");
});

test("policy() wants to know whose callers have a role, where there are several trust domains", async () => {
  const [here, there] = [await world(), await world("partner.test")];
  const both = { "example.org": here.authority.bundle(), "partner.test": there.authority.bundle() };
  const trust = await createTrust(both, { now: here.now });
  for (const rule of [{ role: "operator" }, { attributes: { region: "eu" } }]) {
    const open = allow({ ...rule, call: "echo.v1/*" });
    await assert.rejects(protectedEcho({ ...here, trust }, { rules: [open] }), /whose callers/);
    const named = allow({ ...rule, caller: "spiffe://example.org/*", call: "echo.v1/*" });
    await protectedEcho({ ...here, trust }, { rules: [named] });
    await protectedEcho(here, { rules: [open] });
  }
});

test("a handler cannot change what its caller is", async () => {
  const here = await world();
  const rules = [allow({ caller: WEB, call: "echo.v1/say" }), allow({ role: "admin", call: "echo.v1/hidden" })];
  const echo = await protectedEcho(here, {
    rules,
    answer: (message, { caller }) => {
      (caller!.roles as string[]).push("admin");
      return message;
    },
  });
  const client = echo.client(await here.join(WEB));
  assert.equal((await rejection(client.say({ text: "a" }))).code, "internal");
  assert.equal((await rejection(client.hidden({ text: "a" }))).code, "permission_denied");
});

for (const hex of ["01", "ec", "00", "26", "c7", "ed", "ee", "ff"]) {
  test(`rawKeyOf() refuses the weak key that begins with ${hex}`, async () => {
    const { authority } = await world();
    const rest: Record<string, string> = {
      "01": "00".repeat(31),
      "00": "00".repeat(31),
      "26": "e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
      "c7": "176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    };
    for (const sign of [0, 0x80]) {
      const bytes = Uint8Array.from(
        (hex + (rest[hex] ?? `${"ff".repeat(30)}7f`)).match(/../g)!,
        (b) => parseInt(b, 16),
      );
      bytes[31]! |= sign;
      const x = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
      const jwk = { kty: "OKP", crv: "Ed25519", x } as const;
      await assert.rejects(authority.issue(jwk, { id: WEB }), (error: AuthError) => error.reason === "malformed_key");
    }
  });
}

test("Authority.revoke() refuses what would make a bundle that nobody takes, and changes nothing", async () => {
  const { authority, trust } = await world();
  const ids = Array.from(
    { length: 9_000 },
    (_, i) => `spiffe://example.org/some/rather/long/path/of/a/workload/number/${i}`,
  );
  authority.revoke({ ids });
  assert.equal(await trust.update(await authority.signedBundle()), true);
  const tokens = ids.map((_, i) => `${i}`.padStart(36, "0"));
  assert.throws(() => authority.revoke({ tokens }), RangeError);
  assert.equal(await trust.update(await authority.signedBundle()), false);
});

test("readChain() does not look at more tokens than a right has", () => {
  assert.throws(() => readChain(secret("~".repeat(11_000))), (error: AuthError) => error.reason === "malformed_chain");
  assert.throws(() => readChain(secret("a".repeat(20_000))), (error: AuthError) => error.reason === "malformed_chain");
});
