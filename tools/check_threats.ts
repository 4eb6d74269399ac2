// Prevents a claim about security without a test behind it, and a test that outlives its claim.
//
// docs/threat-model.md holds tables with exactly these columns; other tables and all prose are free:
//
//   | Row | Status | Claim | Mechanism | Your job | Tests |
//   |---|---|---|---|---|---|
//   | T2.1, T11 | closed | … | … [protect](../src/auth/protect.ts) | … | `tests/threats/T2.1_test.ts` |
//
// - Row: one or more ids, separated by commas. Every id of the register stands in exactly one row.
// - Status: `closed`, `partly` or `open`.
// - Claim: never empty. Mechanism: not empty unless open.
// - Tests: files as `tests/….ts`, or titles of tests in backquotes, which begin with an id and must exist.
//   Empty where the row is open. A `|` in a cell is written `\|`.
// - Every relative link in the document leads to a file.
//
// Each id of a closed or partly closed row needs a test in tests/threats whose title starts with it; a title may start with
// several ids (`T3.1 T20 T24 client refuses …`). Each title there starts with an id of a closed or partly closed row. It is
// a string or template literal, or `title` where the file has a table with `title: "…"`. A test that is always skipped proves nothing and is refused.

import { exists, type Files, type Finding, readFiles, report } from "./lib/project.ts";
import { lineOf, maskSource } from "./lib/source.ts";

/** The ids of the register. */
export const ROWS: readonly string[] = [
  ...["T1.1", "T1.2", "T1.3", "T1.4"],
  ...["T2.1", "T2.2", "T2.3", "T2.4", "T2.5"],
  ...["T3.1", "T3.2", "T3.3", "T3.4"],
  ...["T4.1", "T4.2", "T4.3"],
  ...["T5.1", "T5.2", "T5.3", "T5.4"],
  ...["T6.1", "T6.2", "T6.3", "T6.4"],
  ...Array.from({ length: 28 }, (_, i) => `T${i + 7}`),
];

const DOCUMENT = "docs/threat-model.md";
const COLUMNS = ["row", "status", "claim", "mechanism", "your job", "tests"];
const STATES = ["closed", "partly", "open"];

interface Row {
  readonly line: number;
  readonly ids: readonly string[];
  readonly status: string;
  readonly claim: string;
  readonly mechanism: string;
  readonly tests: string;
}

interface Title {
  readonly path: string;
  readonly line: number;
  /** Absent where the title is computed. */
  readonly text?: string;
  readonly skipped: boolean;
}

/**
 * Checks the threat table against the tests.
 *
 * @param document The text of docs/threat-model.md.
 * @param tests The files of tests/threats, by path from the root.
 * @param known Tells whether a path from the root leads to a file.
 */
export function checkThreats(document: string, tests: Files, known: (path: string) => boolean): Finding[] {
  const rows = parseTable(document);
  const titles = [...tests].flatMap(([path, text]) => titlesOf(path, text));
  const proven = new Set(titles.filter(({ skipped }) => !skipped).flatMap(({ text }) => idsOf(text ?? "")));
  const claimed = new Set(rows.filter(isClaimed).flatMap(({ ids }) => ids));
  return [
    ...checkIds(rows),
    ...rows.flatMap((row) => checkRow(row, proven)),
    ...rows.flatMap((row) => checkTestsCell(row, titles, known)),
    ...titles.flatMap((title) => checkTitle(title, claimed)),
    ...checkLinks(document, known),
  ];
}

/** The rows of all tables in the document that have the columns of the threat table. */
export function parseTable(document: string): Row[] {
  const rows: Row[] = [];
  let inTable = false;
  for (const [index, text] of document.split("\n").entries()) {
    const cells = cellsOf(text);
    if (cells === undefined) inTable = false;
    else if (cells.map((cell) => cell.toLowerCase()).join() === COLUMNS.join()) inTable = true;
    else if (inTable && !cells.every((cell) => /^:?-+:?$/.test(cell))) {
      const [row = "", status = "", claim = "", mechanism = "", , tests = ""] = cells;
      rows.push({ line: index + 1, ids: row.split(/\s*,\s*/), status, claim, mechanism, tests });
    }
  }
  return rows;
}

function cellsOf(line: string): string[] | undefined {
  const inner = /^\s*\|(.*)\|\s*$/.exec(line)?.[1];
  return inner?.split(/(?<!\\)\|/).map((cell) => cell.replaceAll("\\|", "|").trim());
}

function finding(line: number, message: string): Finding {
  return { path: DOCUMENT, line, message };
}

function isClaimed(row: Row): boolean {
  return row.status !== "open";
}

function checkIds(rows: readonly Row[]): Finding[] {
  const seen = new Map<string, number>();
  const findings: Finding[] = [];
  for (const { ids, line } of rows) {
    for (const id of ids) {
      if (!ROWS.includes(id)) findings.push(finding(line, `names "${id}", which is not in the register`));
      if (seen.has(id)) findings.push(finding(line, `names ${id} a second time, after line ${seen.get(id)}`));
      seen.set(id, line);
    }
  }
  const missing = ROWS.filter((id) => !seen.has(id));
  return [...findings, ...missing.map((id) => finding(0, `has no row for ${id}`))];
}

function checkRow(row: Row, proven: ReadonlySet<string>): Finding[] {
  const problems: string[] = [];
  if (!STATES.includes(row.status)) problems.push(`has the status "${row.status}"; known are ${STATES.join(", ")}`);
  if (row.claim === "") problems.push("has no claim");
  if (isClaimed(row) && row.mechanism === "") problems.push(`is ${row.status} without a mechanism`);
  if (!isClaimed(row) && row.tests !== "") problems.push("is open and names tests");
  for (const id of isClaimed(row) ? row.ids : []) {
    if (!proven.has(id)) problems.push(`is ${row.status}, and no test in tests/threats starts with ${id}`);
  }
  return problems.map((problem) => finding(row.line, `row ${row.ids.join(", ")} ${problem}`));
}

function checkTestsCell(row: Row, titles: readonly Title[], known: (path: string) => boolean): Finding[] {
  const paths = [...row.tests.matchAll(/tests\/[\w./-]+\.ts/g)].map(([path]) => path);
  const quoted = [...row.tests.matchAll(/`(T\d[^`]*)`/g)].map(([, title]) => title);
  return [
    ...paths.filter((path) => !known(path)).map((path) => finding(row.line, `names ${path}, which does not exist`)),
    ...quoted.filter((title) => !titles.some(({ text }) => text === title))
      .map((title) => finding(row.line, `names the test "${title}", which does not exist`)),
  ];
}

function checkTitle({ path, line, text, skipped }: Title, claimed: ReadonlySet<string>): Finding[] {
  const at = (message: string): Finding[] => [{ path, line, message }];
  if (text === undefined) return at("has a computed title; start it with row ids in a literal");
  const ids = idsOf(text);
  if (ids.length === 0) return at(`has the title "${text}", which does not start with a row id`);
  if (skipped) return at(`always skips "${text}"`);
  return ids.filter((id) => !claimed.has(id)).flatMap((id) =>
    at(`tests ${id}, which ${DOCUMENT} ${ROWS.includes(id) ? "does not claim" : "does not know"}`)
  );
}

function checkLinks(document: string, known: (path: string) => boolean): Finding[] {
  return [...document.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)].flatMap((match) => {
    const path = new URL(match[1], "file:///docs/").pathname.slice(1);
    return known(path) ? [] : [finding(lineOf(document, match.index), `links to ${path}, which does not exist`)];
  });
}

/** The row ids a title starts with. */
export function idsOf(title: string): string[] {
  return /^(?:T\d+(?:\.\d+)?(?:,? |$))*/.exec(title)?.[0].match(/T\d+(?:\.\d+)?/g) ?? [];
}

const CALL = /(?<![.\w$])(?:test|it)(\.skip|\.todo|\.only)?\(\s*/g;
const PROPERTY = /(?<![.\w$])title:\s*(?=["'`])/g;
const FROM_TABLE = /^(?:[\w$]+\.)?title\b/;

// The titles given to `test` and `it`, and those of a table (`title: "…"`) that a loop gives to them; subtests (`t.test`)
// belong to the test around them.
function titlesOf(path: string, text: string): Title[] {
  const masked = maskSource(text);
  const table = [...masked.matchAll(PROPERTY)];
  const calls = [...masked.matchAll(CALL)].filter((match) =>
    table.length === 0 || !FROM_TABLE.test(masked.slice(match.index + match[0].length))
  );
  return [...table, ...calls].map((match) => {
    const start = match.index + match[0].length;
    const quote = masked[start];
    const end = masked.indexOf(quote, start + 1);
    const literal = "\"'`".includes(quote) ? text.slice(start + 1, end) : undefined;
    const skipped = match[1] !== undefined || SKIP_OPTION.test(masked.slice(end + 1, end + 80));
    return { path, line: lineOf(text, match.index), text: literal, skipped };
  });
}

const SKIP_OPTION = /^\s*,\s*\{\s*skip:\s*(?:true|["'`])/;

if (import.meta.main) {
  const tests = new Map([...await readFiles(["tests/threats"])].filter(([path]) => path.endsWith("_test.ts")));
  const document = await Deno.readTextFile(DOCUMENT);
  const paths = [...document.matchAll(/tests\/[\w./-]+\.ts|\]\(([^)#\s]+)/g)]
    .map(([whole, link]) => link === undefined ? whole : new URL(link, "file:///docs/").pathname.slice(1));
  const known = new Set<string>();
  for (const path of paths) if (await exists(path)) known.add(path);
  report(checkThreats(document, tests, (path) => known.has(path)));
}
