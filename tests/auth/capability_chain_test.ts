import { verifyChain } from "../../src/auth/capability_chain.ts";
import { parseToolMap } from "../../src/auth/tool_map.ts";
import { attenuate, type AuthReason, generateKey, issueCapability, type SigningKey } from "../../src/auth/mod.ts";
import { THUMBPRINT_URI } from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  authority,
  echo,
  echoWit,
  first,
  foreign,
  here,
  join,
  keys,
  now,
  OTHER,
  seconds,
  terms,
  trust,
  verify,
  web,
  webWit,
} from "./_chains.ts";
import {
  assertRefused,
  byId,
  byKey,
  chainOf,
  child,
  details,
  root,
  rootClaims,
  SAY,
  sign,
  termsOf,
  witOf,
} from "./_forge.ts";
import { DOMAIN, ECHO, WEB, world } from "./_world.ts";

test("verifyChain() says what a chain allows, to whom, through whom and for how long", async () => {
  const key = await generateKey();
  const tokens = [
    await root(here, byId(WEB), { aud: "https://one.test", jti: "token-number-0001" }),
    webWit,
  ];
  tokens.push(
    await child(tokens[0]!, web.key, byKey(key), {
      iat: seconds + 1,
      exp: seconds + 20,
      jti: "token-number-0002",
      authorization_details: details({ "echo.v1/say": { text: { constraint_type: "exact", value: "a" } } }),
    }),
  );
  tokens.push(await child(tokens[2]!, key, byId(ECHO), { aud: "https://two.test", jti: "token-number-0003" }));
  const { tools, holder, path, audiences, tokenIds, notBeforeMs, expiresAtMs } = await verify(...tokens);
  const thumbprint = THUMBPRINT_URI + key.thumbprint;
  assert.deepEqual(tools, { "echo.v1/say": { text: { constraint_type: "exact", value: "a" } } });
  assert.deepEqual(holder, { id: ECHO });
  assert.deepEqual(path, [`spiffe://${DOMAIN}`, WEB, thumbprint, ECHO]);
  assert.deepEqual(audiences, ["https://one.test", "https://two.test"]);
  const { tokenId } = await trust.verify(webWit);
  assert.deepEqual(tokenIds, ["token-number-0001", "token-number-0002", "token-number-0003", tokenId]);
  assert.deepEqual([notBeforeMs, expiresAtMs], [(seconds + 1) * 1_000, (seconds + 20) * 1_000]);
});

test("verifyChain() names a holder by the thumbprint of its key", async () => {
  const key = await generateKey();
  assert.deepEqual((await verify(await root(here, byKey(key)))).holder, { thumbprint: key.thumbprint });
});

test("verifyChain() gives the signers, whose revocation is to be looked up", async () => {
  const { signers } = await verify(first, webWit, await child(first, web.key, byId(ECHO)));
  assert.deepEqual(signers, [{ id: WEB, key: web.key.thumbprint, trustDomain: DOMAIN }]);
});

test("verifyChain() gives a key that signed as a signer too", async () => {
  const key = await generateKey();
  const parent = await root(here, byKey(key));
  const { signers } = await verify(parent, await child(parent, key, byId(ECHO)));
  assert.deepEqual(signers.map((signer) => signer.key), [key.thumbprint]);
});

test("verifyChain() ends a chain with the identity token that is in it", async () => {
  const parent = await root(here, byId(WEB), { exp: seconds + 80_000 });
  const { expiresAtMs } = await verify(parent, webWit, await child(parent, web.key, byId(ECHO)));
  assert.equal(expiresAtMs, (await trust.verify(webWit)).expiresAtMs);
  assert.ok(expiresAtMs < (seconds + 80_000) * 1_000);
});

test("verifyChain() ends a chain with the identity token of the service that issued it", async () => {
  const claims = rootClaims(here, byId(WEB), { iss: ECHO, exp: seconds + 80_000 });
  const { expiresAtMs } = await verify(echoWit, await sign(claims, echo.key));
  assert.equal(expiresAtMs, (await trust.verify(echoWit)).expiresAtMs);
});

test("verifyChain() refuses a chain whose identity token has expired", async () => {
  const moved = await world();
  const web = await moved.join(WEB);
  const parent = await root(moved, byId(WEB), { exp: moved.now() / 1_000 + 80_000 });
  const chain = chainOf(parent, await witOf(web), await child(parent, web.key, byId(ECHO)));
  await verifyChain(chain, termsOf(moved));
  moved.now.pass(3_600_000);
  await assertRefused(verifyChain(chain, termsOf(moved)), "expired_token");
});

// Who may issue.

test("verifyChain() takes a first token of a service for the methods that it may serve", async () => {
  const { tools, path } = await verify(echoWit, await sign(rootClaims(here, byId(WEB), { iss: ECHO }), echo.key));
  assert.deepEqual(tools, SAY);
  assert.deepEqual(path, [ECHO, WEB]);
});

for (
  const tool of ["payments.v1/charge", "echo.v10/say", "echo.v/say", "echo/say", "Echo.v1/say", "/say", "payments.v1"]
) {
  test(`verifyChain() refuses a first token of a service for "${tool}", which it may not serve`, async () => {
    for (const tools of [{ [tool]: {} }, { ...SAY, [tool]: {} }]) {
      const claims = rootClaims(here, byId(WEB), { iss: ECHO, authorization_details: details(tools) });
      await assertRefused(verify(echoWit, await sign(claims, echo.key)), "unknown_root", /method/);
    }
  });
}

test("verifyChain() refuses a first token of a workload that serves nothing", async () => {
  const token = await sign(rootClaims(here, byId(ECHO), { iss: WEB }), web.key);
  await assertRefused(verify(webWit, token), "unknown_root");
});

test("verifyChain() refuses a first token of a service that names another as its issuer", async () => {
  for (const iss of [WEB, `spiffe://${DOMAIN}`, "", THUMBPRINT_URI + echo.key.thumbprint]) {
    const token = await sign(rootClaims(here, byId(WEB), { iss }), echo.key, echo.key.thumbprint);
    await assertRefused(verify(echoWit, token), "unknown_root");
  }
});

test("verifyChain() refuses a first token that another key than the service's signed", async () => {
  await assertRefused(
    verify(echoWit, await sign(rootClaims(here, byId(WEB), { iss: ECHO }), web.key)),
    "bad_token_signature",
  );
});

test("verifyChain() refuses a service of another trusted domain as the issuer, whatever it may serve there", async () => {
  const id = `spiffe://${OTHER}/echo`;
  const outsider = await join(id, ["echo.v1"], foreign);
  const token = await sign(rootClaims(here, byId(WEB), { iss: id }), outsider.key);
  await assertRefused(verify(await witOf(outsider), token), "unknown_root");
});

test("verifyChain() refuses an authority of another trusted domain as the issuer", async () => {
  const right = await issueCapability(foreign, { holder: WEB, tools: parseToolMap(SAY) }, { now });
  await assertRefused(verifyChain(right.chain.reveal(), terms), "unknown_root");
  // The same authority in the name of ours.
  const { key } = foreign;
  await assertRefused(verify(await sign(rootClaims(here, byId(WEB)), key, key.thumbprint)), "unknown_issuer");
});

const posing: readonly (readonly [name: string, key: SigningKey, kid: string | undefined, reason: AuthReason])[] = [
  ["a workload", web.key, web.key.thumbprint, "unknown_issuer"],
  ["a workload with the authority's key id", web.key, keys.capability.thumbprint, "bad_token_signature"],
  ["a workload with no key id", web.key, undefined, "unknown_issuer"],
  ["a workload with an empty key id's look-alike", web.key, "-", "unknown_issuer"],
  ["the authority's key for identities", keys.wit, keys.wit.thumbprint, "unknown_issuer"],
  ["the authority without a key id", keys.capability, undefined, "unknown_issuer"],
];
for (const [name, key, kid, reason] of posing) {
  test(`verifyChain() refuses ${name} that poses as the authority`, async () => {
    await assertRefused(verify(await sign(rootClaims(here, byId(WEB)), key, kid)), reason);
  });
}

for (const iss of [WEB, `spiffe://${DOMAIN}/`, `spiffe://${OTHER}`, "spiffe://nowhere.test", DOMAIN, ""]) {
  test(`verifyChain() refuses a first token of the authority's key with the issuer "${iss}"`, async () => {
    const token = await root(here, byId(WEB), { iss });
    const malformed = !/^spiffe:\/\/[\w.]+(\/\w+)?$/.test(iss);
    await assertRefused(verify(token), malformed ? "malformed_id" : "unknown_root");
  });
}

test("verifyChain() refuses a first token that has a parent", async () => {
  await assertRefused(verify(await root(here, byId(WEB), { par_hash: "A".repeat(43) })), "malformed_chain", /parent/);
  const claims = rootClaims(here, byId(WEB), { iss: ECHO, par_hash: "A".repeat(43) });
  await assertRefused(verify(echoWit, await sign(claims, echo.key)), "malformed_chain", /parent/);
});

// Depths and lifetimes.

for (const del_max_depth of [0, 1, 2, 3, 4]) {
  test(`verifyChain() takes ${del_max_depth} steps where ${del_max_depth} are allowed, and no more`, async () => {
    const holders = await Promise.all(Array.from({ length: del_max_depth + 1 }, () => generateKey()));
    const tokens = [await root(here, byKey(holders[0]!), { del_max_depth })];
    for (let i = 0; i < del_max_depth; i++) {
      tokens.push(await child(tokens[i]!, holders[i]!, byKey(holders[i + 1]!)));
    }
    const { path } = await verify(...tokens);
    assert.equal(path.length, del_max_depth + 2);
    const more = await child(tokens.at(-1)!, holders.at(-1)!, byId(ECHO));
    await assertRefused(verify(...tokens, more), "malformed_chain", /depth/);
    if (del_max_depth === 4) return;
    const lied = await child(tokens.at(-1)!, holders.at(-1)!, byId(ECHO), { del_max_depth: del_max_depth + 1 });
    await assertRefused(verify(...tokens, lied), "wider_right");
  });
}

for (const more of [{ del_depth: 1 }, { del_max_depth: 5 }, { del_max_depth: 8 }, { del_depth: 1, del_max_depth: 0 }]) {
  test(`verifyChain() refuses a first token with ${JSON.stringify(more)}`, async () => {
    await assertRefused(verify(await root(here, byId(WEB), more)), "malformed_chain", /depth/);
  });
}

for (const del_depth of [0, 2]) {
  test(`verifyChain() refuses a first child of depth ${del_depth}`, async () => {
    const forged = await child(first, web.key, byId(ECHO), { del_depth });
    await assertRefused(verify(first, webWit, forged), "malformed_chain", /depth/);
  });
}

for (const [iat, exp] of [[0, 0], [0, -1], [0, 86_401]] as const) {
  test(`verifyChain() refuses a token that lives for ${exp - iat} seconds`, async () => {
    const token = await root(here, byId(WEB), { iat: seconds + iat, exp: seconds + exp });
    await assertRefused(verify(token), "malformed_chain", /lifetime/);
  });
}

for (const exp of [1, 86_400]) {
  test(`verifyChain() takes a token that lives for ${exp} seconds`, async () => {
    assert.equal(
      (await verify(await root(here, byId(WEB), { exp: seconds + exp }))).expiresAtMs,
      (seconds + exp) * 1_000,
    );
  });
}

test("verifyChain() passes a right on through three identities, each with its token in the chain", async () => {
  const [a, b, c] = await Promise.all(["a", "b", "c"].map((name) => join(`spiffe://${DOMAIN}/${name}`)));
  const tools = parseToolMap(SAY);
  let right = await issueCapability(authority, { holder: a!.id, tools, depth: 3 }, { now });
  right = await attenuate(right, a!, { holder: b!.id, tools }, { now });
  right = await attenuate(right, b!, { holder: c!.id, tools }, { now });
  right = await attenuate(right, c!, { holder: WEB, tools }, { now });
  assert.equal(right.chain.reveal().split("~").length, 7);
  const { path, signers, holder } = await verifyChain(right.chain.reveal(), terms);
  assert.deepEqual(path, [authority.id, a!.id, b!.id, c!.id, WEB]);
  assert.deepEqual(signers.map(({ id }) => id), [a!.id, b!.id, c!.id]);
  assert.deepEqual(holder, { id: WEB });
});

test("verifyChain() lets a right through a holder of another trusted domain, by its own authority's word", async () => {
  const id = `spiffe://${OTHER}/partner`;
  const partner = await join(id, [], foreign);
  const parent = await root(here, byId(id));
  const tokens = [parent, await witOf(partner), await child(parent, partner.key, byId(WEB))];
  assert.deepEqual((await verify(...tokens)).signers, [{ id, key: partner.key.thumbprint, trustDomain: OTHER }]);
  // Nobody but the authority of its own domain can say who it is.
  const key = await generateKey();
  await assert.rejects(authority.issue(key.jwk, { id }), { reason: "malformed_id" });
});
