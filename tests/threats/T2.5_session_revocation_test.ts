// Somebody goes on under a session that was opened with what was revoked since, or by another certificate.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createTrust, issueCapability, type Revocations } from "../../src/auth/mod.ts";
import { holding, type ServerSession } from "../../src/auth/server_session.ts";
import type { Gate } from "../../src/auth/gate.ts";
import { PEER_CERTIFICATE, RpcError } from "../../src/rpc/mod.ts";
import { heldBack, kindsOf, reasonsOf, send, type Under, underSession } from "../auth/_sessions.ts";
import { type Captured, DOMAIN, ECHO, protectedEcho, requestOf, WEB, world } from "../auth/_world.ts";
import { rejection } from "../rpc/_rig.ts";

const revoke = async ({ world: { authority, trust } }: Under, what: Partial<Revocations>) => {
  authority.revoke(what);
  await trust.update(await authority.signedBundle());
};

const byRight = () =>
  underSession({
    proving: async ({ echo, world: { now } }) => ({
      capability: await issueCapability(echo.identity, { holder: WEB, tools: { "echo.v1/say": {} } }, { now }),
    }),
  });

const REVOKED: readonly [
  title: string,
  what: (under: Under) => Partial<Revocations> | Promise<Partial<Revocations>>,
][] = [
  ["its caller", () => ({ ids: [WEB] })],
  ["its caller's key", ({ web }) => ({ keys: [web.key.thumbprint] })],
  ["its caller's token", async ({ web, world: { trust } }) => ({
    tokens: [(await trust.verify((await web.credential()).token.reveal())).tokenId],
  })],
  ["its right", ({ echo }) => ({ tokens: [echo.calls.at(-1)!.context.capability!.tokenIds[0]!] })],
];

describe("T2.5 a session and what was revoked", () => {
  for (const [title, what] of REVOKED) {
    test(`T2.5 a session ends when ${title} is revoked, also for a request that is under way`, async () => {
      const under = await byRight();
      const request = await heldBack(under);
      await under.client.say({ text: "third" });
      await revoke(under, await what(under));
      assert.equal((await send(under.echo, request)).status, 503);
      assert.equal(reasonsOf(under.echo).at(-1), "unknown_session");
      await rejection(under.client.say({ text: "x" }));
      assert.equal(reasonsOf(under.echo).at(-1), "revoked");
      assert.equal(under.echo.calls.length, 3);
    });
  }

  test("T2.5 a session of which nothing was revoked is opened again, and the call runs once", async () => {
    const under = await byRight();
    await under.client.say({ text: "third" });
    under.world.now.pass(1_000);
    await revoke(under, { ids: [`spiffe://${DOMAIN}/somebody`] });
    await under.client.say({ text: "fourth" });
    await under.client.say({ text: "fifth" });
    await under.client.say({ text: "sixth" });
    assert.equal(under.echo.calls.length, 6);
    assert.deepEqual(kindsOf(under.captured).at(-1), "session");
  });

  test("T2.5 a server that learns of a revocation before its client opens the session again, once", async () => {
    const at = await world();
    const { now, authority } = at;
    const trust = await createTrust({ [DOMAIN]: authority.bundle() }, { now });
    const echo = await protectedEcho(at, { trust });
    const captured: Captured[] = [];
    const client = echo.client(await at.join(WEB), { captured });
    for (let i = 0; i < 3; i++) await client.say({ text: "x" });
    authority.revoke({ ids: [`spiffe://${DOMAIN}/somebody`] });
    now.pass(1_000);
    await trust.update(await authority.signedBundle());
    for (let i = 0; i < 3; i++) await client.say({ text: "y" });
    assert.deepEqual(kindsOf(captured.slice(3)), ["session", "opening", "session", "session"]);
    assert.equal(echo.calls.length, 6);
  });

  test("T2.5 a client makes no request under a session with a server that was revoked", async () => {
    const under = await underSession();
    await revoke(under, { ids: [ECHO] });
    await rejection(under.client.say({ text: "x" }));
    assert.deepEqual(kindsOf(under.captured).at(-1), "signed");
  });
});

/** A session as the gate has it; what a stream under it is let go on by. */
async function opened(under: Under) {
  const { web, world: { trust, now } } = under;
  const caller = await trust.verify((await web.credential()).token.reveal());
  const gate = { trust, now, identity: under.echo.identity } as unknown as Gate;
  const session = {
    caller,
    right: undefined,
    revision: trust.revision,
  } as unknown as ServerSession;
  return { gate, session };
}
const isUnauthenticated = (error: unknown) => error instanceof RpcError && error.code === "unauthenticated";

describe("T2.5 a stream under a session", () => {
  test("T2.5 a stream goes on until the first of its tokens ends", async () => {
    const under = await underSession();
    const { gate, session } = await opened(under);
    holding(gate, session)();
    under.world.now.pass(session.caller.expiresAtMs - under.world.now() - 1);
    holding(gate, session)();
    under.world.now.pass(1);
    assert.throws(() => holding(gate, session)(), isUnauthenticated);
  });

  for (const [title, what] of REVOKED.slice(0, 3)) {
    test(`T2.5 a stream ends when ${title} is revoked, and goes on when somebody else is`, async () => {
      const under = await underSession();
      const { gate, session } = await opened(under);
      await revoke(under, { ids: [`spiffe://${DOMAIN}/somebody`] });
      holding(gate, session)();
      await revoke(under, await what(under));
      assert.throws(() => holding(gate, session)(), isUnauthenticated);
    });
  }

  test("T2.5 a stream ends when the right that it was opened with is revoked", async () => {
    const under = await underSession();
    const { gate, session } = await opened(under);
    const right = { tokenIds: ["a", "b"], signers: [] };
    const byTheRight = { ...session, right } as unknown as ServerSession;
    await revoke(under, { tokens: ["b"] });
    holding(gate, session)();
    assert.throws(() => holding(gate, byTheRight)(), isUnauthenticated);
  });
});

describe("T29 a certificate under a session", () => {
  const shown = (ids: readonly string[]) => ({
    [PEER_CERTIFICATE]: { ids, thumbprint: "A".repeat(43), forwarded: false },
  });
  const rows: readonly [title: string, ids: readonly string[], status: number][] = [
    ["of its caller", [WEB], 200],
    ["of another", [`spiffe://${DOMAIN}/other`], 401],
    ["of its caller and another", [WEB, `spiffe://${DOMAIN}/other`], 401],
    ["of nobody", [], 401],
  ];
  for (const [title, ids, status] of rows) {
    test(`T29 a request under a session over a connection with a certificate ${title} is answered ${status}`, async () => {
      const under = await underSession();
      const request = await heldBack(under);
      const response = await under.echo.server.fetch(requestOf(request), shown(ids));
      assert.equal(response.status, status);
      assert.equal(reasonsOf(under.echo).at(-1), status === 200 ? undefined : "certificate_mismatch");
      assert.equal(under.echo.calls.length, status === 200 ? 3 : 2);
      assert.equal((await send(under.echo, request)).status, 401, "it counts as used");
    });
  }
});
