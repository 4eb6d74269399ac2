import {
  type Call,
  type Context,
  createClient,
  createServer,
  implement,
  publicOnly,
  rpc,
  RpcError,
  service,
  type Transport,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { aborted, assertLogged, collect, Echo, echoServer, gate, post, refusalOf, rejection, Text } from "./_rig.ts";

const message = { text: "a" };
const never = () => new Promise<never>(() => {});

test("createServer() answers deadline_exceeded when the caller's time is up", async () => {
  const { server, entries } = echoServer({}, never);
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "20" })));
  assert.deepEqual([refusal.status, refusal.code], [504, "deadline_exceeded"]);
  assert.deepEqual([assertLogged(entries, refusal).level, entries[0]?.method], ["info", "echo.v1/say"]);
});

test("createServer() answers deadline_exceeded when its own time is up", async () => {
  const { server } = echoServer({ limits: { callDeadlineMs: 20 } }, never);
  for (const headers of [{}, { "connect-timeout-ms": "60000" }]) {
    const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, headers as never)));
    assert.equal(refusal.code, "deadline_exceeded");
  }
});

/** A server of two methods, one with a deadline of its own, that says how much time a call has. */
function timed(own: number, callDeadlineMs: number) {
  const Timed = service("timed.v1", { own: rpc(Text, Text, { callDeadlineMs: own }), plain: rpc(Text, Text) });
  const seen: number[] = [];
  const handle = (given: { text: string }, { remainingMs }: Context) => {
    seen.push(remainingMs);
    return given;
  };
  const server = createServer(implement(Timed, { own: handle, plain: handle }), {
    guard: publicOnly(["timed.v1/own", "timed.v1/plain"]),
    limits: { callDeadlineMs },
  });
  return { Timed, server, seen };
}

const remaining: readonly (readonly [
  method: "own" | "plain",
  own: number,
  server: number,
  caller: number | undefined,
  most: number,
])[] = [
  ["plain", 5_000, 20_000, undefined, 20_000],
  ["plain", 5_000, 20_000, 90_000, 20_000],
  ["plain", 5_000, 20_000, 10_000, 10_000],
  ["own", 5_000, 20_000, undefined, 5_000],
  ["own", 5_000, 20_000, 10_000, 5_000],
  ["own", 5_000, 20_000, 2_000, 2_000],
  ["own", 50_000, 20_000, undefined, 50_000],
  ["own", 50_000, 20_000, 30_000, 30_000],
];
for (const [method, own, callDeadlineMs, caller, most] of remaining) {
  const title = `server ${callDeadlineMs}, method ${method === "own" ? own : "none"}, caller ${caller ?? "none"}`;
  test(`context.remainingMs goes by the shortest deadline that applies: ${title}`, async () => {
    const { Timed, server, seen } = timed(own, callDeadlineMs);
    await server.fetch(post(`/timed.v1/${method}`, message, caller ? { "connect-timeout-ms": String(caller) } : {}));
    await createClient(Timed, server.call, { timeoutMs: caller ?? 100_000 })[method](message);
    assert.equal(seen.length, 2);
    for (const left of seen) assert.ok(left <= most && left > most - 1_000, `${left} of ${most}`);
  });
}

test("context.remainingMs is 0 and never less when the time is up", async () => {
  const seen = gate<number>();
  const { server } = echoServer({}, async (given, context) => {
    await aborted(context.signal);
    seen.open(context.remainingMs);
    return given;
  });
  await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "15" }));
  assert.ok(await seen.opened < 5);
  assert.ok(await seen.opened >= 0);
});

test("createServer() does not wait for a handler whose caller has no time at all", async () => {
  const { server } = echoServer({}, never);
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "0" })));
  assert.equal(refusal.code, "deadline_exceeded");
});

for (
  const [name, reach] of [["the deadline is over", "deadline_exceeded"], ["the caller cancels", "canceled"]] as const
) {
  test(`context.signal aborts with ${reach} when ${name}, from the same process`, async () => {
    const [started, ended] = [gate(), gate<unknown>()];
    const { server, entries } = echoServer({}, async (given, { signal }) => {
      assert.equal(signal.aborted, false);
      started.open();
      ended.open(await aborted(signal));
      return given;
    });
    const controller = new AbortController();
    const client = createClient(Echo, server.call, { timeoutMs: reach === "canceled" ? 60_000 : 20 });
    const call = rejection(client.say(message, { signal: controller.signal }));
    await started.opened;
    if (reach === "canceled") controller.abort();
    const error = await call;
    const reason = await ended.opened;
    assert.ok(reason instanceof RpcError);
    assert.deepEqual([error.code, reason.code], [reach, reach]);
    assertLogged(entries, error);
  });
}

test("context.signal aborts when the caller's request is aborted", async () => {
  const [started, ended] = [gate(), gate<unknown>()];
  const { server } = echoServer({}, async (given, { signal }) => {
    started.open();
    ended.open(await aborted(signal));
    return given;
  });
  const controller = new AbortController();
  const request = new Request(post("/echo.v1/say", message), { signal: controller.signal });
  const response = server.fetch(request);
  await started.opened;
  controller.abort();
  const reason = await ended.opened;
  assert.ok(reason instanceof RpcError && reason.code === "canceled");
  await response;
});

test("context.signal is aborted already for a handler that asks after its caller has gone", async () => {
  const [started, go, seen] = [gate(), gate(), gate<boolean>()];
  const { server } = echoServer({}, async (given, context) => {
    started.open();
    await go.opened;
    seen.open(context.signal.aborted);
    return given;
  });
  const controller = new AbortController();
  const call = rejection(createClient(Echo, server.call).say(message, { signal: controller.signal }));
  await started.opened;
  controller.abort();
  assert.equal((await call).code, "canceled");
  go.open();
  assert.equal(await seen.opened, true);
});

test("context.signal is aborted already for a handler that asks after its deadline", async () => {
  const [go, seen] = [gate(), gate<boolean>()];
  const { server } = echoServer({}, async (given, context) => {
    await go.opened;
    seen.open(context.signal.aborted);
    return given;
  });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "10" })));
  assert.equal(refusal.code, "deadline_exceeded");
  go.open();
  assert.equal(await seen.opened, true);
});

test("context.signal does not abort after a normal answer, whoever goes away then", async () => {
  let signal: AbortSignal | undefined;
  const { server } = echoServer({}, (given, context) => {
    signal = context.signal;
    return given;
  });
  const controller = new AbortController();
  await createClient(Echo, server.call).say(message, { signal: controller.signal });
  await server.fetch(new Request(post("/echo.v1/say", message), { signal: controller.signal }));
  controller.abort();
  assert.equal(signal?.aborted, false);
});

test("createServer() does not keep a caller that cancels waiting for a handler that does not listen", async () => {
  const started = gate();
  const { server } = echoServer({}, () => {
    started.open();
    return never();
  });
  const controller = new AbortController();
  const call = rejection(createClient(Echo, server.call).say(message, { signal: controller.signal }));
  await started.opened;
  controller.abort();
  assert.equal((await call).code, "canceled");
});

test("createServer() answers a call from the same process whose signal is aborted with canceled", async () => {
  const { server } = echoServer({}, never);
  const call: Call = { method: Echo.methods.say, message, timeoutMs: 1_000, signal: AbortSignal.abort() };
  assert.equal((await rejection(server.call(call))).code, "canceled");
});

test("createServer() ignores what a handler does after its deadline", async () => {
  const late = gate();
  const { server, entries } = echoServer({}, async () => {
    await late.opened;
    throw new Error("too late to matter");
  });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "10" })));
  assert.equal(refusal.code, "deadline_exceeded");
  late.open();
  for (let turn = 0; turn < 20; turn++) await undefined;
  assert.equal(entries.length, 1);
});

for (const [name, cancel] of [["that outlives its deadline", false], ["whose caller has gone", true]] as const) {
  test(`a handler ${name} keeps its place under maxConcurrentCalls until it ends`, async () => {
    const [started, late] = [gate(), gate()];
    const { server } = echoServer({ limits: { maxConcurrentCalls: 1 } }, async (given) => {
      if (given.text === "slow") {
        started.open();
        await late.opened;
      }
      return given;
    });
    const client = createClient(Echo, server.call, { timeoutMs: cancel ? 60_000 : 10 });
    const controller = new AbortController();
    const slow = rejection(client.say({ text: "slow" }, cancel ? { signal: controller.signal } : {}));
    await started.opened;
    if (cancel) controller.abort();
    assert.equal((await slow).code, cancel ? "canceled" : "deadline_exceeded");
    assert.equal((await refusalOf(await server.fetch(post("/echo.v1/say", message)))).code, "resource_exhausted");
    assert.equal((await rejection(client.say(message))).code, "resource_exhausted");
    late.open();
    for (let turn = 0; turn < 20; turn++) await undefined;
    assert.equal((await server.fetch(post("/echo.v1/say", message))).status, 200);
  });
}

/** A transport that notes what it is asked, and answers. */
function noting(): { transport: Transport; calls: Call[] } {
  const calls: Call[] = [];
  return {
    calls,
    transport: (call) => {
      calls.push(call);
      return Promise.resolve({ message: call.message });
    },
  };
}

const passedOn: readonly (readonly [name: string, own: number | undefined, most: number])[] = [
  ["the remaining time", undefined, 500],
  ["the caller's own timeout where that is shorter", 100, 100],
  ["no more than the remaining time", 60_000, 500],
];
for (const [name, timeoutMs, most] of passedOn) {
  test(`context.call() passes on ${name}`, async () => {
    const { transport, calls } = noting();
    const { server } = echoServer(
      {},
      (given, context) =>
        context.call(createClient(Echo, transport)).say(given, timeoutMs === undefined ? {} : { timeoutMs }),
    );
    assert.equal((await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "500" }))).status, 200);
    const given = calls[0]?.timeoutMs ?? NaN;
    assert.ok(given <= most && given > most - 90, `${given} of ${most}`);
  });
}

test("context.call() gives a client with the same methods", async () => {
  const { transport, calls } = noting();
  const { server } = echoServer({}, async (given, context) => {
    const client = context.call(createClient(Echo, transport));
    assert.deepEqual(Object.keys(client), ["say", "look", "hidden"]);
    await client.look(given);
    return client.say(given);
  });
  assert.equal((await server.fetch(post("/echo.v1/say", message))).status, 200);
  assert.deepEqual(calls.map((call) => call.method.name), ["look", "say"]);
});

for (const who of ["the caller", "the handler"]) {
  test(`context.call() cancels what it called when ${who} cancels`, async () => {
    const [started, ended] = [gate(), gate<unknown>()];
    const inner = echoServer({}, async (given, { signal }) => {
      started.open();
      ended.open(await aborted(signal));
      return given;
    });
    const [caller, handler] = [new AbortController(), new AbortController()];
    const outer = echoServer(
      {},
      (given, context) => context.call(createClient(Echo, inner.server.call)).say(given, { signal: handler.signal }),
    );
    const call = rejection(createClient(Echo, outer.server.call).say(message, { signal: caller.signal }));
    await started.opened;
    (who === "the caller" ? caller : handler).abort();
    assert.ok(await ended.opened instanceof RpcError);
    await call;
  });
}

test("context.call() makes its calls end with the deadline", async () => {
  const ended = gate<unknown>();
  const inner = echoServer({}, async (given, { signal }) => {
    ended.open(await aborted(signal));
    return given;
  });
  const outer = echoServer({}, (given, context) => context.call(createClient(Echo, inner.server.call)).say(given));
  await outer.server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "15" }));
  assert.ok(await ended.opened instanceof RpcError);
});

test("createServer() answers deadline_exceeded when the deadline ends what its handler called", async () => {
  for (let attempt = 0; attempt < 5; attempt++) {
    const inner = echoServer({}, never);
    const outer = echoServer({}, (given, context) => context.call(createClient(Echo, inner.server.call)).say(given));
    const refusal = await refusalOf(
      await outer.server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "15" })),
    );
    assert.equal(refusal.code, "deadline_exceeded");
  }
});

test("createServer() answers canceled when its caller ends what its handler called", async () => {
  const started = gate();
  const inner = echoServer({}, () => {
    started.open();
    return never();
  });
  const { log } = collect();
  const outer = echoServer({ log }, (given, context) => context.call(createClient(Echo, inner.server.call)).say(given));
  const controller = new AbortController();
  const call = rejection(createClient(Echo, outer.server.call).say(message, { signal: controller.signal }));
  await started.opened;
  controller.abort();
  assert.equal((await call).code, "canceled");
});

test("createServer().fetch calls nothing for a deadline that is over already", async () => {
  const { server, calls } = echoServer();
  const refusal = await refusalOf(
    await server.fetch(post("/echo.v1/say", { text: "a" }, { "connect-timeout-ms": "0" })),
  );
  assert.deepEqual([refusal.status, refusal.code, calls.length], [504, "deadline_exceeded", 0]);
});
