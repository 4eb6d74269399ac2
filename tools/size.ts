// Prevents the toolkit from growing unseen: bundles the entry snippets of bench/size and prints their sizes beside the
// budgets: what is loaded at start, and everything with what is loaded when it is used (streams, WebSockets, sessions).
// Valibot is left out, because a program that shares contracts has it anyway.

import { gzipSync } from "node:zlib";
import { build, type Plugin, stop } from "esbuild";
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
  /** With what is loaded later, compressed. */
  readonly whole: number;
  readonly gzip: number;
  readonly budget: number;
}

async function measure(name: string, budget: number): Promise<Size> {
  const atStart = await bundled(name, [{
    name: "loaded later",
    setup: ({ onResolve }) =>
      onResolve(
        { filter: /^\./ },
        ({ kind, path }) => kind === "dynamic-import" ? { path, external: true } : undefined,
      ),
  }]);
  const gzip = (contents: Uint8Array) => gzipSync(contents, { level: 9 }).length;
  return { minified: atStart.length, gzip: gzip(atStart), whole: gzip(await bundled(name, [])), budget };
}

async function bundled(name: string, plugins: readonly Plugin[]): Promise<Uint8Array> {
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
    plugins: [...plugins],
    write: false,
    logLevel: "warning",
  });
  return outputFiles[0]!.contents;
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
console.log(row(["bytes", "minified", "gzip -9", "budget", "used", "whole"]));
for (const [name, { minified, gzip, whole, budget }] of Object.entries(sizes)) {
  console.log(row([name, minified, gzip, budget, `${Math.round(100 * gzip / budget)} %`, whole]));
}
await Deno.mkdir(".dev", { recursive: true });
await Deno.writeTextFile(OUT, `${JSON.stringify(sizes, null, 2)}\n`);
