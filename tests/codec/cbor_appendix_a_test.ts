import { cbor } from "../../src/codec/mod.ts";
import { fromHex, toHex } from "./_bytes.ts";
import { assertRefused } from "./_refusal.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

// RFC 8949, appendix A, table 6, in its order; each row of that table is in exactly one of the three tables below.

/** Rows that are read and written as they stand. */
const bothWays: readonly [diagnostic: string, hex: string, value: unknown][] = [
  ["0", "00", 0],
  ["1", "01", 1],
  ["10", "0a", 10],
  ["23", "17", 23],
  ["24", "1818", 24],
  ["25", "1819", 25],
  ["100", "1864", 100],
  ["1000", "1903e8", 1000],
  ["1000000", "1a000f4240", 1000000],
  ["1000000000000", "1b000000e8d4a51000", 1000000000000],
  ["18446744073709551615", "1bffffffffffffffff", 18446744073709551615n],
  ["18446744073709551616", "c249010000000000000000", 18446744073709551616n],
  ["-18446744073709551616", "3bffffffffffffffff", -18446744073709551616n],
  ["-18446744073709551617", "c349010000000000000000", -18446744073709551617n],
  ["-1", "20", -1],
  ["-10", "29", -10],
  ["-100", "3863", -100],
  ["-1000", "3903e7", -1000],
  ["-0.0", "f98000", -0],
  ["1.1", "fb3ff199999999999a", 1.1],
  ["1.5", "f93e00", 1.5],
  ["3.4028234663852886e+38", "fa7f7fffff", 3.4028234663852886e+38],
  ["1.0e+300", "fb7e37e43c8800759c", 1.0e+300],
  ["5.960464477539063e-8", "f90001", 5.960464477539063e-8],
  ["0.00006103515625", "f90400", 0.00006103515625],
  ["-4.1", "fbc010666666666666", -4.1],
  ["Infinity", "f97c00", Infinity],
  ["NaN", "f97e00", NaN],
  ["-Infinity", "f9fc00", -Infinity],
  ["false", "f4", false],
  ["true", "f5", true],
  ["null", "f6", null],
  ["1(1363896240)", "c11a514b67b0", new Date("2013-03-21T20:04:00Z")],
  ["1(1363896240.5)", "c1fb41d452d9ec200000", new Date("2013-03-21T20:04:00.500Z")],
  ["h''", "40", new Uint8Array()],
  ["h'01020304'", "4401020304", Uint8Array.of(1, 2, 3, 4)],
  ['""', "60", ""],
  ['"a"', "6161", "a"],
  ['"IETF"', "6449455446", "IETF"],
  ['"\\"\\\\"', "62225c", '"\\'],
  ['"\\u00fc"', "62c3bc", "\u00fc"],
  ['"\\u6c34"', "63e6b0b4", "\u6c34"],
  ['"\\ud800\\udd51"', "64f0908591", "\ud800\udd51"],
  ["[]", "80", []],
  ["[1, 2, 3]", "83010203", [1, 2, 3]],
  ["[1, [2, 3], [4, 5]]", "8301820203820405", [1, [2, 3], [4, 5]]],
  [
    "[1, 2, …, 25]",
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
    Array.from({ length: 25 }, (_, at) => at + 1),
  ],
  ["{}", "a0", {}],
  ['{"a": 1, "b": [2, 3]}', "a26161016162820203", { a: 1, b: [2, 3] }],
  ['["a", {"b": "c"}]', "826161a161626163", ["a", { b: "c" }]],
  [
    '{"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}',
    "a56161614161626142616361436164614461656145",
    { a: "A", b: "B", c: "C", d: "D", e: "E" },
  ],
];

/** Rows that are read, but written as an integer, because a number has one type in JavaScript. */
const readOnly: readonly [diagnostic: string, hex: string, value: number, written: string][] = [
  ["0.0", "f90000", 0, "00"],
  ["1.0", "f93c00", 1, "01"],
  ["65504.0", "f97bff", 65504, "19ffe0"],
  ["100000.0", "fa47c35000", 100000, "1a000186a0"],
  ["-4.0", "f9c400", -4, "23"],
];

const float = "is not in its shortest form";
const simple = "is not false, true or null";
const tag = "is not one of 1, 2 and 3";
const indefinite = "is of indefinite length";

/** Rows that are refused, with the reason. */
const refused: readonly [diagnostic: string, hex: string, found: string][] = [
  ["Infinity", "fa7f800000", float],
  ["NaN", "fa7fc00000", float],
  ["-Infinity", "faff800000", float],
  ["Infinity", "fb7ff0000000000000", float],
  ["NaN", "fb7ff8000000000000", float],
  ["-Infinity", "fbfff0000000000000", float],
  ["undefined", "f7", simple],
  ["simple(16)", "f0", simple],
  ["simple(255)", "f8ff", simple],
  ['0("2013-03-21T20:04:00Z")', "c074323031332d30332d32315432303a30343a30305a", tag],
  ["23(h'01020304')", "d74401020304", tag],
  ["24(h'6449455446')", "d818456449455446", tag],
  ['32("http://www.example.com")', "d82076687474703a2f2f7777772e6578616d706c652e636f6d", tag],
  ["{1: 2, 3: 4}", "a201020304", "is not text"],
  ["(_ h'0102', h'030405')", "5f42010243030405ff", indefinite],
  ['(_ "strea", "ming")', "7f657374726561646d696e67ff", indefinite],
  ["[_ ]", "9fff", indefinite],
  ["[_ 1, [2, 3], [_ 4, 5]]", "9f018202039f0405ffff", indefinite],
  ["[_ 1, [2, 3], [4, 5]]", "9f01820203820405ff", indefinite],
  ["[1, [2, 3], [_ 4, 5]]", "83018202039f0405ff", indefinite],
  ["[1, [_ 2, 3], [4, 5]]", "83019f0203ff820405", indefinite],
  ["[_ 1, 2, …, 25]", "9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", indefinite],
  ['{_ "a": 1, "b": [_ 2, 3]}', "bf61610161629f0203ffff", indefinite],
  ['["a", {_ "b": "c"}]', "826161bf61626163ff", indefinite],
  ['{_ "Fun": true, "Amt": -2}', "bf6346756ef563416d7421ff", indefinite],
];

describe("RFC 8949 appendix A", () => {
  const codec = cbor();
  const write = (value: unknown) => toHex(codec.encode(value) as Uint8Array);

  for (const [diagnostic, hex, value] of bothWays) {
    test(`cbor() reads ${hex} as ${diagnostic}`, () => assert.deepEqual(codec.decode(fromHex(hex)), value));
    test(`cbor() writes ${diagnostic} as ${hex}`, () => assert.equal(write(value), hex));
  }

  for (const [diagnostic, hex, value, written] of readOnly) {
    test(`cbor() reads ${hex} as ${diagnostic} and writes it as ${written}`, () => {
      assert.equal(codec.decode(fromHex(hex)), value);
      assert.equal(write(value), written);
    });
  }

  for (const [diagnostic, hex, found] of refused) {
    test(`cbor() refuses ${hex}, which is ${diagnostic}`, () => {
      assertRefused(() => codec.decode(fromHex(hex)), "syntax", found);
    });
  }
});
