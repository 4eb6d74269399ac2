import { delegating, exact } from "../../src/auth/mod.ts";
import { createClient, type Transport } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Echo } from "../rpc/_rig.ts";

/** What a delegation says of each call. */
async function said(delegate: ReturnType<typeof delegating>): Promise<unknown[]> {
  const grants: unknown[] = [];
  const transport: Transport = (call) => {
    grants.push(delegate(call));
    return Promise.resolve({ message: call.message });
  };
  const client = createClient(Echo, transport);
  await client.say({ text: "a" });
  await client.look({ text: "b" });
  return grants;
}

test("delegating() decides by the message of the methods that it names, and hands on nothing with the others", async () => {
  const delegate = delegating(Echo, { say: ({ text }) => ({ tools: { "echo.v1/hidden": { text: exact(text) } } }) });
  const tools = { "echo.v1/hidden": { text: { constraint_type: "exact", value: "a" } } };
  assert.deepEqual(await said(delegate), [{ tools }, undefined]);
});

test("delegating() hands on nothing where a function says so", async () => {
  assert.deepEqual(await said(delegating(Echo, { say: () => undefined })), [undefined, undefined]);
});

for (const name of ["nothing", "constructor", "toString", "echo.v1/say"]) {
  test(`delegating() refuses "${name}", which the contract does not have`, () => {
    assert.throws(() => delegating(Echo, { [name]: () => undefined }), (error: Error) => {
      return error instanceof TypeError && error.message.includes(`"${name}"`);
    });
  });
}
