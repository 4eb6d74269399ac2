import { verifyChain } from "../../src/auth/capability_chain.ts";
import { type AuthReason, generateKey } from "../../src/auth/mod.ts";
import { THUMBPRINT_URI } from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  echo,
  echoWit,
  first,
  here,
  join,
  range,
  seconds,
  terms,
  trust,
  verify,
  watched,
  web,
  webWit,
  wider,
} from "./_chains.ts";
import { assertRefused, byId, byKey, chainOf, child, childClaims, type Claims, root, witOf } from "./_forge.ts";
import { DOMAIN, ECHO, WEB } from "./_world.ts";

// One child, wrong in one way (row 37 of the attacks).

const base = await root(here, byId(WEB), {
  del_max_depth: 2,
  ...wider({ "echo.v1/say": { text: { constraint_type: "one_of", values: ["a", "b"] }, size: range(1, 10) } }),
});
const kept = { text: { constraint_type: "exact", value: "a" }, size: range(1, 10) };

test("verifyChain() takes a child that is as wide as its parent, in everything", async () => {
  await verify(base, webWit, await child(base, web.key, byId(ECHO)));
  await verify(base, webWit, await child(base, web.key, byId(ECHO), wider({ "echo.v1/say": kept })));
  await verify(base, webWit, await child(base, web.key, byId(ECHO), wider({})));
});

const widened: readonly (readonly [name: string, more: Claims, reason?: AuthReason])[] = [
  ["a method more", wider({ "echo.v1/say": kept, "echo.v1/look": kept })],
  ["another method", wider({ "echo.v1/look": kept })],
  ["all constraints dropped", wider({ "echo.v1/say": {} })],
  ["one constraint dropped", wider({ "echo.v1/say": { text: kept.text } })],
  ["every other argument allowed", wider({ "echo.v1/say": { ...kept, "*": { constraint_type: "wildcard" } } })],
  ["an argument more", wider({ "echo.v1/say": { ...kept, more: { constraint_type: "exact", value: 1 } } })],
  ["a lower minimum", wider({ "echo.v1/say": { ...kept, size: range(0, 10) } })],
  ["a higher maximum", wider({ "echo.v1/say": { ...kept, size: range(1, 11) } })],
  ["no minimum", wider({ "echo.v1/say": { ...kept, size: { constraint_type: "range", max: 10 } } })],
  ["no maximum", wider({ "echo.v1/say": { ...kept, size: { constraint_type: "range", min: 1 } } })],
  ["a value more", wider({ "echo.v1/say": { ...kept, text: { constraint_type: "one_of", values: ["a", "c"] } } })],
  ["any value", wider({ "echo.v1/say": { ...kept, text: { constraint_type: "wildcard" } } })],
  [
    "one of two, of which one is wider",
    wider({
      "echo.v1/say": {
        ...kept,
        text: { constraint_type: "any", constraints: [kept.text, { constraint_type: "exact", value: "c" }] },
      },
    }),
  ],
  [
    "an argument that may be left out",
    wider({ "echo.v1/say": { ...kept, size: { ...range(1, 10), optional: true } } }),
  ],
  ["a longer life", { exp: seconds + 301 }],
  ["an earlier beginning", { iat: seconds - 1 }],
  ["more holders after it", { del_max_depth: 3 }],
];
for (const [name, more, reason = "wider_right"] of widened) {
  test(`verifyChain() refuses a child with ${name}`, async () => {
    await assertRefused(verify(base, webWit, await child(base, web.key, byId(ECHO), more)), reason);
  });
}

test("verifyChain() refuses a grandchild that takes back what its parent gave away", async () => {
  const narrow = await child(base, web.key, byId(ECHO), {
    ...wider({ "echo.v1/say": kept }),
    exp: seconds + 10,
    del_max_depth: 2,
  });
  for (
    const more of [wider({ "echo.v1/say": { ...kept, text: { constraint_type: "exact", value: "b" } } }), {
      exp: seconds + 11,
    }]
  ) {
    const grandchild = await child(narrow, echo.key, byId(WEB), more);
    await assertRefused(verify(base, webWit, narrow, echoWit, grandchild), "wider_right");
  }
  await verify(base, webWit, narrow, echoWit, await child(narrow, echo.key, byId(WEB)));
});

// Chains put together in another way (row 38 of the attacks).

const stranger = await generateKey();
const keyed = await root(here, byKey(stranger));
const second = await child(first, web.key, byId(ECHO));
const third = await child(second, echo.key, byId(WEB));
const twin = await root(here, byId(WEB));
const impostor = await join(WEB); // the same identity with another key
const impostorWit = await witOf(impostor);
const chains: readonly (readonly [
  name: string,
  tokens: () => readonly (string | Promise<string>)[],
  reason: AuthReason,
  why?: RegExp,
])[] = [
  ["nothing", () => [""], "malformed_token"],
  ["an identity token only", () => [webWit], "malformed_chain", /ends with/],
  ["an identity token at its end", () => [first, webWit], "malformed_chain", /ends with/],
  ["an identity token after its last", () => [first, webWit, second, echoWit], "malformed_chain", /ends with/],
  ["two identity tokens in a row", () => [first, webWit, webWit, second], "malformed_token"],
  ["no identity token where an identity is the holder", () => [first, second], "malformed_chain", /lacks/],
  [
    "an identity token where a key is the holder",
    () => [keyed, webWit, child(keyed, stranger, byId(WEB))],
    "malformed_chain",
    /key is the holder/,
  ],
  [
    "the identity token of another",
    () => [first, echoWit, child(first, echo.key, byId(ECHO))],
    "broken_chain",
    /holder/,
  ],
  [
    "the identity token of another beside the holder's signature",
    () => [first, echoWit, second],
    "broken_chain",
    /holder/,
  ],
  [
    "the holder's identity token beside another's signature",
    () => [first, webWit, child(first, stranger, byId(ECHO))],
    "broken_chain",
    /holder/,
  ],
  ["the holder's token and name beside another's signature", () => [
    first,
    webWit,
    child(first, stranger, byId(ECHO), { iss: THUMBPRINT_URI + web.key.thumbprint }),
  ], "bad_token_signature"],
  [
    "the holder's token with another key than the one that signed",
    () => [first, impostorWit, second],
    "broken_chain",
    /holder/,
  ],
  [
    "the holder's identity as the issuer of a child",
    () => [first, webWit, child(first, web.key, byId(ECHO), { iss: WEB })],
    "broken_chain",
    /holder/,
  ],
  [
    "the authority as the issuer of a child",
    () => [first, webWit, child(first, web.key, byId(ECHO), { iss: `spiffe://${DOMAIN}` })],
    "broken_chain",
  ],
  [
    "a child by another key than the holder's",
    () => [keyed, child(keyed, web.key, byId(ECHO))],
    "broken_chain",
    /holder/,
  ],
  ["a child in the name of the holder's key", () => [
    keyed,
    child(keyed, web.key, byId(ECHO), { iss: THUMBPRINT_URI + stranger.thumbprint }),
  ], "bad_token_signature"],
  ["a child of another parent", () => [twin, webWit, second], "broken_chain", /parent/],
  [
    "a child that names no parent",
    () => [first, webWit, child(first, web.key, byId(ECHO), { par_hash: undefined })],
    "broken_chain",
    /parent/,
  ],
  [
    "a child that names another parent",
    () => [first, webWit, child(first, web.key, byId(ECHO), { par_hash: "A".repeat(43) })],
    "broken_chain",
    /parent/,
  ],
  [
    "a child that names its grandparent",
    () => {
      const { par_hash } = childClaims(first, web.key, byId(ECHO));
      return [first, webWit, second, echoWit, child(second, echo.key, byId(WEB), { par_hash })];
    },
    "broken_chain",
    /parent/,
  ],
  ["its tokens in another order", () => [second, webWit, first], "malformed_chain", /depth/],
  ["its last two in another order", () => [first, webWit, third, echoWit, second], "malformed_chain", /depth/],
  ["a child alone", () => [second], "malformed_chain", /depth/],
  ["a child and its identity token alone", () => [webWit, second], "malformed_chain", /depth/],
  ["its first token left out", () => [webWit, second, echoWit, third], "malformed_chain", /depth/],
  ["one in the middle left out", () => [first, echoWit, third], "malformed_chain", /depth/],
  [
    "a derived token as its first",
    () => [webWit, child(first, web.key, byId(ECHO), { del_depth: 0 })],
    "malformed_chain",
    /parent/,
  ],
  ["a derived token without a parent as its first", () => [
    webWit,
    child(first, web.key, byId(ECHO), { del_depth: 0, par_hash: undefined }),
  ], "unknown_root"],
  ["a derived token of a key as its first", () => [
    child(keyed, stranger, byId(ECHO), { del_depth: 0, par_hash: undefined }),
  ], "malformed_id"],
  ["a token twice", () => [first, webWit, first], "malformed_chain", /twice/],
  [
    "two tokens of one id",
    () => {
      const { jti } = childClaims(first, web.key, byId(ECHO), { jti: "one-and-the-same-id" });
      return root(here, byId(WEB), { jti }).then(async (parent) => [
        parent,
        webWit,
        await child(parent, web.key, byId(ECHO), { jti }),
      ]) as never;
    },
    "malformed_chain",
    /twice/,
  ],
  ["a separator at its end", () => [first, ""], "malformed_token"],
  ["a separator at its beginning", () => ["", first], "malformed_token"],
  ["a space between", () => [first, ` ${webWit}`, second], "malformed_token"],
  ["padding", () => [`${first}=`], "malformed_token"],
];
for (const [name, tokens, reason, why] of chains) {
  test(`verifyChain() refuses a chain with ${name}`, async () => {
    await assertRefused(verify(...await Promise.all(await tokens())), reason, why);
  });
}

test("verifyChain() takes the chain that those were made of", async () => {
  assert.equal((await verify(first, webWit, second, echoWit, third)).path.length, 4);
});

test("verifyChain() refuses every token of a chain with another signature, or other claims", async () => {
  const tokens = [first, webWit, second];
  for (const [at, token] of tokens.entries()) {
    const [head, claims, signature] = token.split(".") as [string, string, string];
    const flip = (text: string, i: number) => text.slice(0, i) + (text[i] === "A" ? "B" : "A") + text.slice(i + 1);
    const forged = [
      [head, claims, flip(signature, 10)],
      [head, claims, "A".repeat(86)],
      [head, flip(claims, 20), signature],
    ];
    for (const parts of forged) {
      const changed = tokens.with(at, parts.join("."));
      await assert.rejects(verify(...changed), { name: "AuthError" });
    }
  }
});

// What is not understood, and what is too much (row 39 of the attacks).

const bomb = (type: "all" | "any", depth: number): unknown =>
  depth === 0
    ? { constraint_type: "exact", value: "a" }
    : { constraint_type: type, constraints: [bomb(type, depth - 1)] };
const wide = (count: number) => ({
  constraint_type: "any",
  constraints: Array.from({ length: count }, (_, i) => ({ constraint_type: "exact", value: i })),
});
const misunderstood: readonly (readonly [name: string, constraint: unknown])[] = [
  ["a type that is not known", { constraint_type: "regex", value: ".*" }],
  ["a type of the draft that is left out", { constraint_type: "not_one_of", values: ["c"] }],
  ["a type that is inherited", { constraint_type: "toString" }],
  ["no type", { value: "a" }],
  ["a member more", { constraint_type: "exact", value: "a", unless: "b" }],
  ["a constraint that is null", null],
  ["a constraint that is a text", "a"],
  ["all nested 9 deep", bomb("all", 9)],
  ["any nested 9 deep", bomb("any", 9)],
  ["130 constraints", wide(130)],
];
for (const [name, constraint] of misunderstood) {
  test(`verifyChain() refuses a first token with ${name}`, async () => {
    const token = await root(here, byId(WEB), wider({ "echo.v1/say": { text: constraint } }));
    await assertRefused(verify(token), "malformed_chain", /understood/);
  });

  test(`verifyChain() refuses a child with ${name}`, async () => {
    const parent = await root(here, byId(WEB), wider({ "echo.v1/say": {} }));
    const forged = await child(parent, web.key, byId(ECHO), wider({ "echo.v1/say": { text: constraint } }));
    await assertRefused(verify(parent, webWit, forged), "malformed_chain", /understood/);
  });
}

test("verifyChain() refuses claims that nest so deep that reading them would be dear", async () => {
  let tools: unknown = {};
  for (let i = 0; i < 60; i++) tools = { a: tools };
  await assert.rejects(async () => verify(await root(here, byId(WEB), wider(tools))), { name: "AuthError" });
});

test("verifyChain() refuses a member that is not known in any token of a chain", async () => {
  await assertRefused(verify(await root(here, byId(WEB), { once: true })), "wrong_token");
  await assertRefused(verify(first, webWit, await child(first, web.key, byId(ECHO), { once: true })), "wrong_token");
});

test("verifyChain() refuses a chain of more tokens than there can be, before it verifies one", async () => {
  const counting = watched(trust);
  const tokens = Array.from({ length: 11 }, () => keyed);
  await assertRefused(verifyChain(chainOf(...tokens), { ...terms, trust: counting.trust }), "malformed_chain", /many/);
  assert.equal(counting.asked(), 0);
});

test("verifyChain() refuses a chain that is too long, before it reads it", async () => {
  await assertRefused(verifyChain("a".repeat(12_289), terms), "malformed_chain", /too long/);
  await assertRefused(verifyChain("a".repeat(12_288), terms), "malformed_token");
  const long = await root(
    here,
    byId(WEB),
    wider({
      "echo.v1/say": {
        text: { constraint_type: "one_of", values: Array.from({ length: 500 }, (_, i) => `value ${i}`) },
      },
    }),
  );
  await assertRefused(verifyChain(chainOf(long, webWit, long), terms), "malformed_chain", /too long/);
});
