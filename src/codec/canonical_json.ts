import { cannotEncode, CodecError } from "./codec_error.ts";
import { deepestNesting, overLimit } from "./limits.ts";

/**
 * Writes the one JSON text of a value, to be hashed or signed: no white space, keys sorted by UTF-16 code units, numbers
 * as ECMAScript prints them.
 *
 * Nothing is left out silently: a member that is `undefined` is refused too, and a `toJSON` method is never called.
 *
 * @param value Plain data of finite numbers, well-formed strings, booleans, `null`, arrays and objects.
 * @throws {CodecError} `unsupported` for any other value, `limit` for one that nests deeper than 1000 levels.
 * @see {@link https://www.rfc-editor.org/rfc/rfc8785 | RFC 8785}, the JSON Canonicalization Scheme.
 *
 * @example Two spellings of one object
 * ```ts
 * import { canonicalJson } from "@postern/rpc/codec";
 * import assert from "node:assert/strict";
 *
 * assert.equal(canonicalJson({ b: 1.50, a: "€" }), '{"a":"€","b":1.5}');
 * assert.equal(canonicalJson({ a: "€", b: 1.5 }), '{"a":"€","b":1.5}');
 * ```
 */
export function canonicalJson(value: unknown): string {
  try {
    return write(value, 0);
  } catch (cause) {
    // A getter or a proxy may throw anything.
    throw cause instanceof CodecError ? cause : cannotEncode("reading the value threw an error", "unsupported", cause);
  }
}

function write(value: unknown, depth: number): string {
  if (typeof value === "string") return writeString(value);
  if (typeof value === "boolean" || value === null || Number.isFinite(value)) return JSON.stringify(value);
  if (typeof value !== "object") throw cannotEncode("a value is not finite or is of type " + typeof value);
  if (depth === deepestNesting) throw overLimit(cannotEncode, depth, "levels");
  const prototype = Object.getPrototypeOf(value);
  if (Array.isArray(value) && prototype === Array.prototype) {
    return "[" + Array.from(value, (item) => write(item, depth + 1)).join() + "]";
  }
  if (prototype !== Object.prototype && prototype !== null) throw cannotEncode("an object is an instance of a class");
  const object = value as Record<string, unknown>;
  // Without a comparer, sort() orders by UTF-16 code units, as section 3.2.3 wants.
  const members = Object.keys(object).sort().map((key) => writeString(key) + ":" + write(object[key], depth + 1));
  return "{" + members.join() + "}";
}

function writeString(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`;
  if (!text.isWellFormed()) throw cannotEncode("a string holds a lone surrogate");
  return JSON.stringify(text);
}

/** Visible ASCII and spaces, which stand for themselves; most texts are nothing else, and need no escaping. */
const PLAIN = /^[ !#-[\]-~]*$/;
