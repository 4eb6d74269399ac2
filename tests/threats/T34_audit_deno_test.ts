import { auditLog, rotatingSink, verifyAudit } from "../../src/audit/mod.ts";
import { eventOf, logTo, signer, verdictOn } from "../audit/_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

// The same with files, as an adapter of a runtime would open them.

/** A folder, how a sink opens its files, and what they hold. */
async function folder() {
  const path = await Deno.makeTempDir({ prefix: "audit-" });
  const pathOf = (index: number) => `${path}/audit-${String(index).padStart(6, "0")}.jsonl`;
  const open = async (index: number) => (await Deno.open(pathOf(index), { write: true, createNew: true })).writable;
  const names = async () => (await Array.fromAsync(Deno.readDir(path), ({ name }) => name)).sort();
  const read = async () => {
    const texts = (await names()).map((name) => Deno.readTextFile(`${path}/${name}`));
    return (await Promise.all(texts)).join("");
  };
  return { path, pathOf, open, names, read, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

test("T34 a log in files verifies file by file and as a whole, and shows a file that was deleted", async () => {
  await using files = await folder();
  {
    await using log = logTo(rotatingSink(files.open, { maxFileBytes: 4096 }), { checkpointEvery: 10 });
    for (let at = 0; at < 100; at++) {
      log.record(eventOf(at));
      if (at % 7 === 0) await log.flush();
    }
  }
  const names = await files.names();
  assert.ok(names.length > 3);
  assert.equal(await verdictOn(await files.read()), "ok 100");
  let next = 0;
  for (const [index] of names.entries()) {
    await using stream = await Deno.open(files.pathOf(index));
    const verdict = await verifyAudit(stream.readable, { keys: [signer], allowMissingStart: true });
    assert.ok(verdict.ok && verdict.first === next);
    next = verdict.size;
  }
  await Deno.remove(files.pathOf(1));
  assert.match(await verdictOn(await files.read()), /^missing /);
});

test("T34 a log in files goes on in another process where it ended", async () => {
  await using files = await folder();
  {
    await using log = logTo(rotatingSink(files.open));
    for (let at = 0; at < 5; at++) log.record(eventOf(at));
  }
  const verdict = await verifyAudit(await files.read(), { keys: [signer] });
  assert.ok(verdict.ok);
  {
    await using log = auditLog(rotatingSink(files.open, { firstIndex: 1 }), { signer, resume: verdict.end });
    for (let at = 5; at < 9; at++) log.record(eventOf(at));
  }
  assert.equal(await verdictOn(await files.read()), "ok 9");
});

test("T34 a log does not write over a file that is there", async () => {
  await using files = await folder();
  await Deno.writeTextFile(files.pathOf(0), "evidence");
  const log = logTo(rotatingSink(files.open), { onFailure: () => {} });
  log.record(eventOf(0));
  await assert.rejects(async () => await log[Symbol.asyncDispose]());
  assert.equal(await Deno.readTextFile(files.pathOf(0)), "evidence");
});

test("T34 a log whose process died within a line shows it", async () => {
  await using files = await folder();
  {
    await using log = logTo(rotatingSink(files.open), { checkpointEvery: 4 });
    for (let at = 0; at < 10; at++) log.record(eventOf(at));
  }
  const text = await files.read();
  const torn = text.slice(0, text.indexOf('{"index":9') + 30);
  assert.equal(await verdictOn(torn), "truncated 9");
});
