import { numberToHalf } from "./_cbor_float.ts";
import { compareMembers, type Member, utf8Length } from "./_cbor_keys.ts";
import { bignumTag, dateTag, maxBignumBytes, needsBignum, negativeBignumTag } from "./_cbor_tags.ts";
import { cannotEncode as cannot, CodecError } from "./codec_error.ts";
import { type CodecLimits, overLimit } from "./limits.ts";

const utf8 = /* @__PURE__ */ new TextEncoder();

/** A message being written: a buffer that grows, and what has been counted. */
interface Writer {
  readonly limits: Required<CodecLimits>;
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  at: number;
  entries: number;
}

/** Writes one item in the deterministic encoding. */
export function writeCbor(value: unknown, limits: Required<CodecLimits>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(256);
  const writer: Writer = { limits, bytes, view: new DataView(bytes.buffer), at: 0, entries: 0 };
  try {
    writeItem(writer, value, 0);
  } catch (cause) {
    // A getter or a proxy may throw anything.
    throw cause instanceof CodecError ? cause : cannot("reading the value threw an error", "unsupported", cause);
  }
  return writer.bytes.slice(0, writer.at);
}

function writeItem(writer: Writer, value: unknown, depth: number): void {
  if (typeof value === "string") writeText(writer, value);
  else if (typeof value === "number") writeNumber(writer, value);
  else if (typeof value === "boolean") writeByte(writer, value ? 0xf5 : 0xf4);
  else if (typeof value === "bigint") writeBigint(writer, value);
  else if (value === null) writeByte(writer, 0xf6);
  else if (typeof value === "object") writeObject(writer, value, depth);
  else throw cannot("a value is of type " + typeof value);
}

function writeObject(writer: Writer, value: object, depth: number): void {
  const prototype = Object.getPrototypeOf(value);
  if (value instanceof Uint8Array) {
    writeHead(writer, 2, value.length);
    writeBytes(writer, value);
  } else if (prototype === Date.prototype) {
    writeDate(writer, Date.prototype.getTime.call(value));
  } else if (depth === writer.limits.maxDepth) {
    // A cycle ends here too.
    throw overLimit(cannot, depth, "levels");
  } else if (Array.isArray(value) && prototype === Array.prototype) {
    writeArray(writer, value, depth);
  } else if (prototype === Object.prototype || prototype === null) {
    writeMap(writer, value as Record<string, unknown>, depth);
  } else {
    throw cannot("an object is an instance of a class");
  }
}

/** Makes room for `length` more bytes and returns where they start. */
function claim(writer: Writer, length: number): number {
  const start = writer.at, end = start + length;
  const { maxBytes } = writer.limits;
  if (end > maxBytes) throw overLimit(cannot, maxBytes, "bytes");
  if (end > writer.bytes.length) {
    const grown = new Uint8Array(Math.max(end, writer.bytes.length * 2));
    grown.set(writer.bytes);
    writer.bytes = grown;
    writer.view = new DataView(grown.buffer);
  }
  writer.at = end;
  return start;
}

function writeByte(writer: Writer, byte: number): void {
  const start = claim(writer, 1);
  writer.bytes[start] = byte;
}

function writeBytes(writer: Writer, bytes: Uint8Array): void {
  const start = claim(writer, bytes.length);
  writer.bytes.set(bytes, start);
}

/** Writes a major type and its argument in the shortest form (RFC 8949 section 4.2.1). */
function writeHead(writer: Writer, major: number, argument: number | bigint): void {
  const type = major << 5;
  if (argument < 24) return writeByte(writer, type | Number(argument));
  if (argument < 2 ** 8) {
    writeByte(writer, type | 24);
    writeByte(writer, Number(argument));
  } else if (argument < 2 ** 16) {
    writeByte(writer, type | 25);
    const start = claim(writer, 2);
    writer.view.setUint16(start, Number(argument));
  } else if (argument < 2 ** 32) {
    writeByte(writer, type | 26);
    const start = claim(writer, 4);
    writer.view.setUint32(start, Number(argument));
  } else {
    writeByte(writer, type | 27);
    const start = claim(writer, 8);
    writer.view.setBigUint64(start, BigInt(argument));
  }
}

/** Safe integers are integers; every other number is a float, so that it is read back as the same number. */
function writeNumber(writer: Writer, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    return value < 0 ? writeHead(writer, 1, -1 - value) : writeHead(writer, 0, value);
  }
  const half = numberToHalf(value);
  if (half !== undefined) {
    writeByte(writer, 0xf9);
    const start = claim(writer, 2);
    writer.view.setUint16(start, half);
  } else if (Math.fround(value) === value) {
    writeByte(writer, 0xfa);
    const start = claim(writer, 4);
    writer.view.setFloat32(start, value);
  } else {
    writeByte(writer, 0xfb);
    const start = claim(writer, 8);
    writer.view.setFloat64(start, value);
  }
}

function writeBigint(writer: Writer, value: bigint): void {
  const size = value < 0n ? -1n - value : value;
  if (!needsBignum(value)) return writeHead(writer, value < 0n ? 1 : 0, size);
  if (BigInt.asUintN(maxBignumBytes * 8, size) !== size) throw overLimit(cannot, maxBignumBytes, "bytes");
  const hex = size === 0n ? "" : size.toString(16);
  const bytes = new Uint8Array(Math.ceil(hex.length / 2));
  const padded = hex.padStart(bytes.length * 2, "0");
  for (let at = 0; at < bytes.length; at++) bytes[at] = parseInt(padded.slice(at * 2, at * 2 + 2), 16);
  writeHead(writer, 6, value < 0n ? negativeBignumTag : bignumTag);
  writeHead(writer, 2, bytes.length);
  writeBytes(writer, bytes);
}

/** Every millisecond of a valid date survives as seconds, which the reader makes sure of with `secondsToMs`. */
function writeDate(writer: Writer, ms: number): void {
  if (Number.isNaN(ms)) throw cannot("a date is invalid");
  writeHead(writer, 6, dateTag);
  writeNumber(writer, ms / 1000);
}

function writeText(writer: Writer, text: string): void {
  if (!text.isWellFormed()) throw cannot("a string holds a lone surrogate");
  if (text.length < 24 && writeShortAscii(writer, text)) return;
  const bytes = utf8.encode(text);
  writeHead(writer, 3, bytes.length);
  writeBytes(writer, bytes);
}

/** Writes a text that fits its head if it is ASCII: calling a TextEncoder costs more than a loop over a short key. */
function writeShortAscii(writer: Writer, text: string): boolean {
  const start = claim(writer, 1 + text.length);
  const { bytes } = writer;
  bytes[start] = 3 << 5 | text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0x80) {
      writer.at = start;
      return false;
    }
    bytes[start + 1 + at] = unit;
  }
  return true;
}

function count(writer: Writer, entries: number): void {
  const { maxItems } = writer.limits;
  writer.entries += entries;
  if (writer.entries > maxItems) throw overLimit(cannot, maxItems, "members and items");
}

function writeArray(writer: Writer, items: readonly unknown[], depth: number): void {
  const { length } = items;
  count(writer, length);
  writeHead(writer, 4, length);
  // By index: the head has promised a length.
  for (let at = 0; at < length; at++) writeItem(writer, items[at], depth + 1);
}

function writeMap(writer: Writer, map: Record<string, unknown>, depth: number): void {
  const members: Member[] = [];
  for (const key of Object.keys(map)) {
    const value = map[key];
    if (value === undefined) continue;
    if (key === "__proto__") throw cannot(`a member is named "__proto__"`);
    count(writer, 1);
    members.push({ key, size: utf8Length(key), value });
  }
  members.sort(compareMembers);
  writeHead(writer, 5, members.length);
  for (const { key, value } of members) {
    writeText(writer, key);
    writeItem(writer, value, depth + 1);
  }
}
