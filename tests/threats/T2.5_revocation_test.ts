import { CAPABILITY_SCHEME } from "../../src/auth/wire.ts";
import { allow, attenuate, exact, generateKey, issueCapability, type Revocations } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { send, signedRequest, witOf } from "../auth/_forge.ts";
import { DOMAIN, ECHO, protectedEcho, WEB, world } from "../auth/_world.ts";
import { refusalOf } from "../rpc/_rig.ts";

// The attacker holds a right that was good until it, or somebody whom it came through, was revoked.

const tools = { "echo.v1/say": { text: exact("a") } };

/** A right that came through a service, an identity and a key; each of them can be revoked. */
async function passedOn() {
  const there = await world();
  const [caller, passing, owner] = await Promise.all([
    there.join(WEB),
    there.join(`spiffe://${DOMAIN}/passing`),
    there.join(ECHO, { serves: ["echo.v1"] }),
  ]);
  const key = await generateKey();
  const clock = { now: there.now };
  let right = await issueCapability(owner, { holder: passing.id, tools, depth: 3 }, clock);
  right = await attenuate(right, passing, { holder: key.jwk, tools }, clock);
  right = await attenuate(right, { key }, { holder: WEB, tools }, clock);
  const other = await protectedEcho(there, {
    identity: await there.join(`spiffe://${DOMAIN}/echo2`, { serves: ["echo.v1"] }),
    rules: [allow({ caller: WEB, call: "echo.v1/*" })],
  });
  const headers = { authorization: CAPABILITY_SCHEME + right.chain.reveal() };
  const call = async () =>
    await send(other.server, await signedRequest(there, caller, { headers, audience: `spiffe://${DOMAIN}/echo2` }));
  return { there, right, passing, owner, key, other, call };
}

type PassedOn = Awaited<ReturnType<typeof passedOn>>;
const revocations: readonly (readonly [
  name: string,
  what: (made: PassedOn) => Partial<Revocations> | Promise<Partial<Revocations>>,
])[] = [
  ["its first token", ({ right }) => ({ tokens: [right.tokenIds[0]!] })],
  ["a token in its middle", ({ right }) => ({ tokens: [right.tokenIds[1]!] })],
  ["its last token", ({ right }) => ({ tokens: [right.tokenIds[2]!] })],
  ["the identity that issued it", ({ owner }) => ({ ids: [owner.id] })],
  ["the key that issued it", ({ owner }) => ({ keys: [owner.key.thumbprint] })],
  ["the identity token that issued it", async ({ there, owner }) => ({
    tokens: [(await there.trust.verify(await witOf(owner))).tokenId],
  })],
  ["an identity that passed it on", ({ passing }) => ({ ids: [passing.id] })],
  ["the key of an identity that passed it on", ({ passing }) => ({ keys: [passing.key.thumbprint] })],
  ["the identity token by which it was passed on", async ({ there, passing }) => ({
    tokens: [(await there.trust.verify(await witOf(passing))).tokenId],
  })],
  ["a key that passed it on", ({ key }) => ({ keys: [key.thumbprint] })],
];
for (const [name, what] of revocations) {
  test(`T2.5 a right ends when ${name} is revoked`, async () => {
    const made = await passedOn();
    assert.equal((await made.call()).status, 200);
    made.there.authority.revoke(await what(made));
    await made.there.trust.update(await made.there.authority.signedBundle());
    const refusal = await refusalOf(await made.call());
    assert.equal(refusal.code, "permission_denied");
    assert.equal(made.other.audit.events.at(-1)!.reason, "revoked");
    assert.equal(made.other.calls.length, 1);
  });
}

test("T2.5 a right goes on when something else is revoked", async () => {
  const made = await passedOn();
  const { authority, trust } = made.there;
  authority.revoke({ tokens: ["another-token-0001"], ids: [`${WEB}2`], keys: ["A".repeat(43)] });
  await trust.update(await authority.signedBundle());
  assert.equal((await made.call()).status, 200);
});
