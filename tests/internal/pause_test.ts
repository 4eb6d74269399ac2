import assert from "node:assert/strict";
import { test } from "node:test";
import { pause } from "../../src/internal/pause.ts";
import { heldTime, watching } from "../selector/_mesh.ts";

test("pause() waits for no time at once, and not at all for who is not there any more", async () => {
  await pause(0);
  await pause(-5);
  await pause(2 ** 31 - 1, AbortSignal.abort());
});

/** A signal that tells how many listen to it. */
function heard() {
  const ending = new AbortController();
  const { signal } = ending;
  const [add, remove] = [signal.addEventListener, signal.removeEventListener];
  let listeners = 0;
  signal.addEventListener = (...args: unknown[]) => (listeners++, Reflect.apply(add, signal, args));
  signal.removeEventListener = (...args: unknown[]) => (listeners--, Reflect.apply(remove, signal, args));
  return { signal, abort: () => ending.abort("enough"), listeners: () => listeners };
}

test("pause() ends when its time is over and not before, and lets go of the signal", async () => {
  using time = heldTime();
  const { signal, listeners } = heard();
  const waits = [pause(100), pause(100, signal)].map(watching);
  await time.pass(99);
  assert.deepEqual([waits.map(({ pending }) => pending), listeners(), time.timers], [[true, true], 1, 2]);
  await time.pass(1);
  await time.settle();
  assert.deepEqual(waits.map(({ outcome }) => outcome), [{ value: undefined }, { value: undefined }]);
  assert.deepEqual([listeners(), time.timers], [0, 0]);
});

test("pause() ends when the signal aborts, without an error, a listener and a timer", async () => {
  using time = heldTime();
  const { signal, abort, listeners } = heard();
  const waiting = watching(pause(2 ** 31 - 1, signal));
  await time.settle();
  assert.deepEqual([waiting.pending, listeners(), time.timers], [true, 1, 1]);
  abort();
  await time.settle();
  assert.deepEqual(waiting.outcome, { value: undefined });
  assert.deepEqual([listeners(), time.timers], [0, 0]);
});
