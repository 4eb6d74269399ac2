/** Starts the programs under `programs/` on Deno, Bun, Node and workerd, and always ends them, by id. */
import type { ServeOptions } from "../../src/runtime/runtime.ts";
import type { ClientInput, ClientOutput } from "./programs/client.ts";

/** A runtime that serves and calls. */
export type RuntimeName = "deno" | "bun" | "node" | "workerd";

/** Every runtime. */
export const RUNTIMES: readonly RuntimeName[] = ["deno", "bun", "node", "workerd"];
/** The runtimes with a `serve` and a `createFetch` of ours; workerd has its configuration instead. */
export const ADAPTED: readonly Exclude<RuntimeName, "workerd">[] = ["deno", "bun", "node"];

/** How to start a program. */
export interface LaunchOptions {
  /** Environment variables to add. */
  readonly env?: Readonly<Record<string, string>>;
  /** Flags for the `deno` executable. @default {["-A"]} */
  readonly denoFlags?: readonly string[];
  /** How long it may live, in milliseconds. @default {20_000} */
  readonly lifeMs?: number;
}

/** A server program that listens. */
export interface ServerProgram extends AsyncDisposable {
  /** Where it listens. */
  readonly url: string;
  /** The port it listens on. */
  readonly port: number;
  /** The process, to signal it and to read what it prints. */
  readonly program: Program;
}

/** A process whose output is read to the end. */
export interface Program extends AsyncDisposable {
  /** Settles when the process ended and its output is read. */
  readonly status: Promise<Deno.CommandStatus>;
  /** Asks it to end. */
  terminate(): void;
  /** Waits for a line that starts so, and returns the rest; fails when the process ends without one. */
  line(prefix: string): Promise<string>;
  /** What it has written to stderr. */
  stderr(): string;
}

const ROOT = new URL("../../", import.meta.url).pathname;
/** Where the programs are. */
export const PROGRAMS = `${ROOT}tests/runtime/programs`;
const PACKAGES = { bun: "bun@1.4.5", workerd: "workerd@1.20261117.1" } as const;
/** A program that hangs is killed, so that the test that waits for it fails by name. */
const LIFE_MS = 20_000;

/** What a client program printed. */
export interface ClientResult extends ClientOutput {
  /** What it wrote to stderr. */
  readonly stderr: string;
}

/** Starts programs; disposing it removes their bundles. */
export interface Launcher extends AsyncDisposable {
  /** Starts a server program without waiting for it to listen. */
  launchServer(runtime: RuntimeName, options: ServeOptions, launch?: LaunchOptions): Promise<Program>;
  /** Starts a server program and waits until it listens. */
  startServer(runtime: RuntimeName, options: ServeOptions, launch?: LaunchOptions): Promise<ServerProgram>;
  /** Runs a client program to its end, which it must reach by itself. */
  runClient(runtime: RuntimeName, input: ClientInput, launch?: LaunchOptions): Promise<ClientResult>;
}

/**
 * Prepares a folder for bundles and finds the executables.
 *
 * @returns The launcher.
 */
export async function createLauncher(): Promise<Launcher> {
  await Deno.mkdir(`${ROOT}.dev`, { recursive: true });
  // Inside the repository, so that Node and Bun find the node_modules that bundles leave out.
  const dir = await Deno.makeTempDir({ dir: `${ROOT}.dev`, prefix: "programs-" });
  const bundles = new Map<string, Promise<string>>();
  const bundle = (name: string) => {
    const made = bundles.get(name) ?? makeBundle(dir, name);
    bundles.set(name, made);
    return made;
  };
  const launch = async (
    runtime: RuntimeName,
    role: "server" | "client",
    input: object,
    options: LaunchOptions = {},
  ) => {
    const argument = JSON.stringify(input);
    const name = `${runtime}_${role}`;
    switch (runtime) {
      case "deno": {
        const flags = options.denoFlags ?? ["-A"];
        return run(Deno.execPath(), ["run", "--no-prompt", ...flags, `${PROGRAMS}/${name}.ts`, argument], options);
      }
      case "bun":
        return run(await executable("bun"), [await bundle(name), argument], options);
      case "node":
        return run("node", [await bundle(name), argument], options);
      case "workerd": {
        const config = `${dir}/${name}-${crypto.randomUUID()}.capnp`;
        await Deno.writeTextFile(config, workerdConfig(role, await bundle(name), input));
        const command = role === "server" ? ["serve", "--control-fd=1"] : ["test"];
        return run(await executable("workerd"), [...command, config], options);
      }
    }
  };
  return {
    launchServer: (runtime, options, more) => launch(runtime, "server", { port: 0, ...options }, more),
    async startServer(runtime, options, more) {
      const program = await launch(runtime, "server", { port: 0, ...options }, more);
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
    async runClient(runtime, input, more) {
      await using program = await launch(runtime, "client", input, more);
      const output = JSON.parse(await program.line("result "));
      await program.status;
      return { ...output, stderr: program.stderr() };
    },
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** Deno bundles with deno.json's import map, so that the same names mean the same modules everywhere. */
export async function makeBundle(dir: string, name: string): Promise<string> {
  const workerd = name.startsWith("workerd");
  const output = `${dir}/${name}.mjs`;
  const platform = workerd ? ["browser", "--external", "node:process"] : ["deno", "--packages", "external"];
  const args = ["bundle", "-q", "--platform", ...platform, "-o", output, `${PROGRAMS}/${name}.ts`];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
  if (!success) throw new Error(`Cannot bundle ${name}: ${new TextDecoder().decode(stderr)}`);
  return output;
}

/** The configuration of workerd for a server, or for a client that gets its input as a binding. */
export function workerdConfig(role: "server" | "client", path: string, input: object): string {
  const module = `modules = [ (name = "main", esModule = embed ${JSON.stringify(path.replace(/.*\//, ""))}) ],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = [ "enable_request_signal" ]`;
  const services = `(name = "main", worker = .worker)`;
  const head = `using Workerd = import "/workerd/workerd.capnp";`;
  const text = JSON.stringify;
  if (role === "server") {
    const { cert, key } = input as ServeOptions;
    return `${head}
const config :Workerd.Config = (services = [ ${services} ], sockets = [ (name = "https", address = "127.0.0.1:0",
  service = "main", https = (options = (), tlsOptions = (minVersion = tls1Dot3,
  keypair = (privateKey = ${text(key)}, certificateChain = ${text(cert)})))) ]);
const worker :Workerd.Worker = (${module});`;
  }
  const { caCerts } = input as ClientInput;
  return `${head}
const config :Workerd.Config = (services = [ ${services}, (name = "internet", network = (allow = ["local"],
  tlsOptions = (trustBrowserCas = true, trustedCertificates = [ ${caCerts.map((pem) => text(pem)).join()} ]))) ]);
const worker :Workerd.Worker = (${module}, bindings = [ (name = "input", text = ${text(text(input))}) ]);`;
}

/** The executable itself: ending npx, or a launcher script, would leave it running. */
export async function executable(name: keyof typeof PACKAGES): Promise<string> {
  const cache = `${ROOT}.dev/executable-${PACKAGES[name]}`;
  const known = await Deno.readTextFile(cache).catch(() => "");
  if (known && await Deno.stat(known).catch(() => undefined)) return known;
  const args = ["-y", "-p", PACKAGES[name], "which", name];
  const { stdout } = await new Deno.Command("npx", { args, stderr: "inherit" }).output();
  const path = await Deno.realPath(new TextDecoder().decode(stdout).trim());
  await Deno.writeTextFile(`${cache}.${Deno.pid}`, path);
  await Deno.rename(`${cache}.${Deno.pid}`, cache);
  return path;
}

/** Starts a process that is killed when it lives for too long. */
export function run(command: string, args: readonly string[], options: LaunchOptions): Program {
  const process = new Deno.Command(command, {
    args: [...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...options.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let stdout = "";
  let stderr = "";
  let changed = Promise.withResolvers<void>();
  const timer = setTimeout(() => process.kill("SIGKILL"), options.lifeMs ?? LIFE_MS);
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, add: (text: string) => void) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      add(text);
      changed.resolve();
      changed = Promise.withResolvers();
    }
  };
  const ended = Promise.all([
    read(process.stdout, (text) => stdout += text),
    read(process.stderr, (text) => stderr += text),
    process.status,
  ]).then(([, , status]) => status).finally(() => clearTimeout(timer));
  return {
    status: ended,
    terminate: () => process.kill("SIGTERM"),
    stderr: () => stderr,
    async line(prefix) {
      for (let over = false;;) {
        const line = stdout.split("\n").slice(0, -1).find((text) => text.startsWith(prefix));
        if (line !== undefined) return line.slice(prefix.length);
        if (over) throw new Error(`No line "${prefix}" from ${command}: ${stdout}${stderr}`);
        over = await Promise.race([changed.promise.then(() => false), ended.then(() => true)]);
      }
    },
    async [Symbol.asyncDispose]() {
      try {
        process.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
      await ended;
    },
  };
}
