/** Why a proof, a token, a right or a trust bundle was refused: a closed list, which audit events use too. */
export type AuthReason =
  | "unsigned"
  | "malformed_signature"
  | "wrong_coverage"
  | "wrong_audience"
  | "stale"
  | "before_start"
  | "malformed_id"
  | "malformed_token"
  | "wrong_token"
  | "unknown_issuer"
  | "bad_token_signature"
  | "expired_token"
  | "bad_signature"
  | "bad_digest"
  | "replayed"
  | "replay_full"
  | "revoked"
  | "certificate_mismatch"
  | "malformed_chain"
  | "unknown_root"
  | "broken_chain"
  | "wider_right"
  | "expired_right"
  | "wrong_holder"
  | "wrong_right_audience"
  | "malformed_context"
  | "over_quota"
  | "not_allowed"
  | "argument_not_allowed"
  | "not_decided"
  | "audit_full"
  | "wrong_peer"
  | "wrong_exchange"
  | "malformed_session"
  | "unknown_session"
  | "session_required"
  | "signature_required"
  | "not_attested"
  | "rollback"
  | "malformed_bundle"
  | "malformed_key";

/** What is wrong with a proof, a token, a right or a trust bundle. */
export class AuthError extends Error {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "AuthError";
  /** Why it was refused. */
  readonly reason: AuthReason;

  /**
   * Makes the error.
   *
   * @param reason Why it was refused.
   * @param message What was found, in words that hold no token, no key and no value of one.
   * @param options The cause.
   */
  constructor(reason: AuthReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
