import { cbor } from "../../src/codec/mod.ts";
import { fromHex, toHex, utf8 } from "./_bytes.ts";
import { assertRefused } from "./_refusal.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const codec = cbor();
const read = (hex: string) => codec.decode(fromHex(hex));
const encode = (value: unknown) => codec.encode(value) as Uint8Array<ArrayBuffer>;
const write = (value: unknown) => toHex(encode(value));

test("cbor() is named for its media type", () => assert.equal(codec.name, "cbor"));

describe("cbor() both ways", () => {
  const rows: readonly [title: string, hex: string, value: unknown][] = [
    ["the last integer of each head", "8417 18ff 19ffff 1affffffff", [23, 255, 65535, 4294967295]],
    ["the first integer of each head", "84 1818 190100 1a00010000 1b0000000100000000", [24, 256, 65536, 4294967296]],
    ["the greatest safe integer", "1b001fffffffffffff", 2 ** 53 - 1],
    ["the least safe integer", "3b001ffffffffffffe", 1 - 2 ** 53],
    ["the first bigint beyond the safe integers", "1b0020000000000000", 2n ** 53n],
    ["the first bigint below the safe integers", "3b001fffffffffffff", -(2n ** 53n)],
    ["an unsafe integer that is a number", "fa5a000000", 2 ** 53],
    ["an unsafe negative integer that is a number", "fada000000", -(2 ** 53)],
    ["the bigint 0", "c240", 0n],
    ["the bigint 1", "c24101", 1n],
    ["the bigint -1", "c340", -1n],
    ["the bigint -256", "c341ff", -256n],
    ["the last bigint that is safe", "c2471fffffffffffff", 2n ** 53n - 1n],
    ["the least bigint that is safe", "c3471ffffffffffffe", 1n - 2n ** 53n],
    ["a bigint of 1024 bytes", "c2590400" + "ff".repeat(1024), 2n ** 8192n - 1n],
    ["the greatest subnormal half", "f903ff", 1023 / 2 ** 24],
    ["the least normal half", "f90400", 2 ** -14],
    ["a normal half with all its fraction", "f93fff", 2047 / 1024],
    ["a number a half just misses", "fa3fffe001", 0xffe001 / 2 ** 23],
    ["a number half a step beside a half", "fa3f801000", 1 + 2 ** -11],
    ["half of the least half", "fa33000000", 2 ** -25],
    ["one and a half of the least half", "fa33c00000", 3 * 2 ** -25],
    ["the least single", "fa00000001", 2 ** -149],
    ["the least double", "fb0000000000000001", 2 ** -1074],
    ["a negative half", "f9b800", -0.5],
    ["a date before 1970", "c120", new Date(-1000)],
    ["a date of half a second before 1970", "c1f9b800", new Date(-500)],
    ["a date of one millisecond", "c1fb3f50624dd2f1a9fc", new Date(1)],
    ["a date whose product with 1000 is not exact", "c1fbc2900c899547b6e1", new Date("-137826-11-11T02:12:34.280Z")],
    ["the last date", "c11b000007dba8218000", new Date(8.64e15)],
    ["the first date", "c13b000007dba8217fff", new Date(-8.64e15)],
    ["a byte order mark", "63efbbbf", "\ufeff"],
    ["a text of 23 and one of 24 bytes", "8277" + "61".repeat(23) + "7818" + "61".repeat(24), [
      "a".repeat(23),
      "a".repeat(24),
    ]],
    ["the name constructor", "a16b636f6e7374727563746f7201", { constructor: 1 }],
    ["names in bytewise order of their encodings", "a5 60 00 6162 01 617a 02 626161 03 62c3a9 04", {
      "é": 4,
      aa: 3,
      z: 2,
      b: 1,
      "": 0,
    }],
    // UTF-16 would put the pair of surrogates first.
    ["U+FF5E before U+10000", "a2 63efbd9e 00 64f0908080 01", { "\u{10000}": 1, "\uff5e": 0 }],
    ["names of one length whose UTF-16 order is other", "a2 64efbd9e61 00 64f0908080 01", {
      "\u{10000}": 1,
      "\uff5ea": 0,
    }],
    ["names of one length by their last byte", "a2 63efbd9d 00 63efbd9e 01", { "\uff5e": 1, "\uff5d": 0 }],
    ["an integer index", "a2613002613101", { 1: 1, 0: 2 }],
  ];
  for (const [title, hex, value] of rows) {
    test(`cbor() writes ${title}`, () => assert.equal(write(value), hex.replaceAll(" ", "")));
    test(`cbor() reads ${title}`, () => assert.deepEqual(read(hex), value));
  }

  test("cbor() reads and writes a view into a larger buffer", () => {
    assert.equal(codec.decode(fromHex("ffff1818ffff").subarray(2, 4)), 24);
    assert.equal(write(fromHex("ff0102ff").subarray(1, 3)), "420102");
  });

  test("cbor() leaves out members that are undefined", () => {
    assert.equal(write({ a: undefined, b: 1, ["__proto__"]: undefined }), "a1616201");
  });

  test("cbor() writes an object without a prototype", () => {
    assert.equal(write(Object.assign(Object.create(null), { a: 1 })), "a1616101");
  });

  test("cbor() reads map keys in any order", () => assert.deepEqual(read("a2616202616101"), { b: 2, a: 1 }));

  test("cbor() reads the least single beyond the greatest half", () => assert.equal(read("fa47800000"), 65536));

  test("cbor() reads a date whose float is an integer", () => assert.deepEqual(read("c1f93c00"), new Date(1000)));

  test("cbor() copies byte strings out of the message", () => {
    const message = fromHex("4401020304");
    const bytes = codec.decode(message) as Uint8Array;
    message.fill(0);
    assert.deepEqual(bytes, Uint8Array.of(1, 2, 3, 4));
    assert.equal(bytes.buffer.byteLength, 4);
  });

  test("cbor() gives plain Uint8Arrays whatever class the message has", () => {
    class Special extends Uint8Array {}
    assert.equal(Object.getPrototypeOf(codec.decode(Special.from([0x41, 1]))), Uint8Array.prototype);
  });

  test("cbor() writes into a buffer of its own", () => {
    const first = encode([1]);
    encode([2]);
    assert.equal(toHex(first), "8101");
    assert.equal(first.buffer.byteLength, 2);
  });

  test("cbor() writes messages longer than its first buffer", () => {
    const message = ["a".repeat(1000), new Uint8Array(100_000), "b".repeat(300)];
    assert.deepEqual(codec.decode(encode(message)), message);
  });
});

describe("cbor() decode", () => {
  const head = "is not in its shortest form";
  const float = "is not in its shortest form";
  const left = "are left";
  const refused: readonly [title: string, hex: string, found: string][] = [
    ["an empty message", "", left],
    ["a byte after the item", "0000", "1 bytes follow the item"],
    ["a head without its argument", "18", left],
    ["half an argument", "1a0000", left],
    ["an argument of 8 bytes cut short", "1b00000001000000", left],
    ["a byte string that runs past the end", "4401", left],
    ["a text string that runs past the end", "6a616263", "needs 10 bytes, 3 are left"],
    ["a float without its bytes", "fb0000", left],
    ["a half without its bytes", "f900", left],
    ["a single without its bytes", "fa000000", left],
    ["an array without its items", "8201", left],
    ["an array whose last item is cut off", "82019901", left],
    ["a map without its values", "a1", left],
    ["a map with a key only", "a16161", left],
    ["a tag without content", "c1", left],
    ["a bignum without content", "c2", "is not a byte string"],
    ["0 in one byte", "1800", head],
    ["23 in one byte", "1817", head],
    ["255 in two bytes", "1900ff", head],
    ["65535 in four bytes", "1a0000ffff", head],
    ["4294967295 in eight bytes", "1b00000000ffffffff", head],
    ["-1 in one byte", "3800", head],
    ["a length that is not in its shortest form", "580101", head],
    ["an array length that is not in its shortest form", "990000", head],
    ["a tag that is not in its shortest form", "d80100", head],
    ["an integer of reserved length 28", "1c", "is reserved"],
    ["an array of reserved length 29", "9d", "is reserved"],
    ["a map of reserved length 30", "be", "is reserved"],
    ["an integer of indefinite length", "1f", "is of indefinite length"],
    ["a tag of indefinite length", "df00", "is of indefinite length"],
    ["a break", "ff", "is not false, true or null"],
    ["a reserved float", "fc", "is not false, true or null"],
    ["a simple value in two bytes", "f814", "is not false, true or null"],
    ["a simple value nobody has assigned", "e0", "is not false, true or null"],
    ["1.5 as a single", "fa3fc00000", float],
    ["1.5 as a double", "fb3ff8000000000000", float],
    ["100000.5 as a double", "fb40f86a0800000000", float],
    ["the least half as a single", "fa33800000", float],
    ["0.0 as a single", "fa00000000", float],
    ["-0.0 as a double", "fb8000000000000000", float],
    ["a negative NaN", "f9fe00", "is not the plain one"],
    ["a NaN with a payload", "f97e01", "is not the plain one"],
    ["a signalling NaN", "f97c01", "is not the plain one"],
    ["a NaN with a payload as a double", "fb7ff8000000000001", float],
    ["an integer key", "a10000", "is not text"],
    ["a byte string key", "a1416100", "is not text"],
    ["a tagged key", "a1c1616100", "is not text"],
    ["a null key", "a1f600", "is not text"],
    ["a key that stands twice", "a2616101616102", "is there before"],
    ["a key of Object.prototype that stands twice", "a268746f537472696e670168746f537472696e6702", "is there before"],
    ["the key __proto__", "a1695f5f70726f746f5f5fa0", 'is "__proto__"'],
    ["tag 4", "c4820001", "is not one of 1, 2 and 3"],
    ["the tag of self-described CBOR", "d9d9f700", "is not one of 1, 2 and 3"],
    ["a tag of 64 bits", "dbffffffffffffffff00", "is not one of 1, 2 and 3"],
    ["a bignum with a leading zero", "c24a00010000000000000000", "has a leading zero"],
    ["a bignum of one zero", "c24100", "has a leading zero"],
    ["a negative bignum with a leading zero", "c34100", "has a leading zero"],
    ["2^53 as a bignum", "c24720000000000000", "fits an integer of 64 bits"],
    ["2^64 - 1 as a bignum", "c248ffffffffffffffff", "fits an integer of 64 bits"],
    ["-2^53 as a bignum", "c3471fffffffffffff", "fits an integer of 64 bits"],
    ["-2^64 as a bignum", "c348ffffffffffffffff", "fits an integer of 64 bits"],
    ["a bignum that is text", "c26101", "is not a byte string"],
    ["a negative bignum that is an integer", "c301", "is not a byte string"],
    ["a bignum cut short", "c24901", left],
    ["a date that is text", "c16161", "is not a number"],
    ["a date in a date", "c1c100", "is not a number"],
    ["a date that is an array", "c18100", "is not a number"],
    ["a date that is null", "c1f6", "is not a whole number of milliseconds in range"],
    ["a date that is NaN", "c1f97e00", "is not a whole number of milliseconds in range"],
    ["a date that is Infinity", "c1f97c00", "is not a whole number of milliseconds in range"],
    ["a date of a quarter of a millisecond", "c1f90c19", "is not a whole number of milliseconds in range"],
    ["a date next to a whole millisecond", "c1fb3f50624dd2f1a9fd", "is not a whole number of milliseconds in range"],
    ["a date after the last", "c11b000007dba8218001", "is not a whole number of milliseconds in range"],
    ["a date before the first", "c13b000007dba8218000", "is not a whole number of milliseconds in range"],
    ["a date of 2^63 seconds", "c11b8000000000000000", "is not a whole number of milliseconds in range"],
    ["a lone continuation byte", "6180", "is not UTF-8"],
    ["an overlong slash", "62c0af", "is not UTF-8"],
    ["a surrogate in UTF-8", "63eda080", "is not UTF-8"],
    ["a pair of surrogates in UTF-8", "66eda0bdedb880", "is not UTF-8"],
    ["a truncated character in a long text", "7818" + "61".repeat(23) + "e2", "is not UTF-8"],
    ["a key that is not UTF-8", "a161ff00", "is not UTF-8"],
  ];
  for (const [title, hex, found] of refused) {
    test(`cbor() refuses ${title}`, () => assertRefused(() => read(hex), "syntax", found));
  }

  test("cbor() reads the next message after one that is not UTF-8", () => {
    assertRefused(() => read("7818" + "61".repeat(23) + "e2"), "syntax", "is not UTF-8");
    assert.equal(read("62c3a9"), "é");
  });

  test("cbor() names neither a received value nor a key when it refuses", () => {
    const member = "67" + toHex(utf8("s3cret\u00e9")).slice(0, 14) + "01";
    for (const hex of ["a2" + member + member, "67" + toHex(utf8("s3cret")) + "ff"]) {
      assert.throws(() => read(hex), (error: Error) => !/s3cret/.test(error.message) && error.cause === undefined);
    }
  });

  test("cbor() gives objects whose prototype is Object.prototype", () => {
    assert.equal(Object.getPrototypeOf(read("a0")), Object.prototype);
  });
});

describe("cbor() limits", () => {
  const nested = (depth: number) => "81".repeat(depth - 1) + "80";

  test("cbor() reads 32 levels and refuses 33", () => {
    assert.ok(read(nested(32)));
    assertRefused(() => read(nested(33)), "limit", "it is over the limit of 32 levels");
    assertRefused(() => read("a16161".repeat(32) + "a0"), "limit", "32 levels");
  });

  test("cbor() counts depth, not containers", () => assert.ok(read("9864" + nested(31).repeat(100))));

  test("cbor() reads and writes as deep as maxDepth says", () => {
    const deep = cbor({ maxDepth: 1000 });
    assert.equal(toHex(deep.encode(deep.decode(fromHex(nested(1000)))) as Uint8Array), nested(1000));
    assertRefused(() => deep.decode(fromHex(nested(1001))), "limit", "1000 levels");
  });

  test("cbor() refuses 500 000 nested arrays, maps and tags", () => {
    for (const hex of ["81", "a16161", "c1", "c2"]) {
      assert.throws(() => read(hex.repeat(500_000)), { name: "CodecError" });
    }
  });

  test("cbor() reads 10 000 members and items and refuses one more", () => {
    assert.equal((read("992710" + "00".repeat(10_000)) as unknown[]).length, 10_000);
    assertRefused(() => read("992711" + "00".repeat(10_001)), "limit", "10000 members and items");
  });

  test("cbor() counts members and items in all", () => {
    const three = cbor({ maxItems: 3 });
    assert.deepEqual(three.decode(fromHex("a161618200 01")), { a: [0, 1] });
    assertRefused(() => three.decode(fromHex("a16161830001 02")), "limit", "3 members and items");
    assertRefused(() => three.decode(fromHex("8280 82 0001")), "limit", "3 members and items");
    assert.ok(three.encode({ a: [0, 1] }));
    assertRefused(() => three.encode({ a: [0, 1, 2] }), "limit", "3 members and items");
    assertRefused(() => three.encode({ a: 1, b: 1, c: 1, d: 1 }), "limit", "3 members and items");
  });

  const huge = [
    "9affffffff",
    "9bffffffffffffffff",
    "bb0000000100000000",
    "ba80000000",
    "5bffffffffffffffff",
    "7affffffff",
  ];
  for (const hex of huge) {
    test(`cbor() refuses the length that ${hex} declares before it allocates`, () => {
      assertRefused(() => read(hex + "00"), "syntax", "are left");
    });
  }

  test("cbor() refuses an array and a map that need more bytes than are left", () => {
    assertRefused(() => read("820101".slice(0, 4)), "syntax", "need at least 2 bytes, 1 are left");
    assertRefused(() => read("a26161016162".slice(0, 8)), "syntax", "need at least 4 bytes, 3 are left");
  });

  test("cbor() refuses a bignum of 1025 bytes both ways", () => {
    assertRefused(() => read("c2590401" + "ff".repeat(1025)), "limit", "it is over the limit of 1024 bytes");
    assertRefused(() => encode(2n ** 8192n), "limit", "it is over the limit of 1024 bytes");
    assertRefused(() => encode(-(2n ** 8192n) - 1n), "limit", "it is over the limit of 1024 bytes");
  });

  test("cbor() reads and writes maxBytes and refuses one more", () => {
    const five = cbor({ maxBytes: 5 });
    assert.equal(five.decode(five.encode("abcd") as Uint8Array), "abcd");
    assertRefused(() => five.decode(fromHex("656162636465")), "limit", "it is over the limit of 5 bytes");
    assertRefused(() => five.encode("abcde"), "limit", "it is over the limit of 5 bytes");
  });

  const cycle: unknown[] = [];
  cycle.push({ cycle });
  test("cbor() refuses to write an array that holds itself", () => {
    assertRefused(() => encode(cycle), "limit", "32 levels");
  });

  test("cbor() refuses the length of a sparse array before it visits the items", () => {
    assertRefused(() => encode(new Array(2 ** 32 - 1)), "limit", "members and items");
  });
});

describe("cbor() encode", () => {
  const instance = "an object is an instance of a class";
  const refused: readonly [title: string, value: unknown, found: string][] = [
    ["undefined", undefined, "a value is of type undefined"],
    ["undefined in an array", [undefined], "a value is of type undefined"],
    ["a hole in an array", new Array(1), "a value is of type undefined"],
    ["a function", { a: () => 1 }, "a value is of type function"],
    ["a symbol", [Symbol("a")], "a value is of type symbol"],
    ["a lone surrogate", "a\ud800", "a string holds a lone surrogate"],
    ["a lone surrogate in a name", { "\udfff": 1 }, "a string holds a lone surrogate"],
    ["a member named __proto__", JSON.parse('{"__proto__":1}'), 'a member is named "__proto__"'],
    ["an invalid date", new Date(NaN), "a date is invalid"],
    ["a Map", new Map(), instance],
    ["an ArrayBuffer", new ArrayBuffer(1), instance],
    ["a view that is not a Uint8Array", new Uint16Array(1), instance],
    ["an instance of a class", new (class A {})(), instance],
    ["an instance of a subclass of Array", new (class A extends Array {})(), instance],
    ["an instance of a subclass of Date", new (class A extends Date {})(), instance],
    ["an object disguised as an array", Object.create(Array.prototype), instance],
    [
      "a getter that throws",
      Object.defineProperty({}, "a", { enumerable: true, get: () => assert.fail("boom") }),
      "threw",
    ],
    ["a proxy that throws", new Proxy({}, { ownKeys: () => assert.fail("boom") }), "threw"],
    ["an object disguised as a date", Object.create(Date.prototype), "threw"],
    ["an object disguised as bytes", Object.create(Uint8Array.prototype), "threw"],
  ];
  for (const [title, value, found] of refused) {
    test(`cbor() refuses to write ${title}`, () => assertRefused(() => encode(value), "unsupported", found));
  }

  test("cbor() keeps the error of a getter as the cause", () => {
    const cause = new Error("boom");
    const value = {
      get a() {
        throw cause;
      },
    };
    assert.throws(() => encode(value), { code: "unsupported", cause });
  });
});
