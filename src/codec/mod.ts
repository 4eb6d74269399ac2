/**
 * Bytes and values: strict JSON and deterministic CBOR, both bounded, both total.
 *
 * Any bytes give plain data or a {@linkcode CodecError}, whatever a codec writes it reads, and nothing that two readers
 * could understand differently is let through.
 *
 * @example A message there and back
 * ```ts
 * import { json } from "@postern/rpc/codec";
 * import assert from "node:assert/strict";
 *
 * const codec = json({ maxBytes: 64 * 1024 });
 * const text = codec.encode({ sku: "A-1", count: 2 });
 * assert.equal(text, '{"sku":"A-1","count":2}');
 *
 * const bytes = new TextEncoder().encode('{"sku":"A-1","count":2}');
 * assert.deepEqual(codec.decode(bytes), { sku: "A-1", count: 2 });
 * ```
 *
 * @module
 */
export { canonicalJson } from "./canonical_json.ts";
export { cbor } from "./cbor.ts";
export type { Codec } from "./codec.ts";
export { CodecError, type CodecErrorCode } from "./codec_error.ts";
export { json } from "./json.ts";
export { type CodecLimits, defaultCodecLimits } from "./limits.ts";
