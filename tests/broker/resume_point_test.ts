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

test("resumePoint() goes beyond nothing that has to come again after it began again", () => {
  const point = resumePoint("earliest");
  for (const position of ["a", "b"]) point.came(position);
  point.settled("b");
  point.restart();
  for (const position of ["a", "b", "c"]) point.came(position);
  point.settled("c");
  assert.equal(point.start, "earliest");
  point.settled("a");
  assert.deepEqual(point.start, { after: "a" });
  point.settled("b");
  assert.deepEqual(point.start, { after: "c" });
});

test("resumePoint() does not wait for what the broker does not have any more when it begins again", () => {
  const point = resumePoint("new");
  point.begun(1);
  for (const position of ["old 1", "old 2"]) point.came(position);
  point.settled("old 1");
  point.restart();
  for (const position of ["new 1", "new 2"]) point.came(position);
  point.settled("new 1");
  assert.deepEqual(point.start, { after: "new 1" });
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
