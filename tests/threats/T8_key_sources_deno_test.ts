import assert from "node:assert/strict";
import { test } from "node:test";
import { keyFromEnvironment } from "../../src/runtime/key_environment.ts";
import { keyFromFile, writeKeyFile } from "../../src/runtime/key_file.ts";
import { assertNotExportable } from "./T8_private_half.ts";

// The attacker is another user of the machine, or code that got into the process. T8, T30: where keys come from. What the
// sources refuse is in tests/runtime/key_*_test.ts.

test("T8 T30 keyFromFile(), writeKeyFile() and keyFromEnvironment() give keys that cannot be exported", async () => {
  const folder = await Deno.makeTempDir({ prefix: "keys-" });
  try {
    const path = `${folder}/a.jwk`;
    await assertNotExportable(await writeKeyFile(path));
    await assertNotExportable(await keyFromFile(path));
    Deno.env.set("POSTERN_T8_KEY", await Deno.readTextFile(path));
    await assertNotExportable(await keyFromEnvironment("POSTERN_T8_KEY"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("T8 T30 keyFromFile() refuses a key that other users of the machine can read", async () => {
  const folder = await Deno.makeTempDir({ prefix: "keys-" });
  try {
    const path = `${folder}/a.jwk`;
    await writeKeyFile(path);
    await Deno.chmod(path, 0o644);
    await assert.rejects(keyFromFile(path), /its mode is 644; `chmod 600` it/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
