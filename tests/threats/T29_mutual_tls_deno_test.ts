import assert from "node:assert/strict";
import { test } from "node:test";
import { type Authority, type Certificate, issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { ADAPTED } from "../runtime/launch.ts";
import { craftClient, headerOf, issueClient, past, thumbprintOf } from "../runtime/mtls_certificates.ts";
import { createMtlsLauncher, type MtlsServer, type MtlsServerName } from "../runtime/mtls_launch.ts";
import type { PeerAnswer } from "../runtime/programs/mtls_server.ts";

const ID = "spiffe://example.org/caller";
const OTHER = "spiffe://example.org/other";
const PROXY = "spiffe://example.org/proxy";
const VERSIONS = [["HTTP/2", true], ["HTTP/1.1", false]] as const;
/** What a client is told, or that the connection ended, where the server ends it without a word. */
const REFUSED = /CertificateRequired|fatal alert|close_notify|reset|broken pipe|connection (closed|error)/i;

for (const runtime of ADAPTED) {
  test(`T29 serve() with clientCerts on ${runtime} refuses in the handshake whoever has no valid certificate`, async () => {
    await using rig = await startRig(runtime);
    const { authority } = rig;
    const refused: Record<string, Certificate | undefined> = {
      "no certificate": undefined,
      "another authority": await issueClient(await makeCa("Somebody else"), [ID]),
      "an authority of the same name": await issueClient(await makeCa(), [ID]),
      "the authority's name and another key": await forge(authority),
      expired: await issueClient(authority, [ID], past()),
      "self-signed": await issueClient(undefined, [ID]),
      "for servers": await issueCertificate({ authority, uris: [ID] }),
      // The server's own chain is trusted by its clients, and its certificate is for no client.
      "the server's": rig.certificate,
    };
    for (const [version, http2] of VERSIONS) {
      for (const [name, certificate] of Object.entries(refused)) {
        await assert.rejects(rig.ask(http2, certificate), isRefusal, `${name} over ${version}`);
      }
    }
    const honest = await rig.ask(true, await issueClient(authority, [ID]));
    assert.equal(honest.count, 1, "no request of another reached the server");
  });

  test(`T29 serve() with clientCerts on ${runtime} trusts nobody beside caCerts, whoever the runtime trusts`, async () => {
    const trusted = await makeCa("Trusted by the environment");
    const file = await Deno.makeTempFile();
    try {
      await Deno.writeTextFile(file, trusted.ca);
      await using rig = await startRig(runtime, { NODE_EXTRA_CA_CERTS: file, DENO_CERT: file });
      for (const [version, http2] of VERSIONS) {
        await assert.rejects(rig.ask(http2, await issueClient(trusted, [ID])), isRefusal, version);
      }
    } finally {
      await Deno.remove(file);
    }
  });

  test(`T29 serve() with clientCerts on ${runtime} gives the server the names that the certificate has, and no other`, async () => {
    await using rig = await startRig(runtime);
    const url = (value: string) => ({ type: "url", value }) as const;
    const injected = `x, URI:${ID}`;
    const cases: [readonly string[], Certificate][] = [
      [[ID], await issueClient(rig.authority, [ID])],
      [[ID, OTHER], await issueClient(rig.authority, [ID, OTHER])],
      [[], await issueClient(rig.authority, [])],
      [[], await craftClient(rig.authority)],
      // As text, each of these reads like a certificate of the caller (CVE-2021-44532).
      [[OTHER], await craftClient(rig.authority, [{ type: "dns", value: injected }, url(OTHER)])],
      [[], await craftClient(rig.authority, [{ type: "email", value: injected }])],
      [[], await craftClient(rig.authority, [url(OTHER), url(`${OTHER}, URI:${ID}`)])],
      [[], await craftClient(rig.authority, [url(`${ID}\0.example.net`)])],
    ];
    for (const [version, http2] of VERSIONS) {
      for (const [index, [ids, certificate]] of cases.entries()) {
        const expected = { thumbprint: thumbprintOf(certificate), ids, forwarded: false };
        assert.deepEqual((await rig.ask(http2, certificate)).peer, expected, `${index} over ${version}`);
      }
    }
  });

  test(`T29 serve() with clientCerts on ${runtime} believes Client-Cert from the configured proxy only`, async () => {
    await using rig = await startRig(runtime);
    const [stranger, proxy] = [await issueClient(rig.authority, [OTHER]), await issueClient(rig.authority, [PROXY])];
    const caller = await issueClient(rig.authority, [ID]);
    const headers = [["Client-Cert", headerOf(caller)], ["Client-Cert-Chain", headerOf(caller)]] as const;
    for (const [version, http2] of VERSIONS) {
      const strangers = await rig.ask(http2, stranger, headers);
      assert.deepEqual(strangers.peer?.ids, [OTHER], version);
      assert.equal(strangers.peer?.forwarded, false);
      assert.deepEqual(strangers.headers, [], "the server does not see the headers");
      const { peer, headers: seen } = await rig.ask(http2, proxy, headers);
      assert.deepEqual(peer, { thumbprint: thumbprintOf(caller), ids: [ID], forwarded: true }, version);
      assert.deepEqual(seen, []);
      assert.equal((await rig.ask(http2, proxy)).peer, null, "without the header it is nobody's call");
    }
  });

  test(`T29 serve() with clientCerts on ${runtime} refuses what a proxy passes on malformed or unverified`, async () => {
    await using rig = await startRig(runtime);
    const proxy = await issueClient(rig.authority, [PROXY]);
    const caller = headerOf(await issueClient(rig.authority, [ID]));
    const refused: Record<string, [number, ...string[]]> = {
      empty: [400, ""],
      "no certificate": [400, ":AQID:"],
      "not base64": [400, ":AQ ID:"],
      "without colons": [400, caller.slice(1, -1)],
      "with parameters": [400, `${caller};a=1`],
      "a list": [400, `${caller}, ${caller}`],
      "two headers": [400, caller, caller],
      "of another authority": [403, headerOf(await issueClient(await makeCa(), [ID]))],
      "under the authority's name with another key": [403, headerOf(await forge(rig.authority))],
      expired: [403, headerOf(await issueClient(rig.authority, [ID], past()))],
      "for servers": [403, headerOf(rig.certificate)],
    };
    for (const [version, http2] of VERSIONS) {
      for (const [name, [status, ...values]] of Object.entries(refused)) {
        const headers = values.map((value) => ["Client-Cert", value] as const);
        await assert.rejects(rig.ask(http2, proxy, headers), new StatusError(status), `${name} over ${version}`);
      }
    }
    assert.equal((await rig.ask(true, proxy)).count, 1, "none of them reached the server");
  });

  test(`T29 serve() without clientCerts on ${runtime} takes a header for no certificate`, async () => {
    await using rig = await startRig(runtime, {}, false);
    const caller = await issueClient(rig.authority, [ID]);
    const headers = [["Client-Cert", headerOf(caller)]] as const;
    for (const [, http2] of VERSIONS) assert.equal((await rig.ask(http2, caller, headers)).peer, null);
  });
}

interface Rig extends AsyncDisposable {
  readonly authority: Authority;
  readonly certificate: Certificate;
  /** Asks the server who it takes the client for. */
  ask(
    http2: boolean,
    identity: Certificate | undefined,
    headers?: readonly (readonly [string, string])[],
  ): Promise<PeerAnswer>;
}

/** A response with a status other than 200. */
class StatusError extends Error {
  constructor(status: number) {
    super(`Answered ${status}`);
    this.name = "StatusError";
  }
}

/** Without the identifier of the authority's key, so that nothing but the signature is wrong. */
async function forge(authority: Authority): Promise<Certificate> {
  return await craftClient({ ...authority, keys: (await makeCa()).keys }, [{ type: "url", value: ID }]);
}

function isRefusal(error: unknown): boolean {
  return error instanceof TypeError && error.cause instanceof Error && REFUSED.test(error.cause.message);
}

async function startRig(runtime: MtlsServerName, env: Record<string, string> = {}, asks = true): Promise<Rig> {
  await using starting = new AsyncDisposableStack();
  const authority = await makeCa();
  const certificate = await issueCertificate({ authority });
  const launcher = starting.use(await createMtlsLauncher());
  const clientCerts = { caCerts: [authority.ca], proxies: [PROXY] };
  const server: MtlsServer = await launcher.startServer(runtime, { ...certificate, ...asks && { clientCerts } }, env);
  starting.use(server);
  const running = starting.move();
  return {
    authority,
    certificate,
    async ask(http2, identity, headers = []) {
      using client = Deno.createHttpClient({
        caCerts: [authority.ca],
        http2,
        ...identity && { cert: identity.cert, key: identity.key },
      });
      const response = await fetch(`${server.url}/peer`, { client, headers: headers.map(([...pair]) => pair) });
      if (response.status === 200) return await response.json();
      assert.equal(await response.text(), "");
      throw new StatusError(response.status);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
