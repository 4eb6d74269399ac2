// The test suites: the same portable tests on four runtimes, and on Deno also those that only it can run.

import { BUN_VERSION, WORKERD_VERSION } from "../versions.ts";
import { countJUnit, NOTHING, type Tally } from "./junit.ts";
import { deno, type Outcome, run } from "./process.ts";
import { nothing, type Step, type StepResult, suiteResult } from "./step.ts";
import { findTests } from "./tests.ts";

const OUT = ".dev/tests";

/** The suites, in the order in which they run. */
export const SUITES: readonly Step[] = [
  suite("deno", "the portable tests on Deno", async (report) => {
    // They use nothing but their own memory, so they can run beside each other.
    return await onDeno(report, (await findTests()).portable, ["--parallel"]);
  }),
  suite("system", "the tests of sockets, files, processes and servers, on Deno", async (report) => {
    const { all, portable } = await findTests();
    // They wait more than they compute.
    return await onDeno(report, all.filter((path) => !portable.includes(path)), ["--parallel"]);
  }),
  suite("node", "the portable tests on Node", onNode),
  // These have one thread each.
  suite("bun", "the portable tests on Bun", onBun),
  { ...suite("workerd", "the portable tests in workerd", onWorkerd), isBeside: true },
  { ...suite("connect", "Connect's conformance suite, against our server and our client", onConnect), isBeside: true },
];

type RunSuite = (reportPath: string) => Promise<StepResult>;

function suite(name: string, purpose: string, runSuite: RunSuite): Step {
  return { name, purpose, run: () => runSuite(`${OUT}/${name}.xml`) };
}

async function onDeno(report: string, tests: readonly string[], more: readonly string[] = []): Promise<StepResult> {
  if (tests.length === 0) return nothing("There are no tests");
  // The step "types" has type-checked them.
  return await reported(
    report,
    () =>
      deno(
        "test",
        "--allow-all",
        "--no-prompt",
        "--no-check",
        "--reporter=dot",
        `--junit-path=${report}`,
        ...more,
        ...tests,
      ),
  );
}

async function onBun(report: string): Promise<StepResult> {
  const { portable } = await findTests();
  if (portable.length === 0) return nothing("There are no portable tests");
  const files = portable.map((path) => `./${path}`);
  const args = [
    "-y",
    `bun@${BUN_VERSION}`,
    "test",
    "--only-failures",
    "--timeout=20000", // the other runtimes have no limit for one test; this is for one that hangs
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...files,
  ];
  return await reported(report, () => run("npx", { args }));
}

async function onNode(report: string): Promise<StepResult> {
  const { portable } = await findTests();
  if (portable.length === 0) return nothing("There are no portable tests");
  const bundled = await bundle("node");
  if (bundled.code !== 0) return suiteResult(bundled, NOTHING);
  const files = portable.map((path) => `${OUT}/node/${path.replace(/^tests\/(.*)\.ts$/, "$1.mjs")}`);
  const args = [
    "--enable-source-maps",
    "--test",
    "--test-concurrency=2",
    "--test-reporter=junit",
    `--test-reporter-destination=${report}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    ...files,
  ];
  return await reported(report, () => run("node", { args }));
}

async function onWorkerd(): Promise<StepResult> {
  const { portable } = await findTests();
  if (portable.length === 0) return nothing("There are no portable tests");
  const bundled = await bundle("workerd");
  if (bundled.code !== 0) return suiteResult(bundled, NOTHING);
  const args = ["-y", `workerd@${WORKERD_VERSION}`, "test", "tests/workerd/test.capnp"];
  const outcome = await run("npx", { args });
  return suiteResult(outcome, readSummary(outcome.output));
}

// Built by Go at the first run, which takes the most of it.
async function onConnect(): Promise<StepResult> {
  const outcome = await deno("run", "--allow-all", "--no-check", "tests/conformance/run.ts");
  return suiteResult(outcome, readSummary(outcome.output));
}

function bundle(target: "node" | "workerd"): Promise<Outcome> {
  return deno("run", "--allow-all", "tools/bundle_tests.ts", target);
}

// The report of an earlier run must not be taken for this one's.
async function reported(path: string, runTests: () => Promise<Outcome>): Promise<StepResult> {
  await Deno.mkdir(OUT, { recursive: true });
  await Deno.remove(path).catch(() => {});
  const outcome = await runTests();
  const xml = await Deno.readTextFile(path).catch(() => "");
  return suiteResult(outcome, countJUnit(xml));
}

// The last line of tests/workerd/node_test_shim.ts and of tests/conformance/run.ts.
function readSummary(output: string): Tally {
  const match = /^(?:workerd|conformance): (\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(output);
  const [passed = 0, failed = 0, skipped = 0] = match?.slice(1).map(Number) ?? [];
  return { passed, failed, skipped };
}
