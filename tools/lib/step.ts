// The shape of one step of the test run: how it is named, run and counted.

import type { Outcome } from "./process.ts";
import { NOTHING, type Tally } from "./junit.ts";

/** What a step found. */
export interface StepResult {
  readonly tally: Tally;
  /** Shown when the step failed, or with `--verbose`. */
  readonly output: string;
}

/** One named step. */
export interface Step {
  readonly name: string;
  readonly purpose: string;
  run(): Promise<StepResult>;
  /** Whether it runs at the same time as the step before it. @default {false} */
  readonly isBeside?: boolean;
}

/** The result of a check: one passed or one failed. */
export function checked({ code, output }: Pick<Outcome, "code" | "output">): StepResult {
  return { tally: code === 0 ? { ...NOTHING, passed: 1 } : { ...NOTHING, failed: 1 }, output };
}

/** A result for a step that has nothing to work on yet. */
export function nothing(reason: string): StepResult {
  return { tally: NOTHING, output: reason };
}

/**
 * The result of a suite. The exit code and the count must agree: a suite that ends badly without a failed test (it crashed, hung
 * or leaked), or that ran nothing, counts as one failure.
 */
export function suiteResult({ code, output }: Pick<Outcome, "code" | "output">, tally: Tally): StepResult {
  const ran = tally.passed + tally.failed + tally.skipped > 0;
  if (tally.failed > 0 || (code === 0 && ran)) return { tally, output };
  const reason = code === 0 ? "The suite ran no tests" : `The suite ended with code ${code} though no test failed`;
  return { tally: { ...tally, failed: 1 }, output: `${output}\n${reason}` };
}
