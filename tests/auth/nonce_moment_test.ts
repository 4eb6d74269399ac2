import { newNonce, readMessageSignature } from "../../src/auth/message_signature.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

const CREATED = 1_800_000_000;

/** The moment that a signature with the nonce was made, as a reader has it. */
function momentOf(nonce: string): number {
  const terms = `created=${CREATED};expires=${CREATED + 30};nonce="${nonce}";tag="wimse-workload-to-workload"`;
  return readMessageSignature(`a=("@method");${terms}`, `a=:${"A".repeat(86)}==:`, []).createdMs;
}

test("newNonce() says the moment, and stays one of a kind", () => {
  const nonces = Array.from({ length: 100 }, () => newNonce(CREATED * 1_000 + 345.6));
  for (const nonce of nonces) assert.match(nonce, /^t1800000000345-[A-Za-z0-9_-]{22}$/);
  assert.equal(new Set(nonces).size, 100);
});

test("readMessageSignature() knows the moment from the nonce, within the second that is signed", () => {
  for (const ms of [0, 1, 999]) assert.equal(momentOf(newNonce(CREATED * 1_000 + ms)), CREATED * 1_000 + ms);
});

for (
  const [name, nonce] of [
    ["says nothing", newNonce()],
    ["says the second before", newNonce(CREATED * 1_000 - 1)],
    ["says the second after", newNonce(CREATED * 1_000 + 1_000)],
    ["says it in another form", `t${CREATED * 1_000 + 5}-abc`],
    ["says it with a digit more", newNonce(CREATED * 10_000)],
  ] as const
) {
  test(`readMessageSignature() takes the start of the second where the nonce ${name}`, () => {
    assert.equal(momentOf(nonce), CREATED * 1_000);
  });
}
