// Somebody answers in the server's place, with a certificate that is not the server's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { RUNTIMES } from "../runtime/launch.ts";
import { createWebSocketLauncher } from "../runtime/websocket_launch.ts";

const HOUR_MS = 3_600_000;

test("T3.3 T21 T29 createWebSocket() on every runtime opens to no server with a bad certificate, beside an honest one", async () => {
  const [authority, unknown] = [await makeCa(), await makeCa("Somebody else")];
  const past = { notBefore: new Date(Date.now() - 2 * HOUR_MS), notAfter: new Date(Date.now() - HOUR_MS) };
  const certificates = {
    "wrong host": await issueCertificate({ authority, names: ["example.com", "127.0.0.2"] }),
    expired: await issueCertificate({ authority, ...past }),
    "self-signed": await issueCertificate(),
    "unknown authority": await issueCertificate({ authority: unknown }),
  };
  await using launcher = await createWebSocketLauncher();
  await using stack = new AsyncDisposableStack();
  const answered: string[] = [];
  const call: Record<string, string> = {
    honest: stack.use(await launcher.startServer("deno", await issueCertificate({ authority }))).url,
  };
  for (const [name, certificate] of Object.entries(certificates)) {
    const options = { ...certificate, hostname: "127.0.0.1", port: 0, onListen() {} };
    const server = Deno.serve(options, (request) => {
      answered.push(`${name} ${request.url}`);
      return new Response(null, { status: 204 });
    });
    stack.defer(() => server.shutdown());
    call[name] = `https://localhost:${server.addr.port}`;
  }
  for (const runtime of RUNTIMES) {
    const { honest, ...others } = await launcher.runClient(runtime, { caCerts: [authority.ca], call });
    assert.equal(honest, "ok", runtime);
    for (const [name, outcome] of Object.entries(others)) {
      assert.match(outcome, /^failed: \w*Error: Cannot reach the server$/, `${runtime} ${name}`);
    }
    assert.equal(Object.keys(others).length, 4);
  }
  assert.deepEqual(answered, [], "a request went to a server with a bad certificate");
});
