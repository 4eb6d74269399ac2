// Prevents imports that point up or sideways, reach around a folder's mod.ts, or bring in a package unseen, and mutable
// state at the top level of a module. The layers are those of CONTRIBUTING.md; `deno task check` runs this.

import { entryPoints, type Files, type Finding, readFiles, report } from "./lib/project.ts";
import { closingBracket, lineOf, maskSource } from "./lib/source.ts";

/** The layers from the top down; folders in one entry do not know each other. */
const LAYERS: readonly (readonly string[])[] = [
  ["cli", "console"],
  ["runtime"],
  ["selector"],
  ["registry", "broker", "audit"],
  ["auth", "middleware"],
  ["rpc"],
  ["codec"],
  ["internal"],
];

/** What each folder may import that is not ours. `name` also allows `name/…`; a folder without an entry has none. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  audit: ["@noble/hashes"],
  auth: ["@hpke/core", "@noble/hashes", "@std/crypto", "jose", "valibot"],
  broker: ["@hpke/core", "jose", "valibot"],
  cli: ["node:"],
  console: ["hono"],
  internal: ["@noble/hashes"],
  registry: ["ipaddr.js", "valibot"],
  rpc: ["@valibot/to-json-schema"],
  runtime: ["@hono/node-server", "undici", "node:"],
  selector: ["@noble/hashes"],
};

/** Folders whose files are imported one by one, because together they mean nothing. */
const IMPORTED_BY_FILE = new Set(["internal"]);

interface Import {
  readonly offset: number;
  /** Absent where the specifier is computed. */
  readonly specifier?: string;
}

/**
 * Checks mod.ts and src/ against the layer rule.
 *
 * @param files Sources by path from the root.
 * @param entries Files that deno.json exports; importing one of them is as good as importing a mod.ts.
 */
export function checkLayers(files: Files, entries: readonly string[]): Finding[] {
  return [...files].flatMap(([path, text]) => {
    const masked = maskSource(text);
    const found = [
      ...importsOf(text, masked).map((item) => ({ offset: item.offset, message: judge(path, item, entries) })),
      ...mutableTopLevel(masked),
    ];
    return found.flatMap(({ offset, message }) =>
      message === undefined ? [] : [{ path, line: lineOf(text, offset), message }]
    );
  });
}

const FROM = /(?<![.\w$])(?:import|export)\b[\w$\s*{},]*?\bfrom\s*(["'])( *)\1/g;
const SIDE_EFFECT = /(?<![.\w$])import\s*(["'])( *)\1/g;
const DYNAMIC = /(?<![.\w$])import\s*\(\s*/g;

function importsOf(text: string, masked: string): Import[] {
  const imports: Import[] = [];
  for (const pattern of [FROM, SIDE_EFFECT]) {
    for (const match of masked.matchAll(pattern)) {
      const end = match.index + match[0].length - 1;
      imports.push({ offset: match.index, specifier: text.slice(end - match[2].length, end) });
    }
  }
  for (const match of masked.matchAll(DYNAMIC)) {
    const start = match.index + match[0].length;
    const literal = /^(["'])( *)\1\s*[,)]/.exec(masked.slice(start));
    const specifier = literal ? text.slice(start + 1, start + 1 + literal[2].length) : undefined;
    imports.push({ offset: match.index, specifier });
  }
  return imports;
}

function judge(path: string, { specifier }: Import, entries: readonly string[]): string | undefined {
  if (specifier === undefined) return "imports a computed specifier, which no check can follow; write a string literal";
  if (!/^\.{1,2}\//.test(specifier)) return judgePackage(path, specifier);
  const target = resolve(path, specifier);
  if (target === undefined) return `imports "${specifier}", which lies outside of src/`;
  const from = folderOf(path);
  const to = folderOf(target);
  if (from === undefined) {
    return entries.includes(target) || /^src\/[^/]+\/mod\.ts$/.test(target)
      ? undefined
      : `imports "${specifier}"; the root may only import src/*/mod.ts`;
  }
  if (to === undefined) return `imports "${specifier}", which lies outside of src/`;
  return from === to ? judgeOwn(from, target, specifier) : judgeFolder(from, to, target, entries);
}

function judgePackage(path: string, specifier: string): string | undefined {
  const allowed = PACKAGES[folderOf(path) ?? ""] ?? [];
  if (allowed.some((name) => specifier === name || specifier.startsWith(name.endsWith(":") ? name : `${name}/`))) {
    return undefined;
  }
  return `imports "${specifier}", which tools/check_layers.ts does not list for this folder`;
}

function judgeOwn(folder: string, target: string, specifier: string): string | undefined {
  return target === `src/${folder}/mod.ts` ? `imports its own folder through "${specifier}"; name the file` : undefined;
}

function judgeFolder(from: string, to: string, target: string, entries: readonly string[]): string | undefined {
  const [above, below] = [layerOf(from), layerOf(to)];
  if (above === -1 || below === -1) return `"${above === -1 ? from : to}" is in no layer of tools/check_layers.ts`;
  if (below === above) return `imports sideways: "${from}" and "${to}" are of one layer`;
  if (below < above) return `imports up: "${to}" is above "${from}"`;
  if (IMPORTED_BY_FILE.has(to) || target === `src/${to}/mod.ts` || entries.includes(target)) return undefined;
  return `imports "${target}"; use src/${to}/mod.ts`;
}

function layerOf(folder: string): number {
  return LAYERS.findIndex((layer) => layer.includes(folder));
}

// "src/rpc/client.ts" is in "rpc"; files beside src/, and in src/ itself, are in none.
function folderOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1];
}

function resolve(path: string, specifier: string): string | undefined {
  const parts = path.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "." || part === "") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join("/");
}

function mutableTopLevel(masked: string): { offset: number; message: string }[] {
  const found: { offset: number; message: string }[] = [];
  for (let i = 0; i < masked.length; i++) {
    if ("([{".includes(masked[i])) i = closingBracket(masked, i);
    const word = /^(?:let|var)\b(?!\s*[:(=])/.exec(masked.slice(i, i + 8))?.[0];
    if (word !== undefined && !/[\w$.]/.test(masked[i - 1] ?? " ")) {
      found.push({ offset: i, message: `declares "${word}" at the top level; a module has no mutable state` });
    }
  }
  return found;
}

if (import.meta.main) {
  const files = await readFiles(["mod.ts", "src"]);
  const entries = Object.values(await entryPoints());
  report(checkLayers(new Map([...files].filter(([path]) => path.endsWith(".ts"))), entries));
}
