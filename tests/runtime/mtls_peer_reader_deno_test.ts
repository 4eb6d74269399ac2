import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { PEER_CERTIFICATE } from "../../src/rpc/mod.ts";
import { createFetch, serve } from "../../src/runtime/deno.ts";
import { listenOnNode } from "../../src/runtime/node_listener.ts";
import { type CertifiedSocket, createPeerReader } from "../../src/runtime/peer_reader.ts";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { mustCome } from "../_patience.ts";
import { craftClient, derOf, headerOf, issueClient, past, thumbprintOf } from "./mtls_certificates.ts";

const DAY_MS = 86_400_000;
const ID = "spiffe://example.org/caller";
const PROXY = "spiffe://example.org/proxy";

const socketOf = (certificate: { readonly cert: string }): CertifiedSocket => {
  const raw = derOf(certificate);
  return { authorized: true, getPeerCertificate: () => ({ raw }) };
};

test("createPeerReader() refuses a certificate that expired while its connection stayed open", async () => {
  const authority = await makeCa();
  let now = Date.now();
  const read = createPeerReader({ caCerts: [authority.ca] }, () => now);
  const socket = socketOf(await issueClient(authority, [ID]));
  assert.deepEqual(Reflect.get(read(socket, new Headers()), "info")[PEER_CERTIFICATE].ids, [ID]);
  now += 31 * DAY_MS;
  assert.deepEqual(read(socket, new Headers()), { refused: 403 });
  now -= 33 * DAY_MS;
  assert.deepEqual(read(socket, new Headers()), { refused: 403 }, "not valid yet");
});

test("createPeerReader() refuses a connection without a certificate, or with one that nobody verified", async () => {
  const authority = await makeCa();
  const read = createPeerReader({ caCerts: [authority.ca] });
  const { getPeerCertificate } = socketOf(await issueClient(authority, [ID]));
  const sockets: CertifiedSocket[] = [
    {},
    { authorized: true },
    { authorized: true, getPeerCertificate: () => ({}) },
    { authorized: true, getPeerCertificate: () => ({ raw: Uint8Array.of(0x30, 0x00) }) },
    { authorized: false, getPeerCertificate },
    { getPeerCertificate },
    {
      authorized: true,
      getPeerCertificate() {
        throw new Error("The session is gone");
      },
    },
  ];
  for (const socket of sockets) assert.deepEqual(read(socket, new Headers()), { refused: 403 });
});

test("createPeerReader() takes the headers of RFC 9440 off a request, whoever sent them", async () => {
  const authority = await makeCa();
  const certificate = await issueClient(authority, [ID]);
  for (const id of [ID, PROXY]) {
    const read = createPeerReader({ caCerts: [authority.ca], proxies: [PROXY] });
    const headers = new Headers({
      "Client-Cert": headerOf(certificate),
      "Client-Cert-Chain": ":AQID:",
      other: "stays",
    });
    const outcome = read(socketOf(await issueClient(authority, [id])), headers);
    assert.equal(Reflect.get(outcome, "info")[PEER_CERTIFICATE].forwarded, id === PROXY);
    assert.deepEqual([...headers.keys()], ["other"]);
  }
});

test("createPeerReader() takes no one for a proxy who has another URI beside the proxy's", async () => {
  const authority = await makeCa();
  const read = createPeerReader({ caCerts: [authority.ca], proxies: [PROXY] });
  const forwarded = headerOf(await issueClient(authority, [ID]));
  for (const ids of [[PROXY, ID], [ID, PROXY], []]) {
    const outcome = read(socketOf(await issueClient(authority, ids)), new Headers({ "Client-Cert": forwarded }));
    assert.deepEqual(Reflect.get(outcome, "info")[PEER_CERTIFICATE].ids, ids);
  }
});

test("createPeerReader() checks what a proxy passes on: who signed it, its dates and its purpose", async () => {
  const [authority, callers] = [await makeCa(), await makeCa("Callers")];
  let now = Date.now();
  const proxies = [PROXY];
  const [self, nobody] = [await issueClient(undefined, [ID]), await craftClient(callers)];
  const forwardedCaCerts = [callers.ca + self.cert, nobody.cert];
  const read = createPeerReader({ caCerts: [authority.ca], proxies, forwardedCaCerts }, () => now);
  const late = { notAfter: new Date(now + 60 * DAY_MS) };
  const proxy = socketOf(await issueClient(authority, [PROXY], late));
  const pass = (certificate: { readonly cert: string }) =>
    read(proxy, new Headers({ "Client-Cert": headerOf(certificate) }));
  const good = await issueClient(callers, [ID], late);
  assert.deepEqual(pass(good), {
    info: { [PEER_CERTIFICATE]: { thumbprint: thumbprintOf(good), ids: [ID], forwarded: true } },
  });
  const refused = {
    "another authority": await issueClient(authority, [ID]),
    "an authority of the same name": await issueClient(await makeCa("Callers"), [ID]),
    expired: await issueClient(callers, [ID], past()),
    "for servers": await issueCertificate({ authority: callers, uris: [ID] }),
    "of the authority's key under another name": await issueClient({ ...callers, subject: "CN=Nobody" }, [ID]),
    "under the authority's name with another key": await craftClient({ ...callers, keys: nobody.keys }),
    "self-signed, and listed like an authority": self,
    "signed by what is no authority": await craftClient({ ca: nobody.cert, ...nobody }),
    "the authority itself": { cert: callers.ca },
  };
  for (const [name, certificate] of Object.entries(refused)) {
    assert.deepEqual(pass(certificate), { refused: 403 }, name);
  }
  assert.equal(Reflect.get(pass(good), "info")[PEER_CERTIFICATE].forwarded, true, "remembered");
  now += 40 * DAY_MS;
  assert.deepEqual(pass(good), { refused: 403 }, "signed by an authority that has expired");
});

test("createPeerReader() remembers what a proxy passed on, 256 at most, for as long as it is valid", async (t) => {
  const authority = await makeCa();
  let now = Date.now();
  const read = createPeerReader({ caCerts: [authority.ca], proxies: [PROXY] }, () => now);
  const proxy = socketOf(await issueClient(authority, [PROXY]));
  const verify = t.mock.method(X509Certificate.prototype, "verify", X509Certificate.prototype.verify);
  const pass = (header: string) => read(proxy, new Headers({ "Client-Cert": header })).refused;
  const dates = { notAfter: new Date(now + DAY_MS) };
  const headers: string[] = [];
  for (let i = 0; i < 257; i++) headers.push(headerOf(await issueClient(authority, [ID], dates)));
  for (const header of headers) assert.equal(pass(header), undefined);
  assert.equal(verify.mock.callCount(), 257);
  assert.equal(pass(headers[256]), undefined);
  assert.equal(verify.mock.callCount(), 257, "the last is remembered");
  assert.equal(pass(headers[0]), undefined);
  assert.equal(verify.mock.callCount(), 258, "the first is not");
  now += 2 * DAY_MS;
  assert.equal(pass(headers[256]), 403);
});

test("createPeerReader() takes a proxy's request without the header for nobody's", async () => {
  const authority = await makeCa();
  const read = createPeerReader({ caCerts: [authority.ca], proxies: [PROXY] });
  assert.deepEqual(read(socketOf(await issueClient(authority, [PROXY])), new Headers()), { info: {} });
});

test("serve() refuses clientCerts without an authority, which would let in whoever a public one vouches for", async () => {
  const certificate = await issueCertificate();
  const caCerts = [(await makeCa()).ca];
  const unreadable = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  for (
    const clientCerts of [
      {},
      { caCerts: [] },
      { caCerts: caCerts[0] },
      { caCerts: ["ca.pem"] },
      { caCerts: [7] },
      { caCerts: [unreadable] },
      { caCerts: [caCerts[0] + unreadable] },
      { caCerts, forwardedCaCerts: [] },
      { caCerts, proxies: PROXY },
      { caCerts, proxies: [""] },
    ]
  ) {
    const serving = serve({ fetch: () => new Response() }, { ...certificate, port: 0, clientCerts } as never);
    await assert.rejects(serving, /^TypeError: Cannot ask for certificates: /, JSON.stringify(clientCerts));
  }
});

test("createFetch() refuses a certificate without its key, a key without its certificate, and what is no PEM", async () => {
  const { cert, key } = await issueClient(undefined, [ID]);
  for (const options of [{ cert }, { key }, { cert: "client.pem", key }, { cert, key: "" }, { cert: key, key: cert }]) {
    assert.throws(() => createFetch(options), /^TypeError: Cannot show a certificate: "(cert|key)" must be/);
  }
});

test("listenOnNode() closes an HTTP/1.1 connection that carries nothing for silentMs", async () => {
  const certificate = await issueCertificate();
  const options = { ...certificate, hostname: "127.0.0.1", port: 0, drainMs: 0 };
  const listener = await listenOnNode(options, { answer: () => Promise.resolve(new Response()) }, { silentMs: 50 });
  const where = {
    hostname: "127.0.0.1",
    port: listener.port,
    caCerts: [certificate.cert],
    alpnProtocols: ["http/1.1"],
  };
  using connection = await Deno.connectTls(where);
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\n"));
  const end = connection.read(new Uint8Array(1)).catch(() => null);
  assert.equal(await mustCome(end, "the end of the connection"), null);
  await listener.close();
});
