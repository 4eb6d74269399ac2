import type { Call, MethodDeclarations, Received, Service } from "../rpc/mod.ts";
import type { Grant } from "./capability.ts";

/** What a peer may do in turn, for one method's message; undefined for nothing. */
export type Delegation<Message> = (message: Message) => Omit<Grant, "holder"> | undefined;

/**
 * Says for the methods of a contract what their server may do in turn, as narrow as the message: for `prove`.
 *
 * @example Orders may charge what the order says
 * ```ts
 * import { rpc, service } from "@postern/rpc";
 * import { delegating, exact } from "@postern/rpc/auth";
 * import * as v from "valibot";
 *
 * const Orders = service("orders.v1", {
 *   place: rpc(v.strictObject({ cents: v.number() }), v.object({ receipt: v.string() })),
 * });
 * const delegate = delegating(Orders, {
 *   place: ({ cents }) => ({ tools: { "payments.v1/charge": { cents: exact(cents) } } }),
 * });
 * ```
 *
 * @param service The contract that is called.
 * @param methods A function for each method with which something is handed on.
 * @returns What `prove` takes as `delegate`.
 * @throws {TypeError} The contract has no such method.
 */
export function delegating<Methods extends MethodDeclarations>(
  service: Service<Methods>,
  methods: { readonly [Name in keyof Methods]?: Delegation<Received<Methods[Name]["input"]>> },
): (call: Call) => Omit<Grant, "holder"> | undefined {
  const byPath = new Map<string, Delegation<unknown>>();
  for (const [name, delegation] of Object.entries(methods)) {
    if (!Object.hasOwn(service.methods, name)) {
      throw new TypeError(`Cannot hand on for "${name}": "${service.name}" has no such method`);
    }
    byPath.set(service.methods[name]!.path, delegation as Delegation<unknown>);
  }
  return ({ method, message }) => byPath.get(method.path)?.(message);
}
