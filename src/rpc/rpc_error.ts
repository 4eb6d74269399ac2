/**
 * Why a call failed: the closed list that gRPC and Connect share.
 *
 * @see {@link https://connectrpc.com/docs/protocol#error-codes}
 */
export type RpcCode =
  | "canceled"
  | "unknown"
  | "invalid_argument"
  | "deadline_exceeded"
  | "not_found"
  | "already_exists"
  | "permission_denied"
  | "resource_exhausted"
  | "failed_precondition"
  | "aborted"
  | "out_of_range"
  | "unimplemented"
  | "internal"
  | "unavailable"
  | "data_loss"
  | "unauthenticated";

/** What an {@linkcode RpcError} holds beside its code and message. */
export interface RpcErrorOptions extends ErrorOptions {
  /** Details of the shape that the method's contract gives for the code; they travel. */
  readonly details?: unknown;
  /** The id under which the server logged the failure. */
  readonly correlationId?: string;
  /** Whether a client made the error: of what a server answered, of its silence, or before it called. @default {false} */
  readonly received?: boolean;
}

/**
 * The one error of a call that failed, on either side.
 *
 * Thrown by a handler, its code, message and details travel to the caller, so they are words the author chose to be
 * public; `cause` stays in the server's log. Anything else a handler throws reaches the caller as `internal` and nothing
 * more.
 *
 * @example Tell the caller what it may know
 * ```ts
 * import { RpcError } from "@postern/rpc";
 *
 * const missing = new RpcError("not_found", "There is no such item", { cause: new Error("row 7 of stock is gone") });
 * ```
 */
export class RpcError extends Error {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "RpcError";
  /** Why the call failed. */
  readonly code: RpcCode;
  /** Details of the shape that the method's contract gives for the code. */
  readonly details: unknown;
  /** The id under which the server logged the failure; undefined where no server was reached. */
  readonly correlationId: string | undefined;
  /**
   * Whether a client made the error: of what a server answered, of its silence, or before it called.
   *
   * A server never passes such an error on as it is: what another service said is not what this one's author chose to say.
   */
  readonly received: boolean;

  /**
   * Makes the error.
   *
   * @param code Why the call failed.
   * @param message What the other side may read; no secret, no internal name.
   * @param options The details that travel, and the cause that does not.
   */
  constructor(code: RpcCode, message: string, options: RpcErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.details = options.details;
    this.correlationId = options.correlationId;
    this.received = options.received ?? false;
  }
}

/**
 * The server did nothing with the call, and would take it with another proof: it has just started, and cannot know what
 * was proven to it before.
 */
export class ProveAgainError extends RpcError {
  /** How long the server runs, in milliseconds: who sent the call later than that knows that no server before it had it. */
  readonly ageMs: number;

  /**
   * Makes the error.
   *
   * @param code Why the call failed.
   * @param message What the other side may read.
   * @param options How long the server runs, and what every error has.
   */
  constructor(code: RpcCode, message: string, options: RpcErrorOptions & { readonly ageMs: number }) {
    super(code, message, options);
    this.ageMs = options.ageMs;
  }
}

/**
 * No byte of the call left: there was no connection. Whatever the method does, it was not done, and the call may be made
 * again.
 */
export class NotSentError extends RpcError {
  /**
   * Makes the error, with the code `unavailable`.
   *
   * @param message What the other side may read.
   * @param options What every error has.
   */
  constructor(message: string, options: RpcErrorOptions) {
    super("unavailable", message, options);
  }
}

/** What a caller whose time is up is told, whichever side found it out. */
export const DEADLINE_EXCEEDED = "The call took longer than its deadline";
/** What a caller is told who does not want to know any more. */
export const CANCELED = "The call was canceled";

/** What a client says of the errors that it makes. */
export const RECEIVED: RpcErrorOptions = { received: true };

/** What a caller is told of what is none of its business. */
export const MASKED_MESSAGE = "The call failed inside the service";
