import { env } from "node:process";
import { AuthError, importKey, type Secret, secret, type SigningKey } from "../auth/mod.ts";

/**
 * Uses a private key from the environment, as a JWK (RFC 8037); the key in the process cannot be exported.
 *
 * The variable is removed, even where its key is not good, so that processes started later and dumps of the environment do
 * not have it. What the process was started with stays in the system's own list, which Linux shows in `/proc` to this user
 * and to root.
 *
 * Deno needs `--allow-env` for the name.
 *
 * @example A key that is given when the program starts
 * ```ts ignore
 * import { keyFromEnvironment } from "@postern/rpc/deno";
 *
 * const key = await keyFromEnvironment("ORDERS_KEY");
 * ```
 *
 * @param name The variable's name.
 * @returns The key.
 * @throws {TypeError} The name is none: a key as a text, say.
 * @throws {Error} The variable is not set, or empty.
 * @throws {AuthError} `malformed_key`: it is not an Ed25519 private key as a JWK, or its halves do not belong together.
 */
export async function keyFromEnvironment(name: string): Promise<SigningKey> {
  const text = take(name);
  try {
    return await importKey(text);
  } catch (cause) {
    if (!(cause instanceof AuthError)) throw cause;
    throw new AuthError(cause.reason, `Cannot use the key in the environment variable "${name}"`, { cause });
  }
}

function take(name: string): Secret {
  // A key that is given as a name would end up in the message that it is not set.
  if (!/^[A-Za-z_]\w{0,127}$/.test(name)) {
    throw new TypeError(
      "Cannot use the key in the environment: the name is none; give the variable's name, not the key",
    );
  }
  const value = env[name];
  delete env[name];
  if (value) return secret(value);
  throw new Error(
    `Cannot use the key in the environment: the variable "${name}" is ${value === "" ? "empty" : "not set"}`,
  );
}
