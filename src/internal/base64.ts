/**
 * Decodes base64 or base64url, padded or not, in its one canonical spelling.
 *
 * @returns The bytes, or undefined for what is not base64: `atob` alone would also take white space and stray bits.
 */
export function fromBase64(text: string): Uint8Array | undefined {
  if (text.endsWith("=") && text.length % 4 !== 0) return undefined;
  const plain = text.replaceAll("-", "+").replaceAll("_", "/").replace(/={1,2}$/, "");
  try {
    const binary = atob(plain);
    if (btoa(binary).replace(/=+$/, "") !== plain) return undefined;
    return Uint8Array.from(binary, (char) => char.charCodeAt(0));
  } catch {
    return undefined;
  }
}
