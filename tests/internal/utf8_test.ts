import fc from "fast-check";
import { decodeUtf8, writeUtf8 } from "../../src/internal/utf8.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function outcome(decode: () => string): string | undefined {
  try {
    return decode();
  } catch (error) {
    assert.ok(error instanceof TypeError);
    return undefined;
  }
}

test("decodeUtf8() gives and refuses what the strict decoder does, for any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
    assert.equal(outcome(() => decodeUtf8(bytes)), outcome(() => strict.decode(bytes)));
  }));
});

test("decodeUtf8() gives back any text, one with a replacement character and one with a byte order mark too", () => {
  for (const text of ["", "a\ufffdb", "\ufeffa", "ä€😀"]) {
    assert.equal(decodeUtf8(new TextEncoder().encode(text)), text);
  }
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    assert.equal(decodeUtf8(new TextEncoder().encode(text)), text);
  }));
});

test("decodeUtf8() refuses what is not UTF-8", () => {
  for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]) {
    assert.throws(() => decodeUtf8(new Uint8Array(bytes)), TypeError);
  }
});

test("writeUtf8() writes what TextEncoder does, from where it is told", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), fc.nat(8), (text, at) => {
    const buffer = new Uint8Array(at + 3 * text.length);
    const written = writeUtf8(text, buffer, at);
    assert.deepEqual(buffer.slice(at, at + written), new TextEncoder().encode(text));
    assert.ok(buffer.subarray(0, at).every((byte) => byte === 0));
  }));
});
