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

for (const event of ["call.refuse", "record.refuse"]) {
  test(`record() leaves room for others beside 10,000 of "${event}" of nobody`, async () => {
    const { publicKey, sign } = await generateKey();
    const signer = { id: "spiffe://example.org/echo", publicKey, sign };
    const log = auditLog({ write: () => new Promise(() => {}) }, { signer, maxQueuedEvents: 1_000, whenFull: "count" });
    for (let at = 0; at < 10_000; at++) log.record({ event, reason: "malformed", fields: { service: "shop.v1" } });
    assert.equal(log.lost, 9_500);
    const lost = log.lost;
    for (let at = 0; at < 400; at++) log.record({ event: "call.accept", caller: "spiffe://example.org/web" });
    for (let at = 0; at < 99; at++) log.record({ event, reason: "denied", caller: "spiffe://example.org/web" });
    assert.equal(log.lost, lost, "what is of somebody finds room");
    assert.equal(log.size, 1_000, "one entry says how many were lost");
  });
}

test("record() leaves all of the queue to what nobody caused and is no refusal", async () => {
  const { publicKey, sign } = await generateKey();
  const signer = { id: "spiffe://example.org/echo", publicKey, sign };
  const log = auditLog({ write: () => new Promise(() => {}) }, { signer, maxQueuedEvents: 6 });
  for (let at = 0; at < 6; at++) log.record({ event: "record.refuse.end" });
  assert.equal(log.lost, 0);
  assert.throws(() => log.record({ event: "record.refuse.end" }), { code: "full" });
});
