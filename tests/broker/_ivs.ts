import { newEpochKey } from "../../src/broker/encryption/epoch_key.ts";
import { encryptData } from "../../src/broker/encryption/event_encryption.ts";
import assert from "node:assert/strict";

/** Encrypts some thousands of messages, and expects an IV of its own for each. */
export async function assertIvs(count: number): Promise<void> {
  const of = { topic: "orders.v1.placed", publisher: "spiffe://example.org/orders", id: "e1" };
  const epoch = await newEpochKey(of);
  const all = new Set<string>();
  for (let made = 0; made < count; made += 1_000) {
    const texts = await Promise.all(Array.from({ length: 1_000 }, () => encryptData(epoch, of, "")));
    for (const text of texts) all.add(text.split(".")[2]!);
  }
  assert.equal(all.size, count);
}
