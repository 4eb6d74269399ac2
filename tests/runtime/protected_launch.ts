/** Starts the protected programs under `programs/` on Deno, Bun, Node and workerd, and always ends them, by id. */
import {
  executable,
  makeBundle,
  type Program,
  PROGRAMS,
  run,
  type RuntimeName,
  RUNTIMES,
  workerdConfig,
} from "./launch.ts";
import type { ProtectedClientInput, ProtectedClientOutput } from "./programs/protected_client.ts";
import type { ProtectedServerInput } from "./programs/protected_server.ts";

/** What a program does. */
export type Role = "server" | "client";

/** A protected server program that listens. */
export interface ProtectedServer extends AsyncDisposable {
  /** Where it listens. */
  readonly url: string;
}

/** Starts programs; disposing it removes their bundles. */
export interface ProtectedLauncher extends AsyncDisposable {
  /** Starts a server program and waits until it listens. */
  startServer(runtime: RuntimeName, input: ProtectedServerInput): Promise<ProtectedServer>;
  /** Runs a client program to its end. */
  runClient(runtime: RuntimeName, input: ProtectedClientInput): Promise<ProtectedClientOutput>;
}

const ROOT = new URL("../../", import.meta.url).pathname;

/**
 * Makes the bundles, before anything runs that would have to wait for them.
 *
 * @param roles What is to be started.
 * @param runtimes Where.
 * @returns The launcher.
 */
export async function createProtectedLauncher(
  roles: readonly Role[],
  runtimes: readonly RuntimeName[] = RUNTIMES,
): Promise<ProtectedLauncher> {
  await Deno.mkdir(`${ROOT}.dev`, { recursive: true });
  // Inside the repository, so that Node and Bun find the node_modules that bundles leave out.
  const dir = await Deno.makeTempDir({ dir: `${ROOT}.dev`, prefix: "protected-" });
  const remove = () => Deno.remove(dir, { recursive: true });
  try {
    const bundled = runtimes.filter((runtime) => runtime !== "deno");
    const names = roles.flatMap((role) => bundled.map((runtime) => nameOf(runtime, role)));
    for (const name of names) await makeBundle(dir, name);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    async startServer(runtime, input) {
      const program = await start(dir, runtime, { role: "server", input });
      try {
        const prefix = runtime === "workerd" ? `{"event":"listen",` : "ready ";
        const text = await program.line(prefix);
        const port: number = JSON.parse(runtime === "workerd" ? `{${text}` : text).port;
        return { url: `https://localhost:${port}`, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
      } catch (error) {
        await program[Symbol.asyncDispose]();
        throw error;
      }
    },
    async runClient(runtime, input) {
      await using program = await start(dir, runtime, { role: "client", input });
      return JSON.parse(await program.line("result "));
    },
    [Symbol.asyncDispose]: remove,
  };
}

/** A server is called by one client after the other. */
const SERVER_LIFE_MS = 60_000;

const nameOf = (runtime: RuntimeName, role: Role) => `${runtime}_protected_${role}`;

type Task =
  | { readonly role: "server"; readonly input: ProtectedServerInput }
  | { readonly role: "client"; readonly input: ProtectedClientInput };

async function start(dir: string, runtime: RuntimeName, task: Task): Promise<Program> {
  const name = nameOf(runtime, task.role);
  const bundle = `${dir}/${name}.mjs`;
  const argument = JSON.stringify(task.input);
  const options = task.role === "server" ? { lifeMs: SERVER_LIFE_MS } : {};
  switch (runtime) {
    case "deno":
      return run(Deno.execPath(), ["run", "-A", "--no-prompt", `${PROGRAMS}/${name}.ts`, argument], options);
    case "bun":
      return run(await executable("bun"), [bundle, argument], options);
    case "node":
      return run("node", [bundle, argument], options);
    case "workerd": {
      const config = `${dir}/${name}-${crypto.randomUUID()}.capnp`;
      const text = task.role === "server"
        ? serverConfig(bundle, task.input)
        : workerdConfig("client", bundle, task.input);
      await Deno.writeTextFile(config, text);
      const command = task.role === "server" ? ["serve", "--control-fd=1"] : ["test"];
      return run(await executable("workerd"), [...command, config], options);
    }
  }
}

/** As for a server that is given nothing, and with what this one is given in a binding. */
function serverConfig(bundle: string, { serving, ...input }: ProtectedServerInput): string {
  const text = JSON.stringify(JSON.stringify(input));
  return workerdConfig("server", bundle, serving).replace(
    /\);$/,
    () => `, bindings = [ (name = "input", text = ${text}) ]);`,
  );
}
