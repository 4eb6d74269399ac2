import {
  AuthError,
  createAuthority,
  createTrust,
  generateIdentity,
  generateKey,
  importKey,
  issueCapability,
  joinTokens,
  keyOfPair,
  protect,
  prove,
  secret,
  type SigningKey,
} from "../../src/auth/mod.ts";
import { keyFromBinding } from "../../src/auth/binding_key.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { DOMAIN, ECHO, protectedEcho, WEB, world } from "../auth/_world.ts";
import { rejection } from "../rpc/_rig.ts";
import { assertNotExportable } from "./T8_private_half.ts";

// The attacker runs code in the process for a moment, or reads what it printed, and wants to take a key along. T8, T30:
// how keys are kept, where they come from and how they are replaced.

async function newJwk(): Promise<{ readonly text: string; readonly d: string }> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const jwk = await crypto.subtle.exportKey("jwk", pair.privateKey);
  return { text: JSON.stringify(jwk), d: jwk.d! };
}

const sources: readonly (readonly [name: string, make: () => Promise<SigningKey>])[] = [
  ["generateKey", generateKey],
  ["importKey", async () => await importKey(secret((await newJwk()).text))],
  ["keyFromBinding", async () => await keyFromBinding({ KEY: (await newJwk()).text }, "KEY")],
  ["keyOfPair", async () => {
    return await keyOfPair(await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]) as CryptoKeyPair);
  }],
];
for (const [name, make] of sources) {
  test(`T8 T30 ${name}() gives a key whose private half cannot be exported, nor a structured clone of it`, async () => {
    await assertNotExportable(await make());
  });
}

/** Every text that there is in a value: names and values of all properties, also hidden ones, of all that it holds. */
function texts(value: unknown, seen = new Set<unknown>()): string[] {
  if (typeof value !== "object" && typeof value !== "function") return [String(value)];
  if (value === null || seen.has(value)) return [];
  seen.add(value);
  const held = value instanceof Map || value instanceof Set ? [...value].flat() : [];
  const bytes = value instanceof Uint8Array ? [String.fromCharCode(...value), value.join()] : [];
  const own = Reflect.ownKeys(value).flatMap((name) => {
    const { value: member, get } = Object.getOwnPropertyDescriptor(value, name)!;
    return [String(name), ...texts(get ? get.call(value) : member, seen)];
  });
  return [...bytes, ...own, ...held.flatMap((each) => texts(each, seen)), String(value), json(value)];
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "";
  } catch {
    return "";
  }
}

test("T8 T30 no object of the toolkit shows a private half or a token, in any property of anything that it holds", async () => {
  const { text, d } = await newJwk();
  const key = await importKey(secret(text));
  const tokens = joinTokens();
  const authority = await createAuthority(DOMAIN, { attestors: [tokens], keys: [{ wit: key, capability: key }] });
  const trust = await createTrust({ [DOMAIN]: authority.bundle() });
  const joinToken = tokens.create({ id: WEB, serves: ["echo.v1"] });
  const evidence = { type: "join_token", token: joinToken };
  const identity = await generateIdentity(authority, { evidence, key });
  const credential = await identity.credential();
  const capability = await issueCapability(authority, { holder: WEB, tools: { "echo.v1/say": {} } });
  const proving = { identity, trust, peer: ECHO, capability };
  const { server, entries, audit, client } = await protectedEcho(await world());
  const error = new AuthError("malformed_key", "Cannot", {
    cause: await importKey(secret(`${text},`)).catch((e) => e),
  });
  const prover = prove(proving);

  const shown = texts([
    ...[key, identity, credential, capability, authority, trust, tokens, joinToken, proving, prover, error, evidence],
    ...[server, entries, audit, client, protect, authority.bundle()],
  ]).join("\n");
  assert.ok(shown.includes(WEB) && shown.includes(key.thumbprint), "it finds what is there");
  const hidden = [d, joinToken, credential.token, capability.chain].map((each) => {
    return typeof each === "string" ? each : each.reveal();
  });
  for (const part of hidden.flatMap((each) => each.split(/[.~]/).slice(-2))) {
    assert.ok(part.length > 20 && !shown.includes(part), "a secret is in a property");
  }
  const bytes = Array.from(atob(d.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  assert.ok(!shown.includes(bytes.join()) && !shown.includes(String.fromCharCode(...bytes)));
});

test("T8 T30 an authority replaces its keys while calls go on, and the old ones are refused once they are retired", async () => {
  const rig = await world();
  const { authority, trust, join, now } = rig;
  const { client } = await protectedEcho(rig, { identity: await join(ECHO, { serves: ["echo.v1"] }) });
  const before = client(await join(WEB));
  const answers = async (caller = before) => assert.deepEqual(await caller.say({ text: "a" }), { text: "a" });
  const update = async () => assert.ok(await trust.update(await authority.signedBundle()));
  await answers();
  now.pass(1_000);
  await authority.rotate();
  await answers();
  await update();
  await answers();
  await answers(client(await join(WEB)));
  authority.retire();
  await update();
  assert.equal((await rejection(before.say({ text: "a" }))).code, "unavailable");
});

test("T8 T30 a workload replaces its key while calls with the old one go on, until that is revoked", async () => {
  const rig = await world();
  const { authority, trust, join } = rig;
  const { client } = await protectedEcho(rig);
  const [first, second] = [await join(WEB), await join(WEB)];
  for (const identity of [first, second, first]) {
    assert.deepEqual(await client(identity).say({ text: "a" }), { text: "a" });
  }
  authority.revoke({ keys: [first.key.thumbprint] });
  await trust.update(await authority.signedBundle());
  assert.equal((await rejection(client(first).say({ text: "a" }))).code, "unavailable");
  assert.deepEqual(await client(second).say({ text: "a" }), { text: "a" });
});
