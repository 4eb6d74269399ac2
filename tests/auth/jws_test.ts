import { AuthError, type AuthReason, generateKey, keyOfPair, type SigningKey } from "../../src/auth/mod.ts";
import { MAX_TOKEN, readJws, signJws, verifyJws } from "../../src/auth/jws.ts";
import { importPublicKey } from "../../src/auth/public_key.ts";
import { canonicalJson } from "../../src/codec/mod.ts";
import { fromBase64, toBase64Url } from "../../src/internal/base64.ts";
import fc from "fast-check";
import { compactVerify } from "jose";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const TYPE = "wit+jwt";
const HEADER = `{"alg":"Ed25519","kid":"k1","typ":"${TYPE}"}`;
const CLAIMS = '{"exp":2,"sub":"spiffe://example.org/web"}';
const utf8 = (text: string) => new TextEncoder().encode(text);
const encoded = (text: string) => toBase64Url(utf8(text));
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const refused = (reason: AuthReason) => (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, reason);
  return true;
};
const malformed = refused("malformed_token");

/** A token of any parts, its signature good: what a dishonest or careless issuer could make. */
async function signedParts(key: SigningKey, header: string | Uint8Array, claims: string | Uint8Array): Promise<string> {
  const [first, second] = [header, claims].map((part) => typeof part === "string" ? encoded(part) : toBase64Url(part));
  const input = `${first}.${second}`;
  return `${input}.${toBase64Url(await key.sign(utf8(input)))}`;
}

async function josesVerdict(token: string, key: SigningKey): Promise<"accepts" | "refuses"> {
  try {
    await compactVerify(token, await importPublicKey(key.jwk), { algorithms: ["Ed25519"] });
    return "accepts";
  } catch {
    return "refuses";
  }
}

/** The text with the unused bits of its last character set: the same bytes for a careless decoder. */
function respelled(part: string): string {
  const last = ALPHABET.indexOf(part.at(-1)!);
  return part.slice(0, -1) + ALPHABET[last ^ 1];
}

/** After the cases 360 to 375 of Wycheproof's json_web_signature_test, and what `jose` makes of the form. */
const spellings: readonly [
  title: string,
  change: (header: string, claims: string, signature: string) => string,
  jose?: true,
][] = [
  ["padding after the signature", (h, c, s) => `${h}.${c}.${s}==`, true],
  ["half of the padding after the signature", (h, c, s) => `${h}.${c}.${s}=`],
  ["padding after the claims", (h, c, s) => `${h}.${c}==.${s}`],
  ["padding after the header", (h, c, s) => `${h}==.${c}.${s}`],
  ["a space after", (h, c, s) => `${h}.${c}.${s} `, true],
  ["a space before", (h, c, s) => ` ${h}.${c}.${s}`],
  ["a space inside the signature", (h, c, s) => `${h}.${c}.${s.slice(0, 9)} ${s.slice(9)}`, true],
  ["a space before the signature", (h, c, s) => `${h}.${c}. ${s}`, true],
  ["a space inside the claims", (h, c, s) => `${h}.${c.slice(0, 4)} ${c.slice(4)}.${s}`],
  ["a space inside the header", (h, c, s) => `${h.slice(0, 4)} ${h.slice(4)}.${c}.${s}`],
  ["a newline after", (h, c, s) => `${h}.${c}.${s}\n`, true],
  ["a carriage return and a newline after", (h, c, s) => `${h}.${c}.${s}\r\n`, true],
  ["a tab inside the signature", (h, c, s) => `${h}.${c}.${s.slice(0, 9)}\t${s.slice(9)}`, true],
  ["a newline before the signature", (h, c, s) => `${h}.${c}.\n${s}`, true],
  ["stray bits in the signature's last character", (h, c, s) => `${h}.${c}.${respelled(s)}`, true],
  ["base64 that is not base64url", (h, c, s) => `${h}.${c}.${s.slice(0, -2)}+/`],
  ["an exclamation mark inside the signature", (h, c, s) => `${h}.${c}.${s.slice(0, 9)}!${s.slice(9)}`],
  ["a NUL after", (h, c, s) => `${h}.${c}.${s}\0`],
  ["a non-breaking space after", (h, c, s) => `${h}.${c}.${s}\u00a0`],
  ["a dot after", (h, c, s) => `${h}.${c}.${s}.`],
  ["a dot before", (h, c, s) => `.${h}.${c}.${s}`],
  ["two dots between", (h, c, s) => `${h}..${c}.${s}`],
  ["a fourth part", (h, c, s) => `${h}.${c}.${s}.${s}`],
  ["five parts, like a JWE", (h, c, s) => `${h}.${c}.${s}.${c}.${s}`],
  ["two parts", (h, c) => `${h}.${c}`],
  ["one part", (h) => h],
  ["an empty signature", (h, c) => `${h}.${c}.`],
  ["an empty header", (_, c, s) => `.${c}.${s}`],
  ["empty claims", (h, _, s) => `${h}..${s}`],
  ["empty parts", () => ".."],
  ["nothing", () => ""],
  ["a signature that is one character short", (h, c, s) => `${h}.${c}.${s.slice(0, -1)}`],
  ["a signature that is one character long", (h, c, s) => `${h}.${c}.${s}A`],
  ["JSON serialization", (h, c, s) => JSON.stringify({ protected: h, payload: c, signature: s })],
  ["the word Bearer before", (h, c, s) => `Bearer ${h}.${c}.${s}`],
  ["the token twice", (h, c, s) => `${h}.${c}.${s}, ${h}.${c}.${s}`],
];

describe("readJws()", () => {
  test("readJws() reads what signJws() made", async () => {
    const key = await generateKey();
    const claims = { sub: "spiffe://example.org/web", exp: 2 };
    const token = await signJws(TYPE, claims, { kid: "k1", sign: key.sign });
    const jws = readJws(token, TYPE);
    const [header, payload, signature] = token.split(".");
    const signingInput = `${header}.${payload}`;
    assert.deepEqual(jws, { kid: "k1", claims, signingInput, signature: fromBase64(signature!) });
    assert.equal(token, await signedParts(key, HEADER, CLAIMS));
    await verifyJws(jws, await importPublicKey(key.jwk));
  });

  test("readJws() reads a token without a key id", async () => {
    assert.equal(readJws(await signJws(TYPE, {}, await generateKey()), TYPE).kid, undefined);
  });

  for (const [title, change, acceptedByJose] of spellings) {
    test(`readJws() refuses ${title}${acceptedByJose ? ", which jose accepts" : ""}`, async () => {
      const key = await generateKey();
      const token = await signedParts(key, HEADER, CLAIMS);
      const [header, claims, signature] = token.split(".") as [string, string, string];
      const other = change(header, claims, signature);
      assert.notEqual(other, token);
      assert.throws(() => readJws(other, TYPE), malformed);
      assert.equal(await josesVerdict(other, key), acceptedByJose ? "accepts" : "refuses");
    });
  }

  test("readJws() refuses stray bits in a part that is signed, which jose accepts", async () => {
    const key = await generateKey();
    const [header, claims] = [encoded(HEADER), encoded('{"a":1}')]; // of lengths that leave unused bits
    for (const input of [`${respelled(header)}.${claims}`, `${header}.${respelled(claims)}`]) {
      const token = `${input}.${toBase64Url(await key.sign(utf8(input)))}`;
      assert.deepEqual(input.split(".").map(atobUrl), [HEADER, '{"a":1}'], "a careless decoder reads the same");
      assert.throws(() => readJws(token, TYPE), /^AuthError: .+ a part is not canonical base64url$/);
      assert.equal(await josesVerdict(token, key), "accepts");
    }
  });

  test("readJws() takes a token of the longest length and none that is longer", async () => {
    const key = await generateKey();
    const fixed = (await signJws(TYPE, { a: "" }, key)).length;
    for (let size = 1; size <= 4; size++) {
      const claims = { a: "x".repeat(Math.floor((MAX_TOKEN - fixed) * 3 / 4) + size - 3) };
      const token = await signJws(TYPE, claims, key);
      if (token.length <= MAX_TOKEN) assert.deepEqual(readJws(token, TYPE).claims, claims);
      else assert.throws(() => readJws(token, TYPE), malformed);
    }
    const token = await signJws(TYPE, { a: "x".repeat(64) }, key);
    assert.ok(readJws(token, TYPE, token.length));
    assert.throws(() => readJws(token, TYPE, token.length - 1), (error) => {
      assert.match(String(error), /too long/);
      return malformed(error);
    });
  });

  const headers: readonly [title: string, header: string][] = [
    ["no algorithm", `{"typ":"${TYPE}"}`],
    ['the algorithm "none"', `{"alg":"none","typ":"${TYPE}"}`],
    ['the algorithm "None"', `{"alg":"None","typ":"${TYPE}"}`],
    ['the algorithm "NONE"', `{"alg":"NONE","typ":"${TYPE}"}`],
    ["an empty algorithm", `{"alg":"","typ":"${TYPE}"}`],
    ["no algorithm's name", `{"alg":null,"typ":"${TYPE}"}`],
    ["a list of algorithms", `{"alg":["Ed25519"],"typ":"${TYPE}"}`],
    ["HS256, with the public key as its secret", `{"alg":"HS256","typ":"${TYPE}"}`],
    ["HS512", `{"alg":"HS512","typ":"${TYPE}"}`],
    ["RS256", `{"alg":"RS256","typ":"${TYPE}"}`],
    ["PS256", `{"alg":"PS256","typ":"${TYPE}"}`],
    ["ES256", `{"alg":"ES256","typ":"${TYPE}"}`],
    ["the deprecated name EdDSA", `{"alg":"EdDSA","typ":"${TYPE}"}`],
    ["Ed448", `{"alg":"Ed448","typ":"${TYPE}"}`],
    ["no type", '{"alg":"Ed25519"}'],
    ["an empty type", '{"alg":"Ed25519","typ":""}'],
    ["the type JWT", '{"alg":"Ed25519","typ":"JWT"}'],
    ["the type of a capability", '{"alg":"Ed25519","typ":"aat+jwt"}'],
    ["an upper-case type", `{"alg":"Ed25519","typ":"${TYPE.toUpperCase()}"}`],
    ["the type as a media type", `{"alg":"Ed25519","typ":"application/${TYPE}"}`],
    ["an empty key id", `{"alg":"Ed25519","kid":"","typ":"${TYPE}"}`],
    ["a key id that is a number", `{"alg":"Ed25519","kid":1,"typ":"${TYPE}"}`],
    ["a key id that is null", `{"alg":"Ed25519","kid":null,"typ":"${TYPE}"}`],
    ["a key id that is a list", `{"alg":"Ed25519","kid":["k1"],"typ":"${TYPE}"}`],
    ["a key id that is a path", `{"alg":"Ed25519","kid":"../../etc/passwd","typ":"${TYPE}"}`],
    ["a key id that is a query", `{"alg":"Ed25519","kid":"k' OR '1'='1","typ":"${TYPE}"}`],
    ["a key id with a newline", `{"alg":"Ed25519","kid":"k1\\n","typ":"${TYPE}"}`],
    ["a key id of 129 characters", `{"alg":"Ed25519","kid":"${"k".repeat(129)}","typ":"${TYPE}"}`],
    ["a key in the header (jwk)", `{"alg":"Ed25519","jwk":{"crv":"Ed25519","kty":"OKP","x":"A"},"typ":"${TYPE}"}`],
    ["a URL of keys (jku)", `{"alg":"Ed25519","jku":"https://evil.test/jwks","typ":"${TYPE}"}`],
    ["a URL of certificates (x5u)", `{"alg":"Ed25519","typ":"${TYPE}","x5u":"https://evil.test/x"}`],
    ["certificates (x5c)", `{"alg":"Ed25519","typ":"${TYPE}","x5c":["MAo="]}`],
    ["a certificate's thumbprint (x5t#S256)", `{"alg":"Ed25519","typ":"${TYPE}","x5t#S256":"A"}`],
    ["a demand to understand (crit)", `{"alg":"Ed25519","crit":["exp"],"exp":1,"typ":"${TYPE}"}`],
    ["an empty demand (crit)", `{"alg":"Ed25519","crit":[],"typ":"${TYPE}"}`],
    ["detached claims (b64)", `{"alg":"Ed25519","b64":false,"crit":["b64"],"typ":"${TYPE}"}`],
    ["b64 alone", `{"alg":"Ed25519","b64":true,"typ":"${TYPE}"}`],
    ["an encryption (enc)", `{"alg":"Ed25519","enc":"A128GCM","typ":"${TYPE}"}`],
    ["a compression (zip)", `{"alg":"Ed25519","typ":"${TYPE}","zip":"DEF"}`],
    ["a content type (cty)", `{"alg":"Ed25519","cty":"JWT","typ":"${TYPE}"}`],
    ["a time in the header (exp)", `{"alg":"Ed25519","exp":1,"typ":"${TYPE}"}`],
    ["an invented member", `{"alg":"Ed25519","typ":"${TYPE}","x":1}`],
    ["an algorithm twice", `{"alg":"none","alg":"Ed25519","typ":"${TYPE}"}`],
    ["an algorithm twice, once escaped", `{"\\u0061lg":"none","alg":"Ed25519","typ":"${TYPE}"}`],
    ["a type twice", `{"alg":"Ed25519","typ":"aat+jwt","typ":"${TYPE}"}`],
    ["a key id twice", `{"alg":"Ed25519","kid":"k2","kid":"k1","typ":"${TYPE}"}`],
    ["a prototype", `{"__proto__":{"alg":"Ed25519"},"typ":"${TYPE}"}`],
    ["null", "null"],
    ["a list", "[]"],
    ["a text", '"Ed25519"'],
    ["a number", "1"],
    ["text after the object", `${HEADER}x`],
    ["a byte order mark", `\ufeff${HEADER}`],
    ["no JSON", "alg=Ed25519"],
  ];
  for (const [title, header] of headers) {
    test(`readJws() refuses a header with ${title}`, async () => {
      const token = await signedParts(await generateKey(), header, CLAIMS);
      assert.throws(() => readJws(token, TYPE), malformed);
    });
  }

  test("readJws() refuses a header for its own reason and no other", async () => {
    const key = await generateKey();
    const reasons: readonly [header: string, message: RegExp][] = [
      [`{"alg":"Ed25519","kid":"k1","typ":"${TYPE}","jku":"x"}`, /member that is not known/],
      [`{"alg":"none","kid":"k1","typ":"${TYPE}"}`, /algorithm is not Ed25519/],
      ['{"alg":"Ed25519","kid":"k1","typ":"x"}', /type is not "wit\+jwt"/],
      [`{"alg":"Ed25519","kid":"","typ":"${TYPE}"}`, /key id is malformed/],
    ];
    for (const [header, message] of reasons) {
      assert.throws(() => readJws(`${encoded(header)}.${encoded(CLAIMS)}.${"A".repeat(86)}`, TYPE), message);
    }
    assert.equal(readJws(await signedParts(key, HEADER, CLAIMS), TYPE).kid, "k1");
    assert.ok(
      readJws(await signedParts(key, `{"alg":"Ed25519","kid":"${"k".repeat(128)}","typ":"${TYPE}"}`, "{}"), TYPE),
    );
  });

  const claims: readonly [title: string, claims: string | Uint8Array, jose?: true][] = [
    ["a member twice", '{"sub":"a","sub":"b"}'],
    ["a member twice, once escaped", '{"s\\u0075b":"a","sub":"b"}'],
    ["a member twice with the same value", '{"sub":"a","sub":"a"}'],
    ["a member twice inside another", '{"cnf":{"jwk":1,"jwk":2}}'],
    ["members that are not sorted", '{"sub":"a","exp":1}'],
    ["members inside another that are not sorted", '{"cnf":{"y":1,"x":2}}'],
    ["a space", '{"sub": "a"}'],
    ["a space after", '{"sub":"a"} '],
    ["a newline", '{"sub":"a"}\n'],
    ["an escaped letter", '{"sub":"\\u0061"}'],
    ["an escaped slash", '{"sub":"a\\/b"}'],
    ["an escape in upper case", '{"sub":"\\u001F"}'],
    ["a number with a fraction of zero", '{"exp":1.0}'],
    ["a number with an exponent", '{"exp":1e3}'],
    ["minus zero", '{"exp":-0}'],
    ["an integer that no double holds", '{"exp":9007199254740993}'],
    ["a lone surrogate", '{"sub":"\\ud800"}'],
    ["a prototype", '{"__proto__":{}}'],
    ["a byte order mark", "\ufeff{}"],
    ["text after", "{}{}"],
    ["no JSON", "sub=a"],
    ["nesting without end", "[".repeat(1_000) + "]".repeat(1_000)],
    ["bytes that are not UTF-8", new Uint8Array([0x22, 0xff, 0x22])],
    ["an overlong slash", new Uint8Array([0x22, 0xc0, 0xaf, 0x22])],
  ];
  for (const [title, payload] of claims) {
    test(`readJws() refuses claims with ${title}, which jose accepts`, async () => {
      const key = await generateKey();
      const token = await signedParts(key, HEADER, payload);
      assert.throws(() => readJws(token, TYPE), malformed);
      assert.equal(await josesVerdict(token, key), "accepts");
    });
  }

  test("readJws() accepts the canonical spelling of claims of all kinds", async () => {
    const key = await generateKey();
    for (const text of ["{}", "null", "1", '"€"', '{"a":[1,2.5,-3,true,null,"\\u001f\\"/"],"b":{"x":2,"y":1}}']) {
      assert.deepEqual(readJws(await signedParts(key, HEADER, text), TYPE).claims, JSON.parse(text));
    }
  });

  /** Reads, and asserts that what was accepted could not have been spelled otherwise. */
  function canonicalOrRefused(token: string): boolean {
    let claims: unknown;
    try {
      claims = readJws(token, TYPE).claims;
    } catch (error) {
      assert.ok(malformed(error));
      return false;
    }
    const parts = token.split(".");
    assert.deepEqual(parts.map((part) => toBase64Url(fromBase64(part)!)), parts);
    assert.equal(parts[1], encoded(canonicalJson(claims)));
    assert.deepEqual(Object.keys(JSON.parse(atobUrl(parts[0]!))).filter((name) => !/^(alg|typ|kid)$/.test(name)), []);
    return true;
  }

  const anyText = fc.array(fc.nat({ max: 0xffff })).map((units) => String.fromCharCode(...units));

  test("readJws() throws nothing but AuthError for any text", () => {
    fc.assert(fc.property(anyText, (text) => assert.equal(canonicalOrRefused(text), false)));
    const part = fc.string().map(encoded);
    fc.assert(
      fc.property(part, part, (header, payload) => {
        assert.equal(canonicalOrRefused(`${header}.${payload}.${"A".repeat(86)}`), false);
      }),
    );
  });

  test("readJws() throws nothing but AuthError for any JSON, and accepts only what is canonical", () => {
    const signature = "A".repeat(86);
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (value, header) => {
        const read = canonicalOrRefused(`${encoded(HEADER)}.${encoded(JSON.stringify(value))}.${signature}`);
        if (read) assert.equal(JSON.stringify(value), canonicalJson(value));
        assert.equal(canonicalOrRefused(`${encoded(JSON.stringify(header))}.${encoded("{}")}.${signature}`), false);
      }),
    );
  });

  test("readJws() never takes two texts for one token", async () => {
    const token = await signJws(TYPE, { exp: 2, sub: "spiffe://example.org/web" }, await generateKey());
    const { signingInput } = readJws(token, TYPE);
    const place = fc.nat({ max: token.length });
    const text = fc.oneof(fc.constantFrom("", "=", " ", "\n", ".", "A", "_", "\0"), fc.string({ maxLength: 2 }));
    fc.assert(
      fc.property(place, fc.nat({ max: 2 }), text, (at, cut, put) => {
        const other = token.slice(0, at) + put + token.slice(at + cut);
        if (other === token || !canonicalOrRefused(other)) return;
        const [signature, others] = [token, other].map((each) => fromBase64(each.slice(each.lastIndexOf(".") + 1)));
        const same = readJws(other, TYPE).signingInput === signingInput && String(signature) === String(others);
        assert.ok(!same, "two spellings of one token");
      }),
      { numRuns: 500 },
    );
  });
});

describe("verifyJws()", () => {
  test("verifyJws() refuses a token of another key", async () => {
    const [key, other] = [await generateKey(), await generateKey()];
    const jws = readJws(await signJws(TYPE, {}, key), TYPE);
    await verifyJws(jws, await importPublicKey(key.jwk));
    await assert.rejects(verifyJws(jws, await importPublicKey(other.jwk)), refused("bad_token_signature"));
  });

  test("verifyJws() refuses a token of which one bit of any part was changed", async () => {
    const key = await generateKey();
    const publicKey = await importPublicKey(key.jwk);
    const token = await signJws(TYPE, { a: "aa" }, { kid: "kk", sign: key.sign });
    const [header, claims, signature] = token.split(".") as [string, string, string];
    const changed = [
      `${encoded(HEADER.replace("k1", "kj"))}.${claims}.${signature}`,
      `${header}.${encoded('{"a":"ab"}')}.${signature}`,
      `${header}.${claims}.${signature[0] === "A" ? "B" : "A"}${signature.slice(1)}`,
    ];
    for (const other of changed) {
      await assert.rejects(verifyJws(readJws(other, TYPE), publicKey), refused("bad_token_signature"));
    }
  });

  test("verifyJws() takes the one algorithm only, whatever the token and the key would agree on", async () => {
    const secret = await crypto.subtle.importKey("raw", new Uint8Array(32), { name: "HMAC", hash: "SHA-256" }, false, [
      "sign",
      "verify",
    ]);
    const input = `${encoded('{"alg":"HS256"}')}.${encoded("{}")}`;
    const signature = new Uint8Array(await crypto.subtle.sign("HMAC", secret, utf8(input)));
    assert.ok(await compactVerify(`${input}.${toBase64Url(signature)}`, secret), "jose alone would take it");
    await assert.rejects(verifyJws({ signature, signingInput: input, kid: undefined, claims: {} }, secret));
  });

  // https://www.rfc-editor.org/rfc/rfc8037#appendix-A.4
  const EXAMPLE = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." +
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

  test("verifyJws() verifies the example of RFC 8037, whose deprecated algorithm readJws() refuses", async () => {
    const key = await importPublicKey({ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    const [header, payload, signature] = EXAMPLE.split(".") as [string, string, string];
    const signingInput = `${header}.${payload}`;
    assert.equal(atobUrl(payload), "Example of Ed25519 signing");
    const jws = { signature: fromBase64(signature)!, signingInput, kid: undefined, claims: undefined };
    await verifyJws(jws, key);
    await assert.rejects(verifyJws({ ...jws, signingInput: `${signingInput}A` }, key), refused("bad_token_signature"));
    assert.throws(() => readJws(EXAMPLE, TYPE), malformed);
  });
});

describe("signJws()", () => {
  test("signJws() writes header and claims in their canonical form", async () => {
    const token = await signJws("t+jwt", { b: 1, a: "é" }, {
      kid: "k",
      sign: () => Promise.resolve(new Uint8Array(64)),
    });
    const [header, claims, signature] = token.split(".") as [string, string, string];
    assert.equal(atobUrl(header), '{"alg":"Ed25519","kid":"k","typ":"t+jwt"}');
    assert.equal(new TextDecoder().decode(fromBase64(claims)), '{"a":"é","b":1}');
    assert.equal(signature, "A".repeat(86));
  });

  test("signJws() signs with a key of a pair, and jose agrees", async () => {
    const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]) as CryptoKeyPair;
    const token = await signJws(TYPE, { a: 1 }, await keyOfPair(pair));
    const { payload, protectedHeader } = await compactVerify(token, pair.publicKey);
    assert.equal(new TextDecoder().decode(payload), '{"a":1}');
    assert.deepEqual(protectedHeader, { alg: "Ed25519", typ: TYPE });
  });
});

function atobUrl(part: string): string {
  return atob(part.replaceAll("-", "+").replaceAll("_", "/"));
}
