// `deno run -A bench/registry_growth.ts`: what a registry costs as the instances of a service grow, in bytes, time and memory.
// Each size has a process of its own, so that one's garbage is not the next one's. Nothing of this is a test.
import { output } from "./lib/measure.ts";
import { type Growth, measureGrowth } from "./lib/growth.ts";

const SIZES = [10, 100, 1_000, 10_000];
const [given] = Deno.args;

if (given !== undefined && !given.startsWith("--")) {
  console.log(JSON.stringify(await measureGrowth(Number(given))));
} else {
  const sizes = given?.startsWith("--sizes=") ? given.slice(8).split(",") : SIZES;
  const all: Growth[] = [];
  for (const size of sizes) {
    const args = ["run", "--quiet", "--allow-all", "--v8-flags=--expose-gc", "bench/registry_growth.ts", `${size}`];
    all.push(JSON.parse(await output(Deno.execPath(), args)));
    console.error(`${size} instances measured`);
  }
  console.log(`${Deno.build.os} ${Deno.build.arch}, Deno ${Deno.version.deno}\n\n${table(all)}`);
}

/** One column for each size; a row's budget beside it. */
function table(all: readonly Growth[]): string {
  const rows = Object.keys(all[0]!.figures);
  const cells = [
    ["", ...all.map(({ instances }) => instances.toLocaleString("en")), "budget"],
    ...rows.map((row) => [row, ...all.map(({ figures }) => figure(figures[row]!)), verdict(row, all)]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  return cells.map((line) =>
    line.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ").trimEnd()
  ).join("\n");
}

function figure(value: number): string {
  if (value >= 1_000) return Math.round(value).toLocaleString("en");
  return value === 0 ? "0" : value.toPrecision(3);
}

/** What a row may cost, at which size. */
function verdict(row: string, all: readonly Growth[]): string {
  const judge = (value: number | undefined, most: number, what: string) =>
    value === undefined ? "" : `${what}: ${value <= most ? "met" : "missed"}`;
  const at = (size: number) => all.find(({ instances }) => instances === size)?.figures[row];
  if (row.startsWith("resolve and select")) {
    return [judge(at(10), 2, "2 at 10"), judge(at(1_000), 10, "10 at 1,000")].filter(Boolean).join(", ");
  }
  if (row.startsWith("verifying a record, to")) {
    return judge(Math.max(...all.map((each) => each.figures[row]!)), 1.1, "1.10");
  }
  return "";
}
