import { checkMessage, rpc, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const Order = v.strictObject({ id: v.pipe(v.string(), v.trim()), lines: v.optional(v.array(v.number()), []) });
const { methods } = service("orders.v1", {
  place: rpc(Order, v.object({})),
  ping: rpc(v.strictObject({}), v.object({})),
});
const validate = methods.place.validateInput;

test("checkMessage() gives the value that the schema makes of a message", () => {
  assert.deepEqual(checkMessage(validate, { id: " a " }), { value: { id: "a", lines: [] } });
});

test("checkMessage() says which field is wrong, in constant words", () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [{ id: 1 }, ' at "id"'],
    [{}, ' at "id"'],
    [{ id: "a", lines: [1, "secret"] }, ' at "lines[1]"'],
    [{ id: "a", "secret key!": 1 }, ' at "[key]"'],
    [null, ""],
    [undefined, ""],
    ["secret", ""],
  ];
  for (const [message, where] of cases) {
    const checked = checkMessage(validate, message);
    assert.deepEqual(checked, { problem: `The message does not match the contract${where}` });
  }
});

test("checkMessage() refuses a list, which an object without required members would take", () => {
  const problem = "The message does not match the contract";
  for (const message of [[], [{ id: "a" }]]) {
    assert.deepEqual(checkMessage(methods.ping.validateInput, message), { problem });
    assert.deepEqual(checkMessage((value) => ({ value }), message), { problem });
  }
});

test("checkMessage() waits for a schema that takes its time", async () => {
  const checking = checkMessage((value) => Promise.resolve({ value }), { a: 1 });
  assert.ok(checking instanceof Promise);
  assert.deepEqual(await checking, { value: { a: 1 } });
  const refusing = checkMessage(() => Promise.resolve({ issues: [{ message: "secret", path: ["a"] }] }), {});
  assert.deepEqual(await refusing, { problem: 'The message does not match the contract at "a"' });
});

test("checkMessage() throws what the schema throws, and takes one that is too deep for a refusal", async () => {
  const failing = new Error("on purpose");
  assert.throws(() =>
    checkMessage(() => {
      throw failing;
    }, {}), failing);
  await assert.rejects(async () => await checkMessage(() => Promise.reject(failing), {}), failing);
  const deep = checkMessage(() => {
    throw new RangeError("Maximum call stack size exceeded");
  }, {});
  assert.deepEqual(deep, { problem: "The message does not match the contract" });
});
