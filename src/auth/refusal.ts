import { ProveAgainError, type RpcCode, RpcError } from "../rpc/mod.ts";
import { AuthError, type AuthReason } from "./auth_error.ts";

/**
 * What a caller is told of a refusal: a code and a constant sentence.
 *
 * Which check failed is in the audit and in the log; a stranger learns only that it is not believed, and who is believed
 * but not allowed learns the same for a method that it may not call and for one that does not exist.
 *
 * @param believed Whether it is settled who calls: then whatever is wrong is with what the caller may.
 */
export function refusalOf(error: unknown, believed: boolean): RpcError {
  if (!(error instanceof AuthError)) {
    return error instanceof RpcError
      ? error
      : new RpcError("internal", "The call failed inside the service", { cause: error });
  }
  const [code, message] = PUBLIC[error.reason] ?? (believed ? OF_BELIEVED[error.reason] ?? FORBIDDEN : UNBELIEVED);
  error.stack = `${error.name}: ${error.message}`; // where in the checks it was is no news, and strangers could fill a log
  if (AGAIN.includes(error.reason)) {
    return new ProveAgainError(code, message, {
      cause: error,
      ageMs: Math.max(0, Math.floor(Number(error.cause ?? 0))),
    });
  }
  return new RpcError(code, message, { cause: error });
}

/** Why a call was refused, for the audit. */
export function reasonOf(error: unknown): string {
  if (error instanceof AuthError) return error.reason;
  return error instanceof RpcError ? error.code : "internal";
}

/** The reasons for which nothing was done, and another proof of the same call would do. */
const AGAIN: readonly AuthReason[] = ["before_start", "unknown_session", "session_required"];

const UNBELIEVED = ["unauthenticated", "Cannot authenticate the caller"] as const;
const FORBIDDEN = ["permission_denied", "Cannot call this method"] as const;

/** The reasons that say nothing of what a caller may: somebody on the way had his hand in it, and the call may have run. */
const OF_BELIEVED: Readonly<Partial<Record<AuthReason, readonly [RpcCode, string]>>> = {
  replayed: ["unavailable", "The call came before, and may have been made"],
  bad_digest: ["unavailable", "The message is not what its caller proved"],
};

/** The reasons that have an answer of their own; the others are all the same to a caller. */
const PUBLIC: Readonly<Partial<Record<AuthReason, readonly [RpcCode, string]>>> = {
  before_start: ["unavailable", "The server has just started, prove the call again"],
  unknown_session: ["unavailable", "The server does not know the session, prove the call again"],
  session_required: ["unavailable", "A stream is proven by a session, prove the call again"],
  signature_required: ["failed_precondition", "The method wants each of its calls signed"],
  replay_full: ["unavailable", "The server cannot take more calls at the moment"],
  audit_full: ["unavailable", "The server cannot take more calls at the moment"],
  over_quota: ["resource_exhausted", "Too many calls of this caller are under way"],
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
};
