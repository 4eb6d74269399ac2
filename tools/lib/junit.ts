// Counts the leaf tests of a JUnit report, so that a `describe` around ten tests does not make eleven.

/** How many tests ended how. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** No tests at all. */
export const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0 };

/** Adds two tallies. */
export function add(a: Tally, b: Tally): Tally {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The closing line of a run: `N passed, N failed`, and `, N skipped` where some were. */
export function summaryLine(tally: Tally): string {
  const skipped = tally.skipped > 0 ? `, ${tally.skipped} skipped` : "";
  return `${tally.passed} passed, ${tally.failed} failed${skipped}`;
}

interface Case {
  readonly name: string;
  readonly body: string;
}

/**
 * Counts the reports of Deno, Bun and Node. Deno lists a `describe` as a case beside its steps, named `outer > inner`;
 * such a wrapper counts only when it failed by itself and not through a step.
 */
export function countJUnit(xml: string): Tally {
  const cases = [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)].map(readCase);
  const wrappers = new Set<string>();
  for (const { name } of cases) {
    for (let at = name.indexOf(SEPARATOR); at !== -1; at = name.indexOf(SEPARATOR, at + 1)) {
      wrappers.add(name.slice(0, at));
    }
  }
  let tally = NOTHING;
  for (const item of cases) tally = add(tally, countCase(item, wrappers.has(item.name)));
  return tally;
}

const SEPARATOR = " &gt; ";
const FAILED_THROUGH_STEP = /message="\d+ test steps? failed"/;

function readCase(match: RegExpMatchArray): Case {
  return { name: /\bname="([^"]*)"/.exec(match[1])?.[1] ?? "", body: match[2] ?? "" };
}

function countCase({ body }: Case, isWrapper: boolean): Tally {
  const failed = /<(?:failure|error)\b/.test(body);
  if (isWrapper) return failed && !FAILED_THROUGH_STEP.test(body) ? { ...NOTHING, failed: 1 } : NOTHING;
  if (failed) return { ...NOTHING, failed: 1 };
  return /<skipped\b/.test(body) ? { ...NOTHING, skipped: 1 } : { ...NOTHING, passed: 1 };
}
