import {
  AuditError,
  consoleSink,
  memorySink,
  rotatingSink,
  type RotatingSinkOptions,
  streamSink,
} from "../../src/audit/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventOf, linesOf, logTo, signer, textOf, verdictOn } from "./_rig.ts";
import { verifyAudit } from "../../src/audit/mod.ts";

const isSinkError = (error: unknown) => error instanceof AuditError && error.code === "sink";

/** A stream that keeps what it is given, as text. */
function recorded() {
  const state = { text: "", closed: false };
  const decoder = new TextDecoder();
  const stream = new WritableStream<Uint8Array>({
    write: (chunk) => void (state.text += decoder.decode(chunk, { stream: true })),
    close: () => void (state.closed = true),
  });
  return { stream, state };
}

/** A log in files of so many bytes. */
async function filesOf(entries: number, options: RotatingSinkOptions) {
  const files: ReturnType<typeof recorded>[] = [];
  {
    await using log = logTo(rotatingSink(() => files[files.push(recorded()) - 1]!.stream, options), {
      drainMs: 20_000,
    });
    for (let at = 0; at < entries; at++) {
      log.record(eventOf(at));
      await log.flush();
    }
  }
  return { files, texts: files.map(({ state }) => state.text) };
}

test("memorySink() keeps the lines in their order", () => {
  const sink = memorySink();
  void sink.write("a\n");
  void sink.write("b\nc\n");
  assert.equal(sink.text(), "a\nb\nc\n");
});

test("consoleSink() prints each line by itself", () => {
  const printed: unknown[][] = [];
  const { log } = console;
  console.log = (...args: unknown[]) => void printed.push(args);
  try {
    void consoleSink().write('{"a":"%s"}\n{"b":1}\n');
  } finally {
    console.log = log;
  }
  assert.deepEqual(printed, [['{"a":"%s"}'], ['{"b":1}']]);
});

test("streamSink() writes the bytes of the lines and closes the stream", async () => {
  const { stream, state } = recorded();
  const sink = streamSink(stream);
  await sink.write("é\n");
  assert.deepEqual(state, { text: "é\n", closed: false });
  await sink.close?.();
  assert.ok(state.closed);
});

test("streamSink() resolves only when the stream has taken the lines", async () => {
  let take = () => {};
  const sink = streamSink(new WritableStream({ write: () => new Promise<void>((resolve) => take = resolve) }));
  let resolved = false;
  const written = Promise.resolve(sink.write("a\n")).then(() => resolved = true);
  for (let turn = 0; turn < 20; turn++) await undefined;
  assert.ok(!resolved);
  take();
  await written;
});

test("streamSink() says with the code sink that a stream failed for good", async () => {
  const sink = streamSink(
    new WritableStream({
      write: () => {
        throw new Error("disk full");
      },
    }),
  );
  await assert.rejects(async () => await sink.write("a\n"), isSinkError);
  await assert.rejects(async () => await sink.write("b\n"), isSinkError);
  await assert.rejects(async () => await sink.close?.(), isSinkError);
});

test("rotatingSink() begins another file when one is full, and closes each", async () => {
  const { files, texts } = await filesOf(12, { maxFileBytes: 800 });
  assert.ok(files.length > 2);
  assert.ok(files.every(({ state }) => state.closed));
  for (const text of texts) {
    const lines = linesOf(text);
    assert.match(lines[0]!, /^\{"audit":1,/, "a file begins with where it stands");
    assert.match(lines.at(-1)!, /^\{"checkpoint":/, "a file ends with a checkpoint");
    assert.ok(lines.length >= 3);
  }
});

test("rotatingSink() makes files that verify together", async () => {
  const { texts } = await filesOf(12, { maxFileBytes: 800 });
  assert.equal(await verdictOn(texts.join("")), "ok 12");
});

test("rotatingSink() makes files that verify one by one", async () => {
  const { texts } = await filesOf(12, { maxFileBytes: 800 });
  let end = 0;
  for (const text of texts) {
    const verdict = await verifyAudit(text, { keys: [signer], allowMissingStart: true });
    assert.ok(verdict.ok);
    assert.equal(verdict.first, end);
    assert.equal(verdict.signedSize, verdict.size);
    end = verdict.size;
  }
  assert.equal(end, 12);
  assert.equal(await verdictOn(texts[1]!), `missing 0 to ${linesOf(texts[0]!).length - 3}`);
});

test("rotatingSink() makes files of which one that is missing, repeated or moved is found", async () => {
  const { texts } = await filesOf(12, { maxFileBytes: 800 });
  const [one, two, three] = texts as [string, string, string];
  const rest = texts.slice(3).join("");
  const first2 = linesOf(one).length - 2;
  const first3 = first2 + linesOf(two).length - 2;
  assert.equal(
    await verdictOn(one + three + rest),
    `missing ${first2}` + (first3 - 1 > first2 ? ` to ${first3 - 1}` : ""),
  );
  assert.equal(await verdictOn(one + two + two + three + rest), `inserted ${first2}`);
  assert.equal(await verdictOn(one + three + two + rest), `reordered ${first2}`);
  assert.equal(await verdictOn(two + one, { allowMissingStart: true }), "reordered 0");
  assert.equal(await verdictOn(one), `ok ${first2}`, "nothing shows that files were cut off but a kept checkpoint");
});

test("rotatingSink() makes files of which one whose beginning was altered is found", async () => {
  const { texts } = await filesOf(12, { maxFileBytes: 800 });
  const lines = linesOf(texts.join(""));
  const at = lines.findIndex((line, place) => place > 0 && line.startsWith('{"audit":'));
  const size = JSON.parse(lines[at]!).first;
  const head = JSON.parse(lines[at]!);
  const put = (members: object) => textOf(lines.with(at, JSON.stringify({ ...head, ...members })));
  assert.equal(await verdictOn(put({})), "ok 12");
  const { prev } = JSON.parse(lines[0]!);
  assert.equal(await verdictOn(put({ prev })), `altered ${size}`);
  assert.equal(await verdictOn(put({ tree: head.tree.with(0, prev) })), `altered ${size}`);
  assert.equal(await verdictOn(put({ tree: [] })), `altered ${size}`);
  assert.equal(await verdictOn(put({ origin: "another" })), `foreign ${size}`);
  assert.equal(await verdictOn(put({ audit: 2 })), `altered ${size}`);
  assert.equal(await verdictOn(put({ more: 1 })), `altered ${size}`);
});

test("rotatingSink() numbers its files from the first index", async () => {
  const opened: number[] = [];
  const sink = rotatingSink((index) => {
    opened.push(index);
    return recorded().stream;
  }, { firstIndex: 7, maxFileBytes: 1 });
  assert.equal(sink.isFull?.(), false);
  await sink.write("a\n");
  assert.equal(sink.isFull?.(), true);
  await sink.rotate?.();
  assert.equal(sink.isFull?.(), false);
  await sink.write("b\n");
  assert.deepEqual(opened, [7, 8]);
});

test("rotatingSink() asks again for a file that could not be opened", async () => {
  const opened: number[] = [];
  const { stream, state } = recorded();
  const sink = rotatingSink((index) => {
    if (opened.push(index) === 1) throw new Error("busy");
    return Promise.resolve(stream);
  });
  await assert.rejects(async () => await sink.write("a\n"), /busy/);
  await sink.write("a\n");
  assert.deepEqual(opened, [0, 0]);
  assert.equal(state.text, "a\n");
});

test("rotatingSink() closes without a file where nothing was written", async () => {
  await rotatingSink(() => recorded().stream).close?.();
});

test("rotatingSink() refuses options out of range", () => {
  const open = () => recorded().stream;
  for (const maxFileBytes of [0, -1, NaN]) assert.throws(() => rotatingSink(open, { maxFileBytes }), RangeError);
  for (const firstIndex of [-1, 0.5, NaN]) assert.throws(() => rotatingSink(open, { firstIndex }), RangeError);
});
