import { childOf, readTraceparent } from "../../src/rpc/trace.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const GOOD = `00-${TRACE}-${SPAN}-01`;

for (const value of [GOOD, `00-${TRACE}-${SPAN}-00`, `00-${TRACE}-${SPAN}-ff`]) {
  test(`readTraceparent() takes ${value}`, () => assert.equal(readTraceparent(value), value));
}

// https://www.w3.org/TR/trace-context/#traceparent-header-field-values
const malformed: readonly (readonly [name: string, value: string | null | undefined])[] = [
  ["nothing", undefined],
  ["null", null],
  ["an empty text", ""],
  ["another version", GOOD.replace(/^00/, "01")],
  ["the version that is forbidden", GOOD.replace(/^00/, "ff")],
  ["a trace of zeros", `00-${"0".repeat(32)}-${SPAN}-01`],
  ["a span of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
  ["a trace in capitals", `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ["a trace that is too short", `00-${TRACE.slice(1)}-${SPAN}-01`],
  ["a trace that is too long", `00-${TRACE}0-${SPAN}-01`],
  ["a span that is too short", `00-${TRACE}-${SPAN.slice(1)}-01`],
  ["a span that is no hexadecimal number", `00-${TRACE}-${SPAN.replace("b", "g")}-01`],
  ["flags of one digit", `00-${TRACE}-${SPAN}-1`],
  ["no flags", `00-${TRACE}-${SPAN}`],
  ["more after its flags", `${GOOD}-what-more`],
  ["a line break at its end", `${GOOD}\n`],
  ["a space before", ` ${GOOD}`],
  ["two values", `${GOOD}, ${GOOD}`],
];
for (const [name, value] of malformed) {
  test(`readTraceparent() ignores ${name}`, () => assert.equal(readTraceparent(value), undefined));
}

test("childOf() keeps trace and flags, and makes a new span each time", () => {
  const children = Array.from({ length: 32 }, () => childOf(GOOD));
  for (const child of children) {
    assert.equal(readTraceparent(child), child);
    assert.equal(child.slice(0, 36), `00-${TRACE}-`);
    assert.equal(child.slice(52), "-01");
    assert.notEqual(child, GOOD);
  }
  assert.equal(new Set(children).size, children.length);
});

test("childOf() begins a new trace where there is none", () => {
  const roots = Array.from({ length: 32 }, () => childOf(undefined));
  for (const root of roots) {
    assert.equal(readTraceparent(root), root);
    assert.match(root, /-00$/);
  }
  assert.equal(new Set(roots.map((root) => root.slice(3, 35))).size, roots.length);
});
