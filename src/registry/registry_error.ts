/** Why a record or a registry was refused: a closed list, which audit events use too. */
export type RegistryReason =
  | "malformed_record"
  | "wrong_namespace"
  | "wrong_domain"
  | "wrong_service"
  | "not_serving"
  | "wrong_endpoint"
  | "wrong_region"
  | "expired_record"
  | "not_yet_valid"
  | "rollback"
  | "too_many"
  | "refused"
  | "unreachable"
  | "read_only"
  | "insecure";

/** What is wrong with a record, or with a registry. */
export class RegistryError extends Error {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "RegistryError";
  /** Why it was refused. */
  readonly reason: RegistryReason;

  /**
   * Makes the error.
   *
   * @param reason Why it was refused.
   * @param message What was found, in words that hold no token and no credential.
   * @param options The cause.
   */
  constructor(reason: RegistryReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
