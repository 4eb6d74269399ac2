import { fromBase64 } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

/** The vectors of RFC 4648, section 10, and both alphabets' last letters. */
const vectors: readonly (readonly [base64: string, bytes: readonly number[]])[] = [
  ["", []],
  ["Zg==", [0x66]],
  ["Zm8=", [0x66, 0x6f]],
  ["Zm9v", [0x66, 0x6f, 0x6f]],
  ["Zm9vYg==", [0x66, 0x6f, 0x6f, 0x62]],
  ["Zm9vYmE=", [0x66, 0x6f, 0x6f, 0x62, 0x61]],
  ["Zm9vYmFy", [0x66, 0x6f, 0x6f, 0x62, 0x61, 0x72]],
  ["++//", [0xfb, 0xef, 0xff]],
  ["--__", [0xfb, 0xef, 0xff]],
  ["AAAA", [0, 0, 0]],
  ["/w==", [0xff]],
];
for (const [base64, bytes] of vectors) {
  test(`fromBase64() decodes "${base64}", padded and not`, () => {
    assert.deepEqual(fromBase64(base64), Uint8Array.from(bytes));
    assert.deepEqual(fromBase64(base64.replaceAll("=", "")), Uint8Array.from(bytes));
  });
}

test("fromBase64() decodes every byte", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
  const base64 = btoa(String.fromCharCode(...bytes));
  assert.deepEqual(fromBase64(base64), bytes);
  assert.deepEqual(fromBase64(base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")), bytes);
});

const wrong = [
  ...[" ", "Zg ==", " Zg==", "Zg== ", "Zg\n", "Zm9v\r\n", "Zm 9v", "Z\tg", "Zm9v\u00a0", "Zm\f9v"], // white space
  ...["Zh", "Zh==", "Zv==", "Zm9", "Zm9=", "Zm9vYh==", "/x"], // bits that stand for nothing
  ...["Zg===", "Zg====", "===", "Z=g=", "Zg==Zg==", "=Zg"], // padding where there is none
  ...["Z", "Zm9vY", "*", "Zm9*", "Zm.v", "Zm9vÿ", "Zm9v\0", "%5A"], // no base64
];
for (const base64 of wrong) {
  test(`fromBase64() refuses ${JSON.stringify(base64)}`, () => assert.equal(fromBase64(base64), undefined));
}
