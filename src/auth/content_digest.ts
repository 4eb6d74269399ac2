import { sha256 } from "@noble/hashes/sha2.js";
import { toBase64 } from "../internal/base64.ts";
import type { HashProvider } from "../internal/hash.ts";

/**
 * The digest of a body, as its header has it.
 *
 * Small bodies are hashed at once: handing them to the runtime's own hash costs more than the hash.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9530#section-2}
 */
export function contentDigest(body: Uint8Array, hash: Pick<HashProvider, "sha256"> = NOBLE): string | Promise<string> {
  if (body.length <= MAX_SYNCHRONOUS) return header(hash.sha256(body));
  return crypto.subtle.digest("SHA-256", body as BufferSource).then((digest) => header(new Uint8Array(digest)));
}

const NOBLE = { sha256 };

const header = (hash: Uint8Array) => `sha-256=:${toBase64(hash)}:`;

/** In bytes. */
const MAX_SYNCHRONOUS = 4_096;
