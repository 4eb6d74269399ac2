// What the benches share: contestants in turn, medians, and a contestant's own processor time.
import { BUN_VERSION } from "../../tools/versions.ts";

/** The middle of a list of figures. */
export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** One line of the table: a contestant's figure, the control's, and the ratio, each the median of the rounds. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly control: number;
  readonly ours: number;
  readonly ratio: number;
  readonly budget: string;
  /** Undefined where there is no budget. */
  readonly met: boolean | undefined;
}

/** Compares round by round, so that a machine that speeds up or slows down does so for both. */
export function row(
  name: string,
  unit: string,
  rounds: readonly Compared[],
  budget: { readonly atLeast: number } | { readonly atMost: number } | "none",
): Row {
  const ratio = median(rounds.map((each) => each.ours / each.control));
  const { atLeast = 0, atMost = Infinity } = budget === "none" ? {} : budget as { atLeast?: number; atMost?: number };
  return {
    name,
    unit,
    control: median(rounds.map((each) => each.control)),
    ours: median(rounds.map((each) => each.ours)),
    ratio,
    budget: atLeast > 0 ? `>= ${atLeast}` : atMost < Infinity ? `<= ${atMost}` : "-",
    met: budget === "none" ? undefined : ratio >= atLeast && ratio <= atMost,
  };
}

export function table(rows: readonly Row[]): string {
  const cells = [
    ["", "bare", "Postern", "ratio", "budget", ""],
    ...rows.map((each) => [
      `${each.name} (${each.unit})`,
      figure(each.control),
      figure(each.ours),
      each.ratio.toFixed(2),
      each.budget,
      each.met === undefined ? "" : each.met ? "met" : "missed",
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  return cells.map((line) =>
    line.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ")
  ).join("\n");
}

function figure(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

/** The figures of one round: the control's, and ours. */
export interface Compared {
  readonly control: number;
  readonly ours: number;
}

/** Takes one figure. */
export type Measure = (ours: boolean) => Promise<number> | number;

/** Takes both figures in turn, after a round that does not count. */
export async function compare(rounds: number, measure: Measure): Promise<Compared[]> {
  await measure(false);
  await measure(true);
  const all: Compared[] = [];
  for (let i = 0; i < rounds; i++) all.push({ control: await measure(false), ours: await measure(true) });
  return all;
}

/** Runs a client as a process of its own; gives its calls per second, and how many calls it made in all. */
export async function runClient(args: readonly string[]): Promise<{ readonly rate: number; readonly calls: number }> {
  const text = await output(Deno.execPath(), ["run", "--allow-net=127.0.0.1", "bench/client.ts", ...args]);
  const [rate, calls] = text.trim().split(" ").map(Number);
  return { rate: rate!, calls: calls! };
}

/** A contestant as a child process. */
export interface Contestant extends AsyncDisposable {
  readonly port: number;
  /** The processor time it has used so far, user and system, in microseconds. */
  cpuUs(): number;
}

/** Where contestants run. */
export type Runtime = "deno" | "bun";

export async function startContestant(
  kind: string,
  member: unknown = {},
  runtime: Runtime = "deno",
): Promise<Contestant> {
  const [command, ...args] = runtime === "bun"
    ? [await bun(), "run", "bench/server.ts"]
    : [Deno.execPath(), "run", "--allow-net=127.0.0.1", "bench/server.ts"];
  const given = [...args, kind, JSON.stringify(member)];
  const child = new Deno.Command(command!, { args: given, stdout: "piped", stderr: "null" }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const port = Number(new TextDecoder().decode(value).trim());
  return {
    port,
    cpuUs() {
      const [, fields] = Deno.readTextFileSync(`/proc/${child.pid}/stat`).split(") ");
      const [utime, stime] = fields!.split(" ").slice(11, 13).map(Number);
      return (utime! + stime!) * 10_000; // clock ticks of 10 ms
    },
    async [Symbol.asyncDispose]() {
      child.kill();
      await reader.cancel();
      await child.status;
    },
  };
}

/** Runs a command to its end and returns what it printed. */
export async function output(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout } = await new Deno.Command(command, { args: [...args], stderr: "inherit" }).output();
  if (code !== 0) throw new Error(`Cannot measure: "${command}" ended with ${code}`);
  return new TextDecoder().decode(stdout);
}

/** Bun's own executable, so that the process is its and not a wrapper's. */
async function bun(): Promise<string> {
  return (await output("npx", ["-y", `bun@${BUN_VERSION}`, "-p", "process.execPath"])).trim();
}
