import assert from "node:assert/strict";
import { test } from "node:test";
import { issueCapability, range } from "../../src/auth/mod.ts";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { RUNTIMES } from "./launch.ts";
import { CLIENTS, createDomain, DOMAIN } from "./protected_domain.ts";
import { createProtectedLauncher } from "./protected_launch.ts";
import type { ProtectedPeer } from "./programs/protected_calls.ts";

test("prove() and protect() understand each other from every runtime to every runtime over TLS", async () => {
  const ca = await makeCa();
  const certificate = await issueCertificate({ authority: ca });
  const { authority, join, joinServer } = await createDomain();
  await using launcher = await createProtectedLauncher(["server", "client"]);
  await using stack = new AsyncDisposableStack();
  const peers: Record<string, ProtectedPeer> = {};
  for (const runtime of RUNTIMES) {
    const { id, ...member } = await joinServer(runtime);
    // A worker starts with its first call; its store is to have been there before, as a shared one is.
    const startedMsAgo = runtime === "workerd" ? 5_000 : 0;
    const input = { member, caller: CLIENTS, startedMsAgo, serving: { port: 0, ...certificate } };
    peers[runtime] = { id, url: stack.use(await launcher.startServer(runtime, input)).url };
  }
  const table: Record<string, Record<string, string>> = {};
  for (const runtime of RUNTIMES) {
    const id = `spiffe://${DOMAIN}/client/${runtime}`;
    const member = await join({ id, roles: ["tester"], attributes: { runtime } });
    const tools = { "guarded.v1/charge": { cents: range({ min: 1, max: 100 }) } };
    const right = (await issueCapability(authority, { holder: id, tools })).chain.reveal();
    const results = await launcher.runClient(runtime, { caCerts: [ca.ca], member, right, peers, streams: true });
    table[runtime] = Object.fromEntries(RUNTIMES.map((server) => [server, summary(results[server]!)]));
  }
  console.log("client \\ server");
  console.table(table);
  const all = Object.fromEntries(RUNTIMES.map((runtime) => [runtime, "44 ok"]));
  assert.deepEqual(table, Object.fromEntries(RUNTIMES.map((client) => [client, all])));
});

function summary(calls: Record<string, string>): string {
  const failed = Object.entries(calls).filter(([, result]) => result !== "ok");
  if (failed.length === 0) return `${Object.keys(calls).length} ok`;
  return failed.map(([name, result]) => `${name} ${result}`).join("; ");
}
