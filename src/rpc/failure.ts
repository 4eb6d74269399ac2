import { within } from "../internal/within.ts";
import type { CallContext } from "./context.ts";
import type { Method } from "./contract.ts";
import {
  detailsType,
  MAX_MESSAGE,
  PROVE_AGAIN,
  requestInfo,
  STATUS_OF_CODE,
  unpadded,
  type WireError,
  type WireErrorDetail,
} from "./connect_protocol.ts";
import { HttpRefusal } from "./http_head.ts";
import { type Log, note } from "./log.ts";
import { MASKED_MESSAGE, ProveAgainError, RpcError } from "./rpc_error.ts";
import { check, validatorOf } from "./schema.ts";

/** What is known of a call when it fails. */
export interface FailedCall {
  readonly method: Method | undefined;
  readonly context: CallContext | undefined;
}

/** What the caller is told: nothing but this leaves the server. */
export interface Failure {
  readonly wire: WireError;
  readonly correlationId: string;
  /** The details as the contract has them, for a caller in the same process. */
  readonly details: unknown;
  /** What HTTP has a status of its own for. */
  readonly http: Pick<HttpRefusal, "status" | "headers"> | undefined;
}

/**
 * Turns anything that was thrown into what the caller may know, and logs the rest under the correlation id.
 *
 * Only an {@linkcode RpcError} that this process made is public. What another service answered, and whatever else was
 * thrown, becomes `internal` and one constant sentence.
 *
 * @param thrown Anything: code that is called may throw null, a Response, or an object that throws when it is read.
 */
export async function failureOf(thrown: unknown, call: FailedCall, log: Log): Promise<Failure> {
  const correlationId = call.context?.correlationId ?? crypto.randomUUID();
  const known = asPublic(isOwnDeadline(thrown, call.context) ? call.context!.expire() : thrown);
  const { code, message } = known ?? MASKED;
  const details = known && call.method ? await contractDetails(known, call.method) : undefined;
  const more = known?.again
    ? [{ type: PROVE_AGAIN, value: unpadded(btoa(String(known.again.ageMs))) }]
    : wireDetails(details, code, call.method);
  // The client proves again by itself, and a server that has just started has better things to say.
  if (!known?.again) noteFailure(log, known, thrown, { correlationId, method: call.method?.path.slice(1) });
  return {
    wire: { code, message, details: [requestInfo(correlationId), ...more] },
    correlationId,
    details,
    http: known?.http,
  };
}

/** A call that a handler made has the time that the handler has left: its end, told a moment earlier, is the same end. */
function isOwnDeadline(thrown: unknown, context: CallContext | undefined): boolean {
  if (!context || context.remainingMs >= SAME_TIME_MS) return false;
  try {
    return thrown instanceof RpcError && thrown.received && thrown.code === "deadline_exceeded";
  } catch {
    return false; // a Proxy may throw from instanceof
  }
}

/** How far apart timers of one moment go off, in milliseconds. */
const SAME_TIME_MS = 10;

function noteFailure(
  log: Log,
  known: Public | undefined,
  thrown: unknown,
  call: { readonly correlationId: string; readonly method: string | undefined },
): void {
  const { code, message } = known ?? MASKED;
  note(log, {
    level: known && code !== "internal" ? "info" : "error",
    event: known ? message : "A handler failed",
    ...call,
    code,
    cause: known ? known.cause : thrown,
  });
}

/** What an error says publicly, read once: a hostile one may throw, or answer differently, when it is read. */
function asPublic(thrown: unknown): Public | undefined {
  try {
    if (!(thrown instanceof RpcError) || thrown.received) return undefined;
    const { code, message, details, cause } = thrown;
    const wellFormed = Object.hasOwn(STATUS_OF_CODE, code) && typeof message === "string";
    const http = thrown instanceof HttpRefusal ? thrown : undefined;
    const again = thrown instanceof ProveAgainError ? { ageMs: thrown.ageMs } : undefined;
    return wellFormed ? { code, message: message.slice(0, MAX_MESSAGE), details, cause, http, again } : undefined;
  } catch {
    return undefined; // a Proxy may throw from instanceof
  }
}

type Public = Pick<RpcError, "code" | "message" | "details" | "cause"> & Pick<Failure, "http"> & {
  readonly again: { readonly ageMs: number } | undefined;
};

const MASKED = { code: "internal", message: MASKED_MESSAGE } as const;

/** The details as the contract names them for this code; what it does not name does not leave. */
async function contractDetails(error: Public, method: Method): Promise<unknown> {
  const schema = method.options.errors?.[error.code];
  if (!schema || error.details === undefined) return undefined;
  try {
    const checking = Promise.resolve(check(validatorOf(schema), error.details));
    const checked = await within(checking, () => MAX_DETAILS_MS, () => new Error("The details took too long to check"));
    return checked.issues ? undefined : checked.value;
  } catch {
    return undefined;
  }
}

function wireDetails(details: unknown, code: string, method: Method | undefined): WireErrorDetail[] {
  if (details === undefined || !method) return [];
  try {
    const text = new TextEncoder().encode(JSON.stringify(details));
    if (text.length > MAX_DETAILS) return [];
    const value = unpadded(btoa(String.fromCharCode(...text)));
    return [{ type: detailsType(method.service, method.name, code), value, debug: details }];
  } catch {
    return []; // a value that JSON cannot carry
  }
}

/** The largest details, in bytes: an error is a short answer. */
const MAX_DETAILS = 16_384;

/** The longest that a schema may take for an error's details, in milliseconds. */
const MAX_DETAILS_MS = 1_000;
