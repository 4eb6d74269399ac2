import { type Call, createClient, rpc, RpcError, service, type Transport } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { Echo, echoServer, rejection, Text, type Words } from "./_rig.ts";

/** A transport that notes the calls and answers with what it is given. */
function stub(answer: (call: Call) => unknown = (call) => call.message): { transport: Transport; calls: Call[] } {
  const calls: Call[] = [];
  const transport: Transport = async (call) => {
    calls.push(call);
    return { message: await answer(call) };
  };
  return { transport, calls };
}

test("createClient() gives a frozen plain object with one function for each method", () => {
  const client = createClient(Echo, stub().transport);
  assert.deepEqual(Object.keys(client), ["say", "look", "hidden"]);
  assert.ok(Object.isFrozen(client));
  assert.equal(Object.getPrototypeOf(client), Object.prototype);
  assert.equal((client as { then?: unknown }).then, undefined);
});

test("createClient() can be returned from an async function", async () => {
  const client = await Promise.resolve(createClient(Echo, stub().transport));
  assert.deepEqual(await client.say({ text: "a" }), { text: "a" });
});

test("createClient() sends the method, the message and the default timeout", async () => {
  const { transport, calls } = stub();
  assert.deepEqual(await createClient(Echo, transport).say({ text: "a" }), { text: "a" });
  assert.equal(calls.length, 1);
  assert.equal(calls[0]?.method, Echo.methods.say);
  assert.deepEqual(calls[0]?.message, { text: "a" });
  assert.equal(calls[0]?.timeoutMs, 30_000);
  assert.equal(calls[0]?.signal, undefined);
});

test("createClient() takes a timeout for all calls, and a call its own", async () => {
  const { transport, calls } = stub();
  const client = createClient(Echo, transport, { timeoutMs: 200 });
  await client.say({ text: "a" });
  await client.say({ text: "a" }, { timeoutMs: 5_000 });
  await client.say({ text: "a" }, { timeoutMs: Infinity });
  assert.deepEqual(calls.map((call) => call.timeoutMs), [200, 5_000, 2 ** 31 - 1]);
});

for (const timeoutMs of [0, -1, 0.5, NaN, Infinity, 2 ** 31, "100" as never]) {
  test(`createClient() refuses the timeout ${timeoutMs} (${typeof timeoutMs})`, () => {
    assert.throws(() => createClient(Echo, stub().transport, { timeoutMs }), (error: Error) => {
      return error instanceof RangeError && error.message.includes("timeoutMs");
    });
  });
}

for (const timeoutMs of [0, -1, NaN, -Infinity]) {
  test(`createClient() answers deadline_exceeded for a call whose timeout is ${timeoutMs}, and sends nothing`, async () => {
    const { transport, calls } = stub();
    const error = await rejection(createClient(Echo, transport).say({ text: "a" }, { timeoutMs }));
    assert.equal(error.code, "deadline_exceeded");
    assert.equal(calls.length, 0);
  });
}

const Order = v.strictObject({
  items: v.array(v.strictObject({ sku: v.pipe(v.string(), v.maxLength(3)) })),
  tags: v.optional(v.record(v.string(), v.number())),
});
const Orders = service("orders.v1", { place: rpc(Order, Order) });

const secret = "tok_s3cret";
const mismatches: readonly (readonly [name: string, message: unknown, field: string])[] = [
  ["a wrong type", { items: secret }, ` at "items"`],
  ["a wrong item", { items: [{ sku: "a" }, { sku: secret }] }, ` at "items[1].sku"`],
  ["an unknown member", { items: [], [`x${secret}`]: 1 }, ` at "xtok_s3cret"`],
  ["an unknown member that is not a plain name", { items: [], [`<${secret}>`]: 1 }, ` at "[key]"`],
  ["a wrong value under a key that is data", { items: [], tags: { [`<${secret}>`]: secret } }, ` at "tags.[key]"`],
  ["no object", secret, ""],
  ["null", null, ""],
  ["undefined", undefined, ""],
];

for (const [name, message, field] of mismatches) {
  test(`createClient() refuses ${name} before anything is sent, naming the field and not the value`, async () => {
    const { transport, calls } = stub();
    const error = await rejection(createClient(Orders, transport).place(message as never));
    assert.equal(error.code, "invalid_argument");
    assert.ok(error.message.startsWith("The message does not match the contract"), error.message);
    if (!field.includes("s3cret")) {
      assert.ok(error.message.replaceAll(".[", "[").endsWith(`contract${field.replaceAll(".[", "[")}`), error.message);
      assert.ok(!JSON.stringify([error.message, error.cause ?? null]).includes(secret));
    }
    assert.equal(calls.length, 0);
  });

  test(`createClient() refuses ${name} in an answer, naming the field and not the value`, async () => {
    const error = await rejection(createClient(Orders, stub(() => message).transport).place({ items: [] }));
    assert.equal(error.code, "internal");
    assert.equal(error.received, true);
    assert.ok(error.message.startsWith("The answer does not match the contract"), error.message);
    if (!field.includes("s3cret")) assert.ok(!error.message.includes(secret));
  });
}

test("createClient() strips what the answer's schema does not name", async () => {
  const { transport } = stub(() => ({ text: "a", more: 1 }));
  assert.deepEqual(await createClient(Echo, transport).say({ text: "a" }), { text: "a" });
});

test("createClient() sends what it was given and not what the server's schema makes of it", async () => {
  const Trimmed = service("t.v1", {
    m: rpc(v.strictObject({ n: v.pipe(v.string(), v.transform(Number)) }), v.object({})),
  });
  const { transport, calls } = stub(() => ({}));
  await createClient(Trimmed, transport).m({ n: "42" });
  assert.deepEqual(calls[0]?.message, { n: "42" });
});

test("createClient() answers canceled for a call that was aborted before, and sends nothing", async () => {
  const { transport, calls } = stub();
  const reason = new Error("changed my mind");
  const error = await rejection(
    createClient(Echo, transport).say({ text: "a" }, { signal: AbortSignal.abort(reason) }),
  );
  assert.equal(error.code, "canceled");
  assert.equal(error.cause, reason);
  assert.equal(calls.length, 0);
});

test("createClient() hands the signal on", async () => {
  const { transport, calls } = stub();
  const { signal } = new AbortController();
  await createClient(Echo, transport).say({ text: "a" }, { signal });
  assert.equal(calls[0]?.signal, signal);
});

test("createClient() hands an error of the transport on as it is", async () => {
  const thrown = new RpcError("not_found", "There is none");
  const { transport } = stub(() => {
    throw thrown;
  });
  assert.equal(await rejection(createClient(Echo, transport).say({ text: "a" })), thrown);
});

test("createClient() calls a server of the same process", async () => {
  const { server, calls } = echoServer();
  const client = createClient(Echo, server.call);
  assert.deepEqual(await client.say({ text: "a" }), { text: "a" });
  assert.deepEqual(await client.look({ text: "b" }), { text: "b" });
  assert.deepEqual(calls, [{ text: "a" }, { text: "b" }]);
});

test("createClient() keeps calls that run at once apart", async () => {
  const { server } = echoServer({}, async (message) => {
    for (let turn = Number(message.text); turn > 0; turn--) await undefined;
    return message;
  });
  const client = createClient(Echo, server.call);
  const texts = Array.from({ length: 50 }, (_, n) => String((n * 7) % 50));
  const answers: Words[] = await Promise.all(texts.map((text) => client.say({ text })));
  assert.deepEqual(answers.map(({ text }) => text), texts);
});

test("createClient() runs schemas that are asynchronous", async () => {
  const Later = v.pipeAsync(
    v.strictObject({ text: v.string() }),
    v.checkAsync(async ({ text }) => (await text) !== "bad"),
  );
  const Slow = service("slow.v1", { m: rpc(Later, Text) });
  const { transport, calls } = stub();
  const client = createClient(Slow, transport);
  assert.deepEqual(await client.m({ text: "good" }), { text: "good" });
  assert.equal((await rejection(client.m({ text: "bad" }))).code, "invalid_argument");
  assert.equal(calls.length, 1);
});
