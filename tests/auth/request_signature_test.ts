import { assertInTime, verifyMessageSignature } from "../../src/auth/message_signature.ts";
import { generateKey } from "../../src/auth/mod.ts";
import { importPublicKey } from "../../src/auth/public_key.ts";
import { readRequestSignature, signRequest, valueOf } from "../../src/auth/request_signature.ts";
import { REQUEST_HEADERS } from "../../src/auth/wire.ts";
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import * as fc from "fast-check";
import { because, forge, type Headers, NOW_S, requestParts } from "./_messages.ts";

const TERMS = { created: NOW_S, nonce: "abcdefgh", audience: "spiffe://example.org/echo" };
const TAIL = `;wimse-aud="spiffe://example.org/echo";wimse-sign-response`;
const WRITTEN = `;created=${NOW_S};expires=${NOW_S + 30};nonce="abcdefgh";tag="wimse-workload-to-workload"`;
const ALL = REQUEST_HEADERS.map((name) => `"${name}"`);
const everyHeader: Headers = Object.fromEntries(REQUEST_HEADERS.map((name, i) => [name, `value-${i}`]));

let signer: Awaited<ReturnType<typeof generateKey>>;
let key: CryptoKey;
before(async () => {
  signer = await generateKey();
  key = await importPublicKey(signer.jwk);
});

/** Reads and verifies, as a server does. */
async function accept(method: string, target: string, headers: Headers) {
  const parts = requestParts(method, target, headers);
  const read = readRequestSignature(parts);
  await verifyMessageSignature(read, key, valueOf(parts));
  return read;
}

/** A request whose signature says what the test wants. */
async function forged(components: readonly string[], terms: string, headers: Headers = {}) {
  const parts = requestParts("POST", "/a/b", headers);
  return { ...headers, ...await forge({ components, terms }, valueOf(parts), signer) };
}

describe("signRequest()", () => {
  test("signRequest() covers method, target and every header with an effect that there is, in one order", async () => {
    const parts = requestParts("POST", "/a/b", { ...everyHeader, "x-other": "1" });
    const { "signature-input": input } = await signRequest(parts, TERMS, signer);
    assert.equal(input, `wimse=("@method" "@request-target" ${ALL.join(" ")})${WRITTEN}${TAIL}`);
  });

  test("signRequest() covers nothing that is not there", async () => {
    const { "signature-input": input } = await signRequest(requestParts("GET", "/", {}), TERMS, signer);
    assert.equal(input, `wimse=("@method" "@request-target")${WRITTEN}${TAIL}`);
  });

  test("signRequest() covers a header that is there and empty", async () => {
    const parts = requestParts("GET", "/", { "content-type": "", traceparent: "" });
    const { "signature-input": input } = await signRequest(parts, TERMS, signer);
    assert.match(input!, /"@request-target" "content-type" "traceparent"\)/);
  });

  test("signRequest() makes what readRequestSignature() accepts, whatever the request", async () => {
    const value = fc.string({ unit: fc.constantFrom(..."aZ09 ,;:=/+\"'()~{}\t".split("")), maxLength: 40 });
    const headers = fc.dictionary(fc.constantFrom(...REQUEST_HEADERS), value, { noNullPrototype: true });
    const target = fc.string({ unit: fc.constantFrom(..."aZ09/?&=%.~-".split("")), maxLength: 30 }).map((text) =>
      "/" + text
    );
    const method = fc.constantFrom("GET", "POST", "get", "M-SEARCH");
    await fc.assert(
      fc.asyncProperty(method, target, headers, async (method, target, headers) => {
        const signed = { ...headers, ...await signRequest(requestParts(method, target, headers), TERMS, signer) };
        const read = await accept(method, target, signed);
        assert.equal(read.audience, TERMS.audience);
        assert.equal(read.nonce, TERMS.nonce);
        assertInTime(read, NOW_S * 1_000);
      }),
      { numRuns: 100 },
    );
  });
});

describe("readRequestSignature()", () => {
  for (const [index, name] of REQUEST_HEADERS.entries()) {
    test(`readRequestSignature() refuses ${name} that is not covered, was added, taken away or changed`, async () => {
      const others = ['"@method"', '"@request-target"', ...ALL.filter((_, i) => i !== index)];
      const uncovered = await forged(others, WRITTEN + TAIL, everyHeader);
      await assert.rejects(accept("POST", "/a/b", uncovered), because("wrong_coverage"));

      const { [name]: value, ...rest } = everyHeader;
      const without = { ...rest, ...await signRequest(requestParts("POST", "/a/b", rest), TERMS, signer) };
      await accept("POST", "/a/b", without);
      await assert.rejects(accept("POST", "/a/b", { ...without, [name]: value! }), because("wrong_coverage"));
      await assert.rejects(accept("POST", "/a/b", { ...without, [name]: "" }), because("wrong_coverage"));

      const signed = { ...everyHeader, ...await signRequest(requestParts("POST", "/a/b", everyHeader), TERMS, signer) };
      const { [name]: _, ...stripped } = signed;
      await assert.rejects(accept("POST", "/a/b", stripped), because("wrong_coverage"));
      await assert.rejects(accept("POST", "/a/b", { ...signed, [name]: value + "x" }), because("bad_signature"));
    });
  }

  const lacking: readonly [title: string, components: readonly string[]][] = [
    ["nothing", []],
    ["the method only", ['"@method"']],
    ["the target only", ['"@request-target"']],
    ["the method of a request's request", ['"@method";req', '"@request-target"']],
    ["the target of a request's request", ['"@method"', '"@request-target";req']],
  ];
  for (const [title, components] of lacking) {
    test(`readRequestSignature() refuses a signature that covers ${title}`, () => {
      const headers = {
        "signature-input": `wimse=(${components.join(" ")})${WRITTEN}${TAIL}`,
        signature: `wimse=:${"A".repeat(86)}==:`,
      };
      assert.throws(() => readRequestSignature(requestParts("POST", "/", headers)), because("wrong_coverage"));
    });
  }

  test("readRequestSignature() takes a trace that is not covered, and none that is covered and was changed", async () => {
    const signed = await signRequest(requestParts("POST", "/a/b", {}), TERMS, signer);
    assert.equal((await accept("POST", "/a/b", { ...signed, traceparent: "t" })).components.length, 2);
    const traced = { traceparent: "t" };
    const covered = { ...traced, ...await signRequest(requestParts("POST", "/a/b", traced), TERMS, signer) };
    await accept("POST", "/a/b", covered);
    await assert.rejects(accept("POST", "/a/b", { ...covered, traceparent: "u" }), because("bad_signature"));
    const { traceparent: _, ...stripped } = covered;
    await assert.rejects(accept("POST", "/a/b", stripped), because("wrong_coverage"));
  });

  test("readRequestSignature() refuses another method or target", async () => {
    const signed = await signRequest(requestParts("POST", "/a/b", {}), TERMS, signer);
    await accept("POST", "/a/b", signed);
    for (const [method, target] of [["GET", "/a/b"], ["post", "/a/b"], ["POST", "/a/B"], ["POST", "/a/b?"]] as const) {
      await assert.rejects(accept(method, target, signed), because("bad_signature"));
    }
  });

  test("readRequestSignature() takes a header more, another order and no wish for a proven answer", async () => {
    const headers = { "x-more": "1", traceparent: "t" };
    const components = ['"traceparent"', '"x-more"', '"@request-target"', '"@method"'];
    const signed = await forged(components, `;wimse-aud="a"${WRITTEN}`, headers);
    assert.equal((await accept("POST", "/a/b", signed)).audience, "a");
  });

  test("readRequestSignature() says unsigned where there is no signature", () => {
    assert.throws(() => readRequestSignature(requestParts("POST", "/", everyHeader)), because("unsigned"));
  });

  const malformed: readonly [title: string, terms: string][] = [
    ["no audience", WRITTEN],
    ["an audience that is a flag", WRITTEN + ";wimse-aud"],
    ["an audience that is a number", WRITTEN + ";wimse-aud=1"],
    ["a wish with a number", WRITTEN + `;wimse-aud="a";wimse-sign-response=1`],
    ["a wish with a zero", WRITTEN + `;wimse-aud="a";wimse-sign-response=0`],
    ["a wish with a text", WRITTEN + `;wimse-aud="a";wimse-sign-response=""`],
    ["the parameter of a response", WRITTEN + TAIL + `;wimse-req-nonce="abcdefgh"`],
    ["a key id", WRITTEN + TAIL + `;keyid="k"`],
  ];
  for (const [title, terms] of malformed) {
    test(`readRequestSignature() refuses ${title}`, () => {
      const headers = {
        "signature-input": `wimse=("@method" "@request-target")${terms}`,
        signature: `wimse=:${"A".repeat(86)}==:`,
      };
      assert.throws(() => readRequestSignature(requestParts("POST", "/", headers)), because("malformed_signature"));
    });
  }
});

test("valueOf() has the method, the target and headers, and no other part of a request", () => {
  const value = valueOf(
    requestParts("POST", "/a?b", { host: "example.org", "@method": "GET", "@path": "/", date: "", 'host";re': "h" }),
  );
  assert.equal(value('"@method"'), "POST");
  assert.equal(value('"@request-target"'), "/a?b");
  assert.equal(value('"host"'), "example.org");
  assert.equal(value('"date"'), "");
  for (const component of ['"@authority"', '"@target-uri"', '"@path"', '"@query"', '"@scheme"', '"@status"']) {
    assert.equal(value(component), undefined, component);
  }
  for (const component of ['"@method";req', '"@request-target";req', '"host";req', '"none"']) {
    assert.equal(value(component), undefined, component);
  }
});
