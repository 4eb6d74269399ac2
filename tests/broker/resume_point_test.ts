import assert from "node:assert/strict";
import { test } from "node:test";
import { resumePoint } from "../../src/broker/hub/resume_point.ts";

test("resumePoint() goes on where it began while nothing is acknowledged, and not at a later now", () => {
  for (const start of [undefined, "new"] as const) {
    const point = resumePoint(start);
    assert.equal(point.start, start);
    point.begun(5);
    point.came("1");
    point.begun(9);
    assert.deepEqual(point.start, { time: new Date(5) });
  }
  for (const start of ["earliest", { after: "7" }, { time: new Date(3) }] as const) {
    const point = resumePoint(start);
    point.begun(5);
    point.came("8");
    assert.deepEqual(point.start, start);
  }
});

test("resumePoint() goes on after the last message that was settled without a gap", () => {
  const point = resumePoint("earliest");
  for (const position of ["a", "b", "c", "d"]) point.came(position);
  point.settled("b");
  point.settled("c");
  assert.equal(point.start, "earliest");
  point.came("a"); // given back, and here again
  point.settled("a");
  assert.deepEqual(point.start, { after: "c" });
  point.settled("x");
  point.settled("a");
  assert.deepEqual(point.start, { after: "c" });
  point.settled("d");
  assert.deepEqual(point.start, { after: "d" });
});

test("resumePoint() knows what was settled before it began again", () => {
  const point = resumePoint("earliest");
  for (const position of ["a", "b"]) point.came(position);
  point.settled("b");
  point.restart();
  for (const position of ["a", "b", "c"]) point.came(position);
  point.settled("a");
  assert.deepEqual(point.start, { after: "b" });
});

test("resumePoint() does not go beyond what it can follow", () => {
  const point = resumePoint("earliest");
  for (let index = 0; index < 20_000; index++) {
    point.came(`${index}`);
    if (index > 0) point.settled(`${index}`);
  }
  assert.equal(point.start, "earliest");
  point.settled("0");
  assert.deepEqual(point.start, { after: "16383" });
  point.came("20000");
  point.settled("20000");
  assert.deepEqual(point.start, { after: "16383" });
  point.restart();
  point.came("16384");
  point.settled("16384");
  assert.deepEqual(point.start, { after: "16384" });
});
