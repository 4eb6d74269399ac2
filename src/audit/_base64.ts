import { fromBase64, toBase64 } from "../internal/base64.ts";

/**
 * Reads standard base64 with its padding, and no other spelling of the same bytes.
 *
 * @returns The bytes, or undefined for anything else.
 */
export function readBase64(text: string): Uint8Array | undefined {
  const bytes = fromBase64(text);
  return bytes && toBase64(bytes) === text ? bytes : undefined;
}

/** Reads the base64 of a SHA-256 hash. */
export function readHash(text: unknown): Uint8Array | undefined {
  const bytes = typeof text === "string" ? readBase64(text) : undefined;
  return bytes?.length === 32 ? bytes : undefined;
}

/** Whether two byte strings are the same; both are public, so the time it takes tells nothing. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);
