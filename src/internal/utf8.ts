/**
 * Decodes UTF-8 strictly, and keeps a byte order mark.
 *
 * A decoder that replaces what is no UTF-8 is several times as fast on Deno as one that refuses it, and what it replaced
 * shows: so the strict one is asked only where there is the sign of that, which may also have been sent as it is.
 *
 * @param bytes The bytes.
 * @returns The text.
 * @throws {TypeError} The bytes are not UTF-8.
 */
export function decodeUtf8(bytes: Uint8Array): string {
  const text = replacing.decode(bytes);
  return text.includes("\ufffd") ? strict.decode(bytes) : text;
}

// `ignoreBOM` keeps a byte order mark in the text.
const replacing = /* @__PURE__ */ new TextDecoder("utf-8", { ignoreBOM: true });
const strict = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
