import { type Call, RpcError } from "../rpc/mod.ts";
import { MAX_CALLERS, writeCallers } from "./call_context.ts";
import { attenuate, type Capability, readChain } from "./capability.ts";
import type { ProveOptions } from "./prove.ts";
import { secret } from "./secret.ts";
import { CALLERS_HEADER, CAPABILITY_SCHEME, DELEGATION_HEADER } from "./wire.ts";

/** What goes with one call beside its proof. */
export interface CallHeaders {
  readonly headers: Readonly<Record<string, string>>;
  /** The right, where it is the client's own and the same for many calls: its `authorization`, and when it ends. */
  readonly own: { readonly authorization: string; readonly expiresAtMs: number } | undefined;
}

/** The right that a call is made under, who it came through, and what is handed on with it. */
export async function callHeaders(options: ProveOptions, call: Call): Promise<CallHeaders> {
  const { identity, peer, delegate } = options;
  const headers: Record<string, string> = {};
  const callers = call.origin?.callers ?? [];
  if (callers.length > MAX_CALLERS) throw new RpcError("failed_precondition", "Cannot call: the call goes in circles");
  if (callers.length > 0) headers[CALLERS_HEADER] = writeCallers(callers);
  const own = typeof options.capability === "function" ? await options.capability() : options.capability;
  const held = own ?? handedOn(call);
  const tool = call.method.path.slice(1);
  const isShown = held !== undefined && Object.hasOwn(held.tools, tool);
  if (isShown) {
    const shown = own ?? await narrowed(options, held, tool);
    headers["authorization"] = CAPABILITY_SCHEME + shown.chain.reveal();
  }
  const grant = delegate?.(call);
  if (grant) {
    if (!held) throw new RpcError("failed_precondition", "Cannot call: there is no right that could be handed on");
    const handed = await attenuate(held, identity, { ...grant, holder: peer }, clock(options));
    headers[DELEGATION_HEADER] = handed.chain.reveal();
  }
  const stays = isShown && own;
  return {
    headers,
    own: stays ? { authorization: headers["authorization"]!, expiresAtMs: stays.expiresAtMs } : undefined,
  };
}

/** Whether nothing goes with a call beside its proof: most calls of most clients. */
export function isBare({ capability, delegate }: ProveOptions, { origin }: Call): boolean {
  return !capability && !delegate && !origin?.delegation && !origin?.callers.length;
}

function handedOn({ origin }: Call): Capability | undefined {
  return origin?.delegation ? readChain(secret(origin.delegation.reveal())) : undefined;
}

/** A right that is good for more than this call and this peer is made narrower before the peer sees it. */
async function narrowed(options: ProveOptions, held: Capability, tool: string): Promise<Capability> {
  const { identity, peer } = options;
  const isNarrow = held.audience !== undefined && Object.keys(held.tools).length === 1;
  if (isNarrow || held.depthLeft === 0) return held;
  const audience = options.audience ?? peer;
  const tools = { [tool]: held.tools[tool]! };
  return await attenuate(held, identity, { holder: identity.id, tools, audience, lifetimeMs: 60_000 }, clock(options));
}

const clock = ({ now }: ProveOptions) => now ? { now } : {};
