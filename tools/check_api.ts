// Prevents a public name from appearing, disappearing or being renamed without anyone deciding it: the names of each
// entry point are held by tests/api_snapshot.json. `deno task api:update` writes the snapshot anew.

import { deno } from "./lib/process.ts";
import { entryPoints, exists, type Finding, report } from "./lib/project.ts";

const SNAPSHOT = "tests/api_snapshot.json";

/** A reader keeps about this many names in mind; what goes beyond belongs in a subpath. */
const MAX_ROOT_NAMES = 25;

/** The exported names, types included, of each entry point. */
export type Api = Readonly<Record<string, readonly string[]>>;

/** Compares what is exported with the snapshot. */
export function checkApi(actual: Api, snapshot: Api): Finding[] {
  const entries = [...new Set([...Object.keys(actual), ...Object.keys(snapshot)])];
  const messages = entries.flatMap((entry) => compare(entry, actual[entry] ?? [], snapshot[entry] ?? []));
  const rootNames = actual["."]?.length ?? 0;
  if (rootNames > MAX_ROOT_NAMES) messages.push(`"." exports ${rootNames} names, ${MAX_ROOT_NAMES} are allowed`);
  return messages.map((message) => ({ path: SNAPSHOT, line: 0, message }));
}

function compare(entry: string, actual: readonly string[], snapshot: readonly string[]): string[] {
  return [
    ...actual.filter((name) => !snapshot.includes(name)).map((name) => `"${entry}" now exports ${name}`),
    ...snapshot.filter((name) => !actual.includes(name)).map((name) => `"${entry}" no longer exports ${name}`),
  ];
}

interface DocJson {
  readonly nodes: Readonly<Record<string, { readonly symbols: readonly DocSymbol[] }>>;
}

interface DocSymbol {
  readonly name: string;
  readonly declarations: readonly { readonly declarationKind: string }[];
}

async function exportedNames(path: string): Promise<string[]> {
  const { code, stdout, output } = await deno("doc", "--json", path);
  if (code !== 0) throw new Error(`Cannot read the exports of ${path}: ${output}`);
  const { nodes }: DocJson = JSON.parse(stdout);
  return Object.values(nodes).flatMap(({ symbols }) => symbols)
    .filter(({ declarations }) => declarations.some(({ declarationKind }) => declarationKind === "export"))
    .map(({ name }) => name).sort();
}

async function readApi(): Promise<Api> {
  const api: Record<string, string[]> = {};
  for (const [entry, path] of Object.entries(await entryPoints())) {
    if (await exists(path)) api[entry] = await exportedNames(path);
  }
  return api;
}

if (import.meta.main) {
  const actual = await readApi();
  if (Deno.args.includes("--update")) {
    await Deno.writeTextFile(SNAPSHOT, `${JSON.stringify(actual, null, 2)}\n`);
  } else {
    report(checkApi(actual, JSON.parse(await Deno.readTextFile(SNAPSHOT))));
  }
}
