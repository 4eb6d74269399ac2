import { readCbor } from "./_cbor_reader.ts";
import { writeCbor } from "./_cbor_writer.ts";
import type { Codec } from "./codec.ts";
import { type CodecLimits, resolveLimits } from "./limits.ts";

/**
 * Deterministic CBOR with one encoding per value, for messages that carry bytes, dates or integers beyond 2^53.
 *
 * | JavaScript | CBOR |
 * | --- | --- |
 * | `null`, `boolean`, well-formed `string` | simple values, text |
 * | `Uint8Array` | byte string; reading makes a copy |
 * | array, plain object | array, map with text keys; members that are `undefined` are left out |
 * | `number` that is a safe integer | integer |
 * | any other `number`, `-0` too | the shortest float that is exactly it; NaN is `f97e00` |
 * | `bigint` beyond the safe integers, within 64 bits | integer |
 * | any other `bigint`, up to 1024 bytes | bignum, tag 2 or 3 |
 * | `Date` | tag 1: seconds, an integer where exact, else a float for whole milliseconds |
 *
 * A bigint within the safe integers is a bignum where preferred serialization would be an integer, so that it is read
 * back as a bigint and not as a number.
 *
 * Reading refuses indefinite lengths, keys that are not text, stand twice or are `__proto__`, bytes after the item, heads
 * and floats not in their shortest form, other tags and simple values (`undefined` too), and text that is not UTF-8. Two
 * things are read that are never written, because typed languages write them: map keys in any order, and a float whose
 * value is an integer (`f93c00` for 1).
 *
 * @param limits The limits that differ from {@linkcode defaultCodecLimits}.
 * @throws {RangeError} For a limit that is not a positive safe integer, or a depth over 1000.
 * @see {@link https://www.rfc-editor.org/rfc/rfc8949#section-4.2.1 | RFC 8949, section 4.2.1} for the deterministic
 * encoding, and {@link https://www.rfc-editor.org/rfc/rfc8949#section-3.4 | section 3.4} for the tags.
 *
 * @example Bytes, a date and a large integer
 * ```ts
 * import { cbor } from "@postern/rpc/codec";
 * import assert from "node:assert/strict";
 *
 * const codec = cbor();
 * const message = { at: new Date("2013-03-21T20:04:00Z"), digest: new Uint8Array([1, 2]), size: 2n ** 60n };
 * const bytes = codec.encode(message) as Uint8Array;
 * assert.deepEqual(codec.decode(bytes), message);
 * ```
 */
export function cbor(limits?: CodecLimits): Codec {
  const resolved = resolveLimits(limits);
  return {
    name: "cbor",
    maxBytes: resolved.maxBytes,
    encode: (value) => writeCbor(value, resolved),
    decode: (bytes) => readCbor(bytes, resolved),
  };
}
