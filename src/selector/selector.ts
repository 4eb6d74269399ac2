import type { Instance } from "../registry/mod.ts";
import type { Call } from "../rpc/mod.ts";

/** An instance that a call can go to. */
export interface Candidate {
  /** The instance, verified. */
  readonly instance: Instance;
  /** How many of this client's calls it is answering; counted by the client, not told by the instance. */
  readonly inFlight: number;
}

/** What there is to choose from at one time. */
export interface Pool {
  /** The candidates that may be chosen; there is at least one. */
  readonly candidates: readonly Candidate[];
  /** Those that are kept out because their calls failed. */
  readonly ejected: readonly Candidate[];
}

/** Chooses the candidate for one call; MUST return one of those it was made for. */
export type Pick = (call: Call) => Candidate;

/**
 * Gets ready to choose from a pool; called again when the pool changes, which is much less often than a call.
 *
 * An implementation MUST NOT choose by what an instance says of itself beyond its weight and its region, which are in its
 * signed record.
 */
export type Selector = (pool: Pool) => Pick;
