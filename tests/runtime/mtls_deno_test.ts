import assert from "node:assert/strict";
import { test } from "node:test";
import { type Certificate, issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { mustCome } from "../_patience.ts";
import { ADAPTED, RUNTIMES } from "./launch.ts";
import { thumbprintOf } from "./mtls_certificates.ts";
import { createMtlsLauncher } from "./mtls_launch.ts";

const LARGE_BYTES = 6_000_000;
const IDS = ["spiffe://example.org/one", "spiffe://example.org/two"] as const;

test("createFetch() shows its own certificate from every runtime to serve() with clientCerts on every runtime", async () => {
  const authority = await makeCa();
  const certificate = await issueCertificate({ authority });
  const identities = await Promise.all(
    IDS.map((id) => issueCertificate({ authority, usages: ["client"], uris: [id] })),
  );
  const peers = identities.map(({ cert }, index) => ({ thumbprint: thumbprintOf({ cert }), ids: [IDS[index]] }));
  await using launcher = await createMtlsLauncher();
  await using stack = new AsyncDisposableStack();
  const urls: Record<string, string> = {};
  const caCerts = [(await makeCa("Another")).ca + authority.ca]; // two in one text, as files of authorities are
  for (const runtime of ADAPTED) {
    const options = { ...certificate, clientCerts: { caCerts } };
    urls[runtime] = stack.use(await launcher.startServer(runtime, options)).url;
  }
  for (const client of RUNTIMES) {
    // Each shows none too, so that a connection of one identity that served another would be seen. workerd has only one.
    const shown: Partial<Certificate>[] = client === "workerd" ? identities.slice(0, 1) : [...identities, {}];
    const input = { caCerts: [authority.ca], identities: shown, urls };
    const { peers: seen, failed } = await launcher.runClient(client, input);
    for (const server of ADAPTED) {
      const expected = shown.map(({ cert }, index) => cert ? { ...peers[index], forwarded: false } : "refused");
      assert.deepEqual(seen[server].map((text) => text === "refused" ? text : JSON.parse(text).peer), expected);
      assert.deepEqual(failed[server], [], `${client} to ${server}`);
    }
  }
});

for (const runtime of ADAPTED) {
  test(`serve() with clientCerts on ${runtime} takes and returns a large body over HTTP/2`, async () => {
    const authority = await makeCa();
    await using launcher = await createMtlsLauncher();
    const options = { ...await issueCertificate({ authority }), clientCerts: { caCerts: [authority.ca] } };
    await using server = await launcher.startServer(runtime, options);
    const identity = await issueCertificate({ authority, usages: ["client"] });
    using client = Deno.createHttpClient({ caCerts: [authority.ca], ...identity });
    // A stream, because a body that is known to be there would be sent in other pieces.
    const body = new Blob([new Uint8Array(LARGE_BYTES)]).stream();
    const response = await mustCome(fetch(server.url, { method: "POST", body, client }), "the response");
    assert.equal((await mustCome(response.arrayBuffer(), "its body")).byteLength, LARGE_BYTES);
  });
}
