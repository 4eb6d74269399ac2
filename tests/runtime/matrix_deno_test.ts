import assert from "node:assert/strict";
import { test } from "node:test";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { createLauncher, RUNTIMES } from "./launch.ts";

test("createFetch() and serve() carry every call from every runtime to every runtime over TLS", async () => {
  const authority = await makeCa();
  const certificate = await issueCertificate({ authority });
  await using launcher = await createLauncher();
  await using stack = new AsyncDisposableStack();
  const call: Record<string, string> = {};
  for (const runtime of RUNTIMES) {
    call[runtime] = stack.use(await launcher.startServer(runtime, certificate)).url;
  }
  const table: Record<string, Record<string, string>> = {};
  for (const client of RUNTIMES) {
    const results = (await launcher.runClient(client, { caCerts: [authority.ca], call })).call;
    table[client] = Object.fromEntries(RUNTIMES.map((server) => [server, summary(results[server])]));
  }
  console.log("client \\ server");
  console.table(table);
  const all = Object.fromEntries(RUNTIMES.map((runtime) => [runtime, "ok"]));
  assert.deepEqual(table, Object.fromEntries(RUNTIMES.map((client) => [client, all])));
});

function summary(calls: Record<string, string>): string {
  const failed = Object.entries(calls).filter(([, result]) => result !== "ok");
  return failed.length === 0 ? "ok" : failed.map(([name, result]) => `${name} ${result}`).join("; ");
}
