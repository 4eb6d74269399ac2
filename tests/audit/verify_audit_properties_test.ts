import { verifyAudit } from "../../src/audit/mod.ts";
import { linesOf, placeOf, signer, spliced, storedLog, textOf, verdictOn } from "./_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";

type Tamper = (lines: readonly string[], index: number, other: number) => readonly string[];
const tampers:
  readonly (readonly [name: string, tamper: Tamper, verdict: (index: number, other: number, end: number) => string])[] =
    [
      [
        "altered",
        (lines, index) =>
          lines.with(placeOf(lines, index), lines[placeOf(lines, index)]!.replace('"event":"', '"event":"x')),
        (index) => `altered ${index}`,
      ],
      ["missing", (lines, index) => lines.toSpliced(placeOf(lines, index), 1), (index) => `missing ${index}`],
      [
        "inserted",
        (lines, index) =>
          spliced(lines, placeOf(lines, index), 0, lines[placeOf(lines, index)]!.replace("id-", "id-x")),
        (index) => `inserted ${index}`,
      ],
      [
        "reordered",
        (lines, index, other) => {
          const [one, two] = [placeOf(lines, index), placeOf(lines, other)];
          return lines.with(one, lines[two]!).with(two, lines[one]!);
        },
        (index, other) => `reordered ${Math.min(index, other)}`,
      ],
      [
        "truncated",
        (lines, index) => lines.slice(0, placeOf(lines, index)),
        (index, _, end) => `truncated ${index}` + (index < end ? ` to ${end}` : ""),
      ],
    ];
for (const [name, tamper, verdict] of tampers) {
  test(`verifyAudit() names the first entry that is ${name} in any log`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 24 }),
        fc.integer({ min: 1, max: 9 }),
        fc.nat(),
        fc.nat(),
        async (entries, every, one, two) => {
          const [index, step] = [one % entries, 1 + two % (entries - 1)];
          const { lines, checkpoints } = await storedLog(entries, every);
          const other = (index + step) % entries;
          const tampered = tamper(lines, index, other);
          const options = name === "truncated" ? { checkpoints: checkpoints.slice(-1) } : {};
          assert.equal(await verdictOn(lines, options), `ok ${entries}`);
          assert.equal(
            await verdictOn(tampered, { ...options, allowUnsignedEnd: true }),
            verdict(index, other, entries - 1),
          );
        },
      ),
      { numRuns: 60 },
    );
  });
}

test("verifyAudit() finds any change of any one byte", async () => {
  const { text } = await storedLog(6, 3);
  const bytes = new TextEncoder().encode(text);
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const changed = bytes.slice();
      changed[at]! ^= flip;
      const verdict = await verifyAudit(changed, { keys: [signer] });
      // A line of a checkpoint is not an entry: a change that leaves what it says as it is, is none.
      if (verdict.ok) assert.deepEqual(parsed(changed), parsed(bytes));
    }),
    { numRuns: 500 },
  );
});

const parsed = (bytes: Uint8Array) => linesOf(new TextDecoder().decode(bytes)).map((line) => JSON.parse(line));

test("verifyAudit() is total: it finds something in any bytes, and throws for none", async () => {
  const { lines } = await storedLog(6, 3);
  const line = fc.oneof(fc.constantFrom(...lines), fc.json(), fc.string());
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 12 }), async (mixed) => {
      const verdict = await verifyAudit(textOf(mixed), { keys: [signer], allowUnsignedEnd: true });
      if (!verdict.ok) return assert.ok(verdict.index <= verdict.lastIndex && verdict.index >= 0);
      const entries = mixed.filter((text) => text.startsWith('{"index":'));
      assert.deepEqual(entries, lines.filter((text) => text.startsWith('{"index":')).slice(0, entries.length));
    }),
    { numRuns: 300 },
  );
});
