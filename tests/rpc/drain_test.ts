import { createClient } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertLogged, Echo, echoServer, gate, post, refusalOf, rejection } from "./_rig.ts";

const message = { text: "a" };

/** A server with one call in flight, by HTTP or from the same process. */
async function busy(way: "fetch" | "call") {
  const [started, late] = [gate(), gate()];
  const rig = echoServer({}, async (given) => {
    started.open();
    await late.opened;
    return given;
  });
  const { server } = rig;
  const call: Promise<unknown> = way === "fetch"
    ? server.fetch(post("/echo.v1/say", message)).then((response) => response.json())
    : createClient(Echo, server.call).say(message);
  await started.opened;
  return { ...rig, call, finish: late.open };
}

for (const way of ["fetch", "call"] as const) {
  test(`createServer() waits, when it is disposed, for a call in flight by ${way}`, async () => {
    const { server, call, finish } = await busy(way);
    const events: string[] = [];
    const disposed = server[Symbol.asyncDispose]().then(() => events.push("disposed"));
    for (let turn = 0; turn < 50; turn++) await undefined;
    assert.deepEqual(events, []);
    finish();
    assert.deepEqual(await call, message);
    await disposed;
    assert.deepEqual(events, ["disposed"]);
  });

  test(`createServer() refuses new calls with unavailable while it is disposed, one in flight by ${way}`, async () => {
    const { server, call, finish, entries, calls } = await busy(way);
    assert.equal(server.draining, false);
    const disposed = server[Symbol.asyncDispose]();
    assert.equal(server.draining, true);
    const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message)));
    assert.deepEqual([refusal.status, refusal.code], [503, "unavailable"]);
    assertLogged(entries, refusal);
    assert.equal((await rejection(createClient(Echo, server.call).say(message))).code, "unavailable");
    assert.equal(calls.length, 1);
    finish();
    await Promise.all([call, disposed]);
    assert.equal(server.draining, true);
    assert.equal((await server.fetch(post("/echo.v1/say", message))).status, 503);
  });
}

test("createServer() is disposed at once when nothing is in flight", async () => {
  const { server } = echoServer();
  await server.fetch(post("/echo.v1/say", message));
  await server[Symbol.asyncDispose]();
  assert.equal(server.draining, true);
});

test("createServer() can be disposed twice, also while a call is in flight", async () => {
  const { server, call, finish } = await busy("fetch");
  const disposed = [server[Symbol.asyncDispose](), server[Symbol.asyncDispose]()];
  finish();
  await Promise.all([call, ...disposed, server[Symbol.asyncDispose]()]);
});

test("createServer() waits for every call in flight, not for the first", async () => {
  const gates = [gate(), gate()];
  const { server } = echoServer({}, async (given) => {
    await gates[Number(given.text)]?.opened;
    return given;
  });
  const calls = ["0", "1"].map((text) => server.fetch(post("/echo.v1/say", { text })));
  for (let turn = 0; turn < 50; turn++) await undefined;
  let ended = false;
  const disposed = server[Symbol.asyncDispose]().then(() => ended = true);
  gates[0]?.open();
  await calls[0];
  for (let turn = 0; turn < 50; turn++) await undefined;
  assert.equal(ended, false);
  gates[1]?.open();
  await Promise.all([...calls, disposed]);
});

test("createServer() does not wait, when it is disposed, for a handler whose call is answered", async () => {
  const { server } = echoServer({}, () => new Promise(() => {}));
  const answered = server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "15" }));
  await server[Symbol.asyncDispose]();
  assert.equal((await answered).status, 504);
});

test("createServer() drains at the end of an `await using`", async () => {
  let kept: ReturnType<typeof echoServer>["server"];
  {
    await using server = echoServer().server;
    kept = server;
    assert.equal(kept.draining, false);
  }
  assert.equal(kept.draining, true);
});
