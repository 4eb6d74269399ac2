import { CAPABILITY_SCHEME } from "../../src/auth/wire.ts";
import {
  allow,
  attenuate,
  type AuthReason,
  type Capability,
  createAuthority,
  createTrust,
  exact,
  generateKey,
  issueCapability,
  policy,
  protect,
  range,
  type Rule,
} from "../../src/auth/mod.ts";
import { createServer, implement, rpc, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import {
  byId,
  byKey,
  chainOf,
  child,
  details,
  root,
  rootClaims,
  send,
  sign,
  signedRequest,
  witOf,
} from "../auth/_forge.ts";
import { DOMAIN, ECHO, protectedEcho, WEB, world } from "../auth/_world.ts";
import { refusalOf } from "../rpc/_rig.ts";

// The attacker is believed, and wants to do more than he may: with a right of too little, of somebody else, of his own making,
// or one that was taken back.

const here = await world();
const { authority, now, trust } = here;
const [web, mallory, echoId] = await Promise.all([
  here.join(WEB),
  here.join(`spiffe://${DOMAIN}/mallory`),
  here.join(ECHO, { serves: ["echo.v1"] }),
]);
const [webWit, malloryWit, echoWit] = await Promise.all([web, mallory, echoId].map(witOf));
/** Everyone of the domain may call by a right, web even without one. */
const RULES: readonly Rule[] = [
  allow({ caller: `spiffe://${DOMAIN}/*`, call: "echo.v1/*", capability: true }),
  allow({ caller: WEB, call: "echo.v1/*" }),
];
const tools = { "echo.v1/say": { text: exact("a") } };
const issue = (more: Partial<Parameters<typeof issueCapability>[1]> = {}) =>
  issueCapability(authority, { holder: WEB, tools, ...more }, { now });

interface Attempt {
  readonly as?: typeof web;
  readonly path?: string;
  readonly text?: string;
  readonly body?: string;
}

/** What a server makes of a request that shows a chain: nothing at all, and one entry in the audit. */
async function assertRefused(
  chain: string,
  reason: AuthReason,
  attempt: Attempt = {},
  code = "permission_denied",
): Promise<void> {
  const echo = await protectedEcho(here, { identity: echoId, rules: RULES });
  const { as = web, path = "/echo.v1/say", text = "a", body = JSON.stringify({ text }) } = attempt;
  const headers = { authorization: CAPABILITY_SCHEME + chain };
  const response = await send(echo.server, await signedRequest(here, as, { path, body, headers }));
  const proven = response.headers.has("signature");
  const refusal = await refusalOf(response);
  assert.equal(echo.audit.events.at(-1)?.reason, reason);
  assert.deepEqual(echo.audit.events.map(({ event, caller }) => [event, caller]), [["call.refuse", as.id]]);
  assert.deepEqual([refusal.code, proven, echo.calls.length], [code, true, 0]);
  assert.ok(!refusal.text.includes(reason));
}

async function assertAllowed(chain: string, { as = web, text = "a" }: Attempt = {}): Promise<void> {
  const echo = await protectedEcho(here, { identity: echoId, rules: RULES });
  const headers = { authorization: CAPABILITY_SCHEME + chain };
  const response = await send(echo.server, await signedRequest(here, as, { body: JSON.stringify({ text }), headers }));
  assert.equal(response.status, 200, await response.text());
  assert.equal(echo.calls.length, 1);
}

const textOf = ({ chain }: Capability) => chain.reveal();

test("T2.5 T12 a right lets its holder do what it says", async () => {
  await assertAllowed(textOf(await issue()));
  await assertAllowed(textOf(await issue({ holder: mallory.id })), { as: mallory });
  await assertAllowed(textOf(await issue({ holder: mallory.key.jwk })), { as: mallory });
  await assertAllowed(textOf(await issue({ audience: ECHO })));
});

// A right that is shown must allow the call, even where the caller's identity alone would do.

test("T2.5 a method that a right does not name is refused under it", async () => {
  await assertRefused(textOf(await issue()), "not_allowed", { path: "/echo.v1/hidden" });
  await assertRefused(textOf(await issue({ tools: {} })), "not_allowed");
  await assertRefused(textOf(await issue({ tools: { "echo.v1/*": {} } })), "not_allowed");
  await assertRefused(
    textOf(await issue({ tools: { "ECHO.v1/say": {}, "/echo.v1/say": {}, "say": {} } })),
    "not_allowed",
  );
});

test("T2.5 an argument that a right does not allow is refused under it", async () => {
  const right = textOf(await issue());
  for (const text of ["b", "A", "", "a ", "aa"]) await assertRefused(right, "argument_not_allowed", { text });
  await assertRefused(
    textOf(await issue({ tools: { "echo.v1/say": { text: range({ min: 0 }) } } })),
    "argument_not_allowed",
  );
});

test("T2.5 an argument that a right does not name is refused, and so is a call without one that it names", async () => {
  const other = { "echo.v1/say": { other: exact("a") } };
  await assertRefused(textOf(await issue({ tools: other })), "argument_not_allowed");
  const more = { "echo.v1/say": { text: exact("a"), other: exact("a") } };
  await assertRefused(textOf(await issue({ tools: more })), "argument_not_allowed");
});

test("T2.5 a right for anything else does not make a call that identity alone would allow", async () => {
  const echo = await protectedEcho(here, { identity: echoId, rules: RULES });
  assert.equal((await send(echo.server, await signedRequest(here, web))).status, 200);
  await assertRefused(textOf(await issue({ tools: { "echo.v1/look": {} } })), "not_allowed");
});

for (const value of ["AAT", "AAT ", "aat x", "Bearer x", "AAT  x", "", "Basic YTpi", "x"]) {
  test(`T2.5 "${value}" in the place of a right is refused, whatever identity would allow`, async () => {
    const echo = await protectedEcho(here, { identity: echoId, rules: RULES });
    const response = await send(echo.server, await signedRequest(here, web, { headers: { authorization: value } }));
    await refusalOf(response);
    assert.equal(echo.calls.length, 0);
    assert.equal(echo.audit.events.length, 1);
  });
}

test("T2.5 a good right under another scheme is none", async () => {
  const chain = textOf(await issue());
  for (const scheme of ["aat ", "JWT ", "AATT", "AAT\t"]) {
    const echo = await protectedEcho(here, { identity: echoId, rules: RULES });
    const headers = { authorization: scheme + chain };
    assert.equal((await send(echo.server, await signedRequest(here, web, { headers }))).status, 403);
    assert.equal(echo.audit.events[0]!.reason, "malformed_chain");
  }
});

// Somebody else's.

test("T2.5 a right is good for nobody but its holder", async () => {
  const key = await generateKey();
  for (const holder of [WEB, `${mallory.id}/below`, `spiffe://${DOMAIN}/mallor`, web.key.jwk, key.jwk]) {
    await assertRefused(textOf(await issue({ holder })), "wrong_holder", { as: mallory });
  }
});

test("T2.5 a right that names a key is not good for another key of the same identity", async () => {
  const again = await here.join(WEB);
  await assertRefused(textOf(await issue({ holder: web.key.jwk })), "wrong_holder", { as: again });
});

test("T2.5 a right is not good elsewhere than where it says, nor where one before it says", async () => {
  for (const audience of [WEB, `${ECHO}/`, `${ECHO}2`, "https://echo.test", ECHO.toUpperCase()]) {
    await assertRefused(textOf(await issue({ audience })), "wrong_right_audience");
  }
  const parent = await issue({ audience: "https://elsewhere.test" });
  const narrower = await attenuate(parent, web, { holder: WEB, tools, audience: ECHO }, { now });
  await assertRefused(textOf(narrower), "wrong_right_audience");
});

test("T2.5 a right is not good before its time, nor after it", async () => {
  const seconds = now() / 1_000;
  await assertRefused(await root(here, byId(WEB), { iat: seconds - 10, exp: seconds }), "expired_right");
  await assertRefused(await root(here, byId(WEB), { iat: seconds + 6, exp: seconds + 60 }), "expired_right");
  await assertAllowed(await root(here, byId(WEB), { iat: seconds - 10, exp: seconds + 1 }));
  await assertAllowed(await root(here, byId(WEB), { iat: seconds + 5, exp: seconds + 60 }));
  const parent = await root(here, byId(WEB), { iat: seconds - 10, exp: seconds + 60 });
  const late = await child(parent, web.key, byId(WEB), { iat: seconds + 6, exp: seconds + 60 });
  await assertRefused(chainOf(parent, webWit!, late), "expired_right");
});

test("T2.5 a right that was verified once is not good for longer", async () => {
  const there = await world();
  const caller = await there.join(WEB);
  const echo = await protectedEcho(there, { rules: RULES });
  const right = await issueCapability(there.authority, { holder: WEB, tools, lifetimeMs: 10_000 }, { now: there.now });
  const headers = { authorization: CAPABILITY_SCHEME + textOf(right) };
  assert.equal((await send(echo.server, await signedRequest(there, caller, { headers }))).status, 200);
  there.now.pass(9_000);
  assert.equal((await send(echo.server, await signedRequest(there, caller, { headers }))).status, 200);
  there.now.pass(1_000);
  assert.equal((await send(echo.server, await signedRequest(there, caller, { headers }))).status, 403);
  assert.equal(echo.audit.events.at(-1)!.reason, "expired_right");
});

test("T2.5 a right that came through an identity is not good for longer than that identity's token", async () => {
  const there = await world();
  const passing = await there.join(`spiffe://${DOMAIN}/passing`);
  there.now.pass(1_800_000);
  const caller = await there.join(WEB);
  const echo = await protectedEcho(there, { rules: RULES });
  const grant = { tools, lifetimeMs: 86_400_000 };
  const parent = await issueCapability(there.authority, { holder: passing.id, ...grant }, { now: there.now });
  const right = await attenuate(parent, passing, { holder: WEB, ...grant }, { now: there.now });
  const headers = { authorization: CAPABILITY_SCHEME + textOf(right) };
  const call = async () => await send(echo.server, await signedRequest(there, caller, { headers }));
  there.now.pass(1_799_000);
  assert.equal((await call()).status, 200);
  there.now.pass(1_000);
  assert.ok(right.expiresAtMs > there.now());
  assert.equal((await call()).status, 403);
  assert.equal(echo.audit.events.at(-1)!.reason, "expired_right");
});

// Of the attacker's own making.

const wide = { "echo.v1/say": {}, "echo.v1/hidden": {} };
const forgeries: readonly (readonly [name: string, chain: () => Promise<string>, reason: AuthReason, code?: string])[] =
  [
    [
      "issued by himself",
      async () => await sign(rootClaims(here, byId(mallory.id), { iss: mallory.id }), mallory.key),
      "unknown_root",
    ],
    [
      "issued by himself with his identity token",
      async () =>
        chainOf(malloryWit!, await sign(rootClaims(here, byId(mallory.id), { iss: mallory.id }), mallory.key)),
      "unknown_root",
    ],
    [
      "issued in the authority's name",
      async () => await sign(rootClaims(here, byId(mallory.id)), mallory.key, authority.key.thumbprint),
      "bad_token_signature",
      "permission_denied",
    ],
    [
      "issued in a service's name",
      async () => chainOf(echoWit!, await sign(rootClaims(here, byId(mallory.id), { iss: ECHO }), mallory.key)),
      "bad_token_signature",
      "permission_denied",
    ],
    ["of another's, passed on to himself", async () => {
      const parent = await root(here, byId(WEB));
      return chainOf(parent, malloryWit!, await child(parent, mallory.key, byId(mallory.id)));
    }, "broken_chain"],
    ["of another's, passed on in his name", async () => {
      const parent = await root(here, byId(WEB));
      return chainOf(parent, webWit!, await child(parent, mallory.key, byId(mallory.id)));
    }, "broken_chain"],
    ["of his own, widened", async () => {
      const parent = await root(here, byId(mallory.id));
      return chainOf(
        parent,
        malloryWit!,
        await child(parent, mallory.key, byId(mallory.id), { authorization_details: details(wide) }),
      );
    }, "wider_right"],
    ["of his own, made longer", async () => {
      const parent = await root(here, byId(mallory.id));
      return chainOf(
        parent,
        malloryWit!,
        await child(parent, mallory.key, byId(mallory.id), { exp: now() / 1_000 + 3_000 }),
      );
    }, "wider_right"],
    ["of his own, grafted on another's", async () => {
      const [parent, other] = [
        await root(here, byId(mallory.id)),
        await root(here, byId(mallory.id), { authorization_details: details(wide) }),
      ];
      return chainOf(other, malloryWit!, await child(parent, mallory.key, byId(mallory.id)));
    }, "broken_chain"],
    ["without its parent", async () => {
      const parent = await root(here, byKey(mallory.key));
      return await child(parent, mallory.key, byId(mallory.id), { authorization_details: details(wide) });
    }, "malformed_chain"],
    [
      "with a constraint that is not known",
      async () =>
        await root(here, byId(mallory.id), {
          authorization_details: details({ "echo.v1/say": { text: { constraint_type: "regex", pattern: "." } } }),
        }),
      "malformed_chain",
    ],
    [
      "with a claim that is not known",
      async () => await root(here, byId(mallory.id), { max_uses: 1 }),
      "wrong_token",
      "permission_denied",
    ],
    ["that is an identity token", () => Promise.resolve(malloryWit!), "malformed_chain"],
    ["that is no text of a chain", () => Promise.resolve("~~~"), "malformed_token", "permission_denied"],
  ];
for (const [name, chain, reason, code] of forgeries) {
  test(`T2.5 an attacker cannot use a right ${name}`, async () => {
    await assertRefused(await chain(), reason, { as: mallory }, code);
  });
}

test("T2.5 an authority that is trusted for its own domain gives no right here", async () => {
  const foreign = await createAuthority("other.test", { now });
  const both = await createTrust({ [DOMAIN]: authority.bundle(), "other.test": foreign.bundle() }, { now });
  const right = await issueCapability(foreign, { holder: WEB, tools }, { now });
  const echo = await protectedEcho({ ...here, trust: both }, { identity: echoId, rules: RULES });
  const headers = { authorization: CAPABILITY_SCHEME + textOf(right) };
  const refusal = await refusalOf(await send(echo.server, await signedRequest(here, web, { headers })));
  assert.deepEqual([refusal.code, echo.audit.events[0]!.reason], ["permission_denied", "unknown_root"]);
});

// Rules that look at the message.

test("T2.5 a rule that cannot decide does not allow", async () => {
  const whens: Rule["when"][] = [
    () => false,
    () => 1 as never,
    () => Promise.resolve(true) as never,
    () => {
      throw new Error("no");
    },
  ];
  for (const when of whens) {
    const echo = await protectedEcho(here, {
      identity: echoId,
      rules: [allow({ caller: WEB, call: "echo.v1/*", when: when! })],
    });
    const refusal = await refusalOf(await send(echo.server, await signedRequest(here, web)));
    assert.deepEqual([refusal.code, refusal.message, echo.calls.length], [
      "permission_denied",
      "Cannot call this method",
      0,
    ]);
  }
});

test("T2.5 a rule decides by the checked message, and by the server's clock", async () => {
  const seen: unknown[] = [];
  const when: Rule["when"] = ({ message, now, caller }) => {
    seen.push([message, now.getTime(), caller!.id]);
    return (message as { text: string }).text === "a";
  };
  const echo = await protectedEcho(here, {
    identity: echoId,
    rules: [allow({ caller: WEB, call: "echo.v1/*", when })],
  });
  assert.equal((await send(echo.server, await signedRequest(here, web))).status, 200);
  assert.equal((await send(echo.server, await signedRequest(here, web, { body: '{"text":"b"}' }))).status, 403);
  assert.equal(
    (await send(echo.server, await signedRequest(here, web, { body: '{"text":"a","more":1}' }))).status,
    400,
  );
  assert.deepEqual(seen, [[{ text: "a" }, now(), WEB], [{ text: "b" }, now(), WEB]]);
});

test("T2.5 a server does not start with a rule that can never hold, or that means nothing", () => {
  const Small = service("echo.v1", { say: rpc(v.strictObject({}), v.strictObject({})) });
  const wrong: Rule[][] = [
    [allow({ caller: WEB, call: "echo.v1/sai" })],
    [allow({ caller: "spiffe://other.test/web", call: "echo.v1/say" })],
    [allow({ anyone: true, call: "echo.v1/say" }), allow({ caller: WEB, call: "echo.v1/say" })],
  ];
  for (const rules of wrong) {
    const guard = protect({ identity: echoId, trust, policy: policy(rules), now });
    assert.throws(() => createServer(implement(Small, { say: () => ({}) }), { guard }), TypeError);
  }
});
