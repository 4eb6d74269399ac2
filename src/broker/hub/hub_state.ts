import type { Policy, Trust } from "../../auth/mod.ts";
import type { HashProvider } from "../../internal/hash.ts";
import { type Audit, type Caller, type Context, RpcError } from "../../rpc/mod.ts";
import type { Broker } from "../broker.ts";
import { type EventLines, eventLines } from "./event_lines.ts";
import type { Refusal } from "./hub_refusal.ts";

/** What a hub that is served works with. */
export interface Hub {
  readonly broker: Broker;
  readonly trust: Trust;
  readonly policy: Policy;
  readonly audit: Audit | undefined;
  readonly now: () => number;
  readonly hash: HashProvider;
  readonly maxSubscriptions: number;
  readonly maxGroups: number;
  readonly maxPublishing: number;
  readonly mayBlock: (caller: Caller) => boolean;
  /** What each identity has. */
  readonly accounts: Map<string, Account>;
  readonly ending: AbortController;
  /** The subscriptions there are; each settles when it is over. */
  readonly running: Set<Promise<void>>;
}

/** What an identity has. */
export interface Account {
  subscriptions: number;
  publishing: number;
  /** The groups that it uses, each with its pattern. */
  readonly groups: Set<string>;
  /** What its clients have on their way. */
  readonly lines: EventLines;
  /** Settles with the last of its events that is on its way into the broker. */
  last: Promise<void>;
}

/** Who calls; nobody else has anything to do here. */
export function callerOf({ caller }: Context): Caller {
  if (!caller) throw new RpcError("unauthenticated", "Cannot use the broker without an identity");
  return caller;
}

/** What an identity has; perhaps nothing yet. */
export function accountOf({ accounts }: Hub, id: string): Account {
  const known = accounts.get(id);
  if (known) return known;
  const account: Account = {
    subscriptions: 0,
    publishing: 0,
    groups: new Set(),
    lines: eventLines(),
    last: Promise.resolve(),
  };
  accounts.set(id, account);
  return account;
}

/** Who has nothing is forgotten, but for the groups, and for where its clients are as long as there are few of those. */
export function settle({ accounts }: Hub, id: string, account: Account): void {
  const { subscriptions, publishing, groups, lines } = account;
  if (subscriptions + publishing + groups.size > 0) return;
  if (lines.size === 0 || accounts.size > MANY) accounts.delete(id);
}

/** Refuses what somebody wants, and notes that. */
export function refuseAs(hub: Hub, context: Context, { code, message, reason }: Refusal, topic: string): never {
  note(hub, "message.refuse", context, { topic }, reason);
  throw new RpcError(code, message);
}

/** Notes what was decided; what cannot be noted is not done. */
export function note(
  { audit }: Hub,
  event: string,
  { caller, correlationId, method }: Context,
  fields: Readonly<Record<string, string>>,
  reason?: string,
): void {
  audit?.record({ event, reason, correlationId, caller: caller?.id, method: method.path.slice(1), fields });
}

/** How many identities are remembered that have nothing. */
const MANY = 4_096;
