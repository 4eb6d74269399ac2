import type { Context } from "./context.ts";
import type { MethodDeclaration, MethodDeclarations, Received, Sent, Service, Stream } from "./contract.ts";

/** What answers one method: the checked message in, the answer out. */
export type Handler<Declared extends MethodDeclaration> = (
  message: Received<Declared["input"]>,
  context: Context,
) => Declared["output"] extends Stream ? Sent<Declared["output"]>
  : Sent<Declared["output"]> | Promise<Sent<Declared["output"]>>;

/** A handler for each method of a service. */
export type Handlers<Methods extends MethodDeclarations> = { readonly [Name in keyof Methods]: Handler<Methods[Name]> };

/** A service and what answers its methods, as a server takes them. */
export interface Implementation {
  /** The contract. */
  readonly service: Service;
  /** The handlers by the method's name; each takes a checked message. */
  readonly handlers: ReadonlyMap<string, (message: unknown, context: Context) => unknown>;
}

/**
 * Pairs a contract with the handlers of its methods.
 *
 * @example Answer a greeting
 * ```ts
 * import { implement, rpc, service } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * const greeter = implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) });
 * ```
 *
 * @param service The contract.
 * @param handlers One function for each method.
 * @returns What `createServer` takes.
 * @throws {TypeError} A method has no handler, or a handler has no method.
 */
export function implement<Methods extends MethodDeclarations>(
  service: Service<Methods>,
  handlers: Handlers<Methods>,
): Implementation {
  const given = handlers as Readonly<Record<string, (message: unknown, context: Context) => unknown>>;
  for (const name of new Set([...Object.keys(service.methods), ...Object.keys(given)])) {
    if (!Object.hasOwn(service.methods, name)) {
      throw new TypeError(`Cannot implement "${service.name}": it has no method "${name}"`);
    }
    if (!Object.hasOwn(given, name) || typeof given[name] !== "function") {
      throw new TypeError(`Cannot implement "${service.name}": the method "${name}" has no handler`);
    }
  }
  return { service: service as Service, handlers: new Map(Object.entries(given)) };
}
