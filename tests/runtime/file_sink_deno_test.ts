import assert from "node:assert/strict";
import { test } from "node:test";
import { auditLog, type AuditLogOptions, verifyAudit } from "../../src/audit/mod.ts";
import { generateKey } from "../../src/auth/mod.ts";
import { fileSink } from "../../src/runtime/file_sink.ts";

const signer = { id: "spiffe://example.org/orders", ...await generateKey() };

async function folder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "file-sink-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The names of the files below a folder, in their order. */
async function names(path: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(path), ({ name }) => name)).sort();
}

async function whole(path: string): Promise<string> {
  const texts = await Promise.all((await names(path)).map((name) => Deno.readTextFile(`${path}/${name}`)));
  return texts.join("");
}

/** Keeps a log with as many entries, each in a write of its own. */
async function keep(path: string, count: number, options: Partial<AuditLogOptions> & { maxFileBytes?: number } = {}) {
  const { maxFileBytes, ...more } = options;
  const sink = await fileSink(path, maxFileBytes === undefined ? {} : { maxFileBytes });
  await using log = auditLog(sink, { signer, ...more });
  for (let index = 0; index < count; index++) {
    log.record({ event: "call.allow", fields: { index } });
    await log.flush();
  }
}

test("fileSink() writes a log that verifies to a file that only this user can open", async () => {
  await using dir = await folder();
  await keep(`${dir.path}/a.log`, 3);
  assert.deepEqual(await names(dir.path), ["a.log.000000"]);
  assert.equal((await Deno.stat(`${dir.path}/a.log.000000`)).mode! & 0o777, 0o600);
  const verdict = await verifyAudit(await whole(dir.path), { keys: [signer] });
  assert.deepEqual([verdict.ok, verdict.ok && verdict.size], [true, 3]);
});

test("fileSink() has entries on the disk when flush() says that they are stored", async () => {
  await using dir = await folder();
  await using log = auditLog(await fileSink(`${dir.path}/a.log`), { signer });
  log.record({ event: "call.allow", fields: { what: "first" } });
  await log.flush();
  assert.match(await whole(dir.path), /"what":"first"/);
});

test("fileSink() appends, whatever somebody else wrote to the file, and overwrites nothing", async () => {
  await using dir = await folder();
  const sink = await fileSink(`${dir.path}/a.log`);
  await sink.write("first\n");
  await Deno.writeTextFile(`${dir.path}/a.log.000000`, "foreign\n", { append: true });
  await sink.write("second\n");
  await sink.close?.();
  assert.equal(await whole(dir.path), "first\nforeign\nsecond\n");
});

test("fileSink() leaves no file open when the log ends", async () => {
  await using dir = await folder();
  await keep(`${dir.path}/a.log`, 6, { maxFileBytes: 500 });
  const links = await Array.fromAsync(Deno.readDir("/proc/self/fd"), ({ name }) => `/proc/self/fd/${name}`);
  const targets = await Promise.all(links.map((link) => Deno.readLink(link).catch(() => "")));
  assert.deepEqual(targets.filter((target) => target.startsWith(dir.path)), []);
});

test("fileSink() begins a new file when one is full, and the files in their order are the log", async () => {
  await using dir = await folder();
  await keep(`${dir.path}/a.log`, 12, { maxFileBytes: 500 });
  const files = await names(dir.path);
  assert.ok(files.length > 2);
  assert.deepEqual(files, files.map((_, index) => `a.log.${String(index).padStart(6, "0")}`));
  const verdict = await verifyAudit(await whole(dir.path), { keys: [signer] });
  assert.deepEqual([verdict.ok, verdict.ok && verdict.size], [true, 12]);
});

test("fileSink() goes on in a new file after the last there is, whatever else is in the folder", async () => {
  await using dir = await folder();
  const path = `${dir.path}/a.log`;
  await keep(path, 2);
  const before = await whole(dir.path);
  for (const name of ["b.log.000009", "a.log.old", "a.log.1", "a.log.000007.gz", "a.log"]) {
    await Deno.writeTextFile(`${dir.path}/${name}`, "");
  }
  const verdict = await verifyAudit(before, { keys: [signer] });
  assert.ok(verdict.ok);
  await keep(path, 2, { resume: verdict.end });
  const after = await whole(dir.path);
  assert.ok(after.startsWith(before), "what was written stays as it was");
  assert.equal((await Deno.stat(`${path}.000001`)).mode! & 0o777, 0o600);
  const resumed = await verifyAudit(after, { keys: [signer] });
  assert.deepEqual([resumed.ok, resumed.ok && resumed.size], [true, 4]);
  await Deno.rename(`${path}.000001`, `${path}.000041`);
  await keep(path, 1);
  assert.ok((await names(dir.path)).includes("a.log.000042"));
});

test("fileSink() writes into nothing that came to be at its path meanwhile: no file, no link", async () => {
  await using dir = await folder();
  const target = `${dir.path}/target`;
  for (const [index, plant] of [Deno.writeTextFile, Deno.symlink].entries()) {
    const path = `${dir.path}/${index}.log`;
    const sink = await fileSink(path);
    await (plant === Deno.symlink
      ? Deno.symlink(target, `${path}.000000`)
      : Deno.writeTextFile(`${path}.000000`, "mine"));
    await assert.rejects(async () => await sink.write("line\n"), /EEXIST/);
  }
  assert.equal(await Deno.readTextFile(`${dir.path}/0.log.000000`), "mine");
  await assert.rejects(Deno.stat(target), Deno.errors.NotFound);
});

test("fileSink() tries again where the folder could not be written to, and loses nothing", async () => {
  await using dir = await folder();
  await Deno.mkdir(`${dir.path}/logs`);
  const sink = await fileSink(`${dir.path}/logs/a.log`);
  await Deno.remove(`${dir.path}/logs`);
  const failures: unknown[] = [];
  {
    await using log = auditLog(sink, { signer, onFailure: (error) => failures.push(error) });
    log.record({ event: "call.allow" });
    await assert.rejects(log.flush(), /ENOENT/);
    await Deno.mkdir(`${dir.path}/logs`);
    await log.flush();
  }
  assert.equal(failures.length, 1);
  const verdict = await verifyAudit(await whole(`${dir.path}/logs`), { keys: [signer] });
  assert.deepEqual([verdict.ok, verdict.ok && verdict.size], [true, 1]);
});

test("fileSink() refuses a folder that is not there and a size that is none", async () => {
  await using dir = await folder();
  await assert.rejects(fileSink(`${dir.path}/none/a.log`), /ENOENT/);
  for (const maxFileBytes of [0, -1, NaN]) {
    await assert.rejects(fileSink(`${dir.path}/a.log`, { maxFileBytes }), RangeError);
  }
});
