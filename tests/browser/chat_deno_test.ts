// The sixth example in a browser: its page, as it is served.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { pageFiles } from "../../examples/06_chat/page_files.ts";
import { startSite } from "../../examples/06_chat/site.ts";
import type { Log } from "../../src/rpc/mod.ts";
import { serve } from "../../src/runtime/deno.ts";
import { testAuthority } from "../_authority.ts";
import { chromiumPath } from "./_chromium.ts";

const path = await chromiumPath();
if (!path && Deno.env.get("CI")) throw new Error("Cannot test in a browser: install Chromium, or name it in CHROMIUM");
const skip = path ? false : "there is no Chromium";

/** A tab of a profile of its own, in which somebody has entered a room. */
async function enter(browser: Browser, url: string, { name, room }: { name: string; room: string }): Promise<Page> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  context.setDefaultTimeout(10_000);
  const tab = await context.newPage();
  await tab.goto(url);
  await tab.getByLabel("I am").fill(name);
  await tab.getByLabel("in the room").fill(room);
  await tab.getByRole("button", { name: "Enter" }).click();
  await tab.getByText(`${name} enters`).waitFor();
  return tab;
}

async function say(tab: Page, text: string): Promise<void> {
  await tab.getByLabel("What you say").fill(text);
  await tab.getByRole("button", { name: "Say" }).click();
}

const heard = (tab: Page) => tab.locator("#heard li").allTextContents();

/** What becomes of a WebSocket that a tab opens. */
async function connecting(tab: Page, url: string): Promise<string> {
  return await tab.evaluate(`new Promise((resolve) => {
    const socket = new WebSocket(${JSON.stringify(`${url.replace("https:", "wss:")}/postern.v1`)}, "postern.v1");
    socket.onopen = () => resolve("open", socket.close());
    socket.onerror = () => resolve("refused");
  })`);
}

test("the chat in a browser", { skip }, async (t) => {
  await using stack = new AsyncDisposableStack();
  const certificate = await testAuthority();
  const refused: string[] = [];
  const log: Log = ({ method, code, event }) => void (code && method && refused.push(`${method}: ${code}: ${event}`));
  const site = stack.use(await startSite({ ...certificate, port: 0, page: await pageFiles(), log }));
  const evil = stack.use(
    await serve({
      fetch: () => new Response("<!doctype html>", { headers: { "content-type": "text/html" } }),
    }, { ...certificate, port: 0, drainMs: 0 }),
  );
  // Without the sandbox, which does not work for root; the only pages are the test's own.
  const browser = stack.use(await chromium.launch({ executablePath: path!, chromiumSandbox: false }));
  const ada = await enter(browser, site.url, { name: "Ada", room: "kitchen" });
  const grace = await enter(browser, site.url, { name: "Grace", room: "kitchen" });

  await t.test("webSocketTransport() carries what is said in one tab to the other, both ways", async () => {
    await ada.getByText("Grace enters").waitFor();
    await say(ada, "The <b>kettle</b> is on");
    await grace.getByText("Ada: The <b>kettle</b> is on").waitFor();
    await say(grace, "Two sugars");
    await ada.getByText("Grace: Two sugars").waitFor();
    assert.deepEqual(await heard(ada), [
      "Ada enters",
      "Grace enters",
      "Ada: The <b>kettle</b> is on",
      "Grace: Two sugars",
    ]);
  });

  await t.test("protect() refuses a tab the room that its right is not for, and the tab talks on in its own", async () => {
    await ada.getByRole("button", { name: "Try the cellar" }).click();
    await ada.getByText("permission_denied: ").waitFor();
    assert.equal(await ada.locator("#status").textContent(), "permission_denied: Cannot call this method");
    assert.deepEqual(refused, ["chat.v1/talk: permission_denied: Cannot call this method"]);
    await say(ada, "Still here");
    await grace.getByText("Ada: Still here").waitFor();
  });

  await t.test("protect() lets a guest of another room hear nothing of this one", async () => {
    const bob = await enter(browser, site.url, { name: "Bob", room: "cellar" });
    await say(ada, "Nothing for the cellar");
    await grace.getByText("Nothing for the cellar").waitFor();
    await say(bob, "Dark here");
    await bob.getByText("Bob: Dark here").waitFor();
    assert.deepEqual(await heard(bob), ["Bob enters", "Bob: Dark here"]);
    await bob.context().close();
  });

  await t.test("upgrade() refuses a page of an origin that is not listed", async () => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const tab = await context.newPage();
    await tab.goto(evil.url);
    assert.equal(await connecting(tab, site.url), "refused");
    assert.equal(await connecting(ada, site.url), "open", "the same from the site's own page");
    await context.close();
  });

  await t.test("closing a tab takes its member out of the room", async () => {
    await grace.close();
    await ada.getByText("Grace leaves").waitFor();
    await say(ada, "Anybody?");
    await ada.getByText("Ada: Anybody?").waitFor();
  });
});
