import assert from "node:assert/strict";
import { test } from "node:test";
import { pause } from "../../src/internal/pause.ts";

test("pause() waits for no time at once, and not at all for who is not there any more", async () => {
  await pause(0);
  await pause(-5);
  await pause(2 ** 31 - 1, AbortSignal.abort());
});

test("pause() ends when the signal aborts, without an error and without a timer", async () => {
  const ending = new AbortController();
  const waiting = pause(2 ** 31 - 1, ending.signal);
  ending.abort();
  assert.equal(await waiting, undefined);
});
