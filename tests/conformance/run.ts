/**
 * Runs Connect's conformance suite against Postern's server and client: `deno run -A tests/conformance/run.ts [arguments]`.
 *
 * Arguments are handed on to the suite: `--run "Basic/**" --trace`, say. The last line counts: what the lists of known
 * failures name counts as skipped, and fails where it passes.
 *
 * @see {@link https://github.com/connectrpc/conformance}
 */
import { type InstalledSuite, installSuite } from "./_install.ts";

/** Below the root of the repository, and not under version control. */
const FOLDER = ".dev/conformance";
const HERE = "tests/conformance";

/** Makes a failed run of one that hangs; both take a few seconds. */
const LIMIT_MS = 120_000;

interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

async function main(args: readonly string[]): Promise<Tally> {
  const suite = await installSuite(FOLDER);
  if (typeof suite !== "string") {
    const server = await runMode("server", suite, args);
    const client = await runMode("client", suite, args);
    return {
      passed: server.passed + client.passed,
      failed: server.failed + client.failed,
      skipped: server.skipped + client.skipped,
    };
  }
  console.log(`Connect's conformance suite is skipped: ${suite}`);
  return { passed: 0, failed: 0, skipped: 1 };
}

async function runMode(mode: "server" | "client", suite: InstalledSuite, args: readonly string[]): Promise<Tally> {
  const child = new Deno.Command(suite.path, {
    args: [
      ...[
        "--mode",
        mode,
        "--conf",
        `${HERE}/config_${mode}.yaml`,
        "--known-failing",
        `@${HERE}/known_failing_${mode}.txt`,
      ],
      ...args,
      ...["--", Deno.execPath(), "run", "--quiet", "--no-check", "--allow-all", `${HERE}/${mode}.ts`],
    ],
    env: { POSTERN_CONFORMANCE_DESCRIPTORS: suite.descriptorsPath, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const { success, stdout, stderr } = await child.output().finally(() => clearTimeout(timer));
  const text = new TextDecoder();
  const output = (text.decode(stdout) + text.decode(stderr)).trim();
  console.log(`--- ${mode}\n${output}`);
  return counted(output, success);
}

/** The suite ends with `5 passed, 0 failed`, and perhaps `(Another 1 failed as expected due to …)`. */
function counted(output: string, success: boolean): Tally {
  const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? 0);
  const tally = {
    passed: number(/^(\d+) passed, \d+ failed$/m),
    failed: number(/^\d+ passed, (\d+) failed$/m),
    skipped: number(/^\((?:Another )?(\d+) failed as expected/m),
  };
  if (success || tally.failed > 0) return tally;
  console.log("The suite ended badly though no case failed");
  return { ...tally, failed: 1 };
}

const { passed, failed, skipped } = await main(Deno.args);
console.log(`conformance: ${passed} passed, ${failed} failed, ${skipped} skipped`);
Deno.exit(failed > 0 ? 1 : 0);
