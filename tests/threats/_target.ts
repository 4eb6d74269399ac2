/** Starts `programs/target.ts` on a runtime, and asks it how often its handler was called. */
import { BUN_VERSION } from "../../tools/versions.ts";
import { createFetch, type RuntimeFetch } from "../../src/runtime/deno.ts";
import { testAuthority } from "../_authority.ts";
import type { TargetInput } from "./programs/target.ts";

/** The runtimes with a `serve` of ours. */
export const SERVED = ["deno", "bun", "node"] as const;
/** One of them. */
export type Served = typeof SERVED[number];

/** A running target. */
export interface Target extends AsyncDisposable {
  /** Where it listens. */
  readonly port: number;
  /** Its URL. */
  readonly url: string;
  /** The authority to trust. */
  readonly ca: string;
  /** An honest client's fetch, over HTTP/2. */
  readonly fetch: RuntimeFetch;
  /** Makes one honest call over a connection of its own, and gives its status. */
  honest(): Promise<number>;
  /** How often `hello` was called until now, and how much memory the target has. */
  tally(): Promise<{ readonly hellos: number; readonly rssBytes: number }>;
}

const ROOT = new URL("../../", import.meta.url).pathname;
const PROGRAMS = `${ROOT}tests/threats/programs`;
const bundles = new Map<Served, Promise<string>>();

/** Starts one; disposing it ends it. */
export async function startTarget(runtime: Served, limits: TargetInput["limits"] = {}): Promise<Target> {
  const { ca, cert, key } = await testAuthority();
  const input: TargetInput = { cert, key, limits };
  const [command, ...args] = await commandOf(runtime);
  const process = new Deno.Command(command, {
    args: [...args, JSON.stringify(input)],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const output = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const port = await readPort(output);
  const url = `https://localhost:${port}`;
  const fetch = createFetch({ caCerts: [ca] });
  const post = async (method: string, message: object, send: RuntimeFetch) => {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(message);
    const response = await send(`${url}/greeter.v1/${method}`, { method: "POST", headers, body });
    return { status: response.status, value: await response.json() };
  };
  return {
    port,
    url,
    ca,
    fetch,
    async honest() {
      using fresh = createFetch({ caCerts: [ca] });
      return (await post("hello", { name: "Ada" }, fresh)).status;
    },
    tally: async () => (await post("tally", {}, fetch)).value,
    async [Symbol.asyncDispose]() {
      fetch[Symbol.dispose]();
      await process.stdin.close();
      while (!(await output.read()).done);
      await process.status;
    },
  };
}

async function commandOf(runtime: Served): Promise<readonly [string, ...string[]]> {
  if (runtime === "deno") return [Deno.execPath(), "run", "-A", "--no-prompt", `${PROGRAMS}/deno_target.ts`];
  const bundle = bundles.get(runtime) ?? makeBundle(runtime);
  bundles.set(runtime, bundle);
  return [runtime === "bun" ? await (bun ??= bunPath()) : "node", await bundle];
}

let bun: Promise<string> | undefined;

/** The executable itself, because npx takes longer to start than Bun. */
async function bunPath(): Promise<string> {
  const args = ["-y", "-p", `bun@${BUN_VERSION}`, "which", "bun"];
  const { stdout } = await new Deno.Command("npx", { args, stderr: "inherit" }).output();
  return await Deno.realPath(new TextDecoder().decode(stdout).trim());
}

/** Inside the repository, so that Node and Bun find the node_modules that the bundle leaves out. */
async function makeBundle(runtime: Served): Promise<string> {
  const output = `${ROOT}.dev/target-${runtime}-${Deno.pid}.mjs`;
  const args = ["bundle", "-q", "--platform", "deno", "--packages", "external", "-o", output];
  const command = new Deno.Command(Deno.execPath(), { args: [...args, `${PROGRAMS}/${runtime}_target.ts`], cwd: ROOT });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(`Cannot bundle the target: ${new TextDecoder().decode(stderr)}`);
  globalThis.addEventListener("unload", () => Deno.removeSync(output));
  return output;
}

async function readPort(output: ReadableStreamDefaultReader<string>): Promise<number> {
  let text = "";
  for (;;) {
    const { value, done } = await output.read();
    if (done) throw new Error(`The target did not start: ${text}`);
    text += value;
    const port = /^ready (\d+)\n/m.exec(text)?.[1];
    if (port) return Number(port);
  }
}
