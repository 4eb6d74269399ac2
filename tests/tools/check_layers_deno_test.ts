import assert from "node:assert/strict";
import { test } from "node:test";
import { checkLayers } from "../../tools/check_layers.ts";

const ENTRIES = ["mod.ts", "src/runtime/deno.ts"];

function check(path: string, text: string): string[] {
  return checkLayers(new Map([[path, text]]), ENTRIES).map(({ line, message }) => `${line}: ${message}`);
}

const REFUSED: readonly [what: string, path: string, text: string, message: RegExp][] = [
  ["an import that points up", "src/codec/a.ts", 'import { b } from "../rpc/mod.ts";', /imports up: "rpc" is above/],
  ["an import from internal up", "src/internal/a.ts", 'import "../codec/mod.ts";', /imports up/],
  ["an import sideways", "src/broker/a.ts", 'import { b } from "../registry/mod.ts";', /imports sideways/],
  ["an export sideways", "src/auth/a.ts", 'export * from "../middleware/mod.ts";', /imports sideways/],
  ["a type import that points up", "src/codec/a.ts", 'import type { B } from "../rpc/mod.ts";', /imports up/],
  ["an import past a mod.ts", "src/rpc/a.ts", 'import { b } from "../codec/b.ts";', /use src\/codec\/mod.ts/],
  ["a file below a folder past its mod.ts", "src/rpc/x/a.ts", 'import "../../codec/x/mod.ts";', /use src\/codec\/mod/],
  ["its own mod.ts", "src/rpc/a.ts", 'import { b } from "./mod.ts";', /imports its own folder/],
  ["its own mod.ts from below", "src/rpc/x/a.ts", 'import { b } from "../mod.ts";', /imports its own folder/],
  ["an unknown folder", "src/rpc/a.ts", 'import { b } from "../util/mod.ts";', /"util" is in no layer/],
  ["a file in an unknown folder", "src/util/a.ts", 'import { b } from "../codec/mod.ts";', /"util" is in no layer/],
  ["a file outside of src/", "src/rpc/a.ts", 'import { b } from "../../tools/b.ts";', /outside of src/],
  ["the root", "src/cli/a.ts", 'import { b } from "../../mod.ts";', /outside of src/],
  ["node: outside of runtime/ and cli/", "src/auth/a.ts", 'import { b } from "node:crypto";', /does not list/],
  ["an unlisted package", "src/rpc/a.ts", 'import * as v from "valibot";', /imports "valibot", which/],
  ["a package that begins like a listed one", "src/console/a.ts", 'import "hono-evil";', /imports "hono-evil"/],
  ["a URL", "src/cli/a.ts", 'import "https://example.com/a.ts";', /imports "https:/],
  [
    "an import over several lines",
    "src/codec/a.ts",
    '\nimport {\n  a, // from "x"\n  b as c,\n} from "../rpc/mod.ts";',
    /^2: imports up/,
  ],
  ["a literal dynamic import that points up", "src/codec/a.ts", 'await import("../rpc/mod.ts");', /imports up/],
  ["an import type in a signature", "src/codec/a.ts", 'type A = import("../rpc/mod.ts").A;', /imports up/],
  ["a computed import", "src/codec/a.ts", "const a = await import(name);", /computed specifier/],
  ["a template import", "src/codec/a.ts", "await import(`./${name}.ts`);", /computed specifier/],
  ["a concatenated import", "src/codec/a.ts", 'await import("./a" + name);', /computed specifier/],
  ["let at the top level", "src/codec/a.ts", "const a = { b: 1 };\nlet count = 0;", /^2: declares "let"/],
  ["an exported var at the top level", "src/codec/a.ts", "export var count = 0;", /declares "var"/],
  ["mod.ts past a mod.ts", "mod.ts", 'export { a } from "./src/rpc/a.ts";', /may only import src/],
];

for (const [what, path, text, message] of REFUSED) {
  test(`checkLayers() refuses ${what}`, () => {
    const found = check(path, text);
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0], message);
  });
}

const ACCEPTED: readonly [what: string, path: string, text: string][] = [
  ["an import that points down", "src/rpc/a.ts", 'import { b } from "../codec/mod.ts";'],
  ["an import over several layers", "src/cli/a.ts", 'import { b } from "../codec/mod.ts";'],
  ["a file of internal/", "src/codec/a.ts", 'import { b } from "../internal/bytes.ts";'],
  ["a file of the same folder", "src/rpc/x/a.ts", 'import { b } from "../b.ts";'],
  ["an exported entry point", "src/cli/a.ts", 'import { b } from "../runtime/deno.ts";'],
  ["listed packages", "src/runtime/a.ts", 'import "node:fs"; import { Hono } from "@hono/node-server/conninfo";'],
  ["any mod.ts in the root", "mod.ts", 'export * from "./src/rpc/mod.ts";\nexport { a } from "./src/codec/mod.ts";'],
  ["an import in a comment", "src/codec/a.ts", '// import { b } from "../rpc/mod.ts";\n/* import(name) */'],
  ["an import in a string", "src/codec/a.ts", "const a = 'import \"../rpc/mod.ts\"'; const b = `import(${a})`;"],
  ["let in a function", "src/codec/a.ts", "function a() { let b = 1; for (let i = 0; i < 2; i++) b++; return b; }"],
  [
    "names that contain the words",
    "src/codec/a.ts",
    "const letter = 1, outlet = { let: 2, var: 3 }; const x = outlet.let;",
  ],
  ["a regular expression with brackets", "src/codec/a.ts", "const a = /[{(\"']/; function b() { let c = 1 / 2; }"],
];

for (const [what, path, text] of ACCEPTED) {
  test(`checkLayers() accepts ${what}`, () => assert.deepEqual(check(path, text), []));
}
