import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { chromiumPath, startBrowser } from "./_chromium.ts";
import type { StoredKeyPage } from "./stored_key_page.ts";

const path = await chromiumPath();
if (!path && Deno.env.get("CI")) throw new Error("Cannot test in a browser: install Chromium, or name it in CHROMIUM");
const skip = path ? false : "there is no Chromium";

/** Calls a function of the page in a tab; its script may still be loading. */
async function call<Name extends keyof StoredKeyPage>(tab: Page, name: Name, key: string) {
  await tab.waitForFunction("globalThis.page");
  return await tab.evaluate(`page.${name}(${JSON.stringify(key)})`) as Awaited<ReturnType<StoredKeyPage[Name]>>;
}

test("storedKey() in a browser keeps a key that all tabs share and no script can take away", { skip }, async (t) => {
  await using browser = await startBrowser(path!, "tests/browser/stored_key_page.ts");
  const [tab, other] = [await browser.open(), await browser.open()];

  await t.test("storedKey() gives the same key after a reload, and another under another name", async () => {
    const before = await call(tab, "use", "session");
    assert.ok(before.signs);
    await tab.reload();
    assert.deepEqual(await call(tab, "use", "session"), before);
    assert.notEqual((await call(tab, "use", "other")).thumbprint, before.thumbprint);
  });

  await t.test("storedKey() gives tabs that race for a new name one key", async () => {
    const calls = Array.from({ length: 40 }, (_, index) => call(index % 2 ? tab : other, "use", `race-${index >> 3}`));
    const keys = await Promise.all(calls);
    assert.ok(keys.every(({ signs }) => signs));
    assert.equal(new Set(keys.map(({ thumbprint }) => thumbprint)).size, 5);
    const later = await call(await browser.open(), "use", "race-0");
    assert.equal(later.thumbprint, keys[0]!.thumbprint);
  });

  await t.test("storedKey() keeps what no script of the origin can export, nor a structured clone of it", async () => {
    const outcomes = await call(tab, "steal", "session");
    assert.equal(outcomes.length, 8);
    assert.ok(outcomes.every((outcome) => /^(?:InvalidAccess|NotSupported)Error$/.test(outcome)), outcomes.join());
  });

  await t.test("storedKey() shows nothing of the key but its public half", async () => {
    const { shown } = await call(tab, "use", "session");
    assert.deepEqual(Object.keys(JSON.parse(shown)).sort(), ["jwk", "publicKey", "thumbprint"]);
  });

  await t.test("storedKey() refuses a pair that somebody put there and that can be exported", async () => {
    await call(tab, "plant", "planted");
    assert.match(
      await call(tab, "refusal", "planted"),
      /^AuthError: Cannot use the kept key: .+ it could be exported$/,
    );
  });
});
