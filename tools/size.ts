// Prevents the toolkit from growing unseen: bundles the entry snippets of bench/size and prints their sizes beside the
// budgets. Valibot is left out, because a program that shares contracts has it anyway.

import { gzipSync } from "node:zlib";
import { build, stop } from "esbuild";
import { exists } from "./lib/project.ts";

/** Budgets in bytes, minified and compressed, by snippet. */
const BUDGETS: Readonly<Record<string, number>> = {
  client: 3 * 1024,
  server: 8 * 1024,
  protected_client: 20 * 1024,
  protected_server: 24 * 1024,
};

const OUT = ".dev/size.json";

interface Size {
  readonly minified: number;
  readonly gzip: number;
  readonly budget: number;
}

async function measure(name: string, budget: number): Promise<Size> {
  const { outputFiles } = await build({
    entryPoints: [`bench/size/${name}.ts`],
    absWorkingDir: Deno.cwd(),
    tsconfig: "tsconfig.json",
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2024",
    external: ["valibot"],
    write: false,
    logLevel: "warning",
  });
  const [{ contents }] = outputFiles;
  return { minified: contents.length, gzip: gzipSync(contents, { level: 9 }).length, budget };
}

function row(cells: readonly (string | number)[]): string {
  return cells.map((cell, i) => i === 0 ? String(cell).padEnd(18) : String(cell).padStart(10)).join("");
}

const sizes: Record<string, Size> = {};
try {
  for (const [name, budget] of Object.entries(BUDGETS)) {
    if (await exists(`bench/size/${name}.ts`)) sizes[name] = await measure(name, budget);
  }
} finally {
  await stop();
}
console.log(row(["bytes", "minified", "gzip -9", "budget", "used"]));
for (const [name, { minified, gzip, budget }] of Object.entries(sizes)) {
  console.log(row([name, minified, gzip, budget, `${Math.round(100 * gzip / budget)} %`]));
}
await Deno.mkdir(".dev", { recursive: true });
await Deno.writeTextFile(OUT, `${JSON.stringify(sizes, null, 2)}\n`);
