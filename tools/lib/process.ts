// Runs one command with a time limit, so that a hanging step becomes a failed step and never a hanging run.

/** How a command ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  /** Both output streams, standard output first. */
  readonly output: string;
}

/** What {@linkcode run} may be told beside the command. */
export interface RunOptions {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** @default 600_000 */
  readonly limitMs?: number;
}

const DEFAULT_LIMIT_MS = 600_000;

/** How long a command may take to end its own children before it is ended by force. */
const GRACE_MS = 3_000;

/** The exit code of `timeout(1)`. */
const TIMED_OUT = 124;

const QUIET = {
  NO_COLOR: "1",
  DENO_NO_PROMPT: "1",
  DENO_NO_UPDATE_CHECK: "1",
  npm_config_update_notifier: "false",
  npm_config_fund: "false",
  // Deno does not read SSL_CERT_FILE; the system store holds the authority of a proxy in front of the registry.
  DENO_TLS_CA_STORE: Deno.env.get("DENO_TLS_CA_STORE") ?? "system,mozilla",
};

/** Runs a command in the repository root and collects what it prints. */
export async function run(command: string, options: RunOptions): Promise<Outcome> {
  const limitMs = options.limitMs ?? DEFAULT_LIMIT_MS;
  const child = new Deno.Command(command, {
    args: [...options.args],
    env: { ...QUIET, ...options.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stopped = Promise.withResolvers<undefined>();
  const timers = [
    setTimeout(() => end(child, "SIGTERM"), limitMs),
    setTimeout(() => end(child, "SIGKILL"), limitMs + GRACE_MS),
    // A process that the command left behind may hold its output open.
    setTimeout(() => stopped.resolve(undefined), limitMs + 2 * GRACE_MS),
  ];
  const start = performance.now();
  try {
    const result = await Promise.race([child.output(), stopped.promise]);
    const stdout = decode(result?.stdout);
    const output = stdout + decode(result?.stderr);
    return performance.now() - start < limitMs
      ? { code: result?.code ?? TIMED_OUT, stdout, output }
      : { code: TIMED_OUT, stdout, output: `${output}\nStopped after ${limitMs} ms; something was left running` };
  } finally {
    timers.forEach((timer) => clearTimeout(timer));
  }
}

function end(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended by itself.
  }
}

/** Runs this Deno with the given arguments. */
export function deno(...args: readonly string[]): Promise<Outcome> {
  return run(Deno.execPath(), { args });
}

function decode(bytes?: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
