import fc from "fast-check";
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { readCertificate } from "../../src/runtime/certificate.ts";
import { readClientCert } from "../../src/runtime/client_cert_header.ts";
import { readDer } from "../../src/runtime/der.ts";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { craftClient, derOf, issueClient } from "./mtls_certificates.ts";

const ID = "spiffe://example.org/a";

test("readCertificate() reads the URIs, dates and purpose that node:crypto reads", async () => {
  const authority = await makeCa();
  const ids = [ID, "https://example.org/b?c=d,e#f"];
  const certificate = await issueClient(authority, ids);
  const { validFrom, validTo } = new X509Certificate(certificate.cert);
  assert.deepEqual(readCertificate(derOf(certificate)), {
    ids,
    forClients: true,
    notBeforeMs: Date.parse(validFrom),
    notAfterMs: Date.parse(validTo) + 999,
  });
  assert.equal(readCertificate(derOf(await issueCertificate({ authority })))?.forClients, false);
  assert.deepEqual(readCertificate(derOf({ cert: authority.ca }))?.ids, []);
  assert.equal(readCertificate(derOf({ cert: authority.ca }))?.forClients, true, "it does not say what it is for");
});

test("readCertificate() reads dates of both kinds", async () => {
  const dates = { notBefore: new Date("1999-12-31T23:59:59Z"), notAfter: new Date("2051-01-02T03:04:05Z") };
  const fields = readCertificate(derOf(await issueClient(undefined, [ID], dates)));
  assert.deepEqual([fields?.notBeforeMs, fields?.notAfterMs], [+dates.notBefore, +dates.notAfter + 999]);
});

test("readCertificate() gives no name of a certificate with a URI that is not plain", async () => {
  const authority = await makeCa();
  for (
    const odd of [
      "spiffe://example.org/x, URI:spiffe://example.org/y",
      "spiffe://example.org/x\nURI:spiffe://example.org/y",
      "spiffe://example.org/x\0",
      '"spiffe://example.org/x"',
      "spiffe://example.org/\\u002c",
      "spiffe:",
      "no scheme",
      "",
    ]
  ) {
    const { cert } = await craftClient(authority, [{ type: "url", value: ID }, { type: "url", value: odd }]);
    assert.deepEqual(readCertificate(derOf({ cert }))?.ids, [], JSON.stringify(odd));
  }
});

test("readCertificate() takes nothing in another kind of name for a URI", async () => {
  const authority = await makeCa();
  for (const type of ["dns", "email"] as const) {
    const injected = { type, value: "x, URI:spiffe://example.org/admin" };
    const { cert } = await craftClient(authority, [injected, { type: "url", value: ID }]);
    assert.deepEqual(readCertificate(derOf({ cert }))?.ids, [ID], type);
  }
});

test("readCertificate() refuses a certificate with the same extension twice", async () => {
  const names = ["a", "b"].map((name) => [{ type: "url" as const, value: `spiffe://example.org/${name}` }]);
  const certificate = await craftClient(await makeCa(), ...names);
  assert.equal(readCertificate(derOf(certificate)), undefined);
});

test("readCertificate() refuses what is cut short or followed by more, and survives any change", async () => {
  const der = derOf(await issueClient(await makeCa(), [ID]));
  for (let length = 0; length < der.length; length++) {
    assert.equal(readCertificate(der.subarray(0, length)), undefined, String(length));
  }
  assert.equal(readCertificate(Uint8Array.of(...der, 0x05, 0x00)), undefined);
  const change = fc.tuple(fc.nat(der.length - 1), fc.nat(255));
  fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
    const changed = der.slice();
    for (const [at, value] of changes) changed[at] = value;
    const fields = readCertificate(changed);
    return fields === undefined || fields.ids.length <= 1;
  }));
});

test("readDer() refuses lengths that are not DER", () => {
  const refused = [[0x30], [0x30, 0x80, 0, 0], [0x30, 0x81, 0x01, 0x00], [0x30, 0x82, 0x00, 0x80, 0x00]];
  for (const bytes of [...refused, [0x30, 0x02, 0x00], [0x30, 0x83, 0, 0, 0], [0x3f, 0x01, 0x00], [0x30, 0x82, 0x01]]) {
    assert.equal(readDer(Uint8Array.from(bytes)), undefined, String(bytes));
  }
  assert.equal(readDer(Uint8Array.of(0x04, 0x81, 0x80, ...new Uint8Array(128)))?.[0].contents.length, 128);
});

test("readClientCert() reads one byte sequence of RFC 8941 and nothing else", () => {
  assert.deepEqual(readClientCert(":AQID:"), Uint8Array.of(1, 2, 3));
  const refused = ["", "::", "AQID", ":AQID", "AQID:", ":AQID:, :AQID:", ":AQID:;a=1", ":AQ ID:", ":AQI:", ":AQJ=:"];
  for (const value of [...refused, ":AQ-_:", ': "AQID" :', "?1", ":====:"]) {
    assert.equal(readClientCert(value), undefined, value);
  }
});
