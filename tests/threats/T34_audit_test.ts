import { type AuditError, type AuditEvent, type AuditSink, memorySink, streamSink } from "../../src/audit/mod.ts";
import { mustCome } from "../_patience.ts";
import {
  eventOf,
  gate,
  linesOf,
  logTo,
  placeOf,
  relinked,
  signerOf,
  spliced,
  storedLog,
  verdictOn,
} from "../audit/_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

// The attacker got at a server and wants nobody to know: with the stored log in hand but not the key of the instance,
// with texts that end up in the log, and with a disk that is made slow, full or broken.

/** A log of 20 entries with a checkpoint behind every 5, of which the last was kept elsewhere. */
async function scene() {
  const { lines, checkpoints } = await storedLog(20, 5);
  const seen = { checkpoints: [checkpoints.at(-1)!] };
  assert.equal(await verdictOn(lines, seen), "ok 20");
  return { lines, seen, at: (index: number) => placeOf(lines, index) };
}

const crime = (line: string) =>
  line.replace('"caller":"spiffe://acme.example/shop"', '"caller":"spiffe://acme.example/ci"');

test("T34 an edited entry is named", async () => {
  const { lines, at } = await scene();
  assert.equal(await verdictOn(lines.with(at(12), crime(lines[at(12)]!))), "altered 12");
});

test("T34 an edited entry with all lines after it written anew is found by the next checkpoint", async () => {
  const { lines, at } = await scene();
  assert.equal(await verdictOn(relinked(lines.with(at(12), crime(lines[at(12)]!)))), "altered 10 to 14");
});

test("T34 a log that was written anew and signed with another key is refused", async () => {
  const { lines } = await storedLog(20, 5, { signer: signerOf("mallory", "orders") });
  assert.equal(await verdictOn(lines), "unsigned 0 to 4");
});

test("T34 a deleted entry is named, and one deleted at the end of what a checkpoint signs", async () => {
  const { lines, at } = await scene();
  assert.equal(await verdictOn(lines.toSpliced(at(12), 1)), "missing 12");
  assert.equal(await verdictOn(lines.toSpliced(at(14), 1)), "missing 14");
  assert.equal(await verdictOn(lines.toSpliced(at(12), 5)), "missing 12 to 15", "a checkpoint with them");
  assert.equal(await verdictOn(relinked(lines.toSpliced(at(12), 1), true)), "missing 10 to 14");
});

test("T34 an inserted entry is named", async () => {
  const { lines, at } = await scene();
  assert.equal(await verdictOn(spliced(lines, at(12), 0, crime(lines[at(12)]!))), "inserted 12");
  assert.equal(await verdictOn(relinked(spliced(lines, at(12), 0, lines[at(12)]!), true)), "inserted 10 to 15");
});

test("T34 an entry that is played in again is named", async () => {
  const { lines, at } = await scene();
  assert.equal(await verdictOn(spliced(lines, at(12), 0, lines[at(3)]!)), "inserted 3");
  assert.equal(await verdictOn([...lines, lines[at(19)]!]), "inserted 19");
});

test("T34 reordered entries are named", async () => {
  const { lines, at } = await scene();
  const swapped = lines.with(at(12), lines[at(13)]!).with(at(13), lines[at(12)]!);
  assert.equal(await verdictOn(swapped), "reordered 12");
  const moved = spliced(lines.toSpliced(at(3), 1), at(12), 0, lines[at(3)]!);
  assert.equal(await verdictOn(moved), "reordered 3");
});

test("T34 a log cut off within a line, an entry or a file is found", async () => {
  const { lines, at, seen } = await scene();
  assert.equal(await verdictOn(lines.slice(0, at(18))), "unsigned 15 to 17");
  assert.equal(await verdictOn(lines.slice(0, at(15))), "ok 15", "nothing in it shows that there was more");
  assert.equal(await verdictOn(lines.slice(0, at(15)), seen), "truncated 15 to 19");
  assert.equal(await verdictOn([], seen), "truncated 0 to 19");
  assert.equal(await verdictOn(lines.slice(0, 1), { ...seen, allowUnsignedEnd: true }), "truncated 0 to 19");
});

test("T34 entries that were put behind the last checkpoint are not taken for signed", async () => {
  const { lines } = await scene();
  const forged = lines.at(-2)!.replace('"index":19', '"index":20');
  assert.equal(await verdictOn(relinked([...lines, forged])), "unsigned 20");
});

test("T34 a split view is found with the checkpoint that another was shown", async () => {
  const { seen } = await scene();
  const shown = await storedLog(20, 5, { now: () => 1 });
  assert.equal(await verdictOn(shown.lines, seen), "forked 15 to 19");
  const longer = await storedLog(25, 5, { now: () => 1 });
  assert.equal(await verdictOn(longer.lines, seen), "forked 15 to 19");
});

test("T34 the log of another process of the same instance is not taken for this one", async () => {
  const { seen } = await scene();
  const { lines } = await storedLog(20, 5, { origin: "audit.acme.example/orders/2" });
  assert.equal(await verdictOn(lines, seen), "foreign 0");
});

test("T34 a checkpoint of another log that fits in size is refused", async () => {
  const { lines } = await scene();
  const other = await storedLog(20, 5, { origin: "audit.acme.example/orders/2" });
  const at = lines.findIndex((line) => line.startsWith('{"checkpoint"'));
  assert.equal(await verdictOn(lines.with(at, other.lines[at]!)), "foreign 5");
});

/** What breaks a line, or acts on a terminal or a viewer without being seen. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

const forging: readonly (readonly [name: string, text: string])[] = [
  ["line feeds", '\n{"index":1,"event":"call.allow"}\n'],
  ["carriage returns", '\r\n{"index":1}\r'],
  ["vertical tabs and form feeds", "\v\f"],
  ["next lines and separators", "\u0085\u2028\u2029"],
  ["ANSI colours and erasing", "\u001b[2K\u001b[1A\u001b[31mok\u001b[0m"],
  ["C1 controls", "\u009b2K\u0090\u009c"],
  ["directions", "\u202egnp.exe\u202c\u2066\u2069\u200f\u061c"],
  ["what is not seen", "\u200b\u200d\u2060\ufeff\u00ad\u{e0041}\u{e007f}"],
  ["backspaces", "refuse\b\b\b\b\b\ballow"],
  ["nulls", "\0".repeat(100)],
  ["lone surrogates", "\ud800\udc00\udc00\ud800"],
  ["quotes and braces", '","index":7,"event":"call.allow"}'],
  ["a giant text", "\n".repeat(5_000_000)],
  ["a prototype's name", "__proto__"],
];
for (const [name, text] of forging) {
  test(`T34 ${name} forge no line, wherever they stand`, async () => {
    const sink = memorySink();
    const places: AuditEvent[] = [
      { event: text },
      { event: "call.allow", reason: text, correlationId: text, caller: text, method: text },
      { event: "call.allow", fields: { a: text, [text]: "b" } },
    ];
    {
      await using log = logTo(sink, { drainMs: 20_000 });
      for (const event of places) log.record(event);
    }
    const lines = linesOf(sink.text());
    assert.equal(lines.length, 1 + places.length + 1, "a head, a line for each event, a checkpoint");
    for (const line of lines) {
      assert.doesNotMatch(line, UNSEEN);
      assert.ok(line.length < 65_536);
    }
    const indices = lines.slice(1, -1).map((line) => JSON.parse(line).index);
    assert.deepEqual(indices, [0, 1, 2]);
    assert.equal(await verdictOn(lines), "ok 3");
  });
}

test("T34 fields of a giant number, and of any type, make one line", async () => {
  const sink = memorySink();
  {
    await using log = logTo(sink, { drainMs: 20_000 });
    const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`${at}`, at]));
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    for (const fields of [many, cycle, { a: 1n }, { a: () => 1 }, { toJSON: () => "forged" }, "text", null]) {
      log.record({ event: "call.allow", fields } as unknown as AuditEvent);
    }
  }
  const lines = linesOf(sink.text());
  assert.equal(lines.length, 9);
  assert.ok(lines.every((line) => line.length < 65_536));
  assert.equal(await verdictOn(lines), "ok 7");
});

const isFull = (error: unknown) => (error as AuditError).code === "full";

test("T34 a sink that is slow holds up no call and loses no event", async () => {
  const stored = memorySink();
  const slow = gate();
  let writes = 0;
  const sink: AuditSink = {
    async write(lines) {
      writes++;
      await slow.promise;
      await stored.write(lines);
    },
  };
  {
    await using log = logTo(sink, { drainMs: 20_000 });
    for (let at = 0; at < 500; at++) log.record(eventOf(at));
    assert.equal(writes, 0, "recording waits for nothing");
    const flushed = log.flush();
    for (let turn = 0; turn < 100; turn++) await undefined;
    assert.equal(writes, 1, "one write at a time");
    log.record(eventOf(500));
    slow.open();
    await mustCome(flushed, "what was recorded");
  }
  assert.equal(await verdictOn(stored.text()), "ok 501");
});

test("T34 a sink that never settles has calls refused when the queue is full, and the end comes", async () => {
  const log = logTo({ write: () => new Promise(() => {}) }, { maxQueuedEvents: 100, drainMs: 0 });
  let refused = 0;
  for (let at = 0; at < 1000; at++) {
    try {
      log.record(eventOf(at));
    } catch (error) {
      assert.ok(isFull(error));
      refused++;
    }
    if (at % 100 === 0) await undefined;
  }
  assert.deepEqual([refused, log.size, log.lost], [900, 100, 900]);
  await mustCome(assert.rejects(async () => await log[Symbol.asyncDispose](), /101 entries/), "the end");
});

test("T34 a sink that never settles has events counted where that was chosen", () => {
  const log = logTo({ write: () => new Promise(() => {}) }, { maxQueuedEvents: 100, whenFull: "count" });
  for (let at = 0; at < 1000; at++) log.record(eventOf(at));
  assert.deepEqual([log.size, log.lost], [100, 900]);
});

test("T34 giant events fill the queue by their bytes", () => {
  const log = logTo({ write: () => new Promise(() => {}) }, { maxQueuedBytes: 100_000 });
  const giant = { event: "call.refuse", caller: "\0".repeat(1e6), method: "\0".repeat(1e6) };
  assert.throws(() => {
    for (let at = 0; at < 10; at++) log.record(giant);
  }, isFull);
});

test("T34 what was lost while a sink failed is in the log when it works again", async () => {
  const stored = memorySink();
  let fails = true;
  const sink: AuditSink = { write: (lines) => fails ? Promise.reject(new Error("disk full")) : stored.write(lines) };
  {
    await using log = logTo(sink, { maxQueuedEvents: 10, whenFull: "count", onFailure: () => {}, drainMs: 20_000 });
    for (let at = 0; at < 30; at++) log.record(eventOf(at));
    await assert.rejects(log.flush(), /disk full/);
    for (let at = 0; at < 5; at++) log.record(eventOf(at));
    fails = false;
    await log.flush();
    log.record(eventOf(35));
    assert.equal(log.lost, 25);
  }
  const events = linesOf(stored.text()).slice(1, -1).map((line) => JSON.parse(line));
  assert.equal(events.length, 12);
  assert.deepEqual([events[10].event, events[10].fields], ["audit.lost", { count: 25 }]);
  assert.equal(await verdictOn(stored.text()), "ok 12");
});

test("T34 a stream that failed ends the log: events are refused, and nobody is told that all is well", async () => {
  const failures: unknown[] = [];
  const stream = new WritableStream<Uint8Array>({
    write: () => {
      throw new Error("disk full");
    },
  });
  const log = logTo(streamSink(stream), { onFailure: (error) => void failures.push(error), drainMs: 20_000 });
  log.record(eventOf(0));
  await assert.rejects(log.flush());
  assert.equal(failures.length, 1);
  assert.throws(() => log.record(eventOf(1)), (error) => (error as AuditError).code === "sink");
  await assert.rejects(
    async () => await log[Symbol.asyncDispose](),
    (error) => (error as AuditError).code === "undelivered",
  );
});
