import { storedKey } from "../../src/auth/stored_key.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

// What it does in a browser is in tests/browser/stored_key_deno_test.ts.

test("storedKey() refuses a runtime without IndexedDB rather than making a key that is lost", async () => {
  await assert.rejects(storedKey("session"), /^TypeError: Cannot keep the key: this runtime has no IndexedDB$/);
});

test("storedKey() refuses a name that is empty, too long or none", async () => {
  for (const name of ["", "n".repeat(129), undefined, 1]) {
    await assert.rejects(storedKey(name as string), /^TypeError: Cannot keep the key: its name must be/);
  }
});
