// With timers that a test moves, which workerd's suite does not have.
import { json } from "../../src/codec/mod.ts";
import { messagePump } from "../../src/rpc/message_pump.ts";
import { chain } from "./_streams.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

test("messagePump() sends a block without envelopes after 20 s of silence, and nothing where nothing is proven", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const turns = async () => {
    for (let turn = 0; turn < 50; turn++) await undefined;
  };
  for (const channel of [chain("server", "client"), undefined]) {
    const pump = messagePump({
      codec: json(),
      channel,
      open: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) }),
      last: () => Promise.resolve("{}"),
      left() {},
      ended() {},
    });
    const chunks: number[][] = [];
    const filled = pump.fill().then(({ chunk }) =>
      void (chunk && chunks.push([...chunk.subarray(0, 5), chunk.length]))
    );
    await turns();
    t.mock.timers.tick(19_999);
    await turns();
    assert.deepEqual(chunks, []);
    t.mock.timers.tick(1);
    await turns();
    // The flag of a block, its length, and the proof of no bytes.
    assert.deepEqual(chunks, channel ? [[0x80, 0, 0, 0, 16, 21]] : []);
    pump.leave();
    await filled;
  }
});
