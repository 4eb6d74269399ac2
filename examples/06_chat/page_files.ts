// The page's files, its script bundled for browsers.
import { build, stop } from "esbuild";

const ROOT = new URL("../../", import.meta.url).pathname;

/**
 * Reads and bundles the page.
 *
 * @returns What answers a request for one of its files.
 */
export async function pageFiles(): Promise<(path: string) => Response | undefined> {
  const read = (name: string) => Deno.readTextFile(new URL(name, import.meta.url));
  const files: Readonly<Record<string, readonly [type: string, text: string]>> = {
    "/": ["text/html", await read("page.html")],
    "/page.css": ["text/css", await read("page.css")],
    "/page.js": ["text/javascript", await bundle("examples/06_chat/page.ts")],
  };
  return (path) => {
    if (!Object.hasOwn(files, path)) return undefined;
    const [type, text] = files[path]!;
    return new Response(text, {
      headers: { "content-type": `${type}; charset=utf-8`, "content-security-policy": "default-src 'self'" },
    });
  };
}

async function bundle(script: string): Promise<string> {
  try {
    const { outputFiles } = await build({
      entryPoints: [script],
      absWorkingDir: ROOT,
      tsconfig: "tsconfig.json",
      bundle: true,
      minify: true,
      format: "esm",
      platform: "browser",
      target: "es2024",
      write: false,
    });
    return outputFiles[0]!.text;
  } finally {
    await stop();
  }
}
