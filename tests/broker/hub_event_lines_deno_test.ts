import assert from "node:assert/strict";
import { test } from "node:test";
import { eventLines } from "../../src/broker/hub/event_lines.ts";

test("eventLines() lets one event after the other through, and a later turn from its beginning", () => {
  const lines = eventLines();
  const isNext = (turn: number, n: number) => lines.isNext({ id: "a", turn, n });
  assert.deepEqual([isNext(1, 1), isNext(1, 0)], [false, true]);
  lines.done({ id: "a", turn: 1, n: 0 });
  assert.deepEqual([isNext(1, 0), isNext(1, 1), isNext(1, 2)], [false, true, false]);
  assert.deepEqual([isNext(2, 0), isNext(2, 1)], [true, false]);
  lines.done({ id: "a", turn: 2, n: 0 });
  assert.deepEqual([isNext(1, 1), isNext(1, 0), isNext(2, 1)], [false, false, true]);
  assert.deepEqual([lines.isNext({ id: "b", turn: 0, n: 0 }), lines.size], [true, 1]);
});

test("eventLines() lets nothing more of a turn through once an event of it has to be tried again", () => {
  const lines = eventLines();
  const isNext = (turn: number, n: number) => lines.isNext({ id: "a", turn, n });
  for (const n of [0, 1, 2]) lines.done({ id: "a", turn: 1, n });
  lines.broken({ id: "a", turn: 1, n: 1 });
  assert.deepEqual([isNext(1, 3), isNext(1, 1), isNext(2, 0)], [false, false, true]);
  lines.done({ id: "a", turn: 2, n: 0 });
  lines.broken({ id: "a", turn: 1, n: 2 });
  assert.deepEqual([isNext(2, 1), isNext(1, 3)], [true, false], "what is told late says nothing of a later turn");
});

test("eventLines() forgets the line that moved first of more than 1,024", () => {
  const lines = eventLines();
  for (let index = 0; index < 1_024; index++) lines.done({ id: `${index}`, turn: 0, n: 0 });
  lines.done({ id: "0", turn: 0, n: 1 });
  lines.done({ id: "one more", turn: 0, n: 0 });
  assert.equal(lines.size, 1_024);
  assert.deepEqual([0, 1, 2].map((id) => lines.isNext({ id: `${id}`, turn: 0, n: 0 })), [false, true, false]);
});
