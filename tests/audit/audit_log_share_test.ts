import { auditLog } from "../../src/audit/mod.ts";
import { generateKey } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

test("record() leaves half of the queue to those who proved who they are", async () => {
  const { publicKey, sign } = await generateKey();
  const signer = { id: "spiffe://example.org/echo", publicKey, sign };
  const log = auditLog({ write: () => new Promise(() => {}) }, { signer, maxQueuedEvents: 6 });
  const stranger = { event: "call.refuse", reason: "unsigned" };
  for (let at = 0; at < 3; at++) log.record(stranger);
  assert.throws(() => log.record(stranger), { code: "full" });
  for (let at = 0; at < 2; at++) log.record({ ...stranger, caller: "spiffe://example.org/web" });
  assert.deepEqual([log.size, log.lost], [6, 1], "one of them says that one was lost");
});
