// Runs every check and every suite, goes on after failures, and ends with one line that counts them all: nothing can be
// forgotten, hidden by an earlier failure, or pass because it did not run.
//
//   deno task test                     everything
//   deno task test --only=deno,fmt     some steps
//   deno task test --verbose           with the output of the steps that passed
//   deno task check                    the static checks

import { CHECKS, INSTALL, SLOW_CHECKS } from "./lib/checks.ts";
import { add, NOTHING, summaryLine, type Tally } from "./lib/junit.ts";
import type { Step, StepResult } from "./lib/step.ts";
import { SUITES } from "./lib/suites.ts";

const ALL: readonly Step[] = [INSTALL, ...CHECKS, ...SLOW_CHECKS, ...SUITES];

interface Options {
  readonly steps: readonly Step[];
  readonly verbose: boolean;
}

function readOptions(args: readonly string[]): Options {
  let steps = ALL;
  let verbose = false;
  for (const arg of args) {
    if (arg === "--verbose") verbose = true;
    else if (arg === "--checks") steps = CHECKS;
    else if (arg.startsWith("--only=")) steps = pick(arg.slice("--only=".length).split(","));
    else throw new TypeError(`Unknown argument "${arg}"; known are --verbose, --checks and --only=${names(ALL)}`);
  }
  return { steps, verbose };
}

function pick(wanted: readonly string[]): readonly Step[] {
  const unknown = wanted.filter((name) => !ALL.some((step) => step.name === name));
  if (unknown.length > 0) throw new TypeError(`Unknown step "${unknown.join()}"; known are ${names(ALL)}`);
  return ALL.filter((step) => wanted.includes(step.name));
}

function names(steps: readonly Step[]): string {
  return steps.map((step) => step.name).join(",");
}

async function runStep(step: Step): Promise<StepResult> {
  try {
    return await step.run();
  } catch (error) {
    return { tally: { ...NOTHING, failed: 1 }, output: String(error instanceof Error ? error.stack : error) };
  }
}

async function timed(step: Step): Promise<{ readonly result: StepResult; readonly elapsedMs: number }> {
  const start = performance.now();
  const result = await runStep(step);
  return { result, elapsedMs: performance.now() - start };
}

function show(step: Step, { tally, output }: StepResult, elapsedMs: number, verbose: boolean): void {
  const seconds = `${(elapsedMs / 1000).toFixed(1)} s`;
  if (verbose || tally.failed > 0) console.log(`--- ${step.name}\n${output.trimEnd()}\n---`);
  const mark = tally.failed > 0 ? "FAIL" : "ok  ";
  console.log(`${mark} ${step.name.padEnd(9)} ${seconds.padStart(7)}  ${step.purpose}: ${summaryLine(tally)}`);
}

const { steps, verbose } = readOptions(Deno.args);
let total: Tally = NOTHING;
for (const [i, step] of steps.entries()) {
  if (step.isBeside && i > 0) continue; // it ran with the one before
  const beside = steps.slice(i + 1).findIndex(({ isBeside }) => !isBeside);
  const together = steps.slice(i, beside < 0 ? undefined : i + 1 + beside);
  const outcomes = await Promise.all(together.map(timed));
  for (const [at, { result, elapsedMs }] of outcomes.entries()) {
    show(together[at]!, result, elapsedMs, verbose);
    total = add(total, result.tally);
  }
}
if (total.passed + total.failed === 0) console.log("Nothing ran");
console.log(summaryLine(total));
Deno.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);
