import assert from "node:assert/strict";
import { test } from "node:test";
import { maskSource } from "../../tools/lib/source.ts";

const TABLE: readonly [what: string, source: string, masked: string][] = [
  ["a line comment", "a // b 'c\nd", "a        \nd"],
  ["a block comment", "a /* b\n' */ c", "a     \n     c"],
  ["a string with an escaped quote", `a("b\\"c", 'd')`, `a("    ", ' ')`],
  ["a template around code", "`a${ b(`c${d}`) + {e:1}.e }f`", "` ${ b(` ${d}`) + {e:1}.e } `"],
  ["a regular expression", "a = /[/'\"]{2}/g.test(b) / 2 / c", "a = /        /g.test(b) / 2 / c"],
  ["a regular expression behind return", "return /'/", "return / /"],
  ["a division", "(a) / b / c; x[0] / 2 // '", "(a) / b / c; x[0] / 2     "],
];

for (const [what, source, masked] of TABLE) {
  test(`maskSource() masks ${what}`, () => assert.equal(maskSource(source), masked));
}
