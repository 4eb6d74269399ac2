import { RpcError } from "../../rpc/mod.ts";
import { CODE_OF_REASON } from "./broker_contract.ts";
import { BrokerError } from "../broker_error.ts";

/** What somebody is told, and what the audit is. */
export interface Refusal {
  /** How the call ends. */
  readonly code: "permission_denied" | "invalid_argument" | "resource_exhausted";
  /** What its caller is told. */
  readonly message: string;
  /** Why, for the audit. */
  readonly reason: string;
}

export const NOT_PUBLISHED: Refusal = /* @__PURE__ */ denied(
  "not_allowed",
  "Cannot publish to the topic: nothing allows it",
);
export const NOT_SUBSCRIBED: Refusal = /* @__PURE__ */ denied(
  "not_allowed",
  "Cannot subscribe to the topics: nothing allows it",
);
export const NOT_TO_BLOCK: Refusal = /* @__PURE__ */ denied(
  "not_allowed",
  `Cannot subscribe with "slow" as "block": the hub has nobody wait for the identity`,
);
export const NOT_ITS_OWN: Refusal = /* @__PURE__ */ denied(
  "not_allowed",
  "Cannot publish the event: somebody else signed it",
);
export const MALFORMED: Refusal = /* @__PURE__ */ invalid(
  "malformed_event",
  "Cannot publish the event: it does not hold",
);
export const OTHER_ID: Refusal = /* @__PURE__ */ invalid(
  "malformed_event",
  "Cannot publish the event: its id is another",
);
export const OTHER_KEY: Refusal = /* @__PURE__ */ invalid(
  "wrong_key",
  "Cannot publish the event: its ordering key is another",
);
export const TOO_OLD: Refusal = /* @__PURE__ */ invalid("too_old", "Cannot publish the event: it is too old");
export const TOO_MANY_EVENTS: Refusal = /* @__PURE__ */ exhausted(
  "Cannot publish: too many events of the identity are on their way",
);
export const TOO_MANY_SUBSCRIPTIONS: Refusal = /* @__PURE__ */ exhausted(
  "Cannot subscribe: the identity has too many subscriptions",
);
export const TOO_MANY_GROUPS: Refusal = /* @__PURE__ */ exhausted("Cannot subscribe: the identity has too many groups");

function denied(reason: string, message: string): Refusal {
  return { code: "permission_denied", reason, message };
}

function invalid(reason: string, message: string): Refusal {
  return { code: "invalid_argument", reason, message };
}

function exhausted(message: string): Refusal {
  return { code: "resource_exhausted", reason: "full", message };
}

/** Turns what a broker refuses into what a caller is told. */
export function refusalOf(error: unknown): unknown {
  if (!(error instanceof BrokerError)) return error;
  return new RpcError(CODE_OF_REASON[error.reason] ?? "internal", error.message, { cause: error });
}
