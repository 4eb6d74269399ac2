import { decodeUtf8 } from "../internal/utf8.ts";
import { halfNaN, halfToNumber, numberToHalf } from "./_cbor_float.ts";
import { bignumTag, dateTag, maxBignumBytes, needsBignum, negativeBignumTag, secondsToMs } from "./_cbor_tags.ts";
import { cannotDecode as cannot } from "./codec_error.ts";
import { type CodecLimits, overLimit } from "./limits.ts";

/** A message being read: the next byte's place, and what has been counted. */
interface Reader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly limits: Required<CodecLimits>;
  at: number;
  entries: number;
}

/** Reads one item that fills the bytes. */
export function readCbor(bytes: Uint8Array, limits: Required<CodecLimits>): unknown {
  if (bytes.length > limits.maxBytes) throw overLimit(cannot, limits.maxBytes, "bytes");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const reader: Reader = { bytes, view, limits, at: 0, entries: 0 };
  const value = readItem(reader, 0);
  if (reader.at < bytes.length) throw cannot(`${bytes.length - reader.at} bytes follow the item`);
  return value;
}

/** Reads an item by its major type (RFC 8949 section 3.1). */
function readItem(reader: Reader, depth: number): unknown {
  const initial = reader.bytes[take(reader, 1)];
  const major = initial >> 5, info = initial & 0x1f;
  if (major === 7) return readSimple(reader, info);
  const argument = readArgument(reader, info);
  if (major === 0) return argument;
  if (major === 1) return negative(argument);
  if (major === 2) return readBytes(reader, argument);
  if (major === 3) return readText(reader, argument);
  if (major === 4) return readArray(reader, argument, depth);
  if (major === 5) return readMap(reader, argument, depth);
  return readTagged(reader, argument);
}

/** Passes over `length` bytes that must be there and returns where they start. */
function take(reader: Reader, length: number): number {
  const start = reader.at, left = reader.bytes.length - start;
  if (length > left) throw cannot(`an item at byte ${start} needs ${length} bytes, ${left} are left`);
  reader.at += length;
  return start;
}

/** Reads the argument of a head in its shortest form: a number where one is exact, else a bigint. */
function readArgument(reader: Reader, info: number): number | bigint {
  if (info < 24) return info;
  if (info === 31) throw cannot(`the item at byte ${reader.at - 1} is of indefinite length`);
  if (info > 27) throw cannot(`the head at byte ${reader.at - 1} is reserved`);
  const size = 1 << info - 24;
  const start = take(reader, size);
  const { view } = reader;
  const wide = size === 8 ? view.getBigUint64(start) : 0n;
  const argument = size === 8
    ? Number(wide)
    : size === 4
    ? view.getUint32(start)
    : size === 2
    ? view.getUint16(start)
    : view.getUint8(start);
  // What half as many bytes can hold, or for a single byte the head itself, must be held there.
  const least = size === 1 ? 24 : 2 ** (size * 4);
  if (argument < least) throw cannot(`the head at byte ${start - 1} is not in its shortest form`);
  return Number.isSafeInteger(argument) ? argument : wide;
}

function negative(argument: number | bigint): number | bigint {
  const value = -1 - Number(argument);
  return Number.isSafeInteger(value) ? value : -1n - BigInt(argument);
}

/** A copy, so that a small slice never keeps the whole message in memory. */
function readBytes(reader: Reader, length: number | bigint): Uint8Array<ArrayBuffer> {
  const start = take(reader, Number(length));
  return new Uint8Array(reader.bytes.subarray(start, reader.at));
}

function readText(reader: Reader, length: number | bigint): string {
  const start = take(reader, Number(length));
  // Calling a TextDecoder costs more than reading a short key by hand.
  if (length < 24) {
    let text = "", at = start;
    while (at < reader.at && reader.bytes[at] < 0x80) text += String.fromCharCode(reader.bytes[at++]);
    if (at === reader.at) return text;
  }
  try {
    return decodeUtf8(reader.bytes.subarray(start, reader.at));
  } catch {
    throw cannot(`the text at byte ${start} is not UTF-8`);
  }
}

/** Bounds what a container declares before anything is made for it. */
function enter(reader: Reader, entries: number | bigint, bytesEach: number, depth: number): void {
  const { limits, bytes, at } = reader;
  if (depth === limits.maxDepth) throw overLimit(cannot, depth, "levels");
  const least = Number(entries) * bytesEach, left = bytes.length - at;
  if (least > left) throw cannot(`the items from byte ${at} on need at least ${least} bytes, ${left} are left`);
  reader.entries += Number(entries);
  if (reader.entries > limits.maxItems) throw overLimit(cannot, limits.maxItems, "members and items");
}

function readArray(reader: Reader, length: number | bigint, depth: number): unknown[] {
  enter(reader, length, 1, depth);
  const items: unknown[] = [];
  while (items.length < length) items.push(readItem(reader, depth + 1));
  return items;
}

function readMap(reader: Reader, length: number | bigint, depth: number): Record<string, unknown> {
  enter(reader, length, 2, depth);
  const map: Record<string, unknown> = {};
  for (let left = Number(length); left > 0; left--) {
    const start = reader.at;
    if (reader.bytes[start] >> 5 !== 3) throw cannot(`the key at byte ${start} is not text`);
    const key = readItem(reader, depth + 1) as string;
    if (key === "__proto__") throw cannot(`the key at byte ${start} is "__proto__"`);
    if (Object.hasOwn(map, key)) throw cannot(`the key at byte ${start} is there before`);
    const value = readItem(reader, depth + 1);
    // Assigning would fail where Object.prototype is frozen and has the name.
    if (key in map) Object.defineProperty(map, key, { value, configurable: true, enumerable: true, writable: true });
    else map[key] = value;
  }
  return map;
}

/** Reads what a tag makes of its content, whose type is checked first so that tags cannot nest. */
function readTagged(reader: Reader, tag: number | bigint): Date | bigint {
  const start = reader.at;
  const major = reader.bytes[start] >> 5;
  if (tag === bignumTag || tag === negativeBignumTag) {
    if (major !== 2) throw cannot(`the bignum at byte ${start} is not a byte string`);
    const size = readBignum(reader, start);
    return tag === bignumTag ? checkBignum(size, start) : checkBignum(-1n - size, start);
  }
  if (tag !== dateTag) throw cannot(`the tag before byte ${start} is not one of 1, 2 and 3`);
  if (major !== 0 && major !== 1 && major !== 7) throw cannot(`the date at byte ${start} is not a number`);
  const seconds = readItem(reader, 0);
  const ms = typeof seconds === "number" ? secondsToMs(seconds) : undefined;
  if (ms === undefined) throw cannot(`the date at byte ${start} is not a whole number of milliseconds in range`);
  return new Date(ms);
}

function readBignum(reader: Reader, start: number): bigint {
  const bytes = readItem(reader, 0) as Uint8Array;
  if (bytes.length > maxBignumBytes) throw overLimit(cannot, maxBignumBytes, "bytes");
  if (bytes[0] === 0) throw cannot(`the bignum at byte ${start} has a leading zero`);
  let hex = "0x0";
  for (const byte of bytes) hex += byte.toString(16).padStart(2, "0");
  return BigInt(hex);
}

function checkBignum(value: bigint, start: number): bigint {
  if (!needsBignum(value)) throw cannot(`the bignum at byte ${start} fits an integer of 64 bits`);
  return value;
}

/** Reads major type 7: three simple values, and floats in their shortest form (RFC 8949 section 3.3). */
function readSimple(reader: Reader, info: number): boolean | null | number {
  if (info === 20) return false;
  if (info === 21) return true;
  if (info === 22) return null;
  const { view } = reader;
  const start = reader.at;
  if (info === 25) return readHalf(view.getUint16(take(reader, 2)), start);
  if (info !== 26 && info !== 27) throw cannot(`the simple value at byte ${start - 1} is not false, true or null`);
  const value = info === 26 ? view.getFloat32(take(reader, 4)) : view.getFloat64(take(reader, 8));
  const shorter = info === 26 ? numberToHalf(value) !== undefined : Object.is(Math.fround(value), value);
  if (shorter) throw cannot(`the float at byte ${start} is not in its shortest form`);
  return value;
}

function readHalf(bits: number, start: number): number {
  const value = halfToNumber(bits);
  if (Number.isNaN(value) && bits !== halfNaN) throw cannot(`the NaN at byte ${start} is not the plain one`);
  return value;
}
