import { AuthError } from "./auth_error.ts";
import { type EncryptionKey, importEncryptionPublicKey } from "./encryption_key.ts";

/**
 * Imports the public half of somebody's encryption key, to encrypt for it: one of small order, for which everybody could
 * decrypt, is refused.
 *
 * @param x Its 32 bytes in base64url.
 * @param own An encryption key to try it with.
 * @returns The key.
 * @throws {AuthError} `malformed_key`.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9180#section-7.1.4}
 */
export async function importPeerKey(x: string, own: EncryptionKey): Promise<CryptoKey> {
  const key = await importEncryptionPublicKey(x);
  const { assertContributes } = await import("./session_keys.ts"); // where it is used: it is large
  try {
    await assertContributes(own, [key]);
  } catch (cause) {
    throw new AuthError("malformed_key", "Cannot use the key: it is of small order", { cause });
  }
  return key;
}
