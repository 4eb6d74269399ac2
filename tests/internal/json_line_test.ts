import { jsonLine } from "../../src/internal/json_line.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";

/** What breaks a line, or acts on a terminal or a viewer without being seen. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

test("jsonLine() writes any text as one line that reads back as the text", () => {
  const texts = fc.string({ unit: "binary", maxLength: 200 });
  fc.assert(fc.property(texts, texts, (key, text) => {
    const line = jsonLine({ [key]: text });
    assert.doesNotMatch(line, UNSEEN);
    assert.ok(line.isWellFormed());
    assert.deepEqual(Object.entries(JSON.parse(line)), [[key.length > 128 ? key.slice(0, 128) + "…" : key, text]]);
  }));
});

test("jsonLine() escapes what is made of two code units as two", () => {
  assert.equal(jsonLine("a\u{e0041}é😀"), '"a\\udb40\\udc41é😀"');
});

test("jsonLine() escapes a lone surrogate", () => {
  assert.equal(jsonLine("\ud800"), '"\\ud800"');
});

test("jsonLine() cuts texts, names, lists and depth where they pass their limits", () => {
  const limits = { maxText: 3, maxItems: 2, maxDepth: 1 };
  assert.equal(jsonLine(["abcd", "abc", "x"], limits), '["abc…","abc"]');
  assert.equal(jsonLine({ a: { b: { c: 1 } } }, limits), '{"a":{"b":"…"}}');
  assert.equal(jsonLine({ ["k".repeat(129)]: 1 }), `{"${"k".repeat(128)}…":1}`);
});

test("jsonLine() cuts the text of a line in all", () => {
  assert.equal(jsonLine({ a: "1234", b: "5678", c: "9" }, { maxTotal: 8 }), '{"a":"1234","b":"56…","…":"…"}');
});

test("jsonLine() shows only so many objects", () => {
  assert.equal(jsonLine([{}, {}, {}], { maxValues: 3 }), '[{},{},"…"]');
});

test("jsonLine() takes what JSON does not", () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const throwing = {
    get a(): never {
      throw new Error("s3cret");
    },
  };
  const values = [1n, NaN, Infinity, Symbol("s"), new Date(0), throwing, undefined, () => 1];
  const shown = JSON.parse(jsonLine(values)) as string[];
  assert.deepEqual(shown.slice(0, 4), ["1", "NaN", "Infinity", "Symbol(s)"]);
  assert.deepEqual(shown.slice(5, 7), ["a value that cannot be printed", null]);
  assert.match(jsonLine(cycle), /^(\{"self":)+"…"\}+$/);
  assert.match(
    jsonLine(new TypeError("why", { cause: new Error("because") })),
    /"name":"TypeError","message":"why".*because/,
  );
});
