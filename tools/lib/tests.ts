// Finds the test files by their names, so that no list can forget one.

/** Runs on Deno only: it starts processes, uses the disk, or tests a Deno adapter. */
const DENO_ONLY = /_deno_test\.ts$/;
const TEST = /_test\.ts$/;

/** The test files, by where they run. */
export interface TestFiles {
  readonly all: readonly string[];
  /** Those that run on Deno, Bun, Node and workerd alike: `…_test.ts`, but not `…_deno_test.ts`. */
  readonly portable: readonly string[];
}

/** Finds the test files below tests/, sorted. */
export async function findTests(root = "tests"): Promise<TestFiles> {
  const all = (await walk(root)).filter((path) => TEST.test(path)).sort();
  return { all, portable: all.filter((path) => !DENO_ONLY.test(path)) };
}

async function walk(folder: string): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) paths.push(...await walk(path));
    else paths.push(path);
  }
  return paths;
}
