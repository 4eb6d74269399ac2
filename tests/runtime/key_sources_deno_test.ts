import assert from "node:assert/strict";
import { test } from "node:test";
import { keyFromFile, writeKeyFile } from "../../src/runtime/key_file.ts";
import { verifyAudit } from "../../src/audit/mod.ts";
import { BUN_VERSION } from "../../tools/versions.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PROGRAM = `${ROOT}tests/runtime/programs/key_sources.ts`;

/** A folder with what the program is to refuse. */
async function prepare(): Promise<{ readonly path: string; readonly text: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "key-sources-" });
  await writeKeyFile(`${path}/good.jwk`);
  await Deno.copyFile(`${path}/good.jwk`, `${path}/open.jwk`);
  await Deno.chmod(`${path}/open.jwk`, 0o644);
  await Deno.symlink("good.jwk", `${path}/link.jwk`);
  await new Deno.Command("mkfifo", { args: ["-m", "600", `${path}/pipe`] }).output();
  const text = await Deno.readTextFile(`${path}/good.jwk`);
  return { path, text, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Inside the repository, so that Bun and Node find the node_modules that the bundle leaves out. */
async function bundle(): Promise<{ readonly path: string } & AsyncDisposable> {
  await Deno.mkdir(`${ROOT}.dev`, { recursive: true });
  const path = `${ROOT}.dev/key-sources-${crypto.randomUUID()}.mjs`;
  const args = ["bundle", "-q", "--platform", "deno", "--packages", "external", "-o", path, PROGRAM];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

const runtimes: readonly (readonly [name: string, command: (folder: string, program: string) => readonly string[]])[] =
  [
    ["Deno with no more permissions than it says", (folder) => {
      const to = [`--allow-read=${folder}`, `--allow-write=${folder}`, "--allow-sys=uid", "--allow-env=POSTERN_KEY"];
      return [Deno.execPath(), "run", "--no-prompt", ...to, PROGRAM, folder, "no"];
    }],
    ["Deno", (folder) => [Deno.execPath(), "run", "--no-prompt", "-A", PROGRAM, folder, "yes"]],
    ["Bun", (folder, program) => ["npx", "-y", `bun@${BUN_VERSION}`, program, folder, "yes"]],
    ["Node", (folder, program) => ["node", program, folder, "yes"]],
  ];

for (const [name, command] of runtimes) {
  test(`the key sources and fileSink() use and refuse the same files on ${name}`, async () => {
    await using folder = await prepare();
    await using program = await bundle();
    const [first, ...args] = command(folder.path, program.path);
    const env = { POSTERN_KEY: folder.text, NO_COLOR: "1" };
    const { stdout, stderr } = await new Deno.Command(first!, { args, env, cwd: ROOT }).output();
    const printed = new TextDecoder().decode(stdout);
    assert.match(printed, /^\{/, new TextDecoder().decode(stderr));

    const { made, again, exists, open, link, pipe, variable, gone, inherited } = JSON.parse(printed);
    const good = await keyFromFile(`${folder.path}/good.jwk`);
    assert.deepEqual([again, variable, gone, inherited], [made, good.thumbprint, true, false]);
    assert.match(exists, /EEXIST|exists/);
    assert.match(open, /its mode is 644; `chmod 600` it$/);
    assert.match(link, /it is a symbolic link/);
    assert.match(pipe, /it is not a regular file$/);

    const { thumbprint, publicKey } = await keyFromFile(`${folder.path}/made.jwk`);
    assert.equal(thumbprint, made);
    const log = await Deno.readTextFile(`${folder.path}/a.log.000000`);
    const keys = [{ id: "spiffe://example.org/a", publicKey }];
    assert.ok((await verifyAudit(log, { keys })).ok);
    for (const file of ["made.jwk", "a.log.000000"]) {
      assert.equal((await Deno.stat(`${folder.path}/${file}`)).mode! & 0o777, 0o600, file);
    }
  });
}
