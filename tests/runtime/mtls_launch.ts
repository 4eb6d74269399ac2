/** Starts the mutual TLS programs under `programs/` on Deno, Bun, Node and workerd, and always ends them, by id. */
import type { ServeOptions } from "../../src/runtime/runtime.ts";
import { createLauncher, type RuntimeName } from "./launch.ts";
import type { MtlsClientInput, MtlsClientOutput } from "./programs/mtls_client.ts";

/** A runtime whose listener can ask for certificates. */
export type MtlsServerName = Exclude<RuntimeName, "workerd">;

/** A program that runs. */
export interface MtlsProgram extends AsyncDisposable {
  /** Settles when it ended. */
  readonly status: Promise<Deno.CommandStatus>;
  /** Asks it to end. */
  terminate(): void;
  /** Waits for a line that starts so, and returns the rest. */
  line(prefix: string): Promise<string>;
}

/** A server program that listens. */
export interface MtlsServer extends MtlsProgram {
  /** Where it listens. */
  readonly url: string;
  /** The port it listens on. */
  readonly port: number;
}

/** Starts programs; disposing it removes their bundles. */
export interface MtlsLauncher extends AsyncDisposable {
  /** Starts a server program and waits until it listens. */
  startServer(runtime: MtlsServerName, options: ServeOptions, env?: Record<string, string>): Promise<MtlsServer>;
  /** Runs a client program to its end. */
  runClient(runtime: RuntimeName, input: MtlsClientInput): Promise<MtlsClientOutput>;
}

const ROOT = new URL("../../", import.meta.url).pathname;
const PROGRAMS = `${ROOT}tests/runtime/programs`;
const EXECUTABLES = { bun: "bun@1.4.5", workerd: "workerd@1.20261117.1" } as const;
/** A program that hangs is killed, so that the test that waits for it fails by name. */
const LIFE_MS = 30_000;

/** Prepares a folder for bundles. */
export async function createMtlsLauncher(): Promise<MtlsLauncher> {
  await Deno.mkdir(`${ROOT}.dev`, { recursive: true });
  const dir = await Deno.makeTempDir({ dir: `${ROOT}.dev`, prefix: "mtls-" });
  return {
    async startServer(runtime, options, env = {}) {
      const program = await start(dir, runtime, "server", { port: 0, ...options }, env);
      try {
        const port = Number(await program.line("ready "));
        return { ...program, port, url: `https://localhost:${port}` };
      } catch (error) {
        await program[Symbol.asyncDispose]();
        throw error;
      }
    },
    async runClient(runtime, input) {
      await using program = await start(dir, runtime, "client", input, {});
      return JSON.parse(await program.line("result "));
    },
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

async function start(
  dir: string,
  runtime: RuntimeName,
  role: "server" | "client",
  input: object,
  env: Record<string, string>,
): Promise<MtlsProgram> {
  const name = `${runtime}_mtls_${role}`;
  const argument = JSON.stringify(input);
  switch (runtime) {
    case "deno":
      return run(Deno.execPath(), ["run", "-A", "--no-prompt", `${PROGRAMS}/${name}.ts`, argument], env);
    case "bun":
      return run(await executable("bun"), [await bundle(dir, name), argument], env);
    case "node":
      return run("node", [await bundle(dir, name), argument], env);
    case "workerd": {
      const config = `${dir}/${name}-${crypto.randomUUID()}.capnp`;
      await Deno.writeTextFile(config, workerdConfig(await bundle(dir, name), input as MtlsClientInput));
      return run(await executable("workerd"), ["test", config], env);
    }
  }
}

async function bundle(dir: string, name: string): Promise<string> {
  const output = `${dir}/${name}.mjs`;
  const platform = name.startsWith("workerd")
    ? ["browser", "--external", "node:process"]
    : ["deno", "--packages", "external"];
  const args = ["bundle", "-q", "--platform", ...platform, "-o", output, `${PROGRAMS}/${name}.ts`];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
  if (!success) throw new Error(`Cannot bundle ${name}: ${new TextDecoder().decode(stderr)}`);
  return output;
}

/** workerd shows one certificate for each network that it calls. */
function workerdConfig(path: string, { caCerts, identities: [{ cert, key }], urls }: MtlsClientInput): string {
  const text = JSON.stringify;
  const keypair = cert ? `, keypair = (privateKey = ${text(key)}, certificateChain = ${text(cert)})` : "";
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [ (name = "main", worker = .worker), (name = "internet", network = (
  allow = ["local"], tlsOptions = (trustedCertificates = [ ${caCerts.map((pem) => text(pem)).join()} ]${keypair}))) ]);
const worker :Workerd.Worker = (
  modules = [ (name = "main", esModule = embed ${text(path.replace(/.*\//, ""))}) ],
  compatibilityDate = "2026-11-01", bindings = [ (name = "urls", text = ${text(text(urls))}) ]);`;
}

/** The path that launch.ts leaves behind, which it writes as soon as it starts a program of the runtime. */
async function executable(name: keyof typeof EXECUTABLES): Promise<string> {
  const cache = `${ROOT}.dev/executable-${EXECUTABLES[name]}`;
  const known = await Deno.readTextFile(cache).catch(() => "");
  if (known && await Deno.stat(known).catch(() => undefined)) return known;
  await using launcher = await createLauncher();
  if (name === "bun") await launcher.runClient("bun", { caCerts: [] });
  else await launcher.runClient("workerd", { caCerts: [] });
  return await Deno.readTextFile(cache);
}

function run(command: string, args: readonly string[], env: Record<string, string>): MtlsProgram {
  const stdio = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const options = { args: [...args], cwd: ROOT, env: { NO_COLOR: "1", ...env }, ...stdio };
  const process = new Deno.Command(command, options).spawn();
  let [stdout, stderr] = ["", ""];
  let changed = Promise.withResolvers<void>();
  const timer = setTimeout(() => process.kill("SIGKILL"), LIFE_MS);
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, add: (text: string) => void) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      add(text);
      changed.resolve();
      changed = Promise.withResolvers();
    }
  };
  const outputs = [read(process.stdout, (text) => stdout += text), read(process.stderr, (text) => stderr += text)];
  const status = Promise.all(outputs).then(() => process.status).finally(() => clearTimeout(timer));
  return {
    status,
    terminate: () => process.kill("SIGTERM"),
    async line(prefix) {
      for (let over = false;;) {
        const line = stdout.split("\n").slice(0, -1).find((text) => text.startsWith(prefix));
        if (line !== undefined) return line.slice(prefix.length);
        if (over) throw new Error(`No line "${prefix}" from ${command}: ${stdout}${stderr}`);
        over = await Promise.race([changed.promise.then(() => false), status.then(() => true)]);
      }
    },
    async [Symbol.asyncDispose]() {
      try {
        process.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
      await status;
    },
  };
}
