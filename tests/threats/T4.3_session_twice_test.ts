// Somebody on the way delivers a call that must not run twice, keeps the answer back, and gets hold of a proven refusal of
// the same request: of another instance, or of the same server once it does not know the session any more.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allow, importIdentity, prove, type ReplayStore } from "../../src/auth/mod.ts";
import { resigned } from "../auth/_messages.ts";
import { kindsOf, send, underSession } from "../auth/_sessions.ts";
import { type Captured, ECHO, protectedEcho, WEB, world } from "../auth/_world.ts";

const pays = (calls: readonly { readonly message: { readonly text: string } }[]) =>
  calls.filter(({ message }) => message.text === "pay").length;

describe("T4.3 a call that must not run twice, and a refusal that somebody shows after it ran", () => {
  test("T4.3 of another instance of the service, which does not know the session", async () => {
    const at = await world();
    at.now.pass(60_000);
    const join = () => at.join(ECHO, { serves: ["echo.v1"] });
    const one = await protectedEcho(at, { identity: await join(), audiences: ["https://one.test"] });
    const two = await protectedEcho(at, { identity: await join(), audiences: ["https://two.test"] });
    at.now.pass(60_000);
    const captured: Captured[] = [];
    let isEvil = false;
    const client = one.client(await at.join(WEB), {
      captured,
      audience: "https://one.test",
      async through(request, pass) {
        const response = await pass(request);
        if (!isEvil) return response;
        isEvil = false;
        assert.equal(response.status, 200);
        return await send(two, request);
      },
    });
    for (let i = 0; i < 3; i++) await client.say({ text: "first" });
    isEvil = true;
    await client.say({ text: "pay" }).catch(() => {});
    assert.equal(pays(one.calls), 1);
  });

  test("T4.3 of the same server, after its trust has changed", async () => {
    const under = await underSession();
    const { echo, world: { now, authority, trust } } = under;
    now.pass(60_000);
    await under.client.say({ text: "third" });
    let isEvil = true;
    under.between = async (request, pass) => {
      const response = await pass(request);
      if (!isEvil) return response;
      isEvil = false;
      assert.equal(response.status, 200);
      authority.revoke({ ids: ["spiffe://example.org/somebody"] });
      await trust.update(await authority.signedBundle());
      return await pass(request);
    };
    await under.client.say({ text: "pay" }).catch(() => {});
    assert.equal(pays(echo.calls), 1);
  });

  test("T4.3 of the same server, after the session has ended with the caller's token", async () => {
    const at = await world();
    const web = await at.join(WEB);
    const { expiresAtMs } = await web.credential();
    at.now.pass(expiresAtMs - at.now() - 20_000);
    const echo = await protectedEcho(at);
    at.now.pass(10_000);
    const { client, captured, road } = await renewing(at, echo, web);
    for (let i = 0; i < 3; i++) await client.say({ text: "first" });
    road.afterDelivery = () => at.now.pass(10_000);
    await client.say({ text: "pay" }).catch(() => {});
    assert.equal(pays(echo.calls), 1, kindsOf(captured).join());
  });

  test("T4.3 of a server that was restarted with a replay store on disk", async () => {
    const used = new Set<string>();
    const replay: ReplayStore = {
      sinceMs: 0,
      take({ signer, nonce }) {
        if (used.has(`${signer} ${nonce}`)) throw new Error("replayed");
        used.add(`${signer} ${nonce}`);
      },
    };
    const under = await underSession({ options: { replay } });
    const { echo, world: at } = under;
    await under.client.say({ text: "third" });
    let restarted: typeof echo | undefined;
    under.between = async (request, pass) => {
      if (restarted) return await send(restarted, request);
      assert.equal((await pass(request)).status, 200);
      restarted = await protectedEcho(at, { identity: echo.identity, replay });
      return await send(restarted, request);
    };
    await under.client.say({ text: "pay" }).catch(() => {});
    assert.equal(pays([...echo.calls, ...restarted!.calls]), 1);
  });

  test("T4.3 that a caller of its own rights got signed for the same counter", async () => {
    const rules = [allow({ caller: "spiffe://example.org/*", call: "echo.v1/*" })];
    const under = await underSession({ options: { rules } });
    const { echo, web } = under;
    await under.client.say({ text: "third" });
    const evil = await under.world.join("spiffe://example.org/evil");
    const own: Captured[] = [];
    await echo.client(evil, { captured: own }).say({ text: "words of another" });
    under.between = async (request, pass) => {
      const [, id, counter] = /keyid="([^"]*)";nonce="(\d+)"/.exec(request.headers["signature-input"]!)!;
      await pass(request);
      const terms = (all: string) => all.replace(/nonce="[^"]*"/, `nonce="${id}.${counter}"`);
      return await send(echo, await resigned(own[0]!, { terms }, evil));
    };
    const answer = await under.client.say({ text: "mine" }).catch(({ code }) => code);
    assert.equal(answer, "unavailable", "an answer to somebody else is none");
    assert.ok(web);
  });

  test("T4.3 a signed answer to the same nonce of another caller is none", async () => {
    const at = await world();
    const rules = [allow({ caller: "spiffe://example.org/*", call: "echo.v1/*" })];
    const echo = await protectedEcho(at, { rules });
    const evil = await at.join("spiffe://example.org/evil");
    const own: Captured[] = [];
    await echo.client(evil, { captured: own }).say({ text: "words of another" });
    const client = echo.client(await at.join(WEB), {
      async through(request) {
        const nonce = /nonce="([^"]*)"/.exec(request.headers["signature-input"]!)![1];
        const terms = (all: string) => all.replace(/nonce="[^"]*"/, `nonce="${nonce}"`);
        return await send(echo, await resigned(own[0]!, { terms }, evil));
      },
    });
    const answer = await client.say({ text: "mine" }).catch(({ code }) => code);
    assert.equal(answer, "unavailable", "an answer to somebody else is none");
  });
});

describe("T4.3 a call that is made again after a refusal", () => {
  for (const [method, requests, code] of [["say", 1, "unavailable"], ["look", 2, undefined]] as const) {
    test(`T4.3 ${method} is made ${requests} times where no session can say any more which request it is in place of`, async () => {
      const at = await world();
      const web = await at.join(WEB);
      at.now.pass((await web.credential()).expiresAtMs - at.now() - 20_000);
      const echo = await protectedEcho(at);
      const restarted = await protectedEcho(at, { identity: echo.identity });
      at.now.pass(10_000);
      const captured: Captured[] = [];
      const road = { isLate: false };
      const client = echo.client(web, {
        captured,
        async through(request, pass) {
          if (!road.isLate) return await pass(request);
          if (at.now() < 1_800_003_594_000) at.now.pass(6_000);
          return await send(restarted, request);
        },
      });
      for (let i = 0; i < 3; i++) await client.say({ text: "first" });
      captured.length = 0;
      road.isLate = true;
      const error = await client[method]({ text: "x" }).then(() => undefined, ({ code }) => code);
      assert.deepEqual([error, captured.length, restarted.calls.length], [code, requests, requests - 1]);
      assert.equal(kindsOf(captured)[0], "session");
    });
  }

  test("T4.3 a request that is refused twice still says what it is in place of", async () => {
    const { echo, web, world: { trust, now } } = await underSession();
    const url = "https://echo.test/echo.v1/say";
    const headers = { "content-type": "application/json" };
    const body = '{"text":"x"}';
    const prover = prove({ identity: web, trust, peer: ECHO, now });
    const attempt = async () => await prover.prove({ method: "POST", url, headers, body, call: undefined });
    for (let i = 0; i < 2; i++) {
      const proof = await attempt();
      const response = await send(echo, { method: "POST", url, body, headers: { ...headers, ...proof.headers } });
      await proof.verify!({
        status: response.status,
        headers: response.headers,
        body: new Uint8Array(await response.arrayBuffer()),
      });
    }
    const first = await attempt();
    const [, id, counter] = /keyid="([^"]*)";nonce="(\d+)"/.exec(first.headers!["signature-input"]!)!;
    const second = await first.again!();
    const third = await second.again!();
    for (const { headers } of [second, third]) {
      assert.ok(headers!["postern-session"]!.includes(`, instead="${id}.${counter}", mac=`));
    }
  });
});

/** A client whose identity is renewed in the nick of time, and a road on which time passes after a delivery. */
async function renewing(
  at: Awaited<ReturnType<typeof world>>,
  echo: Awaited<ReturnType<typeof protectedEcho>>,
  first: Awaited<ReturnType<typeof at.join>>,
) {
  const token = await at.authority.issue(first.key.jwk, { id: WEB });
  const held = await first.credential();
  const next = importIdentity(first.key, token, { now: at.now });
  const credential = () => at.now() < held.expiresAtMs - 5_000 ? Promise.resolve(held) : next.credential();
  const web = { ...first, credential };
  const captured: Captured[] = [];
  const road: { afterDelivery: (() => void) | undefined } = { afterDelivery: undefined };
  const client = echo.client(web, {
    captured,
    async through(request, pass) {
      const response = await pass(request);
      const { afterDelivery } = road;
      if (!afterDelivery) return response;
      road.afterDelivery = undefined;
      assert.equal(response.status, 200);
      afterDelivery();
      return await pass(request);
    },
  });
  return { client, captured, road };
}
