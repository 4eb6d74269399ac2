/** Starts the WebSocket programs under `programs/` on Deno, Bun, Node and workerd, and always ends them, by id. */
import type { ServeOptions } from "../../src/runtime/runtime.ts";
import {
  executable,
  makeBundle,
  type Program,
  PROGRAMS,
  run,
  type RuntimeName,
  type ServerProgram,
  workerdConfig,
} from "./launch.ts";
import type { WebSocketInput } from "./programs/websocket_calls.ts";

/** Starts programs; disposing it removes their bundles. */
export interface WebSocketLauncher extends AsyncDisposable {
  /** Starts a server program and waits until it listens. */
  startServer(runtime: RuntimeName, options: ServeOptions): Promise<ServerProgram>;
  /** Runs a client program to its end. */
  runClient(runtime: RuntimeName, input: WebSocketInput): Promise<Record<string, string>>;
}

type Task =
  | { readonly role: "server"; readonly input: ServeOptions }
  | { readonly role: "client"; readonly input: WebSocketInput & { readonly call: object } };

const ROOT = new URL("../../", import.meta.url).pathname;

/**
 * Prepares a folder for bundles.
 *
 * @returns The launcher.
 */
export async function createWebSocketLauncher(): Promise<WebSocketLauncher> {
  await Deno.mkdir(`${ROOT}.dev`, { recursive: true });
  // Inside the repository, so that Node and Bun find the node_modules that bundles leave out.
  const dir = await Deno.makeTempDir({ dir: `${ROOT}.dev`, prefix: "websocket-" });
  return {
    async startServer(runtime, options) {
      const program = await start(dir, runtime, { role: "server", input: { port: 0, ...options } });
      try {
        const prefix = runtime === "workerd" ? `{"event":"listen",` : "ready ";
        const text = await program.line(prefix);
        const port: number = JSON.parse(runtime === "workerd" ? `{${text}` : text).port;
        const url = `https://localhost:${port}`;
        return { url, port, program, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
      } catch (error) {
        await program[Symbol.asyncDispose]();
        throw error;
      }
    },
    async runClient(runtime, input) {
      await using program = await start(dir, runtime, { role: "client", input });
      return JSON.parse(await program.line("result "));
    },
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

async function start(dir: string, runtime: RuntimeName, { role, input }: Task): Promise<Program> {
  const name = `${runtime}_websocket_${role}`;
  const argument = JSON.stringify(input);
  switch (runtime) {
    case "deno":
      return run(Deno.execPath(), ["run", "--no-prompt", "--no-check", "-A", `${PROGRAMS}/${name}.ts`, argument], {});
    case "bun":
      return run(await executable("bun"), [await makeBundle(dir, name), argument], {});
    case "node":
      return run("node", [await makeBundle(dir, name), argument], {});
    case "workerd": {
      const config = `${dir}/${name}-${crypto.randomUUID()}.capnp`;
      await Deno.writeTextFile(config, workerdConfig(role, await makeBundle(dir, name), input));
      const command = role === "server" ? ["serve", "--control-fd=1"] : ["test"];
      return run(await executable("workerd"), [...command, config], {});
    }
  }
}
