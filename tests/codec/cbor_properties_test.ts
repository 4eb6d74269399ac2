import { cbor } from "../../src/codec/mod.ts";
import { fromHex, toHex } from "./_bytes.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const codec = cbor();
const read = (hex: string) => codec.decode(fromHex(hex));
const encode = (value: unknown) => codec.encode(value) as Uint8Array<ArrayBuffer>;
const write = (value: unknown) => toHex(encode(value));

describe("cbor() properties", () => {
  const text = fc.string({ unit: "binary" }).filter((text) => text.isWellFormed());
  const key = text.filter((name) => name !== "__proto__");
  const bytes = fc.uint8Array().map((bytes) => Uint8Array.from(bytes));
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 6 },
      fc.oneof(
        text,
        bytes,
        fc.integer(),
        fc.maxSafeInteger(),
        fc.double(),
        fc.float(),
        fc.bigInt(),
        fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
        fc.date({ noInvalidDate: true }),
        fc.boolean(),
        fc.constant(null),
      ),
      fc.array(tie("value")),
      fc.dictionary(key, tie("value"), { noNullPrototype: true }),
    ),
  }));

  test("cbor() reads back what it writes", () => {
    fc.assert(fc.property(value, (message) => assert.deepEqual(codec.decode(encode(message)), message)));
  });

  test("cbor() writes one encoding whatever the order of the members", () => {
    fc.assert(fc.property(fc.dictionary(key, value, { noNullPrototype: true }), (message) => {
      const reversed = Object.fromEntries(Object.entries(message).reverse());
      assert.equal(write(reversed), write(message));
    }));
  });

  test("cbor() writes every half as a half and reads it back", () => {
    for (let bits = 0; bits < 2 ** 16; bits++) {
      const hex = "f9" + bits.toString(16).padStart(4, "0");
      if ((bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0) continue; // NaN
      const number = read(hex) as number;
      if (!Number.isInteger(number) || Object.is(number, -0)) assert.equal(write(number), hex);
    }
  });

  test("cbor() writes the order of keys that their encodings have", () => {
    fc.assert(fc.property(fc.uniqueArray(key, { minLength: 2 }), (names) => {
      const message = Object.fromEntries(names.map((name) => [name, 0]));
      const sorted = names.map((name) => write(name)).sort().map((hex) => hex + "00").join("");
      assert.equal(write(message).endsWith(sorted), true);
    }));
  });

  test("cbor() writes dates of every size exactly", () => {
    fc.assert(fc.property(fc.integer({ min: -8.64e15, max: 8.64e15 }), (ms) => {
      assert.deepEqual(codec.decode(encode(new Date(ms))), new Date(ms));
    }));
  });
});
