import { coversTopic, isTopicName, isTopicPattern } from "../../src/internal/topic_name.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";

const longest = `a${"b".repeat(127)}`;

test("isTopicName() takes names of letters, digits and underscores, joined by dots", () => {
  for (const name of ["a", "orders", "orders.v1.placed", "A.b_c.D9", "a__", "constructor", "a.b.c.d.e.f.g", longest]) {
    assert.equal(isTopicName(name), true, name);
    assert.equal(isTopicPattern(name), true, name);
  }
});

/** Texts that some broker, path or terminal would read as something else. */
const HOSTILE: readonly string[] = [
  "",
  ".",
  "..",
  ".orders",
  "orders.",
  "orders..v1",
  "orders v1",
  " orders",
  "orders\n",
  "orders\nPUB x 1",
  "orders\r\n",
  "orders\tv1",
  "orders\0",
  "\ufefforders",
  "orders\u2028",
  "orders\u200b",
  "\u043erders", // a Cyrillic o
  "orders．v1", // a full-width dot
  "ｏrders",
  "\u00f6rders",
  "orders\ud800",
  "1orders",
  "_orders",
  "$JS.API.STREAM.CREATE.x",
  "_INBOX.abc",
  "orders/v1",
  "../orders",
  "orders\\v1",
  "orders-v1",
  "orders:v1",
  "orders#",
  "orders+",
  "orders%2Ev1",
  "orders~v1",
  "orders,v1",
  "orders.1",
  "a.b>",
  "a.*b",
  "a.**",
  "a.>.b",
  ">.a",
  ">>",
  "a.>>",
  `${longest}c`,
  `${"a.".repeat(64)}a`,
];

test("isTopicName() and isTopicPattern() refuse every hostile text", () => {
  assert.ok(HOSTILE.length >= 30);
  for (const text of HOSTILE) {
    assert.equal(isTopicName(text), false, JSON.stringify(text));
    assert.equal(isTopicPattern(text), false, JSON.stringify(text));
  }
});

test("isTopicName() and isTopicPattern() refuse what is no text, also where it looks like one", () => {
  for (const value of [undefined, null, 1, true, {}, [], ["orders"], { toString: () => "orders" }, Object("orders")]) {
    assert.equal(isTopicName(value), false);
    assert.equal(isTopicPattern(value), false);
  }
});

test("isTopicPattern() takes wildcards as whole segments, isTopicName() takes none", () => {
  const patterns = ["*", ">", "a.*", "*.a", "a.*.b", "a.>", "*.>", "*.*", "*.*.>", `${"a.".repeat(63)}>`];
  for (const pattern of patterns) {
    assert.equal(isTopicPattern(pattern), true, pattern);
    assert.equal(isTopicName(pattern), false, pattern);
  }
});

test("isTopicPattern() answers soon, whatever it is asked", () => {
  for (const text of [`${"a.".repeat(50_000)}!`, `${"a".repeat(100_000)}!`, `${"*.".repeat(50_000)}`]) {
    assert.equal(isTopicName(text) || isTopicPattern(text), false);
  }
});

const covering: readonly (readonly [pattern: string, yes: readonly string[], no: readonly string[]])[] = [
  ["a", ["a"], ["b", "A", "a.b", "aa", "*", ">", "a.>", "a.*"]],
  ["a.b", ["a.b"], ["a", "a.b.c", "a.c", "a.*", "a.>", "*.b"]],
  ["*", ["a", "b", "*"], ["a.b", ">", "*.*", "a.>", "*.>"]],
  ["a.*", ["a.b", "a.c", "a.*"], ["a", "a.b.c", "b.c", "a.>", "*.b", "*.*", "a.*.*"]],
  ["*.b", ["a.b", "*.b"], ["b", "a.c", "a.b.c", "a.*", "a.>"]],
  ["a.*.c", ["a.b.c", "a.*.c"], ["a.c", "a.b.b.c", "a.b.*", "a.b.>", "a.>"]],
  ["a.>", ["a.b", "a.b.c", "a.*", "a.*.c", "a.>", "a.b.>", "a.*.>"], ["a", "b.c", "aa.b", "*.b", ">", "*.>", "*"]],
  ["*.>", ["a.b", "a.b.c", "a.>", "*.*", "*.b", "*.>", "a.*.>"], ["a", "*", ">"]],
  [">", ["a", "a.b", "*", "*.*", "a.>", ">", "*.>"], []],
];
for (const [pattern, yes, no] of covering) {
  test(`coversTopic() takes "${pattern}" for what it says`, () => {
    for (const each of yes) assert.equal(coversTopic(pattern, each), true, each);
    for (const each of no) assert.equal(coversTopic(pattern, each), false, each);
  });
}

const segments = fc.constantFrom("a", "b");
const names = fc.array(segments, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("."));
const patterns = fc.tuple(
  fc.array(fc.oneof(segments, fc.constant("*")), { minLength: 1, maxLength: 4 }),
  fc.constantFrom("", "", ">"),
).map(([parts, end]) => [...parts, ...end ? [end] : []].join(".")).map((each) => each === "*.>" ? ">" : each);

/** What a pattern means, said in another way than the code says it. */
function meaningOf(pattern: string): RegExp {
  const written = pattern.split(".").map((part) => part === "*" ? "[^.]+" : part === ">" ? ".+" : part);
  return new RegExp(`^${written.join("\\.")}$`);
}

test("coversTopic() says of a name what the pattern means, whatever both are", () => {
  fc.assert(
    fc.property(patterns, names, (pattern, name) => {
      assert.equal(isTopicPattern(pattern) && isTopicName(name), true);
      assert.equal(coversTopic(pattern, name), meaningOf(pattern).test(name), `${pattern} and ${name}`);
    }),
    { numRuns: 1_000 },
  );
});

/** Every name of up to five segments; `c` stands for all that no pattern names. */
const everyName = (() => {
  let layer = [""];
  const all: string[] = [];
  for (let depth = 0; depth < 5; depth++) {
    layer = layer.flatMap((name) => ["a", "b", "c"].map((part) => name ? `${name}.${part}` : part));
    all.push(...layer);
  }
  return all;
})();

test("coversTopic() covers a pattern exactly where it covers each of its names", () => {
  fc.assert(
    fc.property(patterns, patterns, (outer, inner) => {
      const within = everyName.filter((name) => coversTopic(inner, name));
      const all = within.every((name) => coversTopic(outer, name));
      assert.equal(coversTopic(outer, inner), all, `${outer} and ${inner}`);
    }),
    { numRuns: 300 },
  );
});

test("coversTopic() hands on: what covers a pattern covers what that covers", () => {
  fc.assert(
    fc.property(patterns, patterns, patterns, (a, b, c) => {
      assert.ok(coversTopic(a, a));
      if (coversTopic(a, b) && coversTopic(b, c)) assert.ok(coversTopic(a, c), `${a}, ${b}, ${c}`);
    }),
    { numRuns: 1_000 },
  );
});
