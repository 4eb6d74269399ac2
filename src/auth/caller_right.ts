import { AuthError } from "./auth_error.ts";
import type { VerifiedChain } from "./capability_chain.ts";
import type { Gate } from "./gate.ts";
import { SKEW_S } from "./message_signature.ts";
import type { RequestParts } from "./request_signature.ts";
import { CAPABILITY_SCHEME } from "./wire.ts";
import type { Workload } from "./wit.ts";

/**
 * The right that a caller shows: good in itself, now, here, for it, and for this method.
 *
 * @returns The right; undefined where it shows none.
 * @throws {AuthError} Why it is not good.
 */
export async function verifyRight(
  gate: Gate,
  parts: RequestParts,
  caller: Workload,
): Promise<VerifiedChain | undefined> {
  const value = parts.header("authorization");
  if (value == null) return undefined;
  if (!value.startsWith(CAPABILITY_SCHEME)) {
    throw new AuthError("malformed_chain", "Cannot accept the right: it is of another kind");
  }
  const chain = await gate.verifyChain(value.slice(CAPABILITY_SCHEME.length));
  if (chain.expiresAtMs <= gate.now() || chain.notBeforeMs > gate.now() + SKEW_S * 1_000) {
    throw new AuthError("expired_right", "Cannot accept the right: its time is over or has not come");
  }
  const { id, thumbprint } = chain.holder;
  if (id === undefined ? thumbprint !== caller.thumbprint : id !== caller.id) {
    throw new AuthError("wrong_holder", "Cannot accept the right: it is another's");
  }
  if (chain.audiences.some((audience) => audience !== gate.identity.id && !gate.addresses.has(audience))) {
    throw new AuthError("wrong_right_audience", "Cannot accept the right: it is for use elsewhere");
  }
  assertRightNotRevoked(gate, chain);
  return chain;
}

/** Refuses a right of which any token, or any who signed one, was revoked. */
export function assertRightNotRevoked({ identity, trust }: Gate, right: VerifiedChain): void {
  trust.assertNotRevoked(identity.trustDomain, { tokens: right.tokenIds });
  for (const { trustDomain, ...signer } of right.signers) trust.assertNotRevoked(trustDomain, signer);
}
