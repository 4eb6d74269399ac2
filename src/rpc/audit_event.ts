/** One decision, as an audit log keeps it. */
export interface AuditEvent {
  /** What was decided, as `noun.verb` in constant words: `call.allow`, `call.refuse`, `credential.issue`. */
  readonly event: string;
  /** Why, from a closed list of the part that decided: `replayed`, `wrong_audience`; undefined where it was allowed. */
  readonly reason?: string | undefined;
  /** The id under which the call is in the server's log, and which its caller was given with an error. */
  readonly correlationId?: string | undefined;
  /** The verified identity that asked; undefined where nobody proved to be anyone. */
  readonly caller?: string | undefined;
  /** What was asked for, as `greeter.v1/hello`. */
  readonly method?: string | undefined;
  /** What else a reader needs: never a token, a key or a part of a message. */
  readonly fields?: Readonly<Record<string, string | number | boolean>> | undefined;
}

/**
 * Takes what was decided.
 *
 * An implementation MUST return at once, MUST keep the order of the events, and MUST throw where it can take no more and
 * must not lose any: what was to be allowed is then refused.
 */
export interface Audit {
  /**
   * Takes one event.
   *
   * @param event The decision, when it was made.
   */
  record(event: AuditEvent): void;
}
