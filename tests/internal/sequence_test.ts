import { asking, sequence, type Taker } from "../../src/internal/sequence.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

/** A sequence of numbers that a test feeds. */
function fed() {
  let to: Taker<number> | undefined;
  let closed = 0;
  const numbers = sequence<number>({
    pull(taker) {
      to = taker;
    },
    close() {
      closed++;
    },
  });
  return { numbers, to: () => to!, closed: () => closed };
}

function taken() {
  const seen: unknown[] = [];
  const taker: Taker<number> = {
    give: (value) => void seen.push(value),
    end: () => void seen.push("end"),
    fail: (error) => void seen.push(error),
  };
  return { seen, taker };
}

test("sequence() gives items when they are asked for, and ends once", async () => {
  const { numbers, to, closed } = fed();
  const first = numbers.next();
  to().give(1);
  assert.deepEqual(await first, { done: false, value: 1 });
  const second = numbers.next();
  to().end();
  assert.equal((await second).done, true);
  assert.equal((await numbers.next()).done, true);
  assert.equal(closed(), 1);
});

test("sequence() tells its source when it is left", async () => {
  const { numbers, to, closed } = fed();
  const first = numbers.next();
  to().give(1);
  await first;
  await numbers.return!();
  assert.equal(closed(), 1);
  assert.equal((await numbers.next()).done, true);
});

test("sequence() gives an error to who asks next, where nobody was asking", async () => {
  const { numbers, to } = fed();
  const first = numbers.next();
  to().give(1);
  await first;
  const gone = new Error("gone");
  to().fail(gone);
  await assert.rejects(numbers.next(), gone);
});

test("asking() takes from a sequence without promises, and from any other iterator with them", async () => {
  const { numbers, to } = fed();
  const direct = taken();
  const ask = asking(numbers, direct.taker);
  ask();
  to().give(1);
  ask();
  to().end();
  assert.deepEqual(direct.seen, [1, "end"]);

  const other = taken();
  const next = asking(
    (async function* () {
      yield 2;
      throw new Error("over");
    })(),
    other.taker,
  );
  for (let i = 0; i < 2; i++) {
    next();
    await new Promise((resolve) => setTimeout(resolve));
  }
  assert.equal(other.seen[0], 2);
  assert.match(String(other.seen[1]), /over/);
});
