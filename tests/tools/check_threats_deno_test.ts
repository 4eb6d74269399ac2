import assert from "node:assert/strict";
import { test } from "node:test";
import { checkThreats, idsOf, ROWS } from "../../tools/check_threats.ts";

const HEAD = "| Row | Status | Claim | Mechanism | Your job | Tests |\n|---|---|---|---|---|---|\n";
const FILE = "tests/threats/T4.2_test.ts";
const GOOD = 'test("T4.2 T22 decode() refuses bad text", () => {});';

/** A document that has every row, with the lines given for those that are not open. */
function table(...lines: readonly string[]): string {
  const given = lines.flatMap((line) => line.split("|")[1].trim().split(", "));
  const open = ROWS.filter((id) => !given.includes(id)).map((id) => `| ${id} | open | A claim | | | |`);
  return HEAD + [...lines, ...open].join("\n");
}

function check(document: string, tests: string): string[] {
  return checkThreats(document, new Map([[FILE, tests]]), (path) => path === FILE || path === "src/codec/mod.ts")
    .map(({ message }) => message);
}

const ROW = `| T4.2, T22 | closed | A claim | [decode](../src/codec/mod.ts) | | \`${FILE}\` |`;

test("checkThreats() accepts a table that agrees with the tests", () => {
  assert.deepEqual(check(table(ROW), GOOD), []);
  assert.deepEqual(check(table(ROW.replace(`\`${FILE}\``, "`T4.2 T22 decode() refuses bad text`")), GOOD), []);
  assert.deepEqual(check(table(), ""), []);
});

test("checkThreats() accepts subtests, templates and prose tables", () => {
  const tests = 'for (const a of b) test(`T4.2 T22 refuses ${a}`, (t) => t.test("part", () => {}));';
  assert.deepEqual(check(`${table(ROW)}\n\n| a | b |\n|---|---|\n| T99 | x |\n`, tests), []);
});

test("checkThreats() reads the titles of a table", () => {
  const tests =
    'const table = [{ title: "T4.2 a" }, { title: "T22 b" }];\nfor (const row of table) test(row.title, f);';
  assert.deepEqual(check(table(ROW), tests), []);
  assert.deepEqual(check(table(ROW), tests.replace('"T22 b"', '"T9 b"')).length, 2);
});

const REFUSED: readonly [what: string, document: string, tests: string, message: RegExp][] = [
  ["a missing row", table().replace(/\| T9 .*\n/, ""), "", /no row for T9$/],
  ["a row twice", table("| T9 | open | A | | | |", "| T9 | open | A | | | |"), "", /T9 a second time/],
  ["an unknown row", table("| T99 | open | A | | | |"), "", /"T99", which is not in the register/],
  ["an unknown status", table("| T9 | done | A | b | | |"), 'test("T9 a", f);', /status "done"/],
  ["an empty claim", table("| T9 | open | | | | |"), "", /has no claim/],
  ["a claimed row without a mechanism", table("| T9 | partly | A | | | |"), 'test("T9 a", f);', /without a mechanism/],
  ["a claimed row without a test", table(ROW), GOOD.replace(" T22", ""), /no test in tests\/threats starts with T22/],
  ["a claimed row with a skipped test", table("| T9 | closed | A | b | | |"), 'test.skip("T9 a", f);', /no test .* T9/],
  ["a test with a constant skip option", table("| T9 | closed | A | b | | |"), 'test("T9 a", { skip: "x" }, f);', /T9/],
  ["an open row with tests", table(`| T9 | open | A | | | \`${FILE}\` |`), "", /is open and names tests/],
  ["a test of an open row", table(), 'test("T9 client refuses", f);', /tests T9, which .* does not claim/],
  ["a test of an unknown row", table(), 'it("T99 client refuses", f);', /does not know/],
  ["a title without a row", table(), 'test("client refuses", f);', /does not start with a row id/],
  ["a computed title", table(), "test(title, f);", /computed title/],
  ["a computed title beside a table", table(), 'const a = { title: "T9 a" }; test(name(), f);', /computed title/],
  ["a file that is gone", table(ROW.replace("4.2_test", "4.3_test")), GOOD, /T4.3_test.ts, which does not exist/],
  ["a title that is gone", table(ROW.replace(`${FILE}`, "T4.2 old title")), GOOD, /"T4.2 old title", which does not/],
  ["a dead link", table(ROW.replace("codec/mod", "codec/old")), GOOD, /links to src\/codec\/old.ts/],
];

for (const [what, document, tests, message] of REFUSED) {
  test(`checkThreats() refuses ${what}`, () => {
    const found = check(document, tests);
    assert.ok(found.some((text) => message.test(text)), found.join("\n"));
  });
}

test("idsOf() reads the ids at the start of a title", () => {
  assert.deepEqual(idsOf("T3.1 T20, T24 client refuses T9"), ["T3.1", "T20", "T24"]);
  assert.deepEqual(idsOf("client refuses T9"), []);
  assert.deepEqual(idsOf("T9x client"), []);
});
