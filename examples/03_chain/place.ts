import type { Context } from "@postern/rpc";
import type { Identity, Trust } from "@postern/rpc/auth";
import type { Audit, FetchTransportOptions, Log } from "@postern/rpc/rpc";

/** Who one instance of a service is, and what it finds where it runs. */
export interface Place {
  /** Who it is. */
  readonly identity: Identity;
  /** Whom it believes. */
  readonly trust: Trust;
  /** What sends its calls. */
  readonly fetch: FetchTransportOptions["fetch"];
  /** Where its log goes. */
  readonly log: Log;
  /** Where its decisions are recorded. @default {nowhere} */
  readonly audit?: Audit;
}

/** Notes in the server's log what a handler was told of a call. */
export function noteCall(context: Context): void {
  const { caller, chain, traceparent, capability } = context;
  const right = capability && { path: capability.path, tools: capability.tools };
  context.log(NOTED, { caller: caller?.id, chain, trace: traceparent.split("-")[1], right });
}

/** A log that shows what {@linkcode noteCall} noted, and what was refused. */
export function showCalls(show: (line: string) => unknown): Log {
  return ({ code, event, method, fields }) => {
    if (code !== undefined) show(`${method}: ${code}: ${event}`);
    if (event !== NOTED) return;
    const { caller, chain, trace, right } = fields as unknown as Noted;
    show(`${method}: caller ${caller}, chain ${path(chain)}, trace ${trace.slice(0, 8)}`);
    if (right) show(`  by the right ${path(right.path)}: ${JSON.stringify(right.tools)}`);
  };
}

const NOTED = "A call";

interface Noted {
  readonly caller: string;
  readonly chain: readonly string[];
  readonly trace: string;
  readonly right?: { readonly path: readonly string[]; readonly tools: unknown };
}

const path = (ids: readonly string[]) => ids.map((id) => id.slice(id.lastIndexOf("/") + 1)).join(" → ");
