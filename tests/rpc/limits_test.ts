import { cbor, json } from "../../src/codec/mod.ts";
import {
  createClient,
  createServer,
  defaultServerLimits,
  implement,
  publicOnly,
  rpc,
  service,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import {
  assertAnswers,
  assertLogged,
  collect,
  Echo,
  echoServer,
  gate,
  post,
  postRaw,
  refusalOf,
  rejection,
  soon,
  Text,
} from "./_rig.ts";

/** A body of so many bytes. */
const sized = (bytes: number) => `{"text":"${"a".repeat(bytes - 11)}"}`;
const streamed = (text: string) => new Response(text).body as ReadableStream;
const lengths: readonly (readonly [name: string, request: (bytes: number, path?: string) => Request])[] = [
  ["declared", (bytes, path = "/echo.v1/say") => postRaw(path, sized(bytes), { "content-length": String(bytes) })],
  ["not declared", (bytes, path = "/echo.v1/say") => postRaw(path, sized(bytes))],
  ["streamed", (bytes, path = "/echo.v1/say") => postRaw(path, streamed(sized(bytes)))],
  ["declared too small", (bytes, path = "/echo.v1/say") => postRaw(path, sized(bytes), { "content-length": "1" })],
];

for (const [name, request] of lengths) {
  for (const [maxBytes, codec] of [[1_048_576, json()], [100, json({ maxBytes: 100 })]] as const) {
    test(`maxBytes takes a body of ${maxBytes} bytes and refuses one more, its length ${name}`, async () => {
      const { server, calls, entries } = echoServer({ codecs: [codec] });
      assert.equal((await server.fetch(request(maxBytes))).status, 200);
      const refusal = await refusalOf(await server.fetch(request(maxBytes + 1)));
      assert.deepEqual([refusal.status, refusal.code], [429, "resource_exhausted"]);
      assert.match(refusal.message, new RegExp(`${maxBytes} bytes`));
      assertLogged(entries, refusal);
      assert.equal(calls.length, 1);
      await assertAnswers(server);
    });
  }
}

test("maxBytes refuses a declared length before a byte is read", async () => {
  const { server } = echoServer();
  let pulled = 0;
  const body = new ReadableStream({ pull: () => void pulled++ }, { highWaterMark: 0 });
  const refusal = await refusalOf(await server.fetch(postRaw("/echo.v1/say", body, { "content-length": "1048577" })));
  assert.deepEqual([refusal.code, pulled], ["resource_exhausted", 0]);
});

test("maxBytes ends a body that never ends, soon after the limit", async () => {
  const { server } = echoServer({ codecs: [json({ maxBytes: 1_000 })] });
  let pulled = 0;
  const canceled = gate();
  const body = new ReadableStream({
    pull: (controller) => {
      pulled++;
      controller.enqueue(new Uint8Array(100));
    },
    cancel: () => canceled.open(),
  });
  assert.equal((await refusalOf(await server.fetch(postRaw("/echo.v1/say", body)))).code, "resource_exhausted");
  await canceled.opened;
  assert.ok(pulled < 20, `${pulled} chunks were read`);
});

test("maxBytes is each codec's own", async () => {
  const { server } = echoServer({ codecs: [json({ maxBytes: 50 }), cbor({ maxBytes: 100 })] });
  const body = cbor().encode({ text: "a".repeat(80) }) as Uint8Array<ArrayBuffer>;
  assert.equal((await server.fetch(postRaw("/echo.v1/say", body, { "content-type": "application/cbor" }))).status, 200);
  assert.equal((await server.fetch(postRaw("/echo.v1/say", sized(51)))).status, 429);
});

test("maxBytes holds for the message of a GET too", async () => {
  const { server } = echoServer({ codecs: [json({ maxBytes: 50 })] });
  const get = (bytes: number) =>
    server.fetch(new Request(`https://a/echo.v1/look?encoding=json&message=${encodeURIComponent(sized(bytes))}`));
  assert.equal((await get(50)).status, 200);
  assert.equal((await refusalOf(await get(51))).code, "resource_exhausted");
});

const Small = service("small.v1", { m: rpc(Text, Text, { maxBodyBytes: 100, safe: true }), other: rpc(Text, Text) });
const small = (maxBytes?: number) => {
  const { log, entries } = collect();
  const guard = publicOnly(["small.v1/m", "small.v1/other"]);
  const codecs = [json(maxBytes ? { maxBytes } : {})];
  const handlers = { m: (message: { text: string }) => message, other: (message: { text: string }) => message };
  return { server: createServer(implement(Small, handlers), { guard, log, codecs }), entries };
};

for (const [name, request] of lengths) {
  test(`maxBodyBytes narrows one method alone, its length ${name}`, async () => {
    const { server, entries } = small();
    assert.equal((await server.fetch(request(100, "/small.v1/m"))).status, 200);
    assert.equal((await server.fetch(request(101, "/small.v1/other"))).status, 200);
    const refusal = await refusalOf(await server.fetch(request(101, "/small.v1/m")));
    assert.deepEqual([refusal.code, refusal.message], [
      "resource_exhausted",
      "Cannot read the message: it is over 100 bytes",
    ]);
    assertLogged(entries, refusal);
  });
}

test("maxBodyBytes holds for a GET", async () => {
  const { server } = small();
  const get = (bytes: number) =>
    server.fetch(new Request(`https://a/small.v1/m?encoding=json&message=${encodeURIComponent(sized(bytes))}`));
  assert.equal((await get(100)).status, 200);
  assert.equal((await refusalOf(await get(101))).code, "resource_exhausted");
});

test("maxBodyBytes cannot be more than the codec reads", async () => {
  const { server } = small(50);
  for (const [, request] of lengths) {
    const refusal = await refusalOf(await server.fetch(request(60, "/small.v1/m")));
    assert.equal(refusal.code, "resource_exhausted");
    assert.equal(refusal.message, "Cannot read the message: it is over 50 bytes");
  }
});

interface Tree {
  readonly children: readonly Tree[];
}
const Tree: v.GenericSchema<Tree> = v.strictObject({ children: v.array(v.lazy(() => Tree)) });
const Trees = service("trees.v1", { count: rpc(Tree, v.object({ n: v.number() })) });
const count = (tree: Tree): number => tree.children.reduce((sum, child) => sum + count(child), 1);
const trees = (codec = json()) => {
  const { log, entries } = collect();
  const handlers = { count: (tree: Tree) => ({ n: count(tree) }) };
  return {
    server: createServer(implement(Trees, handlers), { guard: publicOnly(["trees.v1/count"]), log, codecs: [codec] }),
    entries,
  };
};
/** Nested so deep, in levels of objects and arrays. */
const nested = (levels: number): string => '{"children":['.repeat(levels / 2) + "]}".repeat(levels / 2);
/** One level, so many items and members in all. */
const wide = (items: number): string => `{"children":[${Array((items - 1) / 2).fill('{"children":[]}').join()}]}`;

const shapes: readonly (readonly [
  name: string,
  body: (n: number) => string,
  own: number,
  given: ReturnType<typeof json>,
  step: number,
  limit: number,
])[] = [
  ["maxDepth", nested, 32, json({ maxDepth: 10 }), 2, 10],
  ["maxItems", wide, 9_999, json({ maxItems: 11 }), 2, 11],
];
for (const [name, body, most, given, step, most2] of shapes) {
  for (const [limit, codec] of [[most, json()], [most2, given]] as const) {
    test(`${name} takes a message of ${limit} and refuses one of ${limit + step}`, async () => {
      const { server, entries } = trees(codec);
      assert.equal((await server.fetch(postRaw("/trees.v1/count", body(limit)))).status, 200);
      const refusal = await refusalOf(await server.fetch(postRaw("/trees.v1/count", body(limit + step))));
      assert.deepEqual([refusal.status, refusal.code], [429, "resource_exhausted"]);
      assert.match(refusal.message, name === "maxDepth" ? /levels/ : /items/);
      assertLogged(entries, refusal);
    });
  }
}

test("a message from the same process that is endlessly deep is refused, and the server goes on", async () => {
  const { server, entries } = trees();
  const endless = { children: [] as unknown[] };
  endless.children.push(endless);
  const error = await rejection(server.call({ method: Trees.methods.count, message: endless, timeoutMs: 1_000 }));
  assert.equal(error.code, "invalid_argument");
  assertLogged(entries, error);
  assert.deepEqual(await createClient(Trees, server.call).count({ children: [] }), { n: 1 });
});

/** A POST whose headers, names and values, are so many bytes in all. */
function headed(bytes: number): Request {
  const request = post("/echo.v1/say", { text: "a" });
  let own = 0;
  request.headers.forEach((value, name) => own += name.length + value.length);
  request.headers.set("x", "a".repeat(bytes - own - 1));
  return request;
}

for (const [maxHeaderBytes, limits] of [[16_384, {}], [200, { maxHeaderBytes: 200 }]] as const) {
  test(`maxHeaderBytes takes headers of ${maxHeaderBytes} bytes and refuses one more`, async () => {
    const { server, calls, entries } = echoServer({ limits });
    assert.equal((await server.fetch(headed(maxHeaderBytes))).status, 200);
    const refusal = await refusalOf(await server.fetch(headed(maxHeaderBytes + 1)));
    assert.deepEqual([refusal.status, refusal.code], [431, "resource_exhausted"]);
    assert.match(refusal.message, new RegExp(`headers are over ${maxHeaderBytes} bytes`));
    assertLogged(entries, refusal);
    assert.equal(calls.length, 1);
  });
}

for (const [maxConcurrentCalls, limits] of [[1_024, {}], [2, { maxConcurrentCalls: 2 }]] as const) {
  test(`maxConcurrentCalls takes ${maxConcurrentCalls} calls at once and refuses one more`, async () => {
    const late = gate();
    const { server, calls, entries } = echoServer({ limits }, async (message) => {
      await late.opened;
      return message;
    });
    const client = createClient(Echo, server.call);
    const running = Array.from(
      { length: maxConcurrentCalls },
      (_, n) => n % 2 ? client.say({ text: "a" }) : server.fetch(post("/echo.v1/say", { text: "a" })),
    );
    for (let turn = 0; turn < 50 && calls.length < maxConcurrentCalls; turn++) {
      await new Promise((resolve) => setTimeout(resolve));
    }
    assert.equal(calls.length, maxConcurrentCalls);
    const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "b" })));
    assert.deepEqual([refusal.status, refusal.code], [429, "resource_exhausted"]);
    assert.match(refusal.message, /too many calls/);
    assertLogged(entries, refusal);
    assert.equal((await rejection(client.say({ text: "b" }))).code, "resource_exhausted");
    assert.equal(calls.length, maxConcurrentCalls);
    late.open();
    await Promise.all(running);
    await assertAnswers(server);
  });
}

test("maxConcurrentCalls gives back the place of every call, however it ends", async () => {
  const { server } = echoServer({ limits: { maxConcurrentCalls: 1 } }, (message) => {
    if (message.text === "throw") throw new Error("no");
    return message;
  });
  const client = createClient(Echo, server.call);
  for (let round = 0; round < 3; round++) {
    await server.fetch(post("/echo.v1/say", { text: "throw" }));
    await server.fetch(post("/nothing.v1/x", {}));
    await server.fetch(postRaw("/echo.v1/say", "{"));
    await rejection(client.say({ text: "throw" }));
    await rejection(client.hidden({ text: "a" }));
    await assertAnswers(server);
    assert.deepEqual(await client.say({ text: "a" }), { text: "a" });
  }
});

/** A body of which the rest never comes. */
const stalled = () =>
  new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode('{"te')) });

test("receiveDeadlineMs ends the wait for a body that stalls", async () => {
  const { server, calls, entries } = echoServer({ limits: { receiveDeadlineMs: 15 } });
  const refusal = await refusalOf(await soon(server.fetch(postRaw("/echo.v1/say", stalled()))));
  assert.deepEqual([refusal.status, refusal.code], [504, "deadline_exceeded"]);
  assert.match(refusal.message, /too long to arrive/);
  assertLogged(entries, refusal);
  assert.equal(calls.length, 0);
  await assertAnswers(server);
});

test("receiveDeadlineMs lets go of the body that it no longer waits for", async () => {
  const canceled = gate<string>();
  const { server } = echoServer({ limits: { receiveDeadlineMs: 15 } });
  const body = new ReadableStream({ cancel: () => canceled.open("canceled") });
  await server.fetch(postRaw("/echo.v1/say", body));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waited = new Promise((resolve) => timer = setTimeout(resolve, 50, "still held"));
  assert.equal(await Promise.race([canceled.opened, waited]), "canceled");
  clearTimeout(timer);
});

test("receiveDeadlineMs takes a body that arrives in time", async () => {
  const { server } = echoServer({ limits: { receiveDeadlineMs: 5_000 } });
  const body = new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      controller.enqueue(new TextEncoder().encode('{"text":"a"}'));
      controller.close();
    },
  });
  assert.equal((await server.fetch(postRaw("/echo.v1/say", body))).status, 200);
});

test("receiveDeadlineMs is 10 seconds where none is given, and the caller's own deadline ends the wait sooner", async () => {
  assert.equal(defaultServerLimits.receiveDeadlineMs, 10_000);
  const { server } = echoServer();
  const refusal = await refusalOf(
    await soon(server.fetch(postRaw("/echo.v1/say", stalled(), { "connect-timeout-ms": "15" }))),
  );
  assert.equal(refusal.code, "deadline_exceeded");
});

test("callDeadlineMs ends a call, and is 30 seconds where none is given", async () => {
  assert.equal(defaultServerLimits.callDeadlineMs, 30_000);
  const { server } = echoServer({ limits: { callDeadlineMs: 15 } }, () => new Promise(() => {}));
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "a" })));
  assert.deepEqual([refusal.code, refusal.message], ["deadline_exceeded", "The call took longer than its deadline"]);
  const error = await rejection(createClient(Echo, server.call).say({ text: "a" }));
  assert.equal(error.code, "deadline_exceeded");
});

const invalid = [0, -1, 1.5, NaN, Infinity, 2 ** 31, "10" as never, null as never, {} as never];
for (const name of Object.keys(defaultServerLimits)) {
  for (const value of invalid) {
    test(`createServer() refuses the limit ${name} of ${JSON.stringify(value)} (${String(value)})`, () => {
      assert.throws(() => echoServer({ limits: { [name]: value } }), (error: Error) => {
        return error instanceof RangeError && error.message.includes(`"${name}"`);
      });
    });
  }
  for (const value of [1, 2 ** 31 - 1]) {
    test(`createServer() takes the limit ${name} of ${value}`, () => {
      assert.ok(echoServer({ limits: { [name]: value } }).server);
    });
  }
}

for (const name of ["maxBodyBytes", "callDeadlineMs"]) {
  for (const value of invalid) {
    test(`createServer() refuses a method whose ${name} is ${JSON.stringify(value)} (${String(value)})`, () => {
      const build = () => {
        const Bad = service("bad.v1", { m: rpc(Text, Text, { [name]: value }) });
        createServer(implement(Bad, { m: (message) => message }), { guard: publicOnly([]) });
      };
      assert.throws(build, (error: Error) => error instanceof RangeError && error.message.includes(`"${name}"`));
    });
  }
}

for (const name of ["maxConcurrentCall", "maxBodyBytes", "timeoutMs", "toString", "constructor"]) {
  test(`createServer() refuses the limit "${name}", which there is not`, () => {
    assert.throws(() => echoServer({ limits: { [name]: 10 } }), (error: Error) => {
      return error instanceof TypeError && error.message.includes(`"${name}"`);
    });
  });
}
