import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCanaryRefused, isUntrustedCode } from "../../src/runtime/canary.ts";
import { CANARY_CERTIFICATE, CANARY_KEY_NOT_A_SECRET } from "../../src/runtime/canary_certificate.ts";
import { assertCertificateVerification } from "../../src/runtime/deno.ts";
import { issueCertificate } from "../../tools/dev_ca.ts";

const fix = "switch it on";

function listenTls(certificate: { cert: string; key: string }): { port: number; close(): Promise<void> } {
  const server = Deno.serve({ ...certificate, hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response());
  return { port: server.addr.port, close: () => server.shutdown() };
}

const canary = { cert: CANARY_CERTIFICATE, key: CANARY_KEY_NOT_A_SECRET };

test("assertCertificateVerification() passes where verification is on", async () => {
  await assertCertificateVerification();
});

test("assertCanaryRefused() passes only an error that the runtime calls a refused certificate", async () => {
  let asked: unknown;
  const refusedCertificate = (error: unknown) => (asked = error, true);
  await assertCanaryRefused({ listen: () => listenTls(canary), refusedCertificate, fix });
  assert.ok(asked instanceof Error);
  const runtime = { listen: () => listenTls(canary), refusedCertificate: () => false, fix };
  await assert.rejects(assertCanaryRefused(runtime), /^Error: Cannot check .+ a reason other than the certificate/);
});

test("assertCanaryRefused() throws when nothing answers", async () => {
  const listen = async () => {
    const gone = listenTls(canary);
    await gone.close();
    return { port: gone.port, close() {} };
  };
  const runtime = { listen, refusedCertificate: isDenoRefusal, fix };
  await assert.rejects(assertCanaryRefused(runtime), /^Error: Cannot check .+ a reason other than the certificate/);
});

test("assertCanaryRefused() throws when the listener does not start", async () => {
  const listen = () => Promise.reject(new Error("no listener"));
  const runtime = { listen, refusedCertificate: isDenoRefusal, fix };
  await assert.rejects(assertCanaryRefused(runtime), /^Error: Cannot check .+ no listener/);
});

test("assertCanaryRefused() throws when the fetch succeeds", async (t) => {
  t.mock.method(globalThis, "fetch", () => Promise.resolve(new Response("accepted")));
  const runtime = { listen: () => listenTls(canary), refusedCertificate: isDenoRefusal, fix };
  await assert.rejects(assertCanaryRefused(runtime), /^Error: Certificate verification is off: .+; switch it on$/);
});

test("isUntrustedCode() reads the code of an error or of its cause, and no other code", () => {
  const coded = (code: string, cause?: unknown) => Object.assign(new Error("", { cause }), { code });
  assert.equal(isUntrustedCode(coded("DEPTH_ZERO_SELF_SIGNED_CERT")), true);
  assert.equal(isUntrustedCode(new TypeError("fetch failed", { cause: coded("SELF_SIGNED_CERT_IN_CHAIN") })), true);
  for (const code of ["ECONNREFUSED", "CERT_HAS_EXPIRED", "ERR_TLS_CERT_ALTNAME_INVALID", ""]) {
    assert.equal(isUntrustedCode(coded(code)), false, code);
  }
  assert.equal(isUntrustedCode("DEPTH_ZERO_SELF_SIGNED_CERT"), false);
});

test("the canary's certificate is good but for its signer", async () => {
  // Trusted, it would be accepted: neither its host nor its dates are a reason to refuse it.
  using client = Deno.createHttpClient({ caCerts: [CANARY_CERTIFICATE] });
  const server = listenTls(canary);
  const response = await fetch(`https://127.0.0.1:${server.port}`, { client });
  await response.body?.cancel();
  assert.equal(response.status, 200);
  await server.close();
  assert.notEqual((await issueCertificate()).cert, CANARY_CERTIFICATE);
});

function isDenoRefusal(error: unknown): boolean {
  return error instanceof Error &&
    String((error.cause as Error | undefined)?.message).includes("invalid peer certificate");
}
