import { AuthError } from "../../src/auth/mod.ts";
import { keyFromBinding } from "../../src/auth/binding_key.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

const CANARY = "d-is-a-canary";

async function newJwk(): Promise<string> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  return JSON.stringify(await crypto.subtle.exportKey("jwk", pair.privateKey));
}

test("keyFromBinding() uses the key that is bound to the name", async () => {
  const ORDERS_KEY = await newJwk();
  const key = await keyFromBinding({ ORDERS_KEY, OTHER: 1 }, "ORDERS_KEY");
  assert.equal(key.jwk.x, JSON.parse(ORDERS_KEY).x);
});

test("keyFromBinding() refuses what is no text: nothing, an empty one, a number, a namespace, an inherited member", async () => {
  const env = { EMPTY: "", COUNT: 1, STORE: { get: () => CANARY }, NULL: null };
  for (const name of ["NONE", "EMPTY", "COUNT", "STORE", "NULL", "toString", `{"d":"${CANARY}"}`]) {
    await assert.rejects(keyFromBinding(env, name as "EMPTY"), (error) => {
      assert.ok(error instanceof Error && /there is no text bound to the name/.test(error.message));
      assert.ok(!`${error.stack}`.includes(CANARY));
      return true;
    });
  }
});

test("keyFromBinding() refuses a text that is no key without showing it", async () => {
  const half = `{"kty":"OKP","crv":"Ed25519","x":"${CANARY}","d":"${CANARY}"}`;
  for (const ORDERS_KEY of [CANARY, half]) {
    await assert.rejects(keyFromBinding({ ORDERS_KEY }, "ORDERS_KEY"), (error) => {
      assert.ok(error instanceof AuthError && error.reason === "malformed_key");
      assert.match(error.message, /the binding "ORDERS_KEY"/);
      assert.ok(!`${error.stack}${(error.cause as Error).stack}`.includes(CANARY));
      return true;
    });
  }
});
