/**
 * Breaks the verifying code on purpose, one refusal at a time, and expects a red test each time: `deno task mutate`.
 *
 * Each `throw` is removed, and each condition right in front of one is inverted. It works on a copy, runs the tests that
 * are named after the file first and all the others of its area only for what survives them, and ends with the score.
 * `--only=registry/verify_record,auth/trust` breaks the files whose paths have one of these texts in them.
 *
 * @module
 */
import { closingBracket, lineOf, maskSource } from "./lib/source.ts";

/** One way to break a file. */
export interface Mutant {
  /** The file. */
  readonly path: string;
  /** The line, counted from 1. */
  readonly line: number;
  /** What was done. */
  readonly change: string;
  /** The whole file, broken. */
  readonly text: string;
}

/** Every mutant of a source. */
export function mutantsOf(path: string, text: string): Mutant[] {
  const masked = maskSource(text);
  const mutants: Mutant[] = [];
  for (const { index } of masked.matchAll(/(?<![\w$.])throw\b/g)) {
    const end = statementEnd(masked, index);
    const line = lineOf(text, index);
    mutants.push({ path, line, change: "refusal removed", text: `${text.slice(0, index)};${text.slice(end)}` });
  }
  for (const { index, 0: opening } of masked.matchAll(/(?<![\w$.])if \(/g)) {
    const open = index + opening.length - 1;
    const close = closingBracket(masked, open);
    if (!/^\s*(?:\{\s*)?(?:throw|return)\b/.test(masked.slice(close + 1)) || !isAboutRefusing(masked, close)) continue;
    const inverted = `${text.slice(0, open)}(!${text.slice(open, close + 1)})${text.slice(close + 1)}`;
    mutants.push({ path, line: lineOf(text, index), change: "condition inverted", text: inverted });
  }
  return mutants;
}

/** Whether the condition decides over a refusal: one in its own branch, or one in the statement behind it. */
function isAboutRefusing(masked: string, close: number): boolean {
  const branch = masked.slice(close + 1, close + 400);
  return /^\s*(?:\{\s*)?throw\b/.test(branch) || /^\s*(?:\{\s*)?return\b[^;]*;\s*\}?\s*throw\b/.test(branch);
}

/** Behind the semicolon that ends the statement. */
function statementEnd(masked: string, start: number): number {
  for (let i = start; i < masked.length; i++) {
    if ("([{".includes(masked[i]!)) i = closingBracket(masked, i);
    else if (masked[i] === ";") return i + 1;
    else if (masked[i] === "}") return i;
  }
  return masked.length;
}

/** Code that refuses, and the tests that notice where it does not. */
interface Area {
  /** The folders of the sources and of their tests. */
  readonly folders: readonly string[];
  /** The files in them whose every refusal must have a test that notices its absence. */
  readonly verifying: RegExp;
  /** The tests of threats that attack them. */
  readonly threats: RegExp;
  /** The tests of a file that do not bear its name. */
  readonly more: Readonly<Record<string, readonly string[]>>;
}

const AREAS: readonly Area[] = [
  {
    folders: ["auth", "audit"],
    verifying: /^(?!mod\.ts|wire\.ts|auth_error\.ts)\w+\.ts$/,
    threats: /^T(?:1\.2|2\.|4\.1|4\.3|8|23|34)/,
    more: {
      server_session: ["auth/session", "threats/T4.3_session", "threats/T2.5_session"],
      under_session: ["auth/session", "threats/T4.1_session", "threats/T4.3_session"],
      client_session: ["auth/session", "threats/T4.1_session", "threats/T4.3_session"],
      answer: ["threats/T4.1_session", "auth/prove"],
      counter_window: ["auth/session_window"],
      encryption_key: ["auth/session_keys"],
      certificate_binding: ["threats/T2.5_session", "auth/protect"],
      caller_right: ["threats/T2.5", "auth/protect"],
      admission: ["auth/session", "auth/protect"],
    },
  },
  {
    folders: ["registry"],
    verifying: /^(?:verify_record|verified_registry|endpoint_policy|record|registry_service|stored_record)\.ts$/,
    threats: /^T(?:1\.|9|16|17)/,
    more: {
      registry_service: ["threats/T16", "registry/feed", "registry/conformance"],
      verified_registry: ["threats/T9"],
      stored_record: ["threats/T17", "registry/nats"],
    },
  },
  {
    folders: ["selector"],
    verifying: /^(?:fleet|filters|health)\.ts$/,
    threats: /^T(?:6|28)/,
    more: { fleet: ["threats/T6", "selector/balanced"] },
  },
];

interface Killed {
  readonly mutant: Mutant;
  readonly by: "its own tests" | "all tests" | undefined;
}

async function main(): Promise<void> {
  const option = (name: string) => Deno.args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const wanted = option("only")?.split(",");
  const copy = await Deno.makeTempDir({ prefix: "mutate-" });
  const { success } = await new Deno.Command("cp", { args: ["-r", ...await copied(), copy] }).output();
  if (!success) throw new Error("Cannot copy the project");
  const results: Killed[] = [];
  for (const area of AREAS) {
    const paths = (await sources(copy, area)).filter((each) => !wanted || wanted.some((name) => each.includes(name)));
    if (paths.length > 0) results.push(...await breakArea(copy, paths, area));
  }
  await Deno.remove(copy, { recursive: true });
  const killed = results.filter(({ by }) => by).length;
  console.log(`${killed} of ${results.length} mutants killed`);
  if (killed < results.length) Deno.exit(1);
}

/** Breaks files of one area, each in every way, and prints what becomes of it. */
async function breakArea(copy: string, paths: readonly string[], area: Area): Promise<readonly Killed[]> {
  const everything = await portableTests(copy, area);
  const started = performance.now();
  if (!await isGreen(copy, everything, 600)) {
    throw new Error("Cannot tell what a mutant breaks: the tests are red already");
  }
  const limitS = Math.ceil((performance.now() - started) / 1_000) * 3 + 10;
  console.log(`${everything.length} files of tests are green; a run that takes longer than ${limitS} s counts as red`);
  const results: Killed[] = [];
  for (const path of paths) {
    const text = await Deno.readTextFile(`${copy}/${path}`);
    const own = ownTests(path, everything, area);
    const outcomes: Killed[] = [];
    for (const mutant of mutantsOf(path, text)) {
      await Deno.writeTextFile(`${copy}/${path}`, mutant.text);
      const by = await killer(copy, own, { everything, limitS });
      outcomes.push({ mutant, by });
      if (!by) console.log(`survived: ${path}:${mutant.line} ${mutant.change}`);
    }
    await Deno.writeTextFile(`${copy}/${path}`, text);
    const byOwn = outcomes.filter(({ by }) => by === "its own tests").length;
    if (outcomes.length > 0) {
      console.log(
        `${path}: ${outcomes.filter(({ by }) => by).length} of ${outcomes.length}, ${byOwn} by its own tests`,
      );
    }
    results.push(...outcomes);
  }
  return results;
}

interface Suite {
  readonly everything: readonly string[];
  readonly limitS: number;
}

async function killer(copy: string, own: readonly string[], { everything, limitS }: Suite): Promise<Killed["by"]> {
  if (own.length > 0 && !await isGreen(copy, own, limitS)) return "its own tests";
  return await isGreen(copy, everything, limitS) ? undefined : "all tests";
}

/** The tests that are named after a file, and those that belong to it beside these. */
function ownTests(path: string, everything: readonly string[], { more }: Area): readonly string[] {
  const [folder, name] = path.slice("src/".length, -".ts".length).split("/");
  const stems = [`${folder}/${name!.replace(/^_/, "").replace(/_.*$/, "")}`, ...more[name!] ?? []];
  return everything.filter((each) => stems.some((stem) => each.startsWith(`tests/${stem}`)));
}

/** The tests of the verifying code, and of the attacks on it, that need no process of their own. */
async function portableTests(copy: string, { folders, threats }: Area): Promise<string[]> {
  const files: string[] = [];
  for (const folder of [...folders, "threats"]) {
    for await (const { name } of Deno.readDir(`${copy}/tests/${folder}`)) {
      const isOurs = folder !== "threats" || threats.test(name);
      if (isOurs && name.endsWith("_test.ts") && !name.endsWith("_deno_test.ts")) files.push(`tests/${folder}/${name}`);
    }
  }
  return files.sort();
}

/** A test that hangs has noticed too. */
async function isGreen(cwd: string, tests: readonly string[], limitS: number): Promise<boolean> {
  const flags = ["test", "--no-check", "--allow-all", "--fail-fast", "--quiet"];
  const args = [`${limitS}`, Deno.execPath(), ...flags, ...tests];
  const { code } = await new Deno.Command("timeout", { args, cwd, stdout: "null", stderr: "null" }).output();
  return code === 0;
}

async function sources(copy: string, { folders, verifying }: Area): Promise<string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    for await (const { name } of Deno.readDir(`${copy}/src/${folder}`)) {
      if (verifying.test(name)) found.push(`src/${folder}/${name}`);
    }
  }
  return found.sort();
}

async function copied(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(".")) if (name !== ".git" && name !== ".dev") names.push(name);
  return names;
}

if (import.meta.main) await main();
