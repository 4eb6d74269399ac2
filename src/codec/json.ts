import { decodeUtf8 } from "../internal/utf8.ts";
import { checkIntegers, type JsonWalk, walkJson } from "./_json_rules.ts";
import { scanJson } from "./_json_scan.ts";
import type { Codec } from "./codec.ts";
import { cannotDecode, cannotEncode, CodecError } from "./codec_error.ts";
import { type CodecLimits, overLimit, resolveLimits } from "./limits.ts";

/**
 * Strict JSON: what I-JSON allows, within limits, and nothing that two parsers read differently.
 *
 * Reading refuses a byte order mark, invalid UTF-8, a name written twice in one object (in any spelling), a member named
 * `__proto__`, lone surrogates, numbers no double holds (`1e999`), and integers beyond ±(2^53 − 1) written without a
 * fraction or exponent. Such a number belongs in a string, or in {@linkcode cbor}.
 *
 * Writing refuses the same, and whatever `JSON.stringify` would change on the way: `undefined` as an item or message,
 * functions, symbols, bigints, instances of classes (dates and maps too) and objects with a `toJSON` method, which is
 * never called. Members whose value is `undefined` are left out, `-0` is written as `0`.
 *
 * @param limits The limits that differ from {@linkcode defaultCodecLimits}.
 * @throws {RangeError} For a limit that is not a positive safe integer, or a depth over 1000.
 * @see {@link https://www.rfc-editor.org/rfc/rfc8259 | RFC 8259} for the format, and
 * {@link https://www.rfc-editor.org/rfc/rfc7493#section-2 | RFC 7493, section 2} for what I-JSON narrows.
 *
 * @example A name written twice
 * ```ts
 * import { CodecError, json } from "@postern/rpc/codec";
 * import assert from "node:assert/strict";
 *
 * const codec = json({ maxBytes: 1024 });
 * const bytes = new TextEncoder().encode('{"role":"user","role":"admin"}');
 * assert.throws(() => codec.decode(bytes), CodecError);
 * ```
 */
export function json(limits?: CodecLimits): Codec {
  const resolved = resolveLimits(limits);
  return {
    name: "json",
    maxBytes: resolved.maxBytes,
    encode: (value) => encode(value, resolved),
    decode: (bytes) => decode(bytes, resolved),
  };
}

/** The scan bounds what `JSON.parse` builds, `JSON.parse` settles the grammar, the walk sees what it let through. */
function decode(bytes: Uint8Array, limits: Required<CodecLimits>): unknown {
  if (bytes.length > limits.maxBytes) throw overLimit(cannotDecode, limits.maxBytes, "bytes");
  const entries = scanJson(bytes, limits);
  let text: string, value: unknown;
  try {
    text = decodeUtf8(bytes); // a byte order mark stays in the text, where JSON.parse refuses it
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes what it read.
    throw cannotDecode("it is not JSON in UTF-8");
  }
  const walk: JsonWalk = { limits, cannot: cannotDecode, entries: 0, large: false };
  walkJson(walk, value, 0);
  // A name written twice leaves one member where the scan saw two, however it was spelled.
  if (walk.entries !== entries) throw cannotDecode("an object has two members of one name");
  if (walk.large) checkIntegers(text, cannotDecode);
  return value;
}

function encode(value: unknown, limits: Required<CodecLimits>): string {
  const walk: JsonWalk = { limits, cannot: cannotEncode, entries: 0, large: false };
  let text: string;
  try {
    walkJson(walk, value, 0);
    text = JSON.stringify(value);
  } catch (cause) {
    // A getter or a proxy may throw anything.
    throw cause instanceof CodecError ? cause : cannotEncode("reading the value threw an error", "unsupported", cause);
  }
  if (walk.large) checkIntegers(text, cannotEncode);
  // A code unit is at most three bytes, so most messages need no count.
  if (text.length * 3 > limits.maxBytes && new TextEncoder().encode(text).length > limits.maxBytes) {
    throw overLimit(cannotEncode, limits.maxBytes, "bytes");
  }
  return text;
}
