import { type Call, createClient, NotSentError, rpc, RpcError, service, stream } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { mesh } from "./_mesh.ts";

const Item = v.strictObject({ item: v.string() });
/** The same service with streams. */
const Streams = service("shop.v1", {
  watch: rpc(Item, stream(Item), { safe: true }),
  upload: rpc(stream(Item), Item, { idempotent: true }),
});

async function* items(...names: string[]) {
  for (const item of names) yield { item };
}

const unavailable = () => new RpcError("unavailable", "It is gone", { received: true });

test("balancedTransport() gives a stream of an instance, and makes a call again that failed before it began", async () => {
  const shop = await mesh("one", "two");
  let failures = 1;
  for (const id of ["one", "two"]) {
    shop.behaviours.set(id, () => {
      if (failures-- > 0) throw unavailable();
      return { message: undefined, messages: items("a", "b") };
    });
  }
  const got: string[] = [];
  for await (const { item } of createClient(Streams, shop.transport()).watch({ item: "book" })) got.push(item);
  assert.deepEqual(got, ["a", "b"]);
  assert.equal(new Set(shop.attempts).size, 2);
});

test("balancedTransport() does not make a call again of whose messages one was taken", async () => {
  for (const [begins, attempts] of [[true, 1], [false, 2]] as const) {
    const shop = await mesh("one", "two");
    const failing = async ({ messages }: Call) => {
      if (begins) await messages![Symbol.asyncIterator]().next();
      throw new NotSentError("Cannot reach the server", { received: true });
    };
    for (const id of ["one", "two"]) shop.behaviours.set(id, failing);
    const client = createClient(Streams, shop.transport({ maxAttempts: 2 }));
    await assert.rejects(client.upload(items("a")), RpcError);
    assert.equal(shop.attempts.length, attempts);
  }
});

test("balancedTransport() never opens a second stream beside one that is slow", async () => {
  const shop = await mesh("one", "two");
  for (const id of ["one", "two"]) {
    shop.behaviours.set(id, async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return { message: undefined, messages: items("a") };
    });
  }
  const got = [];
  const client = createClient(Streams, shop.transport({ hedgeAfterMs: 1 }));
  for await (const each of client.watch({ item: "book" })) got.push(each);
  assert.deepEqual([got.length, shop.attempts.length], [1, 1]);
});

test("balancedTransport() counts a stream as a load until it ends, and learns that it failed", async () => {
  const shop = await mesh("one", "two");
  let end: (error?: unknown) => void = () => {};
  const held = async function* () {
    yield { item: "a" };
    const error = await new Promise((resolve) => end = resolve);
    if (error) throw error;
  };
  for (const id of ["one", "two"]) shop.behaviours.set(id, () => ({ message: undefined, messages: held() }));
  const client = createClient(Streams, shop.transport());
  const first = client.watch({ item: "book" })[Symbol.asyncIterator]();
  await first.next();
  const second = client.watch({ item: "book" })[Symbol.asyncIterator]();
  await second.next();
  assert.deepEqual([...shop.attempts].sort(), ["one", "two"]); // the least loaded one, each time
  const next = second.next();
  await new Promise((resolve) => setTimeout(resolve));
  end(unavailable());
  await assert.rejects(next, /It is gone/);
  await first.return?.();
});
