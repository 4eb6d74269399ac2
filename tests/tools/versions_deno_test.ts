import assert from "node:assert/strict";
import { test } from "node:test";
import { readFiles } from "../../tools/lib/project.ts";
import { BUN_VERSION, DENO_VERSION, WORKERD_VERSION } from "../../tools/versions.ts";

const VERSIONS: Readonly<Record<string, string>> = { deno: DENO_VERSION, bun: BUN_VERSION, workerd: WORKERD_VERSION };

test("every command in scripts and documents names the pinned version", async () => {
  const files = await readFiles([".ci", "README.md", "CONTRIBUTING.md", "docs", "examples"]);
  const named = [...files].flatMap(([path, text]) =>
    [...text.matchAll(/\bnpx -y (deno|bun|workerd)@([\d.]*\d)/g)].map(([, name, version]) => ({ path, name, version }))
  );
  assert.notEqual(named.length, 0);
  for (const { path, name, version } of named) assert.equal(version, VERSIONS[name], `${name} in ${path}`);
});
