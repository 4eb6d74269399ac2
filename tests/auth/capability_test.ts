import { hashOf, isCapability, toolsOf } from "../../src/auth/capability.ts";
import { type ChainTerms, verifyChain } from "../../src/auth/capability_chain.ts";
import { readCapability } from "../../src/auth/capability_token.ts";
import {
  attenuate,
  type Capability,
  ConstraintError,
  exact,
  generateKey,
  type Grant,
  issueCapability,
  oneOf,
  optional,
  range,
  readChain,
  secret,
} from "../../src/auth/mod.ts";
import { THUMBPRINT_URI } from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertRefused, byId, byKey, chainOf, child, root, SAY, termsOf, witOf } from "./_forge.ts";
import { DOMAIN, ECHO, WEB, world } from "./_world.ts";

const here = await world();
const { now, authority } = here;
const web = await here.join(WEB);
const echo = await here.join(ECHO, { serves: ["echo.v1"] });
const terms: ChainTerms = termsOf(here);
const tools = { "echo.v1/say": { text: oneOf("a", "b"), size: optional(range({ min: 1, max: 10 })) } };

const issue = (grant: Partial<Grant> = {}) => issueCapability(authority, { holder: WEB, tools, ...grant }, { now });
const pass = (capability: Capability, grant: Partial<Grant> = {}) =>
  attenuate(capability, web, { holder: WEB, tools, ...grant }, { now });
const tokensOf = ({ chain }: Capability) => chain.reveal().split("~");
const leafOf = (capability: Capability) => readCapability(tokensOf(capability).at(-1)!).claims;

test("issueCapability() makes a right that says what was granted", async () => {
  const right = await issue({ audience: ECHO, lifetimeMs: 60_000, depth: 1 });
  assert.deepEqual([right.audience, right.expiresAtMs, right.depthLeft], [ECHO, now() + 60_000, 1]);
  assert.deepEqual(right.tools, tools);
  assert.deepEqual(right.tokenIds, [leafOf(right).jti]);
  const { iss, iat, cnf, del_depth, par_hash } = leafOf(right);
  assert.deepEqual({ iss, iat, cnf, del_depth, par_hash }, {
    iss: `spiffe://${DOMAIN}`,
    iat: now() / 1_000,
    cnf: byId(WEB),
    del_depth: 0,
    par_hash: undefined,
  });
});

test("issueCapability() grants for five minutes, two more holders and no audience where nothing is said", async () => {
  const right = await issue();
  assert.deepEqual([right.audience, right.expiresAtMs, right.depthLeft], [undefined, now() + 300_000, 2]);
});

test("issueCapability() names a holder by its key, and nothing of the key but its public members", async () => {
  const { jwk } = await generateKey();
  const right = await issue({ holder: { ...jwk, d: "s3cret", kid: "k" } as never });
  assert.deepEqual(leafOf(right).cnf, { jwk: { kty: "OKP", crv: "Ed25519", x: jwk.x } });
});

test("issueCapability() puts the identity token of a service that issues before the right", async () => {
  const [wit, token, ...more] = tokensOf(await issueCapability(echo, { holder: WEB, tools }, { now }));
  assert.equal(wit, await witOf(echo));
  assert.equal(readCapability(token!).claims.iss, ECHO);
  assert.deepEqual(more, []);
});

test("issueCapability() gives each right an id of its own", async () => {
  const rights = await Promise.all(Array.from({ length: 8 }, () => issue()));
  assert.equal(new Set(rights.flatMap(({ tokenIds }) => tokenIds)).size, 8);
});

test("issueCapability() goes by the clock of the system where it is given none", async () => {
  const right = await issueCapability(authority, { holder: WEB, tools });
  assert.ok(Math.abs(right.expiresAtMs - 300_000 - Date.now()) < 60_000);
  const leaf = leafOf(await attenuate(right, web, { holder: WEB, tools }));
  assert.ok(Math.abs(leaf.iat * 1_000 - Date.now()) < 60_000);
});

test("Capability hides its chain from everything that prints it", async () => {
  const right = await issue();
  const signature = right.chain.reveal().split(".").at(-1)!;
  for (const shown of [JSON.stringify(right), String(right.chain), `${right.chain}`]) {
    assert.ok(!shown.includes(signature));
  }
  assert.ok(Object.isFrozen(right));
});

for (const lifetimeMs of [999, 0, -1, 86_400_001, NaN, Infinity, null as never]) {
  test(`issueCapability() and attenuate() refuse a lifetime of ${String(lifetimeMs)}`, async () => {
    await assert.rejects(issue({ lifetimeMs }), RangeError);
    await assert.rejects(pass(await issue(), { lifetimeMs }), RangeError);
  });
}

for (const lifetimeMs of [1_000, 1_999, 86_400_000]) {
  test(`issueCapability() grants for ${lifetimeMs} ms in whole seconds`, async () => {
    assert.equal((await issue({ lifetimeMs })).expiresAtMs, now() + Math.floor(lifetimeMs / 1_000) * 1_000);
  });
}

for (const depth of [-1, 5, 1.5, NaN, Infinity, "1" as never]) {
  test(`issueCapability() and attenuate() refuse a depth of ${JSON.stringify(depth)} ${String(depth)}`, async () => {
    await assert.rejects(issue({ depth }), RangeError);
    await assert.rejects(pass(await issue(), { depth }), RangeError);
  });
}

for (const holder of ["", "web", `spiffe://${DOMAIN}`, `${WEB}/`, "spiffe://Example.org/web", `${WEB}?a`]) {
  test(`issueCapability() and attenuate() refuse "${holder}" as a holder`, async () => {
    await assertRefused(issue({ holder }), "malformed_id");
    await assertRefused(pass(await issue(), { holder }), "malformed_id");
  });
}

test("issueCapability() and attenuate() refuse tools that are none", async () => {
  for (const wrong of [null, [], { "": {} }, { "echo.v1/say": { text: { constraint_type: "regex", value: "." } } }]) {
    await assert.rejects(issue({ tools: wrong as never }), ConstraintError);
    await assert.rejects(pass(await issue(), { tools: wrong as never }), ConstraintError);
  }
});

test("issueCapability() refuses to make what could not be read: an audience or a key that is none", async () => {
  await assertRefused(issue({ audience: "" }), "malformed_chain");
  await assertRefused(issue({ audience: "a".repeat(2049) }), "malformed_chain");
  await assertRefused(issue({ holder: { kty: "OKP", crv: "Ed25519", x: "short" } }), "malformed_chain");
});

test("attenuate() makes a child that is accepted, after its parent and the token of its holder", async () => {
  const parent = await issue();
  const right = await pass(parent, { holder: ECHO, audience: ECHO, tools: { "echo.v1/say": { text: exact("a") } } });
  const [first, wit, second] = tokensOf(right);
  assert.deepEqual([first, wit], [parent.chain.reveal(), await witOf(web)]);
  const { iss, par_hash, del_depth, del_max_depth, aud } = readCapability(second!).claims;
  assert.deepEqual({ iss, del_depth, del_max_depth, aud }, {
    iss: THUMBPRINT_URI + web.key.thumbprint,
    del_depth: 1,
    del_max_depth: 2,
    aud: ECHO,
  });
  // Section 4.6 of the draft, by other means than the code's: SHA-256 of the parent's signing input.
  const input = new TextEncoder().encode(first!.slice(0, first!.lastIndexOf(".")));
  const digest = String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", input)));
  assert.equal(par_hash, btoa(digest).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, ""));
  assert.equal(par_hash, hashOf(first!.slice(0, first!.lastIndexOf("."))));
  assert.deepEqual((await verifyChain(right.chain.reveal(), terms)).tools, right.tools);
  assert.deepEqual(right.tokenIds, [...parent.tokenIds, right.tokenIds[1]]);
});

test("attenuate() adds no identity token where the parent names a key", async () => {
  const key = await generateKey();
  const parent = await issue({ holder: key.jwk });
  const right = await attenuate(parent, { key }, { holder: WEB, tools }, { now });
  assert.equal(tokensOf(right).length, 2);
  await verifyChain(right.chain.reveal(), terms);
});

test("attenuate() cuts time and depth to what is left", async () => {
  const parent = await issue({ lifetimeMs: 60_000, depth: 2 });
  const right = await pass(parent, { lifetimeMs: 600_000, depth: 4 });
  assert.deepEqual([right.expiresAtMs, right.depthLeft], [parent.expiresAtMs, 1]);
  const short = await pass(parent, { lifetimeMs: 5_000, depth: 0 });
  assert.deepEqual([short.expiresAtMs, short.depthLeft], [now() + 5_000, 0]);
  assert.equal((await pass(parent)).depthLeft, 1);
  for (const each of [right, short]) await verifyChain(each.chain.reveal(), terms);
});

test("attenuate() dates a child no earlier than its parent where its clock is behind", async () => {
  const parent = await issue();
  const behind = () => now() - 3_000;
  const right = await attenuate(parent, web, { holder: WEB, tools }, { now: behind });
  assert.equal(leafOf(right).iat, leafOf(parent).iat);
  await verifyChain(right.chain.reveal(), terms);
});

for (const depth of [0, 1, 2, 3, 4]) {
  test(`attenuate() passes a right of depth ${depth} on ${depth} times and no more`, async () => {
    let right = await issue({ depth });
    for (let i = 0; i < depth; i++) {
      assert.equal(right.depthLeft, depth - i);
      right = await pass(right);
      assert.equal((await verifyChain(right.chain.reveal(), terms)).path.length, i + 3);
    }
    assert.equal(right.depthLeft, 0);
    await assertRefused(pass(right), "wider_right", /passed on/);
    // The same by hand, which only the verifier can refuse.
    const tokens = tokensOf(right);
    const forged = await child(tokens.at(-1)!, web.key, byId(WEB));
    await assertRefused(
      verifyChain(chainOf(...tokens, await witOf(web), forged), terms),
      "malformed_chain",
      /depth|too many/,
    );
  });
}

/** What widens a right, each in one way. */
const wider: readonly (readonly [name: string, tools: Grant["tools"]])[] = [
  ["a method more", { ...tools, "echo.v1/look": { text: exact("a") } }],
  ["another method", { "echo.v1/look": { text: exact("a") } }],
  ["a value more", { "echo.v1/say": { text: oneOf("a", "b", "c") } }],
  ["a constraint less", { "echo.v1/say": {} }],
  ["a wider range", { "echo.v1/say": { text: exact("a"), size: range({ min: 0, max: 10 }) } }],
  ["a range without an end", { "echo.v1/say": { text: exact("a"), size: range({ min: 1 }) } }],
  ["an argument that may be left out", { "echo.v1/say": { text: optional(exact("a")) } }],
  ["an argument more", { "echo.v1/say": { text: exact("a"), more: exact(1) } }],
];
for (const [name, widened] of wider) {
  test(`attenuate() refuses here what verifyChain() refuses there: ${name}`, async () => {
    const parent = await issue();
    await assertRefused(pass(parent, { tools: widened }), "wider_right", /allow more/);
    const forged = await child(tokensOf(parent)[0]!, web.key, byId(WEB), {
      authorization_details: [{ type: "attenuating_agent_token", tools: widened }],
    });
    const chain = chainOf(...tokensOf(parent), await witOf(web), forged);
    await assertRefused(verifyChain(chain, terms), "wider_right", /widened/);
  });
}

test("attenuate() refuses a holder without an identity token where the right names its identity", async () => {
  await assertRefused(attenuate(await issue(), { key: web.key }, { holder: WEB, tools }, { now }), "wrong_holder");
});

test("attenuate() refuses who is not the holder, as verifyChain() would", async () => {
  const key = await generateKey();
  const pass = (right: Capability, holder: typeof echo | { readonly key: typeof key }) =>
    attenuate(right, holder, { holder: ECHO, tools }, { now });
  await assertRefused(pass(await issue(), echo), "wrong_holder");
  await assertRefused(pass(await issue({ holder: key.jwk }), echo), "wrong_holder");
  await assertRefused(pass(await issue({ holder: echo.key.jwk }), { key }), "wrong_holder");
});

test("attenuate() refuses a right that has ended, as verifyChain() would", async () => {
  const right = await issue({ lifetimeMs: 10_000 });
  const late = { now: () => now() + 10_000 };
  await assertRefused(attenuate(right, web, { holder: WEB, tools }, late), "expired_right");
});

test("attenuate() refuses to make a chain that is too long to be shown", async () => {
  const values = Array.from({ length: 400 }, (_, i) => `v${i}`);
  const long = { "echo.v1/say": { text: oneOf(...values) } };
  const right = await issue({ tools: long });
  await assert.rejects(async () => await pass(await pass(right, { tools: long }), { tools: long }), {
    name: "AuthError",
  });
});

test("readChain() reads what a right's chain says of it", async () => {
  const right = await pass(await issue({ audience: ECHO }), { tools: { "echo.v1/say": { text: exact("a") } } });
  const { chain, ...known } = readChain(secret(right.chain.reveal()));
  const { chain: original, ...expected } = right;
  assert.equal(chain.reveal(), original.reveal());
  assert.deepEqual(known, expected);
});

const unreadable: readonly (readonly [name: string, text: () => string | Promise<string>, why: RegExp])[] = [
  ["nothing", () => "", /no capability/],
  ["words", () => "a right", /no capability/],
  ["a right after what is no token", async () => chainOf("words", await root(here, byId(WEB))), /./],
  ["an identity token alone", () => witOf(web), /no capability/],
  ["a right whose tools are not understood", () =>
    root(here, byId(WEB), {
      authorization_details: [{
        type: "attenuating_agent_token",
        tools: { "echo.v1/say": { text: { constraint_type: "regex", value: "." } } },
      }],
    }), /not understood/],
];
for (const [name, text, why] of unreadable) {
  test(`readChain() refuses ${name}`, async () => {
    const given = secret(await text());
    await assertRefused(Promise.resolve().then(() => readChain(given)), "malformed_chain", why);
  });
}

test("isCapability() tells capabilities from identity tokens and from words", async () => {
  assert.equal(isCapability(await root(here, byKey(await generateKey()))), true);
  for (const other of ["", "a.b.c", await witOf(web)]) assert.equal(isCapability(other), false);
});

test("toolsOf() refuses what is not understood without saying what it was", async () => {
  const token = await root(here, byId(WEB), {
    authorization_details: [{
      type: "attenuating_agent_token",
      tools: { "echo.v1/say": { text: { constraint_type: "c4nary" } } },
    }],
  });
  const error = await assertRefused(
    Promise.resolve().then(() => toolsOf(readCapability(token).claims)),
    "malformed_chain",
  );
  assert.ok(error.cause instanceof ConstraintError);
  assert.ok(!error.message.includes("c4nary"));
  const plain = readCapability(await root(here, byId(WEB))).claims;
  assert.deepEqual(toolsOf(plain), SAY);
});
