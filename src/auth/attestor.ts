/** What an attestor found out about a workload. */
export interface Attested {
  /** Who it is, as a SPIFFE id of the authority's trust domain. */
  readonly id: string;
  /** The service names that it may serve. @default {[]} */
  readonly serves?: readonly string[];
  /** Its roles. @default {[]} */
  readonly roles?: readonly string[];
  /** Its attributes. @default {{}} */
  readonly attributes?: Readonly<Record<string, string>>;
  /** The thumbprint of its certificate (RFC 8705, `x5t#S256`), which then must be the one of its connections. */
  readonly certificate?: string;
}

/**
 * Judges one kind of evidence.
 *
 * An implementation MUST throw for evidence that it does not fully believe, and MUST take evidence that is good for one
 * use once.
 */
export interface Attestor {
  /** The kind of evidence that it judges, such as `join_token`. */
  readonly type: string;
  /**
   * Judges evidence.
   *
   * @param token The evidence.
   * @param request What it came with: the thumbprint of the key that the workload proved to hold.
   * @returns Who the workload is.
   * @throws {AuthError} `not_attested`.
   */
  attest(token: string, request: { readonly thumbprint: string }): Attested | Promise<Attested>;
}
