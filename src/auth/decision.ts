import type { Admission, Caller, Incoming } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import type { VerifiedChain } from "./capability_chain.ts";
import type { Gate } from "./gate.ts";
import { decidesFor, type Rule } from "./policy.ts";
import { reasonOf, refusalOf } from "./refusal.ts";
import { permits } from "./tool_map.ts";
import type { Workload } from "./wit.ts";

/** Who turned out to call, for when the call is refused. */
export interface Seen {
  caller: Caller | undefined;
  /** Whether it is settled who calls: what is wrong from then on is with what it may. */
  believed: boolean;
}

/** The same answer for a method that is not there and for one that is not the caller's. */
export function matchingRules(
  { policy }: Gate,
  { method }: Incoming,
  caller: Caller | undefined,
  right: VerifiedChain | undefined,
  reason: "unsigned" | "not_allowed" = "not_allowed",
): readonly Rule[] {
  const call = method?.path.slice(1) ?? "";
  // A right that is shown is what the call is made under: it allows the method, or the call is refused.
  const isWithin = right === undefined || Object.hasOwn(right.tools, call);
  const rules = policy.matching({ caller, call, capability: right !== undefined && isWithin });
  if (!isWithin || rules.length === 0) throw new AuthError(reason, "Cannot allow the call: no rule or no right does");
  return rules;
}

/** Takes one of the caller's places. */
export function enter(
  { maxConcurrentCallsPerCaller }: Gate,
  places: Map<string, number>,
  { id }: Workload,
): () => void {
  const count = places.get(id) ?? 0;
  if (count >= maxConcurrentCallsPerCaller) {
    throw new AuthError("over_quota", "Cannot take the call: the caller has too many");
  }
  places.set(id, count + 1);
  return () => {
    const left = places.get(id)! - 1;
    if (left === 0) places.delete(id);
    else places.set(id, left);
  };
}

/** On what is decided. */
export interface Decision {
  readonly caller: Caller | undefined;
  readonly rules: readonly Rule[];
  readonly right: VerifiedChain | undefined;
}

/** Decides on the checked message: the arguments that a right allows, and rules that ask for more. */
export function deciding(
  gate: Gate,
  incoming: Incoming,
  { caller, rules, right }: Decision,
): (message: unknown) => void {
  return (message) => {
    try {
      const call = incoming.method!.path.slice(1);
      if (right && !permits(right.tools, call, message as Readonly<Record<string, unknown>>)) {
        throw new AuthError("argument_not_allowed", "Cannot allow the call: the right is for other arguments");
      }
      if (!decidesFor(rules, { caller, message, now: new Date(gate.now()) })) {
        throw new AuthError("not_allowed", "Cannot allow the call: no rule allows this message");
      }
      recordAllowed(gate, incoming, caller, right);
    } catch (error) {
      throw refuse(gate, incoming, { caller, believed: true }, error);
    }
  };
}

/** Whatever cannot be recorded does not happen. */
function recordAllowed(
  gate: Gate,
  incoming: Incoming,
  caller: Caller | undefined,
  right: VerifiedChain | undefined,
): void {
  if (!gate.audit) return;
  const fields = right && { right: right.tokenIds.join(" ") };
  try {
    gate.audit.record({ ...eventOf("call.allow", incoming, caller), fields });
  } catch (cause) {
    throw new AuthError("audit_full", "Cannot allow the call: it cannot be recorded", { cause });
  }
}

/** Records the refusal, and gives what the caller is told of it. */
export function refuse(gate: Gate, incoming: Incoming, { caller, believed }: Seen, error: unknown): Error {
  try {
    gate.audit?.record({ ...eventOf("call.refuse", incoming, caller), reason: reasonOf(error) });
  } catch {
    // The call is refused all the same, and the server's log has it.
  }
  return refusalOf(error, believed);
}

function eventOf(event: string, incoming: Incoming, caller: Caller | undefined) {
  return { event, correlationId: incoming.correlationId, caller: caller?.id, method: incoming.method?.path.slice(1) };
}

/** What is still to be decided on a call that was let in, and how its place is given back. */
export interface Pending {
  readonly caller: Workload;
  readonly decide: NonNullable<Admission["decide"]>;
  readonly leave: () => void;
  /** Checks the raw body, where that is still to be done. */
  readonly checkBody?: ((body: Uint8Array) => void | Promise<void>) | undefined;
}

/** Gives the place back when the call is over, and notes one that never came as far as a decision. */
export function untilTheEnd(
  gate: Gate,
  incoming: Incoming,
  { caller, decide, leave, checkBody }: Pending,
): Pick<Admission, "decide" | "end" | "checkBody"> {
  let isDecided = false;
  const refused = (error: unknown): never => {
    isDecided = true;
    throw refuse(gate, incoming, { caller, believed: true }, error);
  };
  return {
    ...checkBody && {
      checkBody(body) {
        try {
          return checkBody(body)?.catch(refused);
        } catch (error) {
          return refused(error);
        }
      },
    },
    decide(message) {
      isDecided = true;
      return decide(message);
    },
    end() {
      leave();
      if (isDecided) return;
      const error = new AuthError("not_decided", "The message was none to decide on");
      refuse(gate, incoming, { caller, believed: true }, error);
    },
  };
}
