import assert from "node:assert/strict";
import { test } from "node:test";

test("tsconfig.json leaves Deno's strict type check as it is", async () => {
  const folder = `.dev/strict_probe_${crypto.randomUUID()}`;
  await Deno.mkdir(folder, { recursive: true });
  try {
    await Deno.writeTextFile(`${folder}/probe.ts`, "export function probe(value) {\n  return document ?? value;\n}\n");
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", `${folder}/probe.ts`],
      env: { NO_COLOR: "1" },
    }).output();
    const output = new TextDecoder().decode(stderr);
    assert.equal(success, false);
    assert.match(output, /TS7006/, "an implicit any is an error");
    assert.match(output, /TS2584|TS2304/, "the DOM is not there");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
