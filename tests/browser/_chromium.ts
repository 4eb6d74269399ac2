/** Starts Chromium on a page that is bundled from a TypeScript file and served from loopback over TLS. */
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { serve } from "../../src/runtime/deno.ts";
import { testAuthority } from "../_authority.ts";

/** Where Chromium is; undefined where there is none. */
export async function chromiumPath(): Promise<string | undefined> {
  for (const path of [Deno.env.get("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser"]) {
    if (path && await Deno.stat(path).catch(() => undefined)) return path;
  }
  return undefined;
}

/** A browser with one profile. */
export interface TestBrowser extends AsyncDisposable {
  /** Opens the page in a new tab. */
  open(): Promise<Page>;
}

/**
 * Starts it.
 *
 * @param executablePath Where Chromium is.
 * @param script The page's script, from the repository's root.
 */
export async function startBrowser(executablePath: string, script: string): Promise<TestBrowser> {
  const answer = answering(await bundle(script));
  await using stack = new AsyncDisposableStack();
  const serving = stack.use(await serve({ fetch: answer }, { ...await testAuthority(), port: 0, drainMs: 0 }));
  // Without the sandbox, which does not work for root; the only page is the test's own.
  const browser = stack.use(await chromium.launch({ executablePath, chromiumSandbox: false }));
  // In this profile alone: Chromium reads no authorities from a file.
  const context: BrowserContext = await browser.newContext({ ignoreHTTPSErrors: true });
  const all = stack.move();
  return {
    async open() {
      const tab = await context.newPage();
      await tab.goto(serving.url);
      return tab;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function answering(script: string): (request: Request) => Response {
  return ({ url }) =>
    new URL(url).pathname === "/page.js"
      ? new Response(script, { headers: { "content-type": "text/javascript" } })
      : new Response('<!doctype html><title>Test</title><script type="module" src="/page.js"></script>', {
        headers: { "content-type": "text/html" },
      });
}

async function bundle(script: string): Promise<string> {
  const cwd = new URL("../../", import.meta.url).pathname;
  const args = ["bundle", "-q", "--platform", "browser", script];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd }).output();
  if (!success) throw new Error(`Cannot bundle the page: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
