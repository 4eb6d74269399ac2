import { assertInTime, type ReadSignature, SKEW_S } from "../../src/auth/message_signature.ts";
import { AuthError, memoryReplay, type MemoryReplayOptions } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { because } from "./_messages.ts";
import { clock } from "./_world.ts";

function rig(options: MemoryReplayOptions = {}) {
  const now = clock();
  const store = memoryReplay({ now, ...options });
  const take = (nonce: string, { signer = "a", livesMs = 30_000 } = {}) =>
    store.take({ signer, nonce, expiresAtMs: now() + livesMs });
  return { now, store, take };
}

describe("memoryReplay()", () => {
  test("memoryReplay() takes a nonce once", () => {
    const { take } = rig();
    take("n");
    assert.throws(() => take("n"), because("replayed"));
    assert.throws(() => take("n", { livesMs: 60_000 }), because("replayed"), "whatever end it claims");
    take("m");
  });

  test("memoryReplay() keeps the nonces of signers apart", () => {
    const { take } = rig();
    take("n", { signer: "a" });
    take("n", { signer: "b" });
    assert.throws(() => take("n", { signer: "b" }), because("replayed"));
  });

  test("memoryReplay() remembers a nonce until it expires, and its place is free soon after", () => {
    const { now, take } = rig({ maxNonces: 1 });
    take("n", { livesMs: 65_000 });
    now.pass(64_999);
    assert.throws(() => take("n"), because("replayed"));
    assert.throws(() => take("m"), because("replay_full"));
    now.pass(5_001);
    take("m");
  });

  test("memoryReplay() refuses when it is full, forgets nobody, and still knows a replay", () => {
    const { take } = rig({ maxNonces: 3, maxNoncesPerSigner: 3 });
    for (const nonce of ["1", "2", "3"]) take(nonce);
    assert.throws(() => take("4"), because("replay_full"));
    assert.throws(() => take("4", { signer: "b" }), because("replay_full"));
    for (const nonce of ["1", "2", "3"]) assert.throws(() => take(nonce), because("replayed"));
  });

  test("memoryReplay() lets no signer fill the places of the others", () => {
    const { now, take } = rig({ maxNonces: 10, maxNoncesPerSigner: 2 });
    take("1");
    take("2", { livesMs: 60_000 });
    assert.throws(() => take("3"), because("replay_full"));
    take("3", { signer: "b" });
    now.pass(35_001); // the first has expired, the second has not
    take("3");
    assert.throws(() => take("4"), because("replay_full"));
  });

  test("memoryReplay() has a place again for every nonce that expired", () => {
    const { now, take } = rig({ maxNonces: 20, maxNoncesPerSigner: 10 });
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 10; i++) take(`${round}-${i}`, { livesMs: 1_000 * i });
      for (let i = 0; i < 10; i++) take(`${round}-${i}`, { signer: "b", livesMs: 3_000 * i });
      assert.throws(() => take("more"), because("replay_full"));
      now.pass(40_000);
    }
  });

  test("memoryReplay() says since when it has seen everything", () => {
    const { now, store } = rig();
    const madeAtMs = now();
    now.pass(10_000);
    assert.equal(store.sinceMs, madeAtMs);
  });

  test("memoryReplay() takes the first look for its beginning where a runtime shows no time before", () => {
    let nowMs = 0;
    const store = memoryReplay({ now: () => nowMs });
    nowMs = 5_000;
    assert.equal(store.sinceMs, 5_000);
    nowMs = 9_000;
    assert.equal(store.sinceMs, 5_000);
  });

  test("memoryReplay() holds 400,000 nonces and 200,000 of one signer", () => {
    const { take } = rig();
    for (let i = 0; i < 200_000; i++) take(`${i}`);
    assert.throws(() => take("more"), because("replay_full"));
    for (let i = 0; i < 200_000; i++) take(`${i}`, { signer: "b" });
    assert.throws(() => take("0", { signer: "c" }), because("replay_full"));
  });

  test("memoryReplay() never lets through twice what is in time twice", () => {
    const message = fc.record({ created: fc.integer({ min: -70, max: 10 }), life: fc.integer({ min: -1, max: 61 }) });
    fc.assert(
      fc.property(
        message,
        fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 12 }),
        ({ created, life }, waits) => {
          const now = clock();
          const store = memoryReplay({ now, maxNonces: 1 });
          const createdS = now() / 1_000 + created;
          const signature = { created: createdS, expires: createdS + life } as ReadSignature;
          let taken = 0;
          for (const waitMs of [...waits, 1_000, 1_000, 1_000]) {
            now.pass(waitMs);
            try {
              assertInTime(signature, now());
              store.take({ signer: "a", nonce: "n", expiresAtMs: (signature.expires + SKEW_S) * 1_000 });
              taken++;
            } catch (error) {
              assert.ok(error instanceof AuthError && ["stale", "replayed"].includes(error.reason));
            }
          }
          assert.ok(taken <= 1, `taken ${taken} times`);
        },
      ),
      { numRuns: 300 },
    );
  });
});
