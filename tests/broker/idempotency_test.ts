import { memoryIdempotency } from "../../src/broker/idempotency.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { clock } from "../auth/_world.ts";

test("memoryIdempotency() has what was added, and nothing else", () => {
  const memory = memoryIdempotency({ now: clock() });
  assert.equal(memory.has("a"), false);
  memory.add("a");
  for (const [key, known] of [["a", true], ["A", false], ["a ", false], ["", false], ["toString", false]] as const) {
    assert.equal(memory.has(key), known, key);
  }
  memory.add("");
  assert.equal(memory.has(""), true);
});

test("memoryIdempotency() remembers for an hour where nothing is said, to the millisecond", () => {
  const now = clock();
  const memory = memoryIdempotency({ now });
  memory.add("a");
  now.pass(3_599_999);
  assert.equal(memory.has("a"), true);
  now.pass(1);
  assert.equal(memory.has("a"), false);
  memory.add("a");
  assert.equal(memory.has("a"), true);
});

test("memoryIdempotency() remembers for as long as it is told, from the last time on", () => {
  const now = clock();
  const memory = memoryIdempotency({ now, windowMs: 10 });
  memory.add("a");
  now.pass(9);
  memory.add("a");
  now.pass(9);
  assert.equal(memory.has("a"), true);
  now.pass(1);
  assert.equal(memory.has("a"), false);
});

test("memoryIdempotency() takes a clock that was set back for no reason to forget", () => {
  const now = clock();
  const memory = memoryIdempotency({ now });
  memory.add("a");
  now.pass(-86_400_000);
  assert.equal(memory.has("a"), true);
});

test("memoryIdempotency() forgets the oldest of more than it may remember", () => {
  const memory = memoryIdempotency({ now: clock(), maxMessages: 3 });
  for (const key of ["a", "b", "c"]) memory.add(key);
  memory.add("a"); // now the newest
  assert.deepEqual(["a", "b", "c"].map(memory.has), [true, true, true]);
  memory.add("d");
  assert.deepEqual(["a", "b", "c", "d"].map(memory.has), [true, false, true, true]);
});

test("memoryIdempotency() remembers 100,000 messages where nothing is said", () => {
  const memory = memoryIdempotency({ now: clock() });
  for (let index = 0; index < 100_000; index++) memory.add(`${index}`);
  assert.equal(memory.has("0"), true);
  memory.add("more");
  assert.deepEqual([memory.has("0"), memory.has("1")], [false, true]);
});

test("memoryIdempotency() goes by the time of the machine where no clock is given", () => {
  const memory = memoryIdempotency();
  memory.add("a");
  assert.equal(memory.has("a"), true);
});

test("memoryIdempotency() shares nothing with another", () => {
  const [first, second] = [memoryIdempotency(), memoryIdempotency()];
  first.add("a");
  assert.equal(second.has("a"), false);
});
