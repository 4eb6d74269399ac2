import {
  AuthError,
  generateKey,
  importKey,
  keyOfPair,
  type PublicJwk,
  secret,
  type SigningKey,
} from "../../src/auth/mod.ts";
import { importPublicKey, thumbprintOf } from "../../src/auth/public_key.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";

// https://www.rfc-editor.org/rfc/rfc8037#appendix-A
const D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const PRIVATE = { kty: "OKP", crv: "Ed25519", d: D, x: X };
const jwk = (members: object) => secret(JSON.stringify({ ...PRIVATE, ...members }));

const malformed = (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, "malformed_key");
  return true;
};

async function assertSigns(key: SigningKey, jwk: PublicJwk = key.jwk): Promise<void> {
  const bytes = new TextEncoder().encode("any");
  assert.ok(await crypto.subtle.verify("Ed25519", await importPublicKey(jwk), await key.sign(bytes), bytes));
  assert.deepEqual(key.jwk, { kty: "OKP", crv: "Ed25519", x: jwk.x, alg: "Ed25519" });
  assert.equal(key.thumbprint, thumbprintOf(jwk));
  assert.equal(toBase64Url(key.publicKey), jwk.x);
}

/** Notes what a method of Web Crypto answers while something runs. */
async function answersOf<Value>(name: "generateKey" | "importKey", run: () => Promise<Value>): Promise<unknown[]> {
  const answers: unknown[] = [];
  const original = crypto.subtle[name] as (...given: unknown[]) => Promise<unknown>;
  const value = async (...given: unknown[]) => {
    const answer = await original.apply(crypto.subtle, given);
    answers.push(answer);
    return answer;
  };
  Object.defineProperty(crypto.subtle, name, { value, configurable: true });
  try {
    await run();
  } finally {
    Reflect.deleteProperty(crypto.subtle, name);
  }
  return answers;
}

describe("generateKey()", () => {
  test("generateKey() makes a key that signs", async () => await assertSigns(await generateKey()));

  test("generateKey() makes another key each time", async () => {
    assert.notEqual((await generateKey()).thumbprint, (await generateKey()).thumbprint);
  });

  test("generateKey() makes a private key that cannot be exported", async () => {
    const [pair] = await answersOf("generateKey", generateKey) as [CryptoKeyPair];
    assert.equal(pair.privateKey.extractable, false);
    await assert.rejects(crypto.subtle.exportKey("pkcs8", pair.privateKey));
    await assert.rejects(crypto.subtle.exportKey("jwk", pair.privateKey));
  });

  test("generateKey() gives nothing private away, however it is looked at", async () => {
    const key = await generateKey();
    assert.deepEqual(Object.keys(key).sort(), ["jwk", "publicKey", "sign", "thumbprint"]);
    assert.deepEqual(Object.keys(key.jwk).sort(), ["alg", "crv", "kty", "x"]);
    assert.doesNotMatch(inspect(key, { depth: 9, showHidden: true }), /CryptoKey|PrivateKey/);
    assert.doesNotMatch(JSON.stringify(key), /"d"/);
    assert.throws(() => structuredClone(key));
    assert.ok(Object.isFrozen(key) && Object.isFrozen(key.jwk));
  });
});

describe("keyOfPair()", () => {
  const pairOf = async (name: string, usages: KeyUsage[] = ["sign", "verify"]) =>
    await crypto.subtle.generateKey(name, false, usages) as CryptoKeyPair;

  test("keyOfPair() uses a pair that was made elsewhere", async () => {
    await assertSigns(await keyOfPair(await pairOf("Ed25519")));
  });

  test("keyOfPair() refuses a key that signs with something else", async () => {
    const ecdsa = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
    await assert.rejects(keyOfPair(ecdsa as CryptoKeyPair), malformed);
    await assert.rejects(keyOfPair(await pairOf("X25519", ["deriveBits"])), malformed);
  });

  test("keyOfPair() refuses a key that may not sign", async () => {
    const { publicKey } = await pairOf("Ed25519");
    await assert.rejects(keyOfPair({ privateKey: publicKey, publicKey }), malformed);
  });

  test("keyOfPair() refuses a pair without a private key", async () => {
    const { publicKey } = await pairOf("Ed25519");
    for (const privateKey of [undefined, null, {}, "key"]) {
      await assert.rejects(keyOfPair({ privateKey, publicKey } as unknown as CryptoKeyPair), malformed);
    }
  });

  test("keyOfPair() refuses a public half of another length", async () => {
    const { privateKey } = await pairOf("Ed25519");
    const ecdsa = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
    await assert.rejects(keyOfPair({ privateKey, publicKey: (ecdsa as CryptoKeyPair).publicKey }), malformed);
  });
});

describe("importKey()", () => {
  test("importKey() signs the example of RFC 8037, appendix A.4, bit for bit", async () => {
    const key = await importKey(jwk({}));
    const input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert.equal(
      toBase64Url(await key.sign(new TextEncoder().encode(input))),
      "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    assert.equal(key.thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    await assertSigns(key, { kty: "OKP", crv: "Ed25519", x: X });
  });

  test("importKey() imports the private key so that it cannot be exported again", async () => {
    const answers = await answersOf("importKey", () => importKey(jwk({ ext: true }))) as CryptoKey[];
    const privateKeys = answers.filter(({ type }) => type === "private");
    assert.deepEqual(privateKeys.map(({ extractable, usages }) => ({ extractable, usages })), [
      { extractable: false, usages: ["sign"] },
    ]);
  });

  const refusedTexts: readonly [title: string, text: ReturnType<typeof secret>][] = [
    ["no JSON", secret("-----BEGIN PRIVATE KEY-----")],
    ["nothing", secret("")],
    ["null", secret("null")],
    ["a public key", secret(JSON.stringify({ kty: "OKP", crv: "Ed25519", x: X }))],
    ["another type", jwk({ kty: "EC" })],
    ["a symmetric key", secret(JSON.stringify({ kty: "oct", k: D }))],
    ["another curve", jwk({ crv: "X25519" })],
    ["a private part that is a number", jwk({ d: 1 })],
    ["no public half", jwk({ x: undefined })],
    ["a public half that is a number", jwk({ x: 1 })],
    ["a private part of 31 bytes", jwk({ d: toBase64Url(new Uint8Array(31)) })],
    ["a public half of 31 bytes", jwk({ x: toBase64Url(new Uint8Array(31)) })],
    ["the public half of another key", jwk({ x: "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" })],
  ];
  for (const [title, text] of refusedTexts) {
    test(`importKey() refuses ${title}, and shows none of it`, async () => {
      await assert.rejects(importKey(text), (error: Error) => {
        assert.equal(error.cause, undefined);
        const shown = inspect(error, { depth: 9 });
        for (const part of [D, D.slice(0, 12), "BEGIN PRIVATE"]) assert.ok(!shown.includes(part), "it shows the key");
        return malformed(error);
      });
    });
  }

  test("importKey() looks at kind, curve and halves itself, even where a runtime does not", async () => {
    const other = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"; // RFC 8032, section 7.1, test 2
    const real = await crypto.subtle.importKey("jwk", PRIVATE, "Ed25519", false, ["sign"]);
    const original = crypto.subtle.importKey as (...given: unknown[]) => Promise<CryptoKey>;
    const value = (format: string, ...given: unknown[]) =>
      format === "jwk" ? Promise.resolve(real) : original.call(crypto.subtle, format, ...given);
    Object.defineProperty(crypto.subtle, "importKey", { value, configurable: true });
    try {
      for (const members of [{ x: other }, { kty: "EC" }, { crv: "X25519" }]) {
        await assert.rejects(importKey(jwk(members)), malformed);
      }
      assert.ok(await importKey(jwk({})));
    } finally {
      Reflect.deleteProperty(crypto.subtle, "importKey");
    }
  });
});
