import { type AuditError, signCheckpoint, verifyAudit, verifyCheckpoint } from "../../src/audit/mod.ts";
import {
  hexOf,
  linesOf,
  ORIGIN,
  placeOf,
  relinked,
  signer,
  signerOf,
  spliced,
  storedLog,
  textOf,
  verdictOn,
} from "./_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

// A log of 10 entries has its checkpoints behind entries 3, 7 and 9, and thus 14 lines: a head, entries 0 to 3, ….

test("verifyAudit() says how far a good log goes", async () => {
  const { text, checkpoints } = await storedLog(10);
  const verdict = await verifyAudit(text, { keys: [signer], checkpoints });
  assert.ok(verdict.ok);
  const { end, ...rest } = verdict;
  assert.deepEqual(rest, { ok: true, first: 0, size: 10, signedSize: 10, checkpoints: 3 });
  assert.deepEqual([end.origin, end.tree.size, end.tree.hashes.length], [ORIGIN, 10, 2]);
});

test("verifyAudit() reads a log however it is cut into chunks", async () => {
  const { text } = await storedLog(6, 4);
  const bytes = new TextEncoder().encode(text);
  const chunks = (length: number) =>
    Array.from({ length: Math.ceil(bytes.length / length) }, (_, at) => bytes.slice(at * length, (at + 1) * length));
  async function* later() {
    yield* chunks(100);
  }
  const sources = [
    bytes,
    chunks(1),
    chunks(7),
    linesOf(text).map((line) => line + "\n"),
    later(),
    new Blob([bytes]).stream(),
  ];
  for (const source of sources) assert.ok((await verifyAudit(source, { keys: [signer] })).ok);
});

test("verifyAudit() lets go of a stream when it found something", async () => {
  const { lines } = await storedLog(6);
  const bytes = new TextEncoder().encode(textOf(lines.slice(1)));
  let cancelled = false;
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(bytes),
    cancel: () => void (cancelled = true),
  });
  assert.ok(!(await verifyAudit(stream, { keys: [signer] })).ok);
  assert.ok(cancelled);
});

test("verifyAudit() hands on what the source throws", async () => {
  // deno-lint-ignore require-yield -- it fails before it has anything
  async function* failing(): AsyncGenerator<string> {
    throw new Error("unreadable");
  }
  await assert.rejects(verifyAudit(failing(), { keys: [signer] }), /unreadable/);
});

test("verifyAudit() names an entry that was altered where no signature follows, or the one after it", async () => {
  const { lines } = await storedLog(10, 100);
  const unsigned = lines.slice(0, -1);
  const edited = unsigned.map((line) => line.replace('"id-4"', '"id-x"'));
  assert.equal(await verdictOn(edited, { allowUnsignedEnd: true }), "altered 4 to 5");
});

test("verifyAudit() takes an unsigned end only where that is allowed", async () => {
  const { lines } = await storedLog(10);
  const cut = lines.slice(0, -2);
  assert.equal(await verdictOn(cut), "unsigned 8");
  assert.equal(await verdictOn(cut, { allowUnsignedEnd: true }), "ok 9");
  const verdict = await verifyAudit(textOf(cut), { keys: [signer], allowUnsignedEnd: true });
  assert.ok(verdict.ok && verdict.signedSize === 8 && verdict.size === 9);
  const none = await verifyAudit(textOf(lines.slice(0, 3)), { keys: [signer], allowUnsignedEnd: true });
  assert.ok(none.ok && none.signedSize === 0 && none.size === 2);
});

test("verifyAudit() takes an unsigned end that a kept checkpoint signs", async () => {
  const { lines, checkpoints } = await storedLog(10);
  assert.equal(await verdictOn(lines.slice(0, -1)), "unsigned 8 to 9");
  assert.equal(await verdictOn(lines.slice(0, -1), { checkpoints }), "ok 10");
});

test("verifyAudit() finds nothing in an empty log but that it is empty", async () => {
  const { checkpoints } = await storedLog(10);
  assert.equal(await verdictOn(""), "missing 0");
  assert.equal(await verdictOn("", { checkpoints, allowUnsignedEnd: true }), "truncated 0 to 9");
  const { lines } = await storedLog(1);
  assert.equal(await verdictOn(lines.slice(0, 1)), "unsigned 0");
});

for (
  const [name, spoil, verdict] of [
    ["no head", (lines) => lines.slice(1), "missing 0"],
    ["no head and no first entries", (lines) => lines.slice(4), "missing 0 to 2"],
    ["a head of another version", (lines) => lines.with(0, lines[0]!.replace(":1,", ":2,")), "altered 0"],
    ["a head whose origin is a number", (lines) => lines.with(0, lines[0]!.replace(`"${ORIGIN}"`, "5")), "altered 0"],
    ["a head whose place is a text", (lines) => lines.with(0, lines[0]!.replace(":0,", ':"0",')), "altered 0"],
    ["a head whose place is negative", (lines) => lines.with(0, lines[0]!.replace(":0,", ":-1,")), "altered 0"],
    ["a head with a wrong hash", (lines) => lines.with(0, lines[0]!.replace("47DEQ", "48DEQ")), "altered 0"],
    ["a head of another origin", (lines) => lines.with(0, lines[0]!.replace("orders", "others")), "foreign 4"],
    ["an empty line", (lines) => spliced(lines, 3, 0, ""), "altered 2"],
    ["a line that is no JSON", (lines) => spliced(lines, 3, 0, "{forged}"), "altered 2"],
    ["a line that is a list", (lines) => lines.with(3, `[${lines[3]}]`), "altered 2"],
    ["a line of another shape", (lines) => spliced(lines, 3, 0, '{"a":1}'), "altered 2"],
    ["an entry with a member too many", (lines) => lines.with(3, lines[3]!.replace("{", '{"x":1,')), "altered 2"],
    ["an entry whose index is a text", (lines) => lines.with(3, lines[3]!.replace(":2,", ':"2",')), "altered 2"],
    ["an entry whose index is a fraction", (lines) => lines.with(3, lines[3]!.replace(":2,", ":2.5,")), "altered 2"],
    ["an entry with a negative index", (lines) => lines.with(3, lines[3]!.replace(":2,", ":-2,")), "altered 2"],
    ["an entry without the hash before", (lines) => lines.with(3, lines[3]!.replace(/,"prev.*/, "}")), "altered 2"],
    ["an entry whose hash is short", (lines) => lines.with(3, lines[3]!.replace(/.{8}"}$/, '"}')), "altered 2"],
    ["a white space at the end", (lines) => lines.with(3, lines[3] + " "), "altered 2"],
    ["a white space at the start", (lines) => lines.with(3, " " + lines[3]), "altered 2"],
    ["a carriage return at every end", (lines) => lines.map((line) => line + "\r"), "altered 0"],
    [
      "a line that is far too long",
      (lines) => lines.with(3, lines[3]!.replace("{", "{" + " ".repeat(3e5))),
      "altered 2",
    ],
    [
      "a checkpoint that is a number",
      (lines) => lines.with(5, lines[5]!.replace(/"check[^}]*,/, '"checkpoint":1,')),
      "altered 4",
    ],
    ["a checkpoint with a member too many", (lines) => lines.with(5, lines[5]!.replace("{", '{"x":1,')), "altered 4"],
    [
      "a checkpoint whose size was changed",
      (lines) => lines.with(5, lines[5]!.replace("\\n4\\n", "\\n5\\n")),
      "unsigned 0 to 3",
    ],
    [
      "a second checkpoint that was changed",
      (lines) => lines.with(10, lines[10]!.replace("\\n8\\n", "\\n9\\n")),
      "unsigned 4 to 7",
    ],
    [
      "a checkpoint with another hash before",
      (lines) => lines.with(5, lines[5]!.replace(/"prev":"./, '"prev":"_')),
      "altered 4",
    ],
    ["a white space behind a checkpoint", (lines) => lines.with(5, lines[5] + " "), "altered 4"],
    ["a white space before a checkpoint", (lines) => lines.with(5, " " + lines[5]), "altered 4"],
    ["a checkpoint far too long", (lines) => lines.with(5, "{" + " ".repeat(3e5) + lines[5]!.slice(1)), "altered 4"],
    ["a checkpoint too early", (lines) => spliced(lines.toSpliced(5, 1), 3, 0, lines[5]!), "reordered 2"],
    ["a checkpoint too late", (lines) => spliced(lines.toSpliced(5, 1), 7, 0, lines[5]!), "reordered 4"],
    ["a checkpoint at the end", (lines) => [...lines, lines[5]!], "reordered 4"],
    ["a checkpoint twice", (lines) => spliced(lines, 5, 0, lines[5]!), "ok 10"],
    ["one checkpoint less", (lines) => lines.toSpliced(5, 1), "ok 10"],
    ["the head again", (lines) => spliced(lines, 3, 0, lines[0]!), "inserted 0"],
    ["the last line twice", (lines) => [...lines, lines.at(-2)!], "inserted 9"],
    ["no newline at the end", (lines) => textOf(lines).slice(0, -1), "truncated 10"],
    ["half a line at the end", (lines) => textOf(lines.slice(0, 9)).slice(0, -50), "truncated 6"],
    ["half a line alone", () => '{"audit":1', "truncated 0"],
  ] as readonly (readonly [string, (lines: readonly string[]) => readonly string[] | string, string])[]
) {
  test(`verifyAudit() finds ${name}`, async () => {
    assert.equal(await verdictOn(spoil((await storedLog(10)).lines)), verdict);
  });
}

test("verifyAudit() finds a line with bytes that are no UTF-8", async () => {
  const { text } = await storedLog(3);
  const bytes = new TextEncoder().encode(text);
  bytes[text.indexOf("id-1")] = 0xff;
  const verdict = await verifyAudit(bytes, { keys: [signer] });
  assert.ok(!verdict.ok);
  assert.deepEqual([verdict.index, verdict.message], [1, "Line 3 is not a line of a log"]);
});

test("verifyAudit() finds a checkpoint whose hash before is good base64 of another", async () => {
  const { lines } = await storedLog(10);
  const prev = JSON.parse(lines[2]!).prev;
  const swap = (line: string) => line.replace(/"prev":".*"\}$/, `"prev":"${prev}"}`);
  assert.equal(await verdictOn(lines.with(5, swap(lines[5]!))), "altered 4");
  assert.equal(await verdictOn(lines.with(3, swap(lines[3]!))), "altered 2", "an entry");
  assert.equal(await verdictOn(lines.with(1, swap(lines[1]!))), "altered 0", "the first entry");
  assert.equal(await verdictOn(lines.with(6, swap(lines[6]!))), "altered 4", "the entry after a checkpoint");
});

test("verifyAudit() names the first of two neighbours that were altered", async () => {
  const { lines } = await storedLog(10);
  const edited = lines.map((line) => line.replace(/"id-[12]"/, '"id-x"'));
  assert.equal(await verdictOn(edited), "altered 1");
  const alone = lines.map((line) => line.replace(/"id-2"/, '"id-x"'));
  assert.equal(await verdictOn(alone), "altered 2");
});

test("verifyAudit() uses a kept checkpoint to tell which entry was altered", async () => {
  const { lines, checkpoints } = await storedLog(10);
  const unsigned = lines.filter((line) => !line.startsWith('{"checkpoint"'));
  const edited = unsigned.map((line) => line.replace(/"id-5"/, '"id-x"'));
  assert.equal(await verdictOn(edited), "altered 5 to 6");
  assert.equal(await verdictOn(edited, { checkpoints: [checkpoints[1]!] }), "altered 5");
});

test("verifyAudit() names the entries between two checkpoints where all after was written anew", async () => {
  const { lines } = await storedLog(10);
  const edited = relinked(lines.map((line) => line.replace(/"id-6"/, '"id-x"')));
  assert.equal(await verdictOn(edited), "altered 4 to 7");
});

test("verifyAudit() names fewer of them with a kept checkpoint between", async () => {
  const kept = (await storedLog(6)).checkpoints.slice(1);
  const { lines } = await storedLog(10);
  const edited = relinked(lines.map((line) => line.replace(/"id-6"/, '"id-x"')));
  assert.equal(await verdictOn(edited, { checkpoints: kept }), "altered 6 to 7");
});

test("verifyAudit() finds what was put in and taken out with everything after it written anew", async () => {
  const { lines } = await storedLog(10);
  const at = placeOf(lines, 5);
  const inserted = relinked(spliced(lines, at, 0, lines[at]!.replace("id-5", "id-x")), true);
  assert.equal(await verdictOn(inserted), "inserted 4 to 8");
  const removed = relinked(lines.toSpliced(at, 1), true);
  assert.equal(await verdictOn(removed), "missing 4 to 7");
  const last = placeOf(lines, 7);
  assert.equal(await verdictOn(lines.toSpliced(last, 1)), "missing 7");
  assert.equal(await verdictOn(lines.toSpliced(last, 1).slice(0, last + 1)), "missing 7");
});

test("verifyAudit() finds a forged line with an index that no entry has", async () => {
  const { lines } = await storedLog(10);
  const forged = lines[3]!.replace('"index":2', '"index":99');
  assert.equal(await verdictOn(spliced(lines, 3, 0, forged)), "inserted 2");
  const twice = lines[placeOf(lines, 6)]!;
  assert.equal(await verdictOn(spliced(lines, 3, 0, twice)), "inserted 2");
});

test("verifyAudit() finds a forged line in the place of the one after it", async () => {
  const { lines } = await storedLog(10);
  const at = placeOf(lines, 5);
  const forged = lines[at]!.replace("id-5", "id-x");
  assert.equal(await verdictOn(spliced(lines, at, 0, forged)), "inserted 5");
  const loose = forged.replace(/"prev":".*"\}$/, `"prev":"${JSON.parse(lines[1]!).prev}"}`);
  assert.equal(await verdictOn(spliced(lines, at, 0, loose)), "inserted 5");
});

test("verifyAudit() tells a fork from an edit by what the signer signed", async () => {
  const { checkpoints } = await storedLog(10);
  const other = await storedLog(10, 4, { now: () => 1 });
  assert.equal(await verdictOn(other.lines, { checkpoints: [checkpoints[1]!] }), "forked 4 to 7");
  assert.equal(await verdictOn(other.lines, { checkpoints: [checkpoints[0]!, checkpoints[2]!] }), "forked 0 to 3");
  const unsigned = other.lines.filter((line) => !line.startsWith('{"checkpoint"'));
  assert.equal(await verdictOn(unsigned, { checkpoints: [checkpoints[1]!] }), "altered 0 to 7");
  assert.equal(await verdictOn(unsigned, { checkpoints: [checkpoints[1]!, other.checkpoints[2]!] }), "forked 0 to 7");
});

test("verifyAudit() finds a fork in two kept checkpoints alone", async () => {
  const [one, two] = await Promise.all([storedLog(10), storedLog(10, 4, { now: () => 1 })]);
  const checkpoints = [one.checkpoints[0]!, one.checkpoints[1]!, two.checkpoints[1]!];
  assert.equal(await verdictOn(one.lines, { checkpoints }), "forked 0 to 7");
});

test("verifyAudit() finds two checkpoints in a log that contradict each other", async () => {
  const { lines } = await storedLog(10);
  const other = await storedLog(10, 4, { now: () => 1 });
  const mixed = JSON.stringify({ ...JSON.parse(lines[10]!), checkpoint: other.checkpoints[1]! });
  assert.equal(await verdictOn(spliced(lines, 11, 0, mixed)), "forked 4 to 7");
  assert.equal(await verdictOn(lines.with(10, mixed)), "forked 4 to 7");
});

test("verifyAudit() refuses a log that is not the one of the kept checkpoint", async () => {
  const { checkpoints } = await storedLog(4, 4, { origin: "another" });
  const { lines } = await storedLog(10);
  assert.equal(await verdictOn(lines, { checkpoints }), "foreign 0");
});

test("verifyAudit() does not take checkpoints of two logs for a fork, nor one that is kept twice", async () => {
  const other = await storedLog(4, 4, { origin: "another", now: () => 1 });
  const { lines, checkpoints } = await storedLog(10);
  assert.equal(await verdictOn(lines, { checkpoints: [checkpoints[0]!, other.checkpoints[0]!] }), "foreign 0");
  assert.equal(await verdictOn(lines, { checkpoints: [checkpoints[0]!, checkpoints[0]!] }), "ok 10");
});

test("verifyAudit() names the first problem of several", async () => {
  const { lines } = await storedLog(10);
  const edited = relinked(lines.map((line) => line.replace(/"id-6"/, '"id-x"')));
  assert.equal(await verdictOn([...edited, "forged"]), "altered 4 to 7");
  assert.equal(await verdictOn([...edited.slice(0, 8), "forged"]), "altered 6");
});

test("verifyAudit() says only what is proven of a break", async () => {
  const { lines } = await storedLog(10);
  const [five, six, seven] = [5, 6, 7].map((index) => placeOf(lines, index)) as [number, number, number];
  const edited = lines.with(six, lines[six]!.replace("id-6", "id-x"));
  assert.equal(await verdictOn(spliced(edited, seven, 0, lines[seven]!)), "altered 6 to 7", "one more line");
  const forged = lines[six]!.replace(/"prev":".*"\}$/, `"prev":"${JSON.parse(lines[1]!).prev}"}`);
  const renumbered = lines[six]!.replace('"index":6', '"index":8');
  assert.equal(await verdictOn(lines.with(six, renumbered).toSpliced(six, 0, forged)), "altered 5 to 6", "a number");
  const other = await storedLog(10, 4, { origin: "another" });
  const foreign = lines.with(five, lines[five]!.replace("id-5", "id-x")).with(10, other.lines[10]!);
  assert.equal(await verdictOn(foreign), "altered 5 to 6", "a checkpoint of another log");
  const loose = lines.slice(0, -1).map((line) => line.startsWith('{"index":8') ? relinked([line])[0]! : line);
  assert.equal(await verdictOn(loose, { allowUnsignedEnd: true }), "altered 8", "entries before that are signed");
});

test("verifyAudit() proves which entry was altered across the beginning of a file", async () => {
  const unsigned = (await storedLog(5, 100)).lines.slice(0, -1);
  const verdict = await verifyAudit(textOf(unsigned), { keys: [signer], allowUnsignedEnd: true });
  assert.ok(verdict.ok);
  const whole = [...unsigned, ...(await storedLog(4, 4, { resume: verdict.end })).lines];
  assert.equal(await verdictOn(whole), "ok 9");
  assert.equal(await verdictOn(whole.map((line) => line.replace("id-3", "id-x"))), "altered 3");
});

test("verifyAudit() names the line", async () => {
  const { lines } = await storedLog(10);
  const messageOn = async (log: readonly string[]) => {
    const verdict = await verifyAudit(textOf(log), { keys: [signer] });
    return verdict.ok ? "" : verdict.message;
  };
  assert.equal(await messageOn(lines.with(0, lines[0]!.replace("47DEQ", "48DEQ"))), "Line 1 was altered");
  const none = "Line 4 is not a line of a log";
  assert.equal(await messageOn(spliced(lines, 3, 0, "{}")), none);
  assert.equal(await messageOn(lines.with(3, lines[3]!.replace("{", '{"x":1,'))), none);
  for (const index of ['"2"', "2.5", "-2", "1e99", "null"]) {
    assert.equal(await messageOn(lines.with(3, lines[3]!.replace(":2,", `:${index},`))), none);
  }
});

test("verifyAudit() refuses a checkpoint of another log of the same signer", async () => {
  const { checkpoints } = await storedLog(4, 4, { origin: "another" });
  const { lines } = await storedLog(10);
  const foreign = JSON.stringify({ ...JSON.parse(lines[5]!), checkpoint: checkpoints[0]! });
  assert.equal(await verdictOn(lines.with(5, foreign)), "foreign 4");
});

test("verifyAudit() refuses a log that another key signed", async () => {
  const { lines } = await storedLog(10, 4, { signer: signerOf("mallory", "orders") });
  assert.equal(await verdictOn(lines), "unsigned 0 to 3");
});

test("verifyAudit() throws for a kept checkpoint that is not one, and for a key that cannot be one", async () => {
  const { text } = await storedLog(1);
  const is = (code: string) => (error: unknown) => (error as AuditError).code === code;
  await assert.rejects(verifyAudit(text, { keys: [signer], checkpoints: ["x"] }), is("syntax"));
  const note = await signCheckpoint({ origin: ORIGIN, size: 0, root: new Uint8Array(32) }, signerOf("mallory"));
  await assert.rejects(verifyAudit(text, { keys: [signer], checkpoints: [note] }), is("signature"));
  await assert.rejects(verifyAudit(text, { keys: [{ id: "a b", publicKey: new Uint8Array(32) }] }), TypeError);
  await assert.rejects(verifyAudit(text, { keys: [{ id: "a", publicKey: new Uint8Array(3) }] }), TypeError);
});

test("verifyAudit() takes the empty tree's kept checkpoint for what it is", async () => {
  const [empty, { lines }] = await Promise.all([storedLog(0), storedLog(10)]);
  const note = JSON.parse(empty.lines[1]!).checkpoint as string;
  assert.equal(hexOf((await verifyCheckpoint(note, [signer])).root).slice(0, 8), "e3b0c442");
  assert.equal(await verdictOn(lines, { checkpoints: [note] }), "ok 10");
  const wrong = await signCheckpoint({ origin: ORIGIN, size: 0, root: new Uint8Array(32) }, signer);
  assert.equal(await verdictOn(lines, { checkpoints: [wrong] }), "forked 0");
});
