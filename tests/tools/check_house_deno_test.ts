import assert from "node:assert/strict";
import { test } from "node:test";
import { checkHouse } from "../../tools/check_house.ts";

function check(path: string, text: string): string[] {
  return checkHouse(new Map([[path, text]])).map(({ line, message }) => `${line}: ${message}`);
}

const long = (lines: number, line: string): string => `${line}\n`.repeat(lines);
// Written in two parts, so that the check does not find them in this file.
const reminder = "TO" + "DO";
const home = "/ho" + "me/someone";

const REFUSED: readonly [what: string, path: string, text: string, message: RegExp][] = [
  ["a parameter of type any", "src/rpc/a.ts", "function a(b: any) {}", /uses the type "any"/],
  ["any as a type argument", "tests/a_test.ts", "const a = new Map<string, any>();", /uses the type "any"/],
  ["an array of any", "tools/a.ts", "let a: any[];", /uses the type "any"/],
  ["a cast to any", "src/rpc/a.ts", "const a = b as any;", /uses the type "any"/],
  ["Math.random", "bench/a.ts", "\nconst a = Math.random();", /^2: uses Math.random/],
  ["Deno in portable code", "src/rpc/a.ts", "const a = Deno.cwd();", /runtime's global/],
  ["Bun behind globalThis", "src/rpc/a.ts", "const a = globalThis.Bun;", /runtime's global/],
  ["process in portable code", "src/codec/a.ts", "const a = process.env;", /runtime's global/],
  ["a reminder", "docs/a.md", `Soon. ${reminder}: more`, /holds a reminder/],
  ["a path of one machine", "docs/a.md", `See \`${home}/notes\`.`, /path of one machine/],
  ["a path in a string", "tools/a.ts", `const a = "${home}";`, /path of one machine/],
  ["a long file", "src/rpc/a.ts", long(401, "// a"), /has 401 lines/],
  [
    "a long function",
    "src/rpc/a.ts",
    `function a(b: string): Promise<void> {\n${long(60, "b;")}}`,
    /function of 62 lines/,
  ],
  ["a long arrow function", "src/rpc/a.ts", `const a = () => {\n${long(60, "b;")}};`, /function of 62 lines/],
  ["a message in lower case", "src/rpc/a.ts", 'throw new TypeError("cannot do it");', /start with a capital/],
  ["a template in lower case", "src/rpc/a.ts", "throw new Error(`cannot do ${it}`);", /start with a capital/],
  [
    "a message behind a code",
    "src/codec/a.ts",
    'new CodecError("too_deep", "too many levels")',
    /start with a capital/,
  ],
  ["a period at the end", "src/rpc/a.ts", 'throw new RangeError("Cannot do it.");', /ends with a period/],
  [
    "a period after parts",
    "src/rpc/a.ts",
    'new Error("Cannot do " + it + " at all.", { cause })',
    /ends with a period/,
  ],
];

for (const [what, path, text, message] of REFUSED) {
  test(`checkHouse() refuses ${what}`, () => {
    const found = check(path, text);
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0], message);
  });
}

const ACCEPTED: readonly [what: string, path: string, text: string][] = [
  [
    "any as a word and as a name",
    "src/rpc/a.ts",
    "// any: any\nconst a = v.any(); const b = { any: 1, c: any(2) }; p(any);",
  ],
  ["Deno in src/runtime", "src/runtime/deno.ts", "const a = Deno.cwd();"],
  ["Deno in a comment and in a string", "src/rpc/a.ts", '// Deno.cwd()\nconst a = "process.env";'],
  ["process as a property", "src/rpc/a.ts", "const a = { process: 1 }; a.process; b.process.c;"],
  ["a path of a URL", "docs/a.md", `GET https://example.org${home}`],
  ["a long block that is no function", "src/rpc/a.ts", `if (a(1)) {\n${long(60, "b;")}}`],
  [
    "a good message",
    "src/rpc/a.ts",
    'new CodecError("too_deep", `Cannot decode "${a}": ${b.join(". ")}`, { cause: "x y." })',
  ],
  ["a code without a sentence", "src/rpc/a.ts", 'new RpcError("not_found")'],
];

for (const [what, path, text] of ACCEPTED) {
  test(`checkHouse() accepts ${what}`, () => assert.deepEqual(check(path, text), []));
}
