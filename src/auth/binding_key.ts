import { AuthError } from "./auth_error.ts";
import { secret } from "./secret.ts";
import { importKey, type SigningKey } from "./signing_key.ts";

/**
 * Uses a private key that the runtime hands to the program as a secret binding, as a JWK (RFC 8037); the key cannot be
 * exported.
 *
 * The binding itself stays readable by the program's own code, because a runtime's bindings cannot be changed. Bind it as
 * a secret: a plain variable is shown by the tools that deploy it.
 *
 * @example A key in a worker
 * ```ts
 * import { keyFromBinding } from "@postern/rpc/auth";
 *
 * interface Env {
 *   readonly ORDERS_KEY: string;
 * }
 * const worker = {
 *   fetch: async (_request: Request, env: Env): Promise<Response> => {
 *     const key = await keyFromBinding(env, "ORDERS_KEY");
 *     return new Response(key.thumbprint);
 *   },
 * };
 * export default worker;
 * ```
 *
 * @param env The bindings, as `fetch` is given them.
 * @param name The name of the binding.
 * @returns The key.
 * @throws {Error} There is no text bound to the name.
 * @throws {AuthError} `malformed_key`: it is not an Ed25519 private key as a JWK, or its halves do not belong together.
 */
export async function keyFromBinding<Env extends object>(env: Env, name: keyof Env & string): Promise<SigningKey> {
  const value: unknown = env[name];
  // The name is not repeated before something was found by it: a key that is given as a name would be.
  if (typeof value !== "string" || value === "") {
    throw new Error("Cannot use the key in the bindings: there is no text bound to the name; bind it as a secret");
  }
  try {
    return await importKey(secret(value));
  } catch (cause) {
    if (!(cause instanceof AuthError)) throw cause;
    throw new AuthError(cause.reason, `Cannot use the key in the binding "${name}"`, { cause });
  }
}
