// Runs examples as their users do: by task, and with a line changed.
import assert from "node:assert/strict";

export const ROOT = new URL("../../", import.meta.url).pathname;

/** What a program did. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One line of an example, changed. */
export interface Change {
  /** The file, from `examples/`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** A task of deno.json as a child process. */
export function task(name: string): Deno.ChildProcess {
  return start(["task", "--quiet", name]);
}

/** Runs a task to its end. */
export async function outputOf(name: string): Promise<Outcome> {
  return await outcome(task(name));
}

/**
 * Runs an example with a line changed, in a copy of the examples and with the permissions of the task `hello`.
 *
 * @param main The program, from `examples/`.
 */
export async function outputWith(main: string, { file, from, to }: Change): Promise<Outcome> {
  const copy = `.dev/examples-${crypto.randomUUID()}`;
  try {
    await copyFiles("examples", `${copy}/examples`);
    for (
      const folder of ["01_hello", "02_identity", "03_chain", "04_mesh", "05_streams", "06_chat", "07_topics", "demo"]
    ) {
      await copyFiles(`examples/${folder}`, `${copy}/examples/${folder}`);
    }
    await Deno.mkdir(`${ROOT}${copy}/tools`);
    await Deno.copyFile(`${ROOT}tools/dev_ca.ts`, `${ROOT}${copy}/tools/dev_ca.ts`);
    const path = `${ROOT}${copy}/examples/${file}`;
    const text = await Deno.readTextFile(path);
    assert.equal(text.split(from).length, 2, `${file} has it once: ${from}`);
    await Deno.writeTextFile(path, text.replace(from, to));
    const permissions = (await taskCommand("hello")).split(" ").filter((word) => word.startsWith("--"));
    return await outcome(start(["run", ...permissions, `${copy}/examples/${main}`]));
  } finally {
    await Deno.remove(ROOT + copy, { recursive: true });
  }
}

/** The rows of the one table in an example's README: what to change, and the words that must then be seen. */
export async function changesIn(folder: string): Promise<readonly (Change & { readonly words: readonly string[] })[]> {
  const readme = await Deno.readTextFile(`${ROOT}examples/${folder}/README.md`);
  const rows = readme.split("\n").filter((line) => line.startsWith("|")).slice(2);
  return rows.map((row) => {
    const [file, from, to, result] = row.slice(1, -1).split(" | ").map((cell) => cell.trim());
    const quoted = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code!);
    return { file: `${folder}/${file}`, from: quoted(from!)[0]!, to: quoted(to!)[0]!, words: quoted(result!) };
  });
}

function start(args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function outcome(process: Deno.ChildProcess): Promise<Outcome> {
  const { code, stdout, stderr } = await process.output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, stdout: out!, stderr: err! };
}

async function taskCommand(name: string): Promise<string> {
  return JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)).tasks[name].command;
}

async function copyFiles(from: string, to: string): Promise<void> {
  await Deno.mkdir(ROOT + to, { recursive: true });
  for await (const { name, isFile } of Deno.readDir(ROOT + from)) {
    if (isFile) await Deno.copyFile(`${ROOT}${from}/${name}`, `${ROOT}${to}/${name}`);
  }
}
