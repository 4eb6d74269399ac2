/** Why a message, a subscription or a broker was refused: a closed list, which audit events use too. */
export type BrokerReason =
  | "malformed_event"
  | "malformed_message"
  | "wrong_topic"
  | "wrong_key"
  | "wrong_digest"
  | "not_allowed"
  | "too_old"
  | "not_yet"
  | "replayed"
  | "out_of_order"
  | "too_many_publishers"
  | "not_encrypted"
  | "no_key"
  | "not_decrypted"
  | "too_many_attempts"
  | "rejected"
  | "unsupported"
  | "insecure"
  | "refused"
  | "full"
  | "slow_consumer"
  | "unreachable"
  | "closed";

/** What is wrong with a message, a subscription or a broker. */
export class BrokerError extends Error {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "BrokerError";
  /** Why it was refused. */
  readonly reason: BrokerReason;

  /**
   * Makes the error.
   *
   * @param reason Why it was refused.
   * @param message What was found, in words that hold no token, no key and no part of a message.
   * @param options The cause.
   */
  constructor(reason: BrokerReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
