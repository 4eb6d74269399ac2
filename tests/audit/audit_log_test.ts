import {
  AuditError,
  type AuditErrorCode,
  auditLog,
  type AuditLogOptions,
  type AuditSink,
  memorySink,
  verifyAudit,
  verifyCheckpoint,
} from "../../src/audit/mod.ts";
import { mustCome } from "../_patience.ts";
import { eventOf, gate, linesOf, logTo, ORIGIN, signer, signerOf, storedLog, verdictOn } from "./_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

const isError = (code: AuditErrorCode) => (error: unknown) => error instanceof AuditError && error.code === code;

/** A sink whose writes wait for each other end, fail on demand, and are counted. */
function moodySink() {
  const sink = memorySink();
  const state = { failing: undefined as unknown, writes: 0, held: undefined as Promise<void> | undefined };
  const moody: AuditSink = {
    async write(lines) {
      state.writes++;
      await state.held;
      if (state.failing) throw state.failing;
      await sink.write(lines);
    },
  };
  return { moody, state, text: sink.text };
}

const turns = async () => {
  for (let turn = 0; turn < 200; turn++) await undefined;
};

test("auditLog() stores an entry as a line with its index, the time and what was decided", async () => {
  const { lines } = await storedLog(2, 2, { now: () => 1_800_000_000_000 });
  const { prev, ...first } = JSON.parse(lines[1]!);
  assert.deepEqual(first, { index: 0, time: "2027-01-15T08:00:00.000Z", ...JSON.parse(JSON.stringify(eventOf(0))) });
  assert.equal(prev, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  assert.equal(JSON.parse(lines[2]!).index, 1);
});

test("auditLog() begins a log with a line that says which it is", async () => {
  const { lines } = await storedLog(1);
  const prev = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
  assert.deepEqual(JSON.parse(lines[0]!), { audit: 1, origin: ORIGIN, first: 0, prev, tree: [] });
});

test("auditLog() gives every log an origin of its own under the signer's id", async () => {
  await using one = auditLog(memorySink(), { signer });
  await using two = auditLog(memorySink(), { signer });
  assert.match(one.origin, /^spiffe:\/\/acme\.example\/orders\/[0-9a-f-]{36}$/);
  assert.notEqual(one.origin, two.origin);
});

test("auditLog() writes a checkpoint after so many entries", async () => {
  const sink = memorySink();
  await using log = logTo(sink, { checkpointEvery: 3 });
  for (let at = 0; at < 7; at++) log.record(eventOf(at));
  await log.flush();
  const sizes = linesOf(sink.text()).filter((line) => line.startsWith('{"checkpoint"'))
    .map((line) => JSON.parse(line).checkpoint.split("\n")[1]);
  assert.deepEqual(sizes, ["3", "6"]);
});

test("auditLog() writes a checkpoint when an entry comes so long after the last", async () => {
  const sink = memorySink();
  let time = 0;
  await using log = logTo(sink, { checkpointEveryMs: 10, now: () => time });
  log.record(eventOf(0));
  time = 9;
  log.record(eventOf(1));
  time = 10;
  log.record(eventOf(2));
  time = 19;
  log.record(eventOf(3));
  await log.flush();
  assert.deepEqual(linesOf(sink.text()).map((line) => line.slice(0, 10)), [
    '{"audit":1',
    '{"index":0',
    '{"index":1',
    '{"index":2',
    '{"checkpoi',
    '{"index":3',
  ]);
});

test("checkpoint() gives what is in the log too, over exactly what was recorded before", async () => {
  const sink = memorySink();
  await using log = logTo(sink);
  log.record(eventOf(0));
  const early = log.checkpoint();
  log.record(eventOf(1));
  const checkpoint = await verifyCheckpoint(await early, [signer]);
  assert.deepEqual([checkpoint.origin, checkpoint.size], [ORIGIN, 1]);
  assert.equal(JSON.parse(linesOf(sink.text())[2]!).checkpoint, await early);
  assert.equal((await verifyCheckpoint(await log.checkpoint(), [signer])).size, 2);
  assert.equal(await log.checkpoint(), await log.checkpoint(), "nothing came since");
});

test("checkpoint() signs a log without entries", async () => {
  const sink = memorySink();
  await using log = logTo(sink);
  assert.equal((await verifyCheckpoint(await log.checkpoint(), [signer])).size, 0);
  assert.equal(await verdictOn(sink.text()), "ok 0");
});

test("checkpoint() waits until what it signs is stored", async () => {
  const { moody, state } = moodySink();
  await using log = logTo(moody);
  const held = gate();
  state.held = held.promise;
  log.record(eventOf(0));
  let signed = false;
  const checkpoint = log.checkpoint().then(() => signed = true);
  await turns();
  assert.ok(!signed);
  held.open();
  await mustCome(checkpoint, "the checkpoint");
});

test("record() returns at once and has what comes together stored together", async () => {
  const { moody, state, text } = moodySink();
  await using log = logTo(moody);
  for (let at = 0; at < 50; at++) assert.equal(log.record(eventOf(at)), undefined);
  assert.equal(state.writes, 0);
  assert.equal(log.size, 50);
  await log.flush();
  assert.equal(state.writes, 1);
  assert.equal(linesOf(text()).length, 51);
});

test("record() cuts long texts and leaves away what an event does not have", async () => {
  const sink = memorySink();
  await using log = logTo(sink);
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`field${at}`, at]));
  log.record({ event: "call.allow", caller: "c".repeat(10_000), fields: many });
  log.record({ event: "call.allow", prev: "forged", index: 7, extra: 1 } as never);
  const huge = "h".repeat(2048);
  log.record({ event: "call.allow", fields: { a: huge, b: huge, c: huge, d: huge, e: huge } });
  await log.checkpoint();
  const [first, second, third] = linesOf(sink.text()).slice(1).map((line) => JSON.parse(line));
  assert.equal(first.caller.length, 2049);
  assert.equal(Object.keys(first.fields).length, 32);
  assert.deepEqual(Object.keys(second), ["index", "time", "event", "prev"]);
  assert.equal(second.index, 1);
  assert.ok(JSON.stringify(third.fields).length < 8192 + 100);
  assert.equal(await verdictOn(sink.text()), "ok 3");
});

test("record() throws a full error where the queue has its entries, and takes more when there is room", async () => {
  const { moody, state, text } = moodySink();
  await using log = logTo(moody, { maxQueuedEvents: 3 });
  const held = gate();
  state.held = held.promise;
  for (let at = 0; at < 3; at++) log.record(eventOf(at));
  assert.throws(() => log.record(eventOf(3)), isError("full"));
  await turns();
  assert.throws(() => log.record(eventOf(3)), isError("full"), "what is being written still counts");
  assert.deepEqual([log.size, log.lost], [3, 2]);
  held.open();
  await mustCome(log.flush(), "room");
  log.record(eventOf(3));
  await log.checkpoint();
  assert.equal(await verdictOn(text()), "ok 5", "what was lost is an entry too");
});

test("record() throws a full error where the queue has its bytes", () => {
  const log = logTo({ write: () => new Promise(() => {}) }, { maxQueuedBytes: 500 });
  log.record({ event: "a", caller: "c".repeat(500) });
  assert.throws(() => log.record(eventOf(1)), isError("full"));
});

test("record() counts what it cannot take, and records how many when there is room", async () => {
  const { moody, state, text } = moodySink();
  await using log = logTo(moody, { maxQueuedEvents: 2, whenFull: "count" });
  const held = gate();
  state.held = held.promise;
  for (let at = 0; at < 5; at++) log.record(eventOf(at));
  assert.deepEqual([log.size, log.lost], [2, 3]);
  held.open();
  await mustCome(log.flush(), "room");
  await log.flush();
  assert.deepEqual([log.size, log.lost], [3, 3]);
  const { event, fields } = JSON.parse(linesOf(text()).at(-1)!);
  assert.deepEqual({ event, fields }, { event: "audit.lost", fields: { count: 3 } });
});

test("record() tells of losses at the end where there never was room", async () => {
  const { moody, state, text } = moodySink();
  const held = gate();
  {
    await using log = logTo(moody, { maxQueuedEvents: 1, whenFull: "count", drainMs: 20_000 });
    state.held = held.promise;
    for (let at = 0; at < 5; at++) log.record(eventOf(at));
    queueMicrotask(held.open);
  }
  const lines = linesOf(text());
  assert.equal(JSON.parse(lines[2]!).fields.count, 4);
  assert.equal(await verdictOn(text()), "ok 2");
});

test("auditLog() writes again what a sink rejected, and loses and repeats nothing", async () => {
  const failures: unknown[] = [];
  const { moody, state, text } = moodySink();
  let time = 0;
  const onFailure = (error: unknown) => void failures.push(error);
  await using log = logTo(moody, { now: () => time, retryMs: 10, checkpointEveryMs: 1e6, onFailure });
  state.failing = new Error("busy");
  log.record(eventOf(0));
  await turns();
  log.record(eventOf(1));
  await turns();
  assert.deepEqual([state.writes, failures.length], [1, 1], "it is left alone for a while");
  time = 10;
  log.record(eventOf(2));
  await turns();
  assert.deepEqual([state.writes, failures.length], [2, 1], "told of once");
  state.failing = undefined;
  time = 20;
  log.record(eventOf(3));
  await turns();
  await log.checkpoint();
  assert.equal(await verdictOn(text()), "ok 4");
  state.failing = new Error("busy again");
  log.record(eventOf(4));
  await turns();
  assert.equal(failures.length, 2, "told of again");
  state.failing = undefined;
});

test("flush() and checkpoint() try a failed sink at once, and reject with why it fails", async () => {
  const { moody, state } = moodySink();
  await using log = logTo(moody, { onFailure: () => {} });
  state.failing = new Error("busy");
  log.record(eventOf(0));
  await assert.rejects(log.flush(), /busy/);
  await assert.rejects(log.checkpoint(), /busy/);
  state.failing = undefined;
  await log.flush();
});

test("record() throws what a sink said that failed for good", async () => {
  const { moody, state } = moodySink();
  const log = logTo(moody, { onFailure: () => {}, drainMs: 20_000 });
  state.failing = new AuditError("sink", "Gone");
  log.record(eventOf(0));
  await turns();
  assert.throws(() => log.record(eventOf(1)), isError("sink"));
  await assert.rejects(log.flush(), isError("sink"));
  await assert.rejects(log.checkpoint(), isError("sink"));
  await assert.rejects(async () => await log[Symbol.asyncDispose](), isError("undelivered"));
  assert.equal(state.writes, 1);
});

test("record() counts where a sink failed for good", async () => {
  const { moody, state } = moodySink();
  const log = logTo(moody, { onFailure: () => {}, whenFull: "count", drainMs: 20_000 });
  state.failing = new AuditError("sink", "Gone");
  log.record(eventOf(0));
  await turns();
  log.record(eventOf(1));
  assert.equal(log.lost, 1);
  await assert.rejects(async () => await log[Symbol.asyncDispose](), isError("undelivered"));
});

test("auditLog() takes a sink that throws, and an onFailure that throws", async () => {
  const printed: unknown[] = [];
  const { error } = console;
  console.error = (...args: unknown[]) => void printed.push(...args);
  try {
    let fails = true;
    const sink = memorySink();
    const throwing: AuditSink = {
      write(lines) {
        if (fails) throw new Error("s3cret");
        return sink.write(lines);
      },
    };
    await using log = logTo(throwing, {
      onFailure: () => {
        throw new Error("s3cret");
      },
    });
    log.record(eventOf(0));
    await turns();
    fails = false;
    await log.flush();
  } finally {
    console.error = error;
  }
  assert.deepEqual(printed, ["The audit log cannot store its entries"]);
});

test("auditLog() signs again where its signer failed", async () => {
  let fails = true;
  const sink = memorySink();
  const flaky = {
    ...signer,
    sign: (bytes: Uint8Array) => fails ? Promise.reject(new Error("no key")) : signer.sign(bytes),
  };
  await using log = logTo(sink, { signer: flaky, onFailure: () => {} });
  log.record(eventOf(0));
  await assert.rejects(log.checkpoint(), /no key/);
  assert.equal(await verdictOn(sink.text()), "unsigned 0");
  fails = false;
  await log.checkpoint();
  assert.equal(await verdictOn(sink.text()), "ok 1");
});

test("auditLog() writes no checkpoint that nobody could verify", async () => {
  const sink = memorySink();
  const wrong = { ...signer, publicKey: signerOf("mallory").publicKey };
  const log = logTo(sink, { signer: wrong, onFailure: () => {}, drainMs: 20_000 });
  log.record(eventOf(0));
  await assert.rejects(log.checkpoint(), isError("signature"));
  await assert.rejects(async () => await log[Symbol.asyncDispose](), isError("undelivered"));
  assert.doesNotMatch(sink.text(), /checkpoint/);
});

test("asyncDispose stores what waits and a checkpoint, and closes the sink once", async () => {
  const sink = memorySink();
  let closed = 0;
  const log = logTo({ ...sink, close: () => void closed++ }, { drainMs: 20_000 });
  log.record(eventOf(0));
  await Promise.all([log[Symbol.asyncDispose](), log[Symbol.asyncDispose]()]);
  assert.equal(closed, 1);
  assert.equal(await verdictOn(sink.text()), "ok 1");
  assert.throws(() => log.record(eventOf(1)), isError("closed"));
  await assert.rejects(log.flush(), isError("closed"));
  await assert.rejects(log.checkpoint(), isError("closed"));
  assert.equal(log.size, 1);
});

test("asyncDispose gives up on a sink that never settles, and says what is not stored", async () => {
  const log = logTo({ write: () => new Promise(() => {}) }, { drainMs: 0 });
  log.record(eventOf(0));
  log.record(eventOf(1));
  const flushed = assert.rejects(log.flush(), isError("undelivered"));
  await mustCome(assert.rejects(async () => await log[Symbol.asyncDispose](), /with 2 entries/), "the end");
  await mustCome(flushed, "the end of who waited");
});

test("asyncDispose gives up on a sink that never closes, and says where closing failed", async () => {
  const hanging = logTo({ ...memorySink(), close: () => new Promise(() => {}) }, { drainMs: 0 });
  await mustCome(assert.rejects(async () => await hanging[Symbol.asyncDispose](), isError("undelivered")), "the end");
  const failing = logTo({ ...memorySink(), close: () => Promise.reject(new Error("x")) }, { drainMs: 20_000 });
  await assert.rejects(async () => await failing[Symbol.asyncDispose](), isError("undelivered"));
});

test("asyncDispose closes a sink that does not store any more", async () => {
  let closed = false;
  const sink: AuditSink = { write: () => Promise.reject(new Error("busy")), close: () => void (closed = true) };
  const log = logTo(sink, { onFailure: () => {}, drainMs: 20_000 });
  log.record(eventOf(0));
  await assert.rejects(async () => await log[Symbol.asyncDispose](), isError("undelivered"));
  assert.ok(closed);
});

test("auditLog() goes on where a log ended", async () => {
  const before = await storedLog(5);
  const verdict = await verifyAudit(before.text, { keys: [signer] });
  assert.ok(verdict.ok);
  const sink = memorySink();
  {
    await using log = auditLog(sink, { signer: signerOf("mallory"), resume: verdict.end, drainMs: 20_000 });
    assert.deepEqual([log.size, log.origin], [5, ORIGIN]);
    for (let at = 5; at < 9; at++) log.record(eventOf(at));
  }
  assert.equal(await verdictOn(before.text + sink.text(), { keys: [signer, signerOf("mallory")] }), "ok 9");
  assert.equal(await verdictOn(before.text + sink.text()), "unsigned 5 to 8", "the second key is not trusted");
  assert.equal(await verdictOn(sink.text(), { keys: [signerOf("mallory")] }), "missing 0 to 4");
});

for (
  const [name, options, kind] of [
    ["a queue without room", { maxQueuedEvents: 0 }, RangeError],
    ["a queue without bytes", { maxQueuedBytes: 0 }, RangeError],
    ["a queue without an end", { maxQueuedEvents: Infinity }, RangeError],
    ["checkpoints after half an entry", { checkpointEvery: 0.5 }, RangeError],
    ["an age below 0", { checkpointEveryMs: -1 }, RangeError],
    ["a time that is not a number", { drainMs: NaN }, RangeError],
    ["a wait below 0", { retryMs: -1 }, RangeError],
    ["a signer without a name", { signer: { ...signer, id: "" } }, TypeError],
    ["a signer with a space in its name", { signer: { ...signer, id: "a b" } }, TypeError],
    ["a signer with a plus in its name", { signer: { ...signer, id: "a+b" } }, TypeError],
    ["a signer with a line feed in its name", { signer: { ...signer, id: "a\nb" } }, TypeError],
    ["a public key that is too short", { signer: { ...signer, publicKey: new Uint8Array(31) } }, TypeError],
    ["an empty origin", { origin: "" }, TypeError],
    ["an origin of two lines", { origin: "a\n9" }, TypeError],
  ] as readonly (readonly [string, Partial<AuditLogOptions>, typeof RangeError])[]
) {
  test(`auditLog() refuses ${name}`, () => {
    assert.throws(() => logTo(memorySink(), options), kind);
  });
}
