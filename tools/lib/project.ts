// Reads the repository's own files in one way for all checks, so that no check forgets a folder another one sees.

/** One thing a check found. */
export interface Finding {
  readonly path: string;
  /** Counted from 1; 0 where a line makes no sense. */
  readonly line: number;
  readonly message: string;
}

/** File contents by path relative to the root, with forward slashes. */
export type Files = ReadonlyMap<string, string>;

const SKIPPED_DIRECTORIES = new Set([".git", ".dev", "node_modules", "coverage"]);
const TEXT_FILE = /(?:\.(?:ts|tsx|js|mjs|json|jsonc|md|toml|yml|yaml|html|css|sh|capnp|txt)|^[A-Z]+|(?:^|\/)run)$/;

/** Reads every text file at or below the given paths; absent paths give nothing. */
export async function readFiles(paths: readonly string[]): Promise<Files> {
  const files = new Map<string, string>();
  for (const path of paths) await collect(path, files);
  return new Map([...files].sort(([a], [b]) => a < b ? -1 : 1));
}

/** The paths among the given ones that exist. */
export async function existing(paths: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) if (await exists(path)) found.push(path);
  return found;
}

/** Tells whether a path exists. */
export async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** The subpaths of the package and their files, as deno.json names them. */
export async function entryPoints(): Promise<Readonly<Record<string, string>>> {
  const config: { exports: Record<string, string> } = JSON.parse(await Deno.readTextFile("deno.json"));
  return Object.fromEntries(Object.entries(config.exports).map(([name, path]) => [name, path.replace(/^\.\//, "")]));
}

/** Prints one line per finding and ends the process with status 1 when there is one. */
export function report(findings: readonly Finding[]): void {
  for (const { path, line, message } of findings) console.error(`${path}${line > 0 ? `:${line}` : ""}: ${message}`);
  if (findings.length > 0) Deno.exit(1);
}

async function collect(path: string, files: Map<string, string>): Promise<void> {
  const info = await Deno.lstat(path).catch(() => undefined);
  if (info?.isFile && TEXT_FILE.test(path)) files.set(path, await Deno.readTextFile(path));
  if (!info?.isDirectory) return;
  for await (const entry of Deno.readDir(path)) {
    if (!SKIPPED_DIRECTORIES.has(entry.name)) await collect(path === "." ? entry.name : `${path}/${entry.name}`, files);
  }
}
