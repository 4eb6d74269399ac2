import assert from "node:assert/strict";
import { test } from "node:test";
import { timingSafeEqual } from "@std/crypto/timing-safe-equal";

test("timingSafeEqual() accepts equal bytes in every kind of view", () => {
  const bytes = new Uint8Array([1, 2, 3, 4]);
  const inside = new Uint8Array([9, 1, 2, 3, 4, 9]).subarray(1, 5);
  assert.equal(timingSafeEqual(bytes, inside), true);
  assert.equal(timingSafeEqual(bytes, bytes.slice().buffer), true);
  assert.equal(timingSafeEqual(new DataView(bytes.buffer), inside), true);
  assert.equal(timingSafeEqual(new Uint8Array(), new ArrayBuffer(0)), true);
});

test("timingSafeEqual() refuses a difference in any one bit", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  for (let bit = 0; bit < 256; bit++) {
    const other = bytes.slice();
    other[bit >> 3] ^= 1 << (bit & 7);
    assert.equal(timingSafeEqual(bytes, other), false, `bit ${bit}`);
  }
});

test("timingSafeEqual() refuses sequences of different length", () => {
  assert.equal(timingSafeEqual(new Uint8Array(3), new Uint8Array(4)), false);
  assert.equal(timingSafeEqual(new Uint8Array(4), new Uint8Array(0)), false);
});
