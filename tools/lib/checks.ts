// The static checks, in the order in which they are worth reading: what breaks the most comes first.

import { deno, type Outcome } from "./process.ts";
import { entryPoints, existing, exists } from "./project.ts";
import { checked, nothing, type Step } from "./step.ts";

const CODE = ["mod.ts", "src", "examples", "tools", "tests", "bench", "standins"];

/** Checks that read the tree and need nothing from the network; `deno task check` runs these. */
export const CHECKS: readonly Step[] = [
  check("fmt", "every file is formatted", () => deno("fmt", "--check")),
  check("lint", "the linter is content", () => deno("lint")),
  check("types", "everything type-checks", async () => deno("check", "--quiet", ...await existing(CODE))),
  check("web", "the portable sources use web types only", tool("web_check")),
  check("layers", "imports point down", tool("check_layers")),
  check("house", "the house rules hold", tool("check_house")),
  check("threats", "claims and tests agree", tool("check_threats")),
  check("api", "the exported names are those of the snapshot", tool("check_api")),
  check("doc", "every public symbol is documented", docLint),
];

/** The frozen install; it comes before all else. */
export const INSTALL = check("install", "deno.lock is complete and is what deno.json asks for", () => deno("ci"));

/** Slower checks that run before the suites. */
export const SLOW_CHECKS: readonly Step[] = [
  {
    name: "examples",
    purpose: "the examples in comments and in the README run",
    run: docExamples,
  },
  check("publish", "the package can be published", () => deno("publish", "--quiet", "--dry-run", "--allow-dirty")),
];

function check(name: string, purpose: string, run: () => Promise<Outcome>): Step {
  return { name, purpose, run: async () => checked(await run()) };
}

function tool(name: string): () => Promise<Outcome> {
  return () => deno("run", "--allow-all", `tools/${name}.ts`);
}

async function docLint(): Promise<Outcome> {
  const entries = await existing(Object.values(await entryPoints()));
  return deno("doc", "--quiet", "--lint", ...entries);
}

async function docExamples(): ReturnType<Step["run"]> {
  const paths = await existing(["mod.ts", "src", "README.md"]);
  if (!await exists("src")) return nothing("There are no sources");
  return checked(await deno("test", "--quiet", "--doc", "--allow-all", "--permit-no-files", ...paths));
}
