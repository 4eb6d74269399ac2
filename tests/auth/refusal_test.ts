import { AuthError, type AuthReason } from "../../src/auth/mod.ts";
import { reasonOf, refusalOf } from "../../src/auth/refusal.ts";
import { ProveAgainError, type RpcCode, RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const UNBELIEVED = ["unauthenticated", "Cannot authenticate the caller"] as const;
const FORBIDDEN = ["permission_denied", "Cannot call this method"] as const;
const BUSY = ["unavailable", "The server cannot take more calls at the moment"] as const;

const told: Readonly<Partial<Record<AuthReason, readonly [RpcCode, string]>>> = {
  unsigned: UNBELIEVED,
  malformed_signature: UNBELIEVED,
  wrong_coverage: UNBELIEVED,
  wrong_audience: UNBELIEVED,
  stale: UNBELIEVED,
  malformed_id: UNBELIEVED,
  malformed_token: UNBELIEVED,
  wrong_token: UNBELIEVED,
  unknown_issuer: UNBELIEVED,
  bad_token_signature: UNBELIEVED,
  expired_token: UNBELIEVED,
  bad_signature: UNBELIEVED,
  bad_digest: UNBELIEVED,
  replayed: UNBELIEVED,
  revoked: UNBELIEVED,
  certificate_mismatch: UNBELIEVED,
  malformed_context: UNBELIEVED,
  malformed_chain: FORBIDDEN,
  unknown_root: FORBIDDEN,
  broken_chain: FORBIDDEN,
  wider_right: FORBIDDEN,
  expired_right: FORBIDDEN,
  wrong_holder: FORBIDDEN,
  wrong_right_audience: FORBIDDEN,
  not_allowed: FORBIDDEN,
  argument_not_allowed: FORBIDDEN,
  before_start: ["unavailable", "The server has just started, prove the call again"],
  replay_full: BUSY,
  audit_full: BUSY,
  over_quota: ["resource_exhausted", "Too many calls of this caller are under way"],
};

describe("refusalOf()", () => {
  for (const [reason, [code, message]] of Object.entries(told)) {
    test(`refusalOf() says ${code} where the reason is ${reason}, and keeps the reason for the log`, () => {
      const error = new AuthError(reason as AuthReason, "Cannot say this to anyone");
      const refusal = refusalOf(error, false);
      assert.deepEqual([refusal.code, refusal.message], [code, message]);
      assert.equal(refusal instanceof ProveAgainError, reason === "before_start");
      assert.equal(refusal.cause, error);
      assert.equal(reasonOf(error), reason);
    });
  }

  test("refusalOf() says of a caller that is believed only what it may not", () => {
    for (const reason of ["bad_token_signature", "expired_token", "malformed_token", "unknown_issuer"] as const) {
      assert.equal(refusalOf(new AuthError(reason, "Cannot"), true).code, "permission_denied");
    }
    assert.equal(refusalOf(new AuthError("replay_full", "Cannot"), true).code, "unavailable");
  });

  test("refusalOf() passes an RpcError on as it is", () => {
    const error = new RpcError("not_found", "There is none");
    assert.equal(refusalOf(error, false), error);
    assert.equal(reasonOf(error), "not_found");
  });

  test("refusalOf() says nothing of anything else", () => {
    for (const thrown of [new TypeError("x"), null, undefined, "x", { code: "not_found" }]) {
      assert.deepEqual([refusalOf(thrown, false).code, refusalOf(thrown, false).message], [
        "internal",
        "The call failed inside the service",
      ]);
      assert.equal(refusalOf(thrown, false).cause, thrown);
      assert.equal(reasonOf(thrown), "internal");
    }
  });
});
