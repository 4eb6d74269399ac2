import { link, unlink } from "node:fs/promises";
import { AuthError, importKey, secret, type SigningKey } from "../auth/mod.ts";
import { createOwnerOnly, readOwnerOnly, syncFolder } from "./file_owner_only.ts";

/**
 * Uses a private key that is kept in a file, as a JWK (RFC 8037); the key in the process cannot be exported.
 *
 * The file must be a regular one of this user that nobody else may open, which modes say: on Windows they mean nothing, so
 * that there the folder's access list has to keep others out. A secret that an orchestrator mounts as a link, or for a
 * group, is for {@linkcode keyFromEnvironment}, or to be copied.
 *
 * Deno needs `--allow-read` for the file and `--allow-sys=uid`.
 *
 * @example A key that outlives the process
 * ```ts ignore
 * import { keyFromFile } from "@postern/rpc/deno";
 *
 * const key = await keyFromFile("orders.jwk");
 * ```
 *
 * @param path Where the file is.
 * @returns The key.
 * @throws {TypeError} The path is no path: a key as a text, say.
 * @throws {Error} The file cannot be opened, or is not for this user alone; the message says what to do.
 * @throws {AuthError} `malformed_key`: it holds no Ed25519 private key as a JWK, or its halves do not belong together.
 */
export async function keyFromFile(path: string): Promise<SigningKey> {
  assertPath(path);
  const text = await readOwnerOnly({ what: WHAT, path }, MAX_BYTES);
  try {
    return await importKey(secret(text));
  } catch (cause) {
    if (!(cause instanceof AuthError)) throw cause;
    throw new AuthError(cause.reason, `Cannot use the key file "${path}": it holds no good key`, { cause });
  }
}

/**
 * Makes a new key and keeps it in a file that only this user can open.
 *
 * The file appears complete or not at all, and never in the place of another; its folder must be there. While it is made,
 * the key is text in this process for a moment. To rotate a key write a new one to another path, and use the two side by
 * side until everybody knows the new one.
 *
 * Deno needs `--allow-read` and `--allow-write` for the folder and `--allow-sys=uid`.
 *
 * @param path Where the file is to be.
 * @returns The key.
 * @throws {TypeError} The path is no path: a key as a text, say.
 * @throws {Error} There is something at the path, or the file system keeps no modes or no second names for files.
 */
export async function writeKeyFile(path: string): Promise<SigningKey> {
  assertPath(path);
  const text = await newKeyText();
  const temporary = `${path}.${crypto.randomUUID()}`;
  const file = await createOwnerOnly({ what: WHAT, path: temporary });
  try {
    try {
      await file.appendFile(text.reveal());
      await file.sync();
    } finally {
      await file.close();
    }
    await link(temporary, path); // unlike a rename it replaces nothing
  } finally {
    await unlink(temporary);
  }
  await syncFolder(path);
  return await importKey(text);
}

/** Exportable for as long as it takes to write it down. */
async function newKeyText() {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const { kty, crv, x, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  return secret(JSON.stringify({ kty, crv, x, d }) + "\n");
}

/** A key that is given as a path would end up in the message that there is no such file. */
function assertPath(path: string): void {
  if (typeof path === "string" && path !== "" && !/["\0]|-----BEGIN/.test(path)) return;
  throw new TypeError("Cannot use the key file: the path is none; give where the key is, not the key");
}

const WHAT = "key file";
/** A JWK has 150 bytes; one with a certificate chain or comments beside the key may be some KiB long. */
const MAX_BYTES = 16_384;
