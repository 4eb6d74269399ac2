import { createClient, type Middleware, RpcError, type Transport, wrap } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Echo, echoServer, post, postRaw, refusalOf, rejection } from "./_rig.ts";

const message = { text: "a" };
const echo: Transport = (call) => Promise.resolve({ message: call.message });

/** A middleware that notes when a call goes through it. */
const noting = (notes: string[], name: string): Middleware => async (call, next) => {
  notes.push(`${name} in`);
  try {
    return await next(call);
  } finally {
    notes.push(`${name} out`);
  }
};

const order = ["a in", "b in", "b out", "a out"];

test("createClient() puts the first middleware outermost", async () => {
  const notes: string[] = [];
  const middleware = [noting(notes, "a"), noting(notes, "b")];
  await createClient(Echo, echo, { middleware }).say(message);
  assert.deepEqual(notes, order);
});

test("createServer() puts the first middleware outermost, over fetch and in process", async () => {
  const notes: string[] = [];
  const { server } = echoServer({ middleware: [noting(notes, "a"), noting(notes, "b")] }, (given) => {
    notes.push("handler");
    return given;
  });
  const whole = [...order.slice(0, 2), "handler", ...order.slice(2)];
  await server.fetch(post("/echo.v1/say", message));
  assert.deepEqual(notes.splice(0), whole);
  await createClient(Echo, server.call).say(message);
  assert.deepEqual(notes, whole);
});

test("wrap() gives the transport itself where there is no middleware", () => {
  assert.equal(wrap([], echo), echo);
});

const answering: Middleware = () => Promise.resolve({ message: { text: "from the middleware", more: 1 } });

test("a middleware may answer itself, on the client", async () => {
  const unreached: Transport = () => assert.fail("the transport was reached");
  const client = createClient(Echo, unreached, { middleware: [answering] });
  assert.deepEqual(await client.say(message), { text: "from the middleware" });
});

test("a middleware may answer itself, on the server, within the contract", async () => {
  const { server, calls } = echoServer({ middleware: [answering] });
  assert.equal(await (await server.fetch(post("/echo.v1/say", message))).text(), '{"text":"from the middleware"}');
  assert.deepEqual(calls, []);
});

test("a middleware's answer outside the contract is refused on both sides", async () => {
  const wrong: Middleware = () => Promise.resolve({ message: { text: 7 } });
  const { server } = echoServer({ middleware: [wrong] });
  assert.equal((await refusalOf(await server.fetch(post("/echo.v1/say", message)))).code, "internal");
  assert.equal((await rejection(createClient(Echo, echo, { middleware: [wrong] }).say(message))).code, "internal");
});

test("a middleware lets an error through, and sees it", async () => {
  const seen: unknown[] = [];
  const watching: Middleware = (call, next) =>
    next(call).catch((error) => {
      seen.push(error.code);
      throw error;
    });
  const { server } = echoServer({ middleware: [watching] }, () => {
    throw new RpcError("aborted", "No");
  });
  const client = createClient(Echo, server.call, { middleware: [watching] });
  assert.equal((await rejection(client.say(message))).code, "aborted");
  assert.deepEqual(seen, ["aborted", "aborted"]);
});

test("a middleware that throws something else is masked on the server", async () => {
  const broken: Middleware = () => {
    throw new Error("s3cret");
  };
  const { server } = echoServer({ middleware: [broken] });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message)));
  assert.equal(refusal.code, "internal");
  assert.ok(!refusal.text.includes("s3cret"));
});

test("a middleware may try again", async () => {
  let attempts = 0;
  const flaky: Transport = (call) =>
    ++attempts < 3
      ? Promise.reject(new RpcError("unavailable", "Not yet"))
      : Promise.resolve({ message: call.message });
  const again: Middleware = async (call, next) => {
    for (;;) {
      try {
        return await next(call);
      } catch (error) {
        if (!(error instanceof RpcError && error.code === "unavailable")) throw error;
      }
    }
  };
  assert.deepEqual(await createClient(Echo, flaky, { middleware: [again] }).say(message), message);
  assert.equal(attempts, 3);
});

test("createServer() shows its middleware admitted and checked calls only", async () => {
  const seen: unknown[] = [];
  const watching: Middleware = (call, next) => {
    seen.push([call.method.name, call.message]);
    return next(call);
  };
  const { server } = echoServer({ middleware: [watching] });
  await server.fetch(post("/echo.v1/hidden", message));
  await server.fetch(post("/echo.v1/nothing", message));
  await server.fetch(post("/echo.v1/say", { text: 7 }));
  await server.fetch(postRaw("/echo.v1/say", "{"));
  await rejection(server.call({ method: Echo.methods.say, message: { text: 7 }, timeoutMs: 100 }));
  await rejection(server.call({ method: Echo.methods.hidden, message, timeoutMs: 100 }));
  assert.deepEqual(seen, []);
  await server.fetch(post("/echo.v1/say", message));
  assert.deepEqual(seen, [["say", message]]);
});

test("createServer() gives its middleware the context, the signal and the remaining time", async () => {
  let seen: unknown[] = [];
  const watching: Middleware = (call, next) => {
    seen = [
      call.context?.method.path,
      call.signal === call.context?.signal,
      call.timeoutMs <= 500 && call.timeoutMs > 0,
    ];
    return next(call);
  };
  const { server } = echoServer({ middleware: [watching] });
  await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "500" }));
  assert.deepEqual(seen, ["/echo.v1/say", true, true]);
});

test("createServer() holds its deadline over middleware that waits", async () => {
  const waiting: Middleware = () => new Promise(() => {});
  const { server } = echoServer({ middleware: [waiting] });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "15" })));
  assert.equal(refusal.code, "deadline_exceeded");
});

test("createClient() shows its middleware checked messages only", async () => {
  const notes: string[] = [];
  const client = createClient(Echo, echo, { middleware: [noting(notes, "a")] });
  await rejection(client.say({ text: 7 } as never));
  assert.deepEqual(notes, []);
});
