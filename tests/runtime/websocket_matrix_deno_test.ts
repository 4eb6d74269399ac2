import assert from "node:assert/strict";
import { test } from "node:test";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { RUNTIMES } from "./launch.ts";
import { createWebSocketLauncher } from "./websocket_launch.ts";

test("createWebSocket() and serve() carry calls and streams from every runtime to every runtime over wss", async () => {
  const authority = await makeCa();
  const certificate = await issueCertificate({ authority });
  await using launcher = await createWebSocketLauncher();
  await using stack = new AsyncDisposableStack();
  const call: Record<string, string> = {};
  for (const runtime of RUNTIMES) {
    call[runtime] = stack.use(await launcher.startServer(runtime, certificate)).url;
  }
  const table: Record<string, Record<string, string>> = {};
  for (const client of RUNTIMES) table[client] = await launcher.runClient(client, { caCerts: [authority.ca], call });
  console.table(table);
  const all = Object.fromEntries(RUNTIMES.map((runtime) => [runtime, "ok"]));
  assert.deepEqual(table, Object.fromEntries(RUNTIMES.map((client) => [client, all])));
});
