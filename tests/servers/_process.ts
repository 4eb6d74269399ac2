/** Starts real servers for tests, from the programs that the system's packages install. */
import { type DevCa, devCa } from "../../tools/dev_ca.ts";

/** Makes a failed test of a server that never starts. Nothing takes that long. */
const PATIENCE_MS = 20_000;
const POLL_MS = 25;
/** How much of what a server prints is kept for an error. */
const MAX_OUTPUT = 16_384;

/** A program that may be there or not. */
export interface ServerProgram {
  /** Where it is; undefined where it is not installed. */
  readonly path: string | undefined;
  /** For the option `skip` of tests that need it. */
  readonly skip: string | false;
}

/**
 * Looks for a server's program; where it is missing, one line says that its tests are skipped.
 *
 * @param name What it is called.
 * @param paths Where it could be.
 * @throws It is missing, and `POSTERN_REQUIRE_SERVERS=1` says that it must not be.
 */
export async function findServer(name: string, ...paths: string[]): Promise<ServerProgram> {
  for (const path of paths) {
    if ((await Deno.stat(path).catch(() => undefined))?.isFile) return { path, skip: false };
  }
  if (Deno.env.get("POSTERN_REQUIRE_SERVERS") === "1") {
    throw new Error(
      `Cannot test with ${name}: it is at none of ${paths.join(", ")}, and POSTERN_REQUIRE_SERVERS is set`,
    );
  }
  console.error(`${name} is not installed: the tests that need it are skipped`);
  return { path: undefined, skip: `${name} is not installed` };
}

/** A folder of a server's own, with an authority and a certificate for loopback in it. */
export interface ServerFolder extends AsyncDisposable {
  /** Where it is. */
  readonly path: string;
  /** The authority and the certificate. */
  readonly tls: DevCa;
}

/** Makes a folder that is gone when it is disposed. */
export async function serverFolder(name: string): Promise<ServerFolder> {
  const path = await Deno.makeTempDir({ prefix: `postern-${name}-` });
  const remove = () => Deno.remove(path, { recursive: true });
  try {
    return { path, tls: await devCa(`${path}/tls`), [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Ports of loopback that nobody listens on; between this and a server's start, somebody might. */
export function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  const ports = listeners.map(({ addr }) => (addr as Deno.NetAddr).port);
  for (const listener of listeners) listener.close();
  return ports;
}

/** How a server is started. */
export interface StartOptions {
  /** What follows the program's name. */
  readonly args: readonly string[];
  /** Its environment, beside the one of the tests. */
  readonly env?: Record<string, string>;
  /** Whether it answers already; what it throws means no. */
  readonly isReady: () => Promise<boolean>;
}

/** A server that runs. */
export interface ServerProcess extends AsyncDisposable {
  /** The last that it printed. */
  output(): string;
}

/**
 * Starts a server and waits until it answers; disposing it kills it, and waits until it is gone.
 *
 * @throws It ended, or does not answer; with the last that it printed.
 */
export async function startServer(path: string, { args, env = {}, isReady }: StartOptions): Promise<ServerProcess> {
  const command = new Deno.Command(path, { args: [...args], env, stdin: "null", stdout: "piped", stderr: "piped" });
  const child = command.spawn();
  const tail = { text: "" };
  let hasEnded = false;
  const ended = Promise.all([keepTail(child.stdout, tail), keepTail(child.stderr, tail), child.status])
    .then(() => void (hasEnded = true));
  const kill = async () => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await ended;
  };
  const giveUpAt = Date.now() + PATIENCE_MS;
  while (!(await isReady().catch(() => false))) {
    if (hasEnded || Date.now() > giveUpAt) {
      await kill();
      throw new Error(`Cannot start ${path}: it ${hasEnded ? "ended" : "does not answer"}\n${tail.text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return { output: () => tail.text, [Symbol.asyncDispose]: kill };
}

/**
 * Does something until it succeeds: for a start on a port that somebody else took in the meantime.
 *
 * @param run What to do, with new ports each time.
 */
export async function withPorts<Value>(count: number, run: (ports: number[]) => Promise<Value>): Promise<Value> {
  for (let tries = 1;; tries++) {
    try {
      return await run(freePorts(count));
    } catch (error) {
      if (tries === 3) throw error;
    }
  }
}

async function keepTail(stream: ReadableStream<Uint8Array>, tail: { text: string }): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    tail.text = (tail.text + text).slice(-MAX_OUTPUT);
  }
}
