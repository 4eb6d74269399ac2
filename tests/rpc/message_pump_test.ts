import { json } from "../../src/codec/mod.ts";
import { messagePump } from "../../src/rpc/message_pump.ts";
import { soon } from "./_rig.ts";
import { chain } from "./_streams.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

for (const turns of [0, 1, 2, 5, 10, 20, 30, 60]) {
  test(`messagePump() waits for nothing once its reader has left, ${turns} turns after it asked`, async () => {
    let ends = 0;
    const pump = messagePump({
      codec: json(),
      channel: chain("server", "client"),
      open: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) }),
      last: () => Promise.resolve("{}"),
      left() {},
      ended: () => ends++,
    });
    const filled = pump.fill();
    for (let turn = 0; turn < turns; turn++) await undefined;
    pump.leave();
    assert.deepEqual(await soon(filled), { chunk: undefined, done: true });
    assert.equal(ends, 1);
  });
}
