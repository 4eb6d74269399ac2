// The example of draft-ietf-wimse-http-signature. Its tokens say `EdDSA` and `wimse:` ids, so it is verified piece by piece.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { contentDigest } from "../../src/auth/content_digest.ts";
import { readMessageSignature, signatureBase, verifyMessageSignature } from "../../src/auth/message_signature.ts";
import { importPublicKey, type PublicJwk } from "../../src/auth/public_key.ts";
import { readRequestSignature, valueOf } from "../../src/auth/request_signature.ts";
import { readResponseSignature, valueOf as responseValueOf } from "../../src/auth/response_signature.ts";
import { because, requestParts, responseParts } from "./_messages.ts";

const DIR = new URL("../../../shared/vectors/wimse/", import.meta.url);
const present = await Deno.stat(DIR).then(() => true, () => false);
const skip = present ? false : "the vectors of the draft are not beside the repository";

/** Takes back the line folding of RFC 8792 section 7.1.2. */
const unfold = (text: string) => text.replace(/^=+ NOTE: [^\n]*=+\n\n/, "").replaceAll("\\\n", "");

interface Parsed {
  readonly start: readonly string[];
  readonly headers: Record<string, string>;
  readonly body: string;
}

async function message(name: string): Promise<Parsed> {
  const [head, body = ""] = unfold(await Deno.readTextFile(new URL(name, DIR))).split(/\n\n(.*)/s) as [string, string?];
  const [start, ...lines] = head.trim().split("\n");
  const fields = lines.map((line) => /^([^:]+): (.*)$/.exec(line)!.slice(1) as [string, string]);
  return { start: start!.split(" "), headers: Object.fromEntries(fields.map(([n, v]) => [n.toLowerCase(), v])), body };
}

async function keyOf(name: string): Promise<{ readonly jwk: PublicJwk; readonly key: CryptoKey }> {
  const { kty, crv, x } = JSON.parse(await Deno.readTextFile(new URL(name, DIR)));
  return { jwk: { kty, crv, x }, key: await importPublicKey({ kty, crv, x }) };
}

const request = async () => {
  const { start: [method, target], headers } = await message("sigs-request.txt.out");
  return requestParts(method!, target!, headers);
};

const response = async () => {
  const { start: [, status], headers, body } = await message("sigs-response.txt.out");
  return { body, parts: responseParts(Number(status), await request(), headers) };
};

describe("draft-ietf-wimse-http-signature", { skip }, () => {
  test("readRequestSignature() reads the example request as it is", async () => {
    const parts = await request();
    const { audience, nonce, created, label } = readRequestSignature(parts);
    assert.deepEqual({ audience, nonce, created, label }, {
      audience: "https://svcb.example.com/gimme-ice-cream",
      nonce: "abcd1111",
      created: 1_785_155_797,
      label: "wimse",
    });
  });

  test("signatureBase() gives a base over which the example request verifies, and no other", async () => {
    const parts = await request();
    const read = readRequestSignature(parts);
    const { key } = await keyOf("sigs-svca-jwk.txt.out");
    await verifyMessageSignature(read, key, valueOf(parts));
    assert.match(
      signatureBase(read.components, read.text, valueOf(parts)),
      /^"@method": GET\n"@request-target": \/gimme/,
    );
    const other = { ...parts, target: "/gimme-ice-cream?flavor=lemon" };
    await assert.rejects(verifyMessageSignature(read, key, valueOf(other)), because("bad_signature"));
    const { key: wrong } = await keyOf("sigs-svcb-jwk.txt.out");
    await assert.rejects(verifyMessageSignature(read, wrong, valueOf(parts)), because("bad_signature"));
  });

  test("signatureBase() gives a base over which the example response verifies, and no other", async () => {
    const { parts } = await response();
    const read = readResponseSignature(parts, "abcd1111");
    const { key } = await keyOf("sigs-svcb-jwk.txt.out");
    await verifyMessageSignature(read, key, responseValueOf(parts));
    const other = { ...parts, status: 200 };
    await assert.rejects(verifyMessageSignature(read, key, responseValueOf(other)), because("bad_signature"));
    assert.throws(() => readResponseSignature(parts, "abcd1112"), because("wrong_exchange"));
  });

  test("contentDigest() gives the digest of the example response", async () => {
    const { parts, body } = await response();
    const digest = parts.header("content-digest");
    assert.ok(
      digest === await digestOf(body) || digest === await digestOf(body.trimEnd()),
      "with or without a line break",
    );
  });

  test("readMessageSignature() takes a request's signature for no response's", async () => {
    const parts = await request();
    const [input, signature] = [parts.header("signature-input"), parts.header("signature")];
    assert.throws(() => readMessageSignature(input, signature, ["wimse-req-nonce"]), because("malformed_signature"));
  });

  test("the example's tokens carry the keys that verify it", async () => {
    for (const [name, file] of [["svca", "sigs-request.txt.out"], ["svcb", "sigs-response.txt.out"]] as const) {
      const { headers } = await message(file);
      const payload = headers["workload-identity-token"]!.split(".")[1]!;
      const { cnf } = JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(payload, { alphabet: "base64url" })));
      assert.equal(cnf.jwk.x, (await keyOf(`sigs-${name}-jwk.txt.out`)).jwk.x);
    }
  });
});

const digestOf = async (body: string) => await contentDigest(new TextEncoder().encode(body));
