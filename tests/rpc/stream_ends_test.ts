// Streams that end before their end: left, canceled, late, stalled, drained.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient, RpcError } from "../../src/rpc/mod.ts";
import { mustCome } from "../_patience.ts";
import { aborted, gate, rejection, type Words } from "./_rig.ts";
import { envelope, streamPost } from "./_envelopes.ts";
import {
  all,
  channelGuard,
  channelProver,
  clientOf,
  type StreamHandlers,
  Streams,
  streamServer,
  texts,
} from "./_streams.ts";

const ways = {
  plain: (handlers: StreamHandlers) => clientOf(streamServer(handlers).server),
  proven: (handlers: StreamHandlers) =>
    clientOf(streamServer(handlers, { guard: channelGuard() }).server, { prover: channelProver() }),
  "in process": (handlers: StreamHandlers) => createClient(Streams, streamServer(handlers).server.call),
};

/** A handler that counts for ever, and what became of it. */
function counter() {
  const ended = gate();
  const told = gate<unknown>();
  const state = { given: 0 };
  const handlers: StreamHandlers = {
    async *down(_message, { signal }) {
      void aborted(signal).then(told.open);
      try {
        for (;; state.given++) {
          await new Promise((resolve) => setTimeout(resolve, 0));
          yield { text: String(state.given) };
        }
      } finally {
        ended.open();
      }
    },
  };
  return { handlers, ended: ended.opened, told: told.opened, state };
}

/** A handler that waits for ever after its first message, and does not listen. */
const hanging: StreamHandlers = {
  async *down() {
    yield { text: "a" };
    await new Promise(() => {});
  },
};

const disposed = async (server: AsyncDisposable) => await server[Symbol.asyncDispose]();

const code = (reason: unknown) => reason instanceof RpcError ? reason.code : reason;

for (const [name, clientFor] of Object.entries(ways)) {
  test(`ctx.signal aborts and the handler's generator returns when the caller leaves its loop, ${name}`, async () => {
    const { handlers, ended, told } = counter();
    for await (const { text } of clientFor(handlers).down({ text: "" })) if (text === "3") break;
    assert.equal(code(await mustCome(told, "the abort")), "canceled");
    await mustCome(ended, "the generator's return");
  });

  test(`ctx.signal aborts when the caller's own signal does, and the loop throws canceled, ${name}`, async () => {
    const { handlers, ended, told } = counter();
    const controller = new AbortController();
    const answers = clientFor(handlers).down({ text: "" }, { signal: controller.signal });
    const error = await rejection((async () => {
      for await (const { text } of answers) if (text === "3") controller.abort(new Error("left"));
    })());
    assert.equal(error.code, "canceled");
    assert.equal(code(await mustCome(told, "the abort")), "canceled");
    await mustCome(ended, "the generator's return");
  });

  test(`createClient() ends a stream at its deadline, also where the handler does not listen, ${name}`, async () => {
    const read: string[] = [];
    const error = await rejection((async () => {
      for await (const { text } of clientFor(hanging).down({ text: "" }, { timeoutMs: 50 })) read.push(text);
    })());
    assert.deepEqual([read, error.code], [["a"], "deadline_exceeded"]);
  });

  test(`createClient() ends a call that sends a stream at its deadline, ${name}`, async () => {
    const returned = gate();
    async function* endless(): AsyncGenerator<Words> {
      try {
        yield { text: "a" };
        await new Promise((resolve) => setTimeout(resolve, 200));
        yield { text: "b" };
      } finally {
        returned.open();
      }
    }
    const error = await rejection(clientFor({}).up(endless(), { timeoutMs: 50 }));
    assert.equal(error.code, "deadline_exceeded");
    await mustCome(returned.opened, "the return of what the caller sends");
  });

  test(`createClient() stops what the caller sends when the server has answered, ${name}`, async () => {
    const returned = gate();
    async function* endless(): AsyncGenerator<Words> {
      try {
        for (;;) {
          await new Promise((resolve) => setTimeout(resolve, 0));
          yield { text: "a" };
        }
      } finally {
        returned.open();
      }
    }
    const client = clientFor({
      async up(messages) {
        for await (const _ of messages) break;
        return { text: "enough" };
      },
    });
    assert.deepEqual(await client.up(endless()), { text: "enough" });
    await mustCome(returned.opened, "the return of what the caller sends");
  });
}

test("createServer() tells a handler that its deadline is over while it waits between messages", async () => {
  const told = gate<unknown>();
  const { server } = streamServer({
    async *down(_message, { signal }) {
      yield { text: "a" };
      told.open(await aborted(signal));
    },
  });
  const request = streamPost("down", envelope('{"text":""}'), { "connect-timeout-ms": "30" });
  const text = await (await server.fetch(request)).text();
  assert.match(text, /"code":"deadline_exceeded"/);
  assert.equal(code(await mustCome(told.opened, "the abort")), "deadline_exceeded");
});

test("createServer() ends a stream with its deadline's error though nobody read when it came", async () => {
  const { server } = streamServer({ down: () => texts(...Array.from({ length: 9_000 }, () => "0".repeat(99))) });
  const request = streamPost("down", envelope('{"text":""}'), { "connect-timeout-ms": "20" });
  const response = await server.fetch(request);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.match(await response.text(), /"code":"deadline_exceeded"/);
});

test("createServer() asks a handler for nothing while nobody reads, and cuts who reads nothing for too long", async () => {
  const { handlers, ended, told, state } = counter();
  const { server } = streamServer(handlers, { limits: { stallMs: 50 } });
  const response = await server.fetch(streamPost("down", envelope('{"text":""}')));
  assert.equal(code(await mustCome(told, "the abort")), "canceled");
  await mustCome(ended, "the generator's return");
  assert.ok(state.given < 5, `${state.given} messages were made`);
  await assert.rejects(response.text());
});

test("createServer() waits for open streams when it is disposed, and not for handlers that hang", async () => {
  const go = gate();
  const { server } = streamServer({
    async *down() {
      yield { text: "a" };
      await go.opened;
      yield { text: "b" };
    },
  });
  const answers = clientOf(server).down({ text: "" })[Symbol.asyncIterator]();
  await answers.next();
  let isDisposed = false;
  const disposing = disposed(server).then(() => isDisposed = true);
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(isDisposed, false);
  go.open();
  assert.deepEqual(await answers.next(), { done: false, value: { text: "b" } });
  assert.equal((await answers.next()).done, true);
  await mustCome(disposing, "the end of the server");
});

for (const name of ["plain", "in process"] as const) {
  test(`createServer() lets go of a stream whose handler hangs when its caller leaves, ${name}`, async () => {
    let ends = 0;
    const { server } = streamServer(hanging, {
      guard: { start() {}, admit: () => ({ end: () => void ends++ }) },
    });
    const client = name === "plain" ? clientOf(server) : createClient(Streams, server.call);
    const answers = client.down({ text: "" })[Symbol.asyncIterator]();
    await answers.next();
    const hangs = answers.next();
    await answers.return!();
    assert.equal((await hangs).done, true);
    await mustCome(disposed(server), "the end of the server");
    assert.equal(ends, 0, "the handler keeps its place until it ends");
  });
}

test("admission.end is told once, when a stream has ended and not before", async () => {
  let ends = 0;
  const { server } = streamServer({}, { guard: { start() {}, admit: () => ({ end: () => void ends++ }) } });
  const answers = clientOf(server).down({ text: "ab" })[Symbol.asyncIterator]();
  await answers.next();
  assert.deepEqual(await answers.next(), { done: false, value: { text: "b" } });
  assert.equal((await answers.next()).done, true);
  assert.equal(ends, 1);
});

test("createServer() counts a stream among its calls until it has ended", async () => {
  const { server } = streamServer(hanging, { limits: { maxConcurrentCalls: 1 } });
  const client = clientOf(server);
  const answers = client.down({ text: "" })[Symbol.asyncIterator]();
  await answers.next();
  assert.equal((await rejection(client.plain({ text: "a" }))).code, "resource_exhausted");
});

test("createServer() gives the message of a method without a stream as long as any body to arrive", async () => {
  const { server } = streamServer({}, { limits: { receiveDeadlineMs: 30 } });
  const response = await server.fetch(streamPost("down", new ReadableStream()));
  assert.match(await response.text(), /"code":"deadline_exceeded"/);
});

test("ctx.call() ends the stream of a client with the call that it is part of", async () => {
  const inner = counter();
  const behind = clientOf(streamServer(inner.handlers).server);
  const { server } = streamServer({
    async *down(_message, context) {
      yield* context.call(behind).down({ text: "" });
    },
  });
  for await (const { text } of clientOf(server).down({ text: "" })) if (text === "2") break;
  await mustCome(inner.ended, "the return of the generator behind");
});

test("ctx.call() gives a stream no more time than its call has left", async () => {
  const { server } = streamServer({
    async *down(_message, context) {
      yield* context.call(clientOf(streamServer(hanging).server)).down({ text: "" });
    },
  });
  const error = await rejection(all(clientOf(server).down({ text: "" }, { timeoutMs: 60 })));
  // Both find out at once; where the inner one is first, what it says is masked.
  assert.match(error.code, /^(?:deadline_exceeded|internal)$/);
});
