import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthError } from "../../src/auth/mod.ts";
import { keyFromEnvironment } from "../../src/runtime/key_environment.ts";

const NAME = "POSTERN_TEST_KEY";
const CANARY = "d-is-a-canary";

async function newJwk(): Promise<string> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  return JSON.stringify(await crypto.subtle.exportKey("jwk", pair.privateKey));
}

/** What a process that this one starts finds in its environment. */
async function inherited(): Promise<string> {
  const { stdout } = await new Deno.Command("env").output();
  return new TextDecoder().decode(stdout);
}

test("keyFromEnvironment() uses the key and takes it out of the environment, that of later processes too", async () => {
  const text = await newJwk();
  Deno.env.set(NAME, text);
  assert.ok((await inherited()).includes(NAME));
  const key = await keyFromEnvironment(NAME);
  assert.equal(key.jwk.x, JSON.parse(text).x);
  assert.equal(Deno.env.get(NAME), undefined);
  assert.ok(!(await inherited()).includes(NAME));
});

test("keyFromEnvironment() refuses a variable that is not set, or empty, by its name", async () => {
  await assert.rejects(keyFromEnvironment(NAME), /^Error: Cannot use .+ the variable "POSTERN_TEST_KEY" is not set$/);
  Deno.env.set(NAME, "");
  await assert.rejects(keyFromEnvironment(NAME), /^Error: Cannot use .+ the variable "POSTERN_TEST_KEY" is empty$/);
  assert.equal(Deno.env.get(NAME), undefined);
});

test("keyFromEnvironment() refuses what is no key without showing it, and takes it away all the same", async () => {
  for (const text of [CANARY, `{"kty":"OKP","crv":"Ed25519","x":"${CANARY}","d":"${CANARY}"}`]) {
    Deno.env.set(NAME, text);
    await assert.rejects(keyFromEnvironment(NAME), (error) => {
      assert.ok(error instanceof AuthError && error.reason === "malformed_key");
      assert.match(error.message, /POSTERN_TEST_KEY/);
      assert.ok(!Deno.inspect(error, { depth: 10 }).includes(CANARY));
      return true;
    });
    assert.equal(Deno.env.get(NAME), undefined);
  }
});

test("keyFromEnvironment() refuses a key in the place of the name without showing it", async () => {
  for (const name of [`{"d":"${CANARY}"}`, `${CANARY}\n`, "", "A B", "1A", "A=B"]) {
    await assert.rejects(keyFromEnvironment(name), (error) => {
      return error instanceof TypeError && !Deno.inspect(error).includes(CANARY) && /the name is none/.test(`${error}`);
    });
  }
});
