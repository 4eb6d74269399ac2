/**
 * Decodes base64 or base64url, padded or not, in its one canonical spelling.
 *
 * @returns The bytes, or undefined for what is not base64: `atob` alone would also take white space and stray bits.
 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (text.endsWith("=") && text.length % 4 !== 0) return undefined;
  const plain = text.replaceAll("-", "+").replaceAll("_", "/").replace(/={1,2}$/, "");
  try {
    const binary = atob(plain);
    if (btoa(binary).replace(/=+$/, "") !== plain) return undefined;
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i); // Uint8Array.from() takes ten times as long
    return bytes;
  } catch {
    return undefined;
  }
}

/** Encodes bytes as base64, with padding. */
export function toBase64(bytes: Uint8Array & { toBase64?(): string }): string {
  if (bytes.toBase64) return bytes.toBase64(); // Node has it from version 25 on
  if (bytes.length <= CHUNK) return btoa(String.fromCharCode(...bytes));
  let binary = "";
  for (let i = 0; i < bytes.length; i += CHUNK) binary += String.fromCharCode(...bytes.subarray(i, i + CHUNK));
  return btoa(binary);
}

/** A function takes only so many arguments. */
const CHUNK = 8_192;

/** Encodes bytes as base64url, without padding. */
export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
