import { isNatsRefusal, natsCauses } from "../../internal/nats.ts";
import { BrokerError, type BrokerReason } from "../broker_error.ts";

/**
 * Turns what a client of NATS throws into what a broker throws.
 *
 * @param error What was thrown.
 * @returns The same, where it is a broker's already.
 */
export function natsFailure(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error;
  const reason = reasonOf(error);
  return new BrokerError(reason, `Cannot use the broker: ${MESSAGES[reason]}`, { cause: error });
}

/** JetStream's code of what a client threw; undefined where it is no answer of JetStream's. */
export function jetStreamCode(error: unknown): number | undefined {
  for (const { name, code } of natsCauses(error)) {
    if (API_ERRORS.has(`${name}`) && typeof code === "number") return code;
  }
  return undefined;
}

function reasonOf(error: unknown): keyof typeof MESSAGES {
  if (isNatsRefusal(error)) return "refused";
  const code = jetStreamCode(error);
  if (code !== undefined) return CODES.get(code) ?? (isTransient(code) ? "unreachable" : "refused");
  if (natsCauses(error).some(({ name }) => name === "InvalidArgumentError")) return "refused";
  return "unreachable";
}

/** Whether the same may succeed later: a server that has just started knows nothing yet, or is not the leader. */
const isTransient = (code: number) => TRANSIENT.has(code);

const MESSAGES = {
  refused: "NATS does not allow it",
  full: "the stream is full",
  unsupported: "the stream does not keep what is asked for",
  unreachable: "NATS does not answer as it should",
} satisfies Partial<Record<BrokerReason, string>>;
/** Names of the errors of `@nats-io/jetstream` that carry a code of the server's. */
const API_ERRORS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  "JetStreamApiError",
  "ConsumerNotFoundError",
  "StreamNotFoundError",
]);
/** JetStream's codes that mean more than that it does not allow something. */
const CODES: ReadonlyMap<number, keyof typeof MESSAGES> = /* @__PURE__ */ new Map(
  [
    [10_077, "full"], // the store failed: its limits are reached
    [10_047, "full"], // no storage left in the account
    [10_023, "full"], // insufficient resources
    [10_028, "full"], // the account's limits of memory
    [10_026, "full"], // too many consumers
    [10_060, "unsupported"], // another stream keeps the subject
    [10_093, "unsupported"], // the filter is not of the stream's subjects
  ] as const,
);
/** JetStream is not there, not ready, or elsewhere; a stream or a consumer is not known (yet). */
const TRANSIENT: ReadonlySet<number> = /* @__PURE__ */ new Set([10_008, 10_009, 10_014, 10_059, 10_074, 10_076]);
