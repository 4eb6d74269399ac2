// Bundles the portable tests for the two runtimes that do not read our TypeScript: `node` (one file per test file, syntax
// lowered to Node 20) and `workerd` (one worker, with our stand-in for node:test). Output goes to .dev/tests/.

import { build, type BuildOptions, stop } from "esbuild";
import { findTests } from "./lib/tests.ts";

const OUT = ".dev/tests";
const ENTRY = `${OUT}/workerd_entry.ts`;

const COMMON = {
  bundle: true,
  format: "esm",
  charset: "utf8",
  keepNames: true,
  sourcemap: "inline",
  sourcesContent: false,
  logLevel: "warning",
  tsconfig: "tsconfig.json",
  absWorkingDir: Deno.cwd(),
} satisfies BuildOptions;

async function bundleForNode(files: readonly string[]): Promise<void> {
  await Deno.remove(`${OUT}/node`, { recursive: true }).catch(() => {});
  await build({
    ...COMMON,
    entryPoints: [...files],
    outbase: "tests",
    outdir: `${OUT}/node`,
    outExtension: { ".js": ".mjs" },
    platform: "node",
    target: "node20",
    // CommonJS packages inside an ESM bundle call `require` for Node's own modules.
    banner: {
      js:
        'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
}

async function bundleForWorkerd(files: readonly string[]): Promise<void> {
  await Deno.mkdir(OUT, { recursive: true });
  await Deno.writeTextFile(ENTRY, workerdEntry(files));
  await build({
    ...COMMON,
    entryPoints: [ENTRY],
    outfile: `${OUT}/workerd.js`,
    platform: "browser",
    conditions: ["workerd", "worker", "browser"],
    target: "es2024",
    external: ["node:*"],
    alias: { "node:test": "./tests/workerd/node_test_shim.ts" },
  });
}

// Every file is imported lazily and under its own name: the shim says when it may load, and which one failed to.
function workerdEntry(files: readonly string[]): string {
  return [
    'import { run } from "../../tests/workerd/node_test_shim.ts";',
    "const files = {",
    ...files.map((path) => `  ${JSON.stringify(path)}: () => import(${JSON.stringify(`../../${path}`)}),`),
    "};",
    "export default { test: () => run(files) };",
    "",
  ].join("\n");
}

const { portable } = await findTests();
try {
  if (Deno.args[0] === "workerd") await bundleForWorkerd(portable);
  else await bundleForNode(portable);
} finally {
  await stop();
}
