import { MAX_CALLERS, readOrigin, writeCallers } from "../../src/auth/call_context.ts";
import { attenuate, type AuthReason, generateKey, issueCapability, oneOf } from "../../src/auth/mod.ts";
import { CALLERS_HEADER, DELEGATION_HEADER } from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertRefused, byId, byKey, chainOf, child, root, witOf } from "./_forge.ts";
import { DOMAIN, ECHO, WEB, world } from "./_world.ts";

const here = await world();
const { authority, now } = here;
const echo = await here.join(ECHO);
const web = await here.join(WEB);
const tools = { "echo.v1/say": { text: oneOf("a") } };

const read = (headers: Readonly<Record<string, string | null | undefined>>, coversTrace = true) =>
  readOrigin({ method: "POST", target: "/", header: (name) => headers[name] }, coversTrace, echo);
const reading = (headers: Readonly<Record<string, string>>) => Promise.resolve().then(() => read(headers));

test("readOrigin() finds nothing where nothing is said", () => {
  for (const none of [null, undefined]) {
    const headers = { traceparent: none, [CALLERS_HEADER]: none, [DELEGATION_HEADER]: none };
    assert.deepEqual(read(headers, false), { traceparent: undefined, callers: [], delegation: undefined });
  }
});

test("readOrigin() hands on the trace where the proof covers it, and nothing of it otherwise", () => {
  assert.equal(read({ traceparent: "whatever" }).traceparent, "whatever");
  assert.equal(read({ traceparent: "whatever" }, false).traceparent, undefined);
});

test("readOrigin() reads what writeCallers() writes", () => {
  const many = Array.from({ length: MAX_CALLERS }, (_, i) => `spiffe://${DOMAIN}/hop/${i}`);
  for (const callers of [[WEB], [WEB, ECHO, WEB], many]) {
    assert.deepEqual(read({ [CALLERS_HEADER]: writeCallers(callers) }).callers, callers);
  }
  assert.equal(writeCallers([WEB, ECHO]), `"${WEB}", "${ECHO}"`);
});

test("readOrigin() refuses a call that came through more than 16 services", async () => {
  const many = Array.from({ length: MAX_CALLERS + 1 }, () => WEB);
  await assertRefused(reading({ [CALLERS_HEADER]: writeCallers(many) }), "malformed_context", /too many/);
});

for (
  const value of [
    "",
    " ",
    `${WEB}`,
    `"${WEB}`,
    `${WEB}"`,
    `'${WEB}'`,
    `"${WEB}",`,
    `"${WEB}","${WEB}"`,
    `"${WEB}",  "${WEB}"`,
    `"${WEB}", `,
    `"${WEB}";a=1`,
    `"${WEB}" "${WEB}"`,
    `""`,
    `"web"`,
    `"spiffe://${DOMAIN}"`,
    `"${WEB}/"`,
    `"spiffe://Example.org/web"`,
    `("${WEB}")`,
    `"${WEB}\\""`,
    `"${WEB}\n"`,
    `"spiffe://${DOMAIN}/${"a".repeat(2048)}"`,
    `"${WEB}", 1`,
    "1",
    "?1",
  ]
) {
  test(`readOrigin() refuses ${JSON.stringify(value.slice(0, 60))} as the callers`, async () => {
    await assertRefused(reading({ [CALLERS_HEADER]: value }), "malformed_context", /malformed/);
  });
}

test("readOrigin() takes a right that was handed to this service by its identity or by its key", async () => {
  for (const holder of [ECHO, echo.key.jwk]) {
    const right = await issueCapability(authority, { holder, tools }, { now });
    const { delegation } = read({ [DELEGATION_HEADER]: right.chain.reveal() });
    assert.equal(delegation?.reveal(), right.chain.reveal());
    assert.equal(`${delegation}`, "[secret]");
  }
});

test("readOrigin() takes a right that came through others", async () => {
  const parent = await issueCapability(authority, { holder: WEB, tools }, { now });
  const right = await attenuate(parent, web, { holder: ECHO, tools }, { now });
  assert.equal(read({ [DELEGATION_HEADER]: right.chain.reveal() }).delegation?.reveal(), right.chain.reveal());
});

test("readOrigin() refuses a right that was handed to another", async () => {
  const key = await generateKey();
  const parent = await root(here, byId(ECHO));
  const wit = await witOf(echo);
  const chains = [
    await root(here, byId(WEB)),
    await root(here, byId(`${ECHO}/below`)),
    await root(here, byKey(key)),
    chainOf(parent, wit, await child(parent, echo.key, byId(WEB))),
  ];
  for (const chain of chains) {
    await assertRefused(reading({ [DELEGATION_HEADER]: chain }), "malformed_context", /another/);
  }
});

const token = await root(here, byId(ECHO));
const malformed: readonly (readonly [name: string, chain: string, reason?: AuthReason])[] = [
  ["nothing", ""],
  ["words", "a right"],
  ["an identity token", await witOf(echo)],
  ["an identity token at its end", chainOf(token, await witOf(echo))],
  ["a separator at its end", `${token}~`],
  ["padding", `${token}=`],
  [
    "tools that are not understood",
    await root(here, byId(ECHO), { authorization_details: [{ type: "attenuating_agent_token", tools: 1 }] }),
  ],
];
for (const [name, chain, reason = "malformed_context"] of malformed) {
  test(`readOrigin() refuses a right with ${name}`, async () => {
    const error = await assertRefused(reading({ [DELEGATION_HEADER]: chain }), reason, /malformed/);
    assert.ok(error.cause instanceof Error);
  });
}
