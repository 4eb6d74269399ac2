import assert from "node:assert/strict";
import { test } from "node:test";
import { readerPace } from "../../src/broker/reader_pace.ts";

test("readerPace() fetches ahead what a reader takes in a quarter of the time that a message may be out", () => {
  const pace = readerPace({ ackWaitMs: 1_000, maxInFlight: 64 });
  let now = 0;
  const take = (ms: number) => {
    pace.handed(now);
    now += ms;
    pace.ready(now);
    pace.ready(now + 5_000); // it has nothing then
    return pace.ahead;
  };
  assert.equal(pace.ahead, 0);
  pace.ready(5_000);
  assert.equal(pace.ahead, 0);
  assert.equal(take(50), 5);
  assert.equal(take(100), 2);
  assert.equal(take(251), 0);
  for (let times = 0; times < 3; times++) take(0);
  assert.equal(pace.ahead, 1);
  for (let times = 0; times < 200; times++) take(0);
  assert.equal(pace.ahead, 63);
});
