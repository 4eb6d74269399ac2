import { cannotDecode } from "./codec_error.ts";
import { type CodecLimits, overLimit } from "./limits.ts";

/**
 * Counts the members and items that a JSON text spells out, names written twice counted twice, before anything is built.
 *
 * Up to the first error of grammar it sees what a parser sees, so no parser is given more than the limits allow; after
 * that its count means nothing, and need not, because the parser refuses. It reads bytes, not text, because those above
 * 0x7f never look like a bracket, a comma or a quote, and because a byte array is the fastest thing to index.
 *
 * @throws {CodecError} `limit` for a text that nests too deep or holds too much.
 */
export function scanJson(bytes: Uint8Array, { maxDepth, maxItems }: Required<CodecLimits>): number {
  const end = bytes.length;
  let depth = 0, entries = 0;
  for (let at = 0; at < end; at++) {
    const byte = bytes[at];
    if (byte === 0x22 /* " */) {
      while (++at < end && bytes[at] !== 0x22) {
        if (bytes[at] === 0x5c /* \ */) at++;
      }
    } else if (byte === 0x2c /* , */) {
      entries++;
    } else if ((byte | 32) === 0x7b /* [ and { */) {
      if (++depth > maxDepth) throw overLimit(cannotDecode, maxDepth, "levels");
      while (bytes[at + 1] <= 32) at++;
      // The first entry has no comma before it.
      if ((bytes[at + 1] | 32) !== 0x7d) entries++;
    } else if ((byte | 32) === 0x7d /* ] and } */) {
      depth--;
    }
  }
  if (entries > maxItems) throw overLimit(cannotDecode, maxItems, "members and items");
  return entries;
}
