import { counterWindow } from "../../src/auth/counter_window.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const WINDOW = 2_048;

/** The same in the plainest way: everything that was ever taken is remembered. */
function model(first: number) {
  const used = new Set<number>();
  let lowest = first;
  let highest = first - 1;
  return {
    take(counter: number): boolean {
      if (counter < lowest || counter <= highest - WINDOW || used.has(counter)) return false;
      used.add(counter);
      highest = Math.max(highest, counter);
      return true;
    },
    wasTaken: (counter: number) => counter <= highest - WINDOW || used.has(counter),
    raise: (counter: number) => void (lowest = Math.max(lowest, counter)),
  };
}

/** Counters near the highest so far, far below it, and far above. */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ take: fc.integer({ min: -40, max: 40 }) }) },
  { weight: 2, arbitrary: fc.record({ take: fc.integer({ min: -WINDOW - 3, max: -WINDOW + 3 }) }) },
  { weight: 2, arbitrary: fc.record({ take: fc.integer({ min: WINDOW - 70, max: WINDOW + 70 }) }) },
  { weight: 1, arbitrary: fc.record({ take: fc.integer({ min: 3 * WINDOW, max: 2 ** 31 }) }) },
  { weight: 1, arbitrary: fc.record({ raise: fc.integer({ min: -100, max: 100 }) }) },
);

describe("counterWindow()", () => {
  test("counterWindow() takes what a list of all counters would take, whatever their order", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000_000_000 }),
        fc.array(step, { maxLength: 120 }),
        (first, steps) => {
          const [window, list] = [counterWindow(first), model(first)];
          let near = first;
          for (const each of steps) {
            if ("raise" in each) {
              const to = Math.max(1, near + each.raise);
              window.raise(to);
              list.raise(to);
              continue;
            }
            const counter = Math.max(1, near + each.take);
            assert.equal(window.wasTaken(counter), list.wasTaken(counter), `${counter}`);
            const taken = window.take(counter);
            assert.equal(taken, list.take(counter), `${counter}`);
            if (taken) near = Math.max(near, counter);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test("CounterWindow.take() takes every counter of a shuffled window once", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(Array.from({ length: 100 }, (_, i) => i + 1), { minLength: 100 }), (order) => {
        const window = counterWindow(1);
        for (const counter of order) assert.equal(window.take(counter), true);
        for (const counter of order) assert.equal(window.take(counter), false);
      }),
      { numRuns: 30 },
    );
  });

  const rows: readonly [title: string, before: readonly number[], counter: number, taken: boolean][] = [
    ["the first", [], 10, true],
    ["one below the first", [], 9, false],
    ["the first again", [10], 10, false],
    ["the last that the window reaches", [10 + WINDOW], 11, true],
    ["the one that just left the window", [10 + WINDOW], 10, false],
    ["one whose bit another counter had", [10], 10 + WINDOW, true],
    ["one whose bit had another counter, long ago", [10, 11], 11 + 5 * WINDOW, true],
    ["the highest that the wire can say", [10], 9_999_999_999, true],
    ["one that was jumped over", [10, 500], 499, true],
    ["one that was jumped over by exactly a window", [10, 10 + WINDOW], 10 + WINDOW - 1, true],
    ["one that came after a jump of a window", [10, 10 + WINDOW], 10 + WINDOW, false],
  ];
  for (const [title, before, counter, taken] of rows) {
    test(`CounterWindow.take() ${taken ? "takes" : "refuses"} ${title}`, () => {
      const window = counterWindow(10);
      for (const each of before) window.take(each);
      assert.equal(window.take(counter), taken);
      assert.equal(window.take(counter), false);
    });
  }

  test("CounterWindow.raise() takes back what is below, and never gives anything back", () => {
    const window = counterWindow(1);
    window.take(8);
    window.raise(6);
    assert.equal(window.take(5), false);
    window.raise(2);
    assert.deepEqual([5, 6, 7, 8, 9].map((counter) => window.take(counter)), [false, true, true, false, true]);
  });

  test("CounterWindow.wasTaken() tells what was taken from what was only taken back", () => {
    const window = counterWindow(100);
    window.take(101);
    window.raise(200);
    const taken = [99, 100, 101, 102, 101 - WINDOW, 102 - WINDOW].map((counter) => window.wasTaken(counter));
    assert.deepEqual(taken, [false, false, true, false, true, false]);
  });

  test("CounterWindow.raise() above the highest lets nothing below in, and the counter itself once", () => {
    const window = counterWindow(1);
    window.take(3);
    window.raise(100);
    assert.deepEqual([4, 99, 100, 100, 101].map((counter) => window.take(counter)), [false, false, true, false, true]);
  });
});
