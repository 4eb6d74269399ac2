import { cbor, type CodecLimits, defaultCodecLimits, json } from "../../src/codec/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

for (const make of [json, cbor]) {
  describe(make.name, () => {
    for (const value of [0, -1, 1.5, NaN, Infinity, 2 ** 53, "9" as unknown as number]) {
      for (const name of ["maxBytes", "maxDepth", "maxItems"] as const) {
        test(`${make.name}() throws a RangeError when "${name}" is ${typeof value} ${value}`, () => {
          assert.throws(
            () => make({ [name]: value }),
            new RegExp(`^RangeError: "${name}" must be an integer from 1 to`),
          );
        });
      }
    }

    test(`${make.name}() throws a RangeError when "maxDepth" is over 1000`, () => {
      assert.throws(() => make({ maxDepth: 1001 }), RangeError);
      make({ maxDepth: 1000 });
    });

    test(`${make.name}() takes the default for a limit that is undefined`, () => {
      const codec = make({ maxDepth: undefined, maxBytes: undefined, maxItems: undefined });
      assert.deepEqual(codec.encode([1]), make().encode([1]));
      assert.throws(() => codec.encode("a".repeat(defaultCodecLimits.maxBytes)), { code: "limit" });
    });

    test(`${make.name}() reads its limits once`, () => {
      const limits: { -readonly [Name in keyof CodecLimits]: number } = { maxItems: 1 };
      const codec = make(limits);
      limits.maxItems = 2;
      assert.throws(() => codec.encode([1, 2]), { code: "limit" });
    });
  });
}

test("defaultCodecLimits are 1 MiB, 32 levels and 10 000 members and items", () => {
  assert.deepEqual(defaultCodecLimits, { maxBytes: 1_048_576, maxDepth: 32, maxItems: 10_000 });
});
