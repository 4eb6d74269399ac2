import { assertInTime, verifyMessageSignature } from "../../src/auth/message_signature.ts";
import { generateKey } from "../../src/auth/mod.ts";
import { importPublicKey } from "../../src/auth/public_key.ts";
import { readResponseSignature, signResponse, valueOf } from "../../src/auth/response_signature.ts";
import { RESPONSE_HEADERS } from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { because, forge, type Headers, NOW_S, responseParts } from "./_messages.ts";

const REQUEST = { method: "POST", target: "/a/b" };
const TERMS = { created: NOW_S, nonce: "abcdefgh", requestNonce: "requested" };
const WRITTEN = `;created=${NOW_S};expires=${NOW_S + 30};nonce="abcdefgh";tag="wimse-workload-to-workload"`;
const BASIC = ['"@status"', '"@method";req', '"@request-target";req'];
const ALL = RESPONSE_HEADERS.map((name) => `"${name}"`);
const everyHeader: Headers = Object.fromEntries(RESPONSE_HEADERS.map((name, i) => [name, `value-${i}`]));

let signer: Awaited<ReturnType<typeof generateKey>>;
let key: CryptoKey;
before(async () => {
  signer = await generateKey();
  key = await importPublicKey(signer.jwk);
});

async function accept(
  headers: Headers,
  status = 200,
  request: { readonly method: string; readonly target: string; readonly token?: string } = REQUEST,
  nonce = "requested",
) {
  const parts = responseParts(status, request, headers);
  const read = readResponseSignature(parts, nonce);
  await verifyMessageSignature(read, key, valueOf(parts));
  return read;
}

const signed = async (headers: Headers, status = 200) => ({
  ...headers,
  ...await signResponse(responseParts(status, REQUEST, headers), TERMS, signer),
});

test("signResponse() covers status, request and every header with an effect that there is", async () => {
  const headers = await signed({ ...everyHeader, "x-other": "1" });
  const covered = [...BASIC, ...ALL].join(" ");
  assert.equal(headers["signature-input"], `wimse=(${covered})${WRITTEN};wimse-req-nonce="requested"`);
  assertInTime(await accept(headers), NOW_S * 1_000);
});

test("signResponse() covers the token of the caller that it answers, and readResponseSignature() asks for it", async () => {
  const asked = { ...REQUEST, token: "the caller's" };
  const parts = responseParts(200, asked, {});
  const headers = await signResponse(parts, TERMS, signer);
  const covered = [...BASIC, '"workload-identity-token";req'].join(" ");
  assert.equal(headers["signature-input"], `wimse=(${covered})${WRITTEN};wimse-req-nonce="requested"`);
  await accept(headers, 200, asked);
  await assert.rejects(accept(await signed({}), 200, asked), because("wrong_coverage"));
  await assert.rejects(accept(headers, 200, { ...REQUEST, token: "another's" }), because("bad_signature"));
  await assert.rejects(accept(headers), because("wrong_coverage"));
});

test("signResponse() covers nothing that is not there", async () => {
  assert.match((await signed({}))["signature-input"]!, /^wimse=\("@status" "@method";req "@request-target";req\);/);
});

describe("readResponseSignature()", () => {
  for (const [index, name] of RESPONSE_HEADERS.entries()) {
    test(`readResponseSignature() refuses ${name} that is not covered, was added, taken away or changed`, async () => {
      const components = [...BASIC, ...ALL.filter((_, i) => i !== index)];
      const terms = `${WRITTEN};wimse-req-nonce="requested"`;
      const parts = responseParts(200, REQUEST, everyHeader);
      const uncovered = { ...everyHeader, ...await forge({ components, terms }, valueOf(parts), signer) };
      await assert.rejects(accept(uncovered), because("wrong_coverage"));

      const { [name]: value, ...rest } = everyHeader;
      await assert.rejects(accept({ ...await signed(rest), [name]: value! }), because("wrong_coverage"));
      const { [name]: _, ...stripped } = await signed(everyHeader) as Record<string, string>;
      await assert.rejects(accept(stripped), because("wrong_coverage"));
      await assert.rejects(accept({ ...await signed(everyHeader), [name]: value + "x" }), because("bad_signature"));
    });
  }

  for (const [index, component] of BASIC.entries()) {
    test(`readResponseSignature() refuses a signature that does not cover ${component}`, async () => {
      const components = [...BASIC.filter((_, i) => i !== index), ...ALL];
      const terms = `${WRITTEN};wimse-req-nonce="requested"`;
      const parts = responseParts(200, REQUEST, everyHeader);
      const headers = { ...everyHeader, ...await forge({ components, terms }, valueOf(parts), signer) };
      await assert.rejects(accept(headers), because("wrong_coverage"));
    });
  }

  test("readResponseSignature() refuses another status, method or target", async () => {
    const headers = await signed(everyHeader);
    await accept(headers);
    await assert.rejects(accept(headers, 201), because("bad_signature"));
    await assert.rejects(accept(headers, 200, { ...REQUEST, method: "GET" }), because("bad_signature"));
    await assert.rejects(accept(headers, 200, { ...REQUEST, target: "/a/c" }), because("bad_signature"));
  });

  test("readResponseSignature() refuses the answer to another request", async () => {
    const headers = await signed(everyHeader);
    await assert.rejects(accept(headers, 200, REQUEST, "another-one"), because("wrong_exchange"));
  });

  for (
    const [title, term] of [["no", ""], ["a flag for a", ";wimse-req-nonce"], ["a number for a", ";wimse-req-nonce=1"]]
  ) {
    test(`readResponseSignature() refuses ${title} nonce of the request`, async () => {
      const parts = responseParts(200, REQUEST, {});
      const headers = await forge({ components: BASIC, terms: WRITTEN + term }, valueOf(parts), signer);
      await assert.rejects(accept(headers), because("wrong_exchange"));
      await assert.rejects(accept(headers, 200, REQUEST, "1"), because("wrong_exchange"));
    });
  }

  for (const term of [`;wimse-aud="a"`, ";wimse-sign-response", `;keyid="k"`, `;alg="ed25519"`]) {
    test(`readResponseSignature() refuses the parameter ${term}`, async () => {
      const parts = responseParts(200, REQUEST, {});
      const terms = `${WRITTEN};wimse-req-nonce="requested"${term}`;
      const headers = await forge({ components: BASIC, terms }, valueOf(parts), signer);
      await assert.rejects(accept(headers), because("malformed_signature"));
    });
  }

  test("readResponseSignature() says unsigned where there is no signature", async () => {
    await assert.rejects(accept(everyHeader), because("unsigned"));
  });
});

test("valueOf() has the status, the request's method and target, headers, and no other part", () => {
  // Names that no header can have stand in for a reader that does not refuse them.
  const headers = { date: "d", "@status": "200", "@method": "GET", "@path": "/", 'date";re': "d" };
  const value = valueOf(responseParts(404, REQUEST, headers));
  assert.equal(value('"@status"'), "404");
  assert.equal(value('"@method";req'), "POST");
  assert.equal(value('"@request-target";req'), "/a/b");
  assert.equal(value('"date"'), "d");
  for (const component of ['"@method"', '"@request-target"', '"@status";req', '"date";req', '"@path";req', '"none"']) {
    assert.equal(value(component), undefined, component);
  }
});
