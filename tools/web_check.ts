// Prevents a runtime's API from entering the portable code: type-checks it against web types alone, so that any use of
// `Deno`, `Bun`, `process` or a Node global is an error. src/runtime and src/cli are the two places that may use them.

import { deno } from "./lib/process.ts";
import { exists } from "./lib/project.ts";

const RUNTIME_FOLDERS = new Set(["runtime", "cli"]);
const LIBRARIES = ["esnext", "dom", "dom.iterable", "dom.asynciterable"];

interface Config {
  readonly imports: Readonly<Record<string, string>>;
  readonly workspace?: readonly string[];
}

// A configuration in another folder cannot name our workspace members, so their exports become imports.
async function webConfig(): Promise<string> {
  const config: Config = JSON.parse(await Deno.readTextFile("deno.json"));
  const imports: Record<string, string> = { ...config.imports };
  for (const member of config.workspace ?? []) {
    const { name, exports }: { name: string; exports: Record<string, string> } = JSON.parse(
      await Deno.readTextFile(`${member}/deno.json`),
    );
    for (const [subpath, path] of Object.entries(exports)) {
      imports[name + subpath.slice(1)] = `file://${await Deno.realPath(`${member}/${path}`)}`;
    }
  }
  return JSON.stringify({ imports, nodeModulesDir: "none", compilerOptions: { lib: LIBRARIES } });
}

async function portableSources(): Promise<string[]> {
  const sources = ["mod.ts"];
  if (!await exists("src")) return sources;
  for await (const entry of Deno.readDir("src")) {
    if (!RUNTIME_FOLDERS.has(entry.name)) sources.push(`src/${entry.name}`);
  }
  return sources;
}

const folder = await Deno.makeTempDir({ prefix: "web-check-" });
let code = 1;
try {
  await Deno.writeTextFile(`${folder}/deno.json`, await webConfig());
  await Deno.copyFile("deno.lock", `${folder}/deno.lock`);
  const outcome = await deno("check", "--quiet", "--config", `${folder}/deno.json`, ...await portableSources());
  if (outcome.code !== 0) console.error(outcome.output);
  code = outcome.code;
} finally {
  await Deno.remove(folder, { recursive: true });
}
Deno.exit(code);
