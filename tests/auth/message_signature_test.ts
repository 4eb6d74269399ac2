import {
  assertInTime,
  newNonce,
  readMessageSignature,
  signatureBase,
  signMessage,
  verifyMessageSignature,
} from "../../src/auth/message_signature.ts";
import { generateKey, importKey, secret } from "../../src/auth/mod.ts";
import { importPublicKey } from "../../src/auth/public_key.ts";
import { readSignature, readSignatureInput } from "../../src/auth/signature_input.ts";
import { fromBase64, toBase64 } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { because, forge, headerOf, NOW_S } from "./_messages.ts";

const TERMS = `;created=${NOW_S};expires=${NOW_S + 30};nonce="abcdefgh";tag="wimse-workload-to-workload"`;
const SIGNATURE = `wimse=:${"A".repeat(86)}==:`;
const values = headerOf({ '"@method"': "POST", '"x"': "1" });
const read = (terms: string, allowed: readonly string[] = []) =>
  readMessageSignature(`wimse=("@method")${terms}`, SIGNATURE, allowed);

describe("RFC 9421", () => {
  // Section B.1.4, test-key-ed25519.
  const key = {
    kty: "OKP",
    crv: "Ed25519",
    d: "n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU",
    x: "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs",
  } as const;
  // Section B.2.6, Signing a Request using ed25519.
  const input = `sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")` +
    `;created=1618884473;keyid="test-key-ed25519"`;
  const signature =
    "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:";
  const message = headerOf({
    '"date"': "Tue, 20 Apr 2021 02:07:55 GMT",
    '"@method"': "POST",
    '"@path"': "/foo",
    '"@authority"': "example.com",
    '"content-type"': "application/json",
    '"content-length"': "18",
  });
  const base = `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")\
;created=1618884473;keyid="test-key-ed25519"`;

  test("signatureBase() gives the base of RFC 9421 section B.2.6", () => {
    const { components, text } = readSignatureInput(input);
    assert.equal(signatureBase(components, text, message), base);
  });

  test("verifyMessageSignature() verifies the signature of RFC 9421 section B.2.6", async () => {
    const bytes = fromBase64(readSignature(signature, "sig-b26"))!;
    const terms = { created: 1_618_884_473, expires: 0, nonce: "" };
    const publicKey = await importPublicKey({ kty: key.kty, crv: key.crv, x: key.x });
    await verifyMessageSignature(
      { ...readSignatureInput(input), ...terms, createdMs: 0, signature: bytes },
      publicKey,
      message,
    );
  });

  test("a signing key makes the signature of RFC 9421 section B.2.6", async () => {
    const signer = await importKey(secret(JSON.stringify(key)));
    const bytes = await signer.sign(new TextEncoder().encode(base));
    assert.equal(`sig-b26=:${toBase64(bytes)}:`, signature);
  });

  test("readMessageSignature() does not take RFC 9421 section B.2.6 for its own profile", () => {
    assert.throws(() => readMessageSignature(input, signature, []), because("malformed_signature"));
  });
});

describe("signatureBase()", () => {
  test("signatureBase() of nothing is the last line", () => {
    assert.equal(signatureBase([], "();a", values), '"@signature-params": ();a');
  });

  test("signatureBase() keeps the order of the components", () => {
    assert.equal(signatureBase(['"x"', '"@method"'], "()", values), '"x": 1\n"@method": POST\n"@signature-params": ()');
  });

  test("signatureBase() takes an empty value for one", () => {
    assert.equal(signatureBase(['"y"'], "()", () => ""), '"y": \n"@signature-params": ()');
  });

  test("signatureBase() refuses a component that the message does not have", () => {
    assert.throws(() => signatureBase(['"x"', '"y"'], "()", values), because("wrong_coverage"));
  });
});

test("signMessage() writes the components and terms that it signs", async () => {
  const signed: string[] = [];
  const signer = {
    sign(bytes: Uint8Array) {
      signed.push(new TextDecoder().decode(bytes));
      return Promise.resolve(new Uint8Array(64));
    },
  };
  const terms = { created: NOW_S, nonce: "abcdefgh", more: ";more" };
  const text = `("@method" "x")${TERMS};more`;
  assert.deepEqual(await signMessage(['"@method"', '"x"'], terms, values, signer), {
    input: `wimse=${text}`,
    signature: SIGNATURE,
  });
  assert.deepEqual(signed, [`"@method": POST\n"x": 1\n"@signature-params": ${text}`]);
});

describe("readMessageSignature()", () => {
  test("readMessageSignature() reads what the profile has", () => {
    const { created, expires, nonce, signature, label, components } = read(TERMS + ";more", ["more"]);
    assert.deepEqual({ created, expires, nonce, label }, {
      created: NOW_S,
      expires: NOW_S + 30,
      nonce: "abcdefgh",
      label: "wimse",
    });
    assert.deepEqual(components, ['"@method"']);
    assert.deepEqual(signature, new Uint8Array(64));
  });

  test("readMessageSignature() takes any label and any order of the parameters", () => {
    const terms = TERMS.split(";").slice(1).reverse().map((each) => `;${each}`).join("");
    assert.equal(readMessageSignature(`x=()${terms}`, `x=:${"A".repeat(86)}==:`, []).created, NOW_S);
  });

  const missing: readonly [title: string, input: string | null | undefined, signature: string | null | undefined][] = [
    ["no Signature-Input", null, SIGNATURE],
    ["an undefined Signature-Input", undefined, SIGNATURE],
    ["an empty Signature-Input", "", SIGNATURE],
    ["no Signature", `wimse=()${TERMS}`, null],
    ["an undefined Signature", `wimse=()${TERMS}`, undefined],
    ["an empty Signature", `wimse=()${TERMS}`, ""],
  ];
  for (const [title, input, signature] of missing) {
    test(`readMessageSignature() says unsigned to ${title}`, () => {
      assert.throws(() => readMessageSignature(input, signature, []), because("unsigned"));
    });
  }

  const without = (name: string) => TERMS.replace(new RegExp(`;${name}=[^;]*`), "");
  const instead = (name: string, value: string) => TERMS.replace(new RegExp(`;${name}=[^;]*`), `;${name}${value}`);
  const refused: readonly [title: string, terms: string][] = [
    ...["created", "expires", "nonce", "tag"].flatMap((name): [string, string][] => [
      [`no ${name}`, without(name)],
      [`${name} as a flag`, instead(name, "")],
    ]),
    ["created as a text", instead("created", `="${NOW_S}"`)],
    ["expires as a text", instead("expires", `="${NOW_S}"`)],
    ["a nonce that is a number", instead("nonce", "=12345678")],
    ["a tag that is a number", instead("tag", "=1")],
    ["a nonce of 7 characters", instead("nonce", `="abcdefg"`)],
    ["a nonce of 129 characters", instead("nonce", `="${"n".repeat(129)}"`)],
    ["another tag", instead("tag", `="other"`)],
    ["no text in the tag", instead("tag", `=""`)],
    ["a key id", TERMS + `;keyid="x"`],
    ["an algorithm", TERMS + `;alg="ed25519"`],
    ["a parameter that is not known", TERMS + ";x"],
    ["a parameter of responses", TERMS + `;wimse-req-nonce="abcdefgh"`],
  ];
  for (const [title, terms] of refused) {
    test(`readMessageSignature() refuses ${title}`, () => {
      assert.throws(() => read(terms), because("malformed_signature"));
    });
  }

  for (const length of [8, 128]) {
    test(`readMessageSignature() takes a nonce of ${length} characters`, () => {
      assert.equal(read(instead("nonce", `="${"n".repeat(length)}"`)).nonce.length, length);
    });
  }

  test("readMessageSignature() refuses base64 with stray bits", () => {
    const input = `wimse=()${TERMS}`;
    const stray = `wimse=:${"A".repeat(85)}B==:`;
    assert.throws(() => readMessageSignature(input, stray, []), because("malformed_signature"));
  });

  test("readMessageSignature() refuses a signature of another label", () => {
    const other = SIGNATURE.replace("wimse", "sig1");
    assert.throws(() => readMessageSignature(`wimse=()${TERMS}`, other, []), because("malformed_signature"));
  });
});

describe("assertInTime()", () => {
  const rows: readonly [title: string, created: number, expires: number, inTime: boolean][] = [
    ["now", 0, 30, true],
    ["4 s ahead", 4, 34, true],
    ["5 s ahead", 5, 35, true],
    ["6 s ahead", 6, 36, false],
    ["expired 4 s ago", -34, -4, true],
    ["expired 5 s ago", -35, -5, false],
    ["expired 6 s ago", -36, -6, false],
    ["living 59 s", 0, 59, true],
    ["living 60 s", 0, 60, true],
    ["living 61 s", 0, 61, false],
    ["living no time", 0, 0, true],
    ["expired before it was made", 0, -1, false],
  ];
  for (const [title, created, expires, inTime] of rows) {
    test(`assertInTime() ${inTime ? "accepts" : "refuses"} a signature that is ${title}`, () => {
      const signature = { ...read(TERMS), created: NOW_S + created, expires: NOW_S + expires };
      const check = () => assertInTime(signature, NOW_S * 1_000);
      if (inTime) check();
      else assert.throws(check, because("stale"));
    });
  }

  test("assertInTime() counts milliseconds at its ends", () => {
    const early = { ...read(TERMS), created: NOW_S + 6, expires: NOW_S + 36 };
    assertInTime(early, NOW_S * 1_000 + 1_000);
    assert.throws(() => assertInTime(early, NOW_S * 1_000 + 999), because("stale"));
    const late = { ...read(TERMS), created: NOW_S - 30, expires: NOW_S };
    assertInTime(late, NOW_S * 1_000 + 4_999);
    assert.throws(() => assertInTime(late, NOW_S * 1_000 + 5_000), because("stale"));
  });
});

describe("verifyMessageSignature()", () => {
  test("verifyMessageSignature() accepts the key's own signature and no flipped bit of it", async () => {
    const signer = await generateKey();
    const key = await importPublicKey(signer.jwk);
    const signed = await forge({ components: ['"@method"', '"x"'], terms: TERMS }, values, signer);
    const good = readMessageSignature(signed["signature-input"], signed.signature, []);
    await verifyMessageSignature(good, key, values);
    for (let bit = 0; bit < 512; bit++) {
      const signature = good.signature.slice();
      signature[bit >> 3]! ^= 1 << (bit & 7);
      await assert.rejects(verifyMessageSignature({ ...good, signature }, key, values), because("bad_signature"));
    }
  });

  test("verifyMessageSignature() refuses another value, text, order or key", async () => {
    const signer = await generateKey();
    const key = await importPublicKey(signer.jwk);
    const signed = await forge({ components: ['"@method"', '"x"'], terms: TERMS }, values, signer);
    const good = readMessageSignature(signed["signature-input"], signed.signature, []);
    const other = await importPublicKey((await generateKey()).jwk);
    const refuse = (read: typeof good, with_ = key, value = values) =>
      assert.rejects(verifyMessageSignature(read, with_, value), because("bad_signature"));
    await refuse(good, key, headerOf({ '"@method"': "POST", '"x"': "2" }));
    await refuse({ ...good, text: good.text + " " });
    await refuse({ ...good, components: [...good.components].reverse() });
    await refuse(good, other);
    const missing = { ...good, components: ['"y"'] };
    await assert.rejects(verifyMessageSignature(missing, key, values), because("wrong_coverage"));
  });
});

test("newNonce() gives 128 bits that do not repeat", () => {
  const nonces = new Set(Array.from({ length: 1_000 }, newNonce));
  assert.equal(nonces.size, 1_000);
  for (const nonce of nonces) assert.match(nonce, /^[\w-]{22}$/);
});
