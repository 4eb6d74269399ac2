import { cbor, json } from "../../src/codec/mod.ts";
import { createClient, createServer, implement, publicOnly, rpc, RpcError, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { assertLogged, collect, Echo, echoServer, ORIGIN, post, postRaw, refusalOf, rejection, Text } from "./_rig.ts";

const guard = publicOnly([]);
const echo = (message: { text: string }) => message;
const handlers = { say: echo, look: echo, hidden: echo };

test("createServer() answers a POST with the message in the same encoding", async () => {
  const { server, calls, entries } = echoServer();
  const response = await server.fetch(post("/echo.v1/say", { text: "hé" }));
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.equal(await response.text(), '{"text":"hé"}');
  assert.deepEqual(calls, [{ text: "hé" }]);
  assert.deepEqual(entries, []);
});

test("createServer() offers JSON alone where no codec is given", async () => {
  const { server } = echoServer();
  const body = cbor().encode({ text: "a" }) as Uint8Array<ArrayBuffer>;
  const response = await server.fetch(postRaw("/echo.v1/say", body, { "content-type": "application/cbor" }));
  assert.equal((await refusalOf(response)).status, 415);
});

test("createServer() answers in the codec that the request names", async () => {
  const { server } = echoServer({ codecs: [json(), cbor()] });
  const body = cbor().encode({ text: "a" }) as Uint8Array<ArrayBuffer>;
  const response = await server.fetch(postRaw("/echo.v1/say", body, { "content-type": "application/cbor" }));
  assert.equal(response.headers.get("content-type"), "application/cbor");
  assert.deepEqual(cbor().decode(new Uint8Array(await response.arrayBuffer())), { text: "a" });
});

test("createServer() answers an error in JSON, whatever the codec", async () => {
  const { server } = echoServer({ codecs: [cbor()] });
  const response = await server.fetch(postRaw("/echo.v1/say", "?", { "content-type": "application/cbor" }));
  assert.equal((await refusalOf(response)).code, "invalid_argument");
});

test("createServer() refuses to be built without a codec", () => {
  assert.throws(() => createServer([], { guard, codecs: [] }), TypeError);
});

test("createServer() serves several services", async () => {
  const Other = service("other.v1", { say: rpc(Text, Text) });
  const both = [implement(Echo, handlers), implement(Other, { say: ({ text }) => ({ text: text + text }) })];
  const server = createServer(both, { guard: publicOnly(["echo.v1/say", "other.v1/say"]) });
  assert.deepEqual(server.services, [Echo, Other]);
  assert.deepEqual(await createClient(Echo, server.call).say({ text: "a" }), { text: "a" });
  assert.deepEqual(await createClient(Other, server.call).say({ text: "a" }), { text: "aa" });
  const response = await server.fetch(post("/other.v1/say", { text: "b" }));
  assert.equal(await response.text(), '{"text":"bb"}');
});

test("createServer() refuses a service that is given twice", () => {
  const twice = [implement(Echo, handlers), implement(Echo, handlers)];
  assert.throws(() => createServer(twice, { guard }), /Cannot serve "echo\.v1" twice/);
});

test("implement() refuses a method without a handler", () => {
  for (const missing of [{}, { say: undefined, look: echo, hidden: echo }, { say: "x", look: echo, hidden: echo }]) {
    assert.throws(
      () => implement(Echo, missing as never),
      /Cannot implement "echo\.v1": the method "say" has no handler/,
    );
  }
});

test("implement() refuses a handler that is only inherited", () => {
  assert.throws(() => implement(Echo, Object.create(handlers)), TypeError);
});

test("implement() refuses a handler without a method", () => {
  for (const name of ["other", "toString", "constructor"]) {
    assert.throws(() => implement(Echo, { ...handlers, [name]: echo } as never), (error: Error) => {
      return error instanceof TypeError && error.message === `Cannot implement "echo.v1": it has no method "${name}"`;
    });
  }
});

test("implement() does not follow a later change of the handlers", async () => {
  const changing = { ...handlers };
  const server = createServer(implement(Echo, changing), { guard: publicOnly(["echo.v1/say"]) });
  changing.say = () => ({ text: "changed" });
  assert.deepEqual(await createClient(Echo, server.call).say({ text: "a" }), { text: "a" });
});

const Shop = service("shop.v1", {
  order: rpc(
    v.strictObject({ items: v.array(v.strictObject({ sku: v.pipe(v.string(), v.trim(), v.maxLength(3)) })) }),
    v.object({ count: v.number() }),
  ),
});

/** A shop whose handler says what it was given. */
function shop() {
  const { log, entries } = collect();
  const calls: unknown[] = [];
  const order = (message: { items: unknown[] }) => {
    calls.push(message);
    return { count: message.items.length };
  };
  const server = createServer(implement(Shop, { order }), { guard: publicOnly(["shop.v1/order"]), log });
  return { server, calls, entries };
}

test("createServer() hands its handler what the schema made of the message", async () => {
  const { server, calls } = shop();
  await server.fetch(post("/shop.v1/order", { items: [{ sku: " a " }] }));
  assert.deepEqual(calls, [{ items: [{ sku: "a" }] }]);
});

const secret = "s3cret_value_of_the_caller";
const mismatches: readonly (readonly [name: string, message: unknown, field: string])[] = [
  ["a member that is missing", {}, "items"],
  ["a member of another type", { items: secret }, "items"],
  ["an item that is too long", { items: [{ sku: "a" }, { sku: secret }] }, "items[1].sku"],
  ["an unknown member", { items: [], more: secret }, "more"],
  ["an unknown member at depth", { items: [{ sku: "a", more: secret }] }, "items[0].more"],
  ["an unknown member that is no plain name", { items: [], [`<${secret}>`]: 1 }, "[key]"],
  ["an inherited name", { items: [], constructor: secret }, "constructor"],
  ["an inherited name at depth", { items: [{ sku: "a", toString: secret }] }, "items[0].toString"],
  ["an array", [secret], ""],
  ["an empty array", [], ""],
  ["a text", secret, ""],
  ["null", null, ""],
];

for (const [name, message, field] of mismatches) {
  const sentence = "The message does not match the contract" + (field ? ` at "${field}"` : "");

  test(`createServer() refuses ${name}, naming the field and not the value`, async () => {
    const { server, calls, entries } = shop();
    const refusal = await refusalOf(await server.fetch(post("/shop.v1/order", message)));
    assert.deepEqual([refusal.status, refusal.code, refusal.message], [400, "invalid_argument", sentence]);
    assert.ok(!refusal.text.includes(secret));
    assert.deepEqual(calls, []);
    assert.deepEqual([assertLogged(entries, refusal).level, entries[0]?.method], ["info", "shop.v1/order"]);
  });

  test(`createServer() refuses ${name} from the same process too`, async () => {
    const { server, calls, entries } = shop();
    const method = Shop.methods.order;
    const error = await rejection(server.call({ method, message, timeoutMs: 1_000 }));
    assert.deepEqual([error.code, error.message, error.received], ["invalid_argument", sentence, true]);
    assert.deepEqual(calls, []);
    assertLogged(entries, error);
  });
}

test("createServer() strips what the answer's schema does not name", async () => {
  const { server } = echoServer({}, ({ text }) => ({ text, password: "s3cret" }));
  assert.equal(await (await server.fetch(post("/echo.v1/say", { text: "a" }))).text(), '{"text":"a"}');
  const reply = await server.call({ method: Echo.methods.say, message: { text: "a" }, timeoutMs: 1_000 });
  assert.deepEqual(reply.message, { text: "a" });
});

test("createServer() gives its handler the method and a correlation id", async () => {
  const seen: unknown[] = [];
  const { server } = echoServer({}, (message, context) => {
    seen.push(context.method.path, context.correlationId === context.correlationId);
    assert.match(context.correlationId, /^[0-9a-f-]{36}$/);
    return message;
  });
  await server.fetch(post("/echo.v1/say", { text: "a" }));
  assert.deepEqual(seen, ["/echo.v1/say", true]);
});

test("createServer() gives each call a correlation id of its own", async () => {
  const ids = new Set<string>();
  const { server } = echoServer({}, (message, context) => {
    ids.add(context.correlationId);
    return message;
  });
  for (let n = 0; n < 5; n++) await server.fetch(post("/echo.v1/say", { text: "a" }));
  assert.equal(ids.size, 5);
});

test("createServer() answers a method from the same process that it does not have with unimplemented", async () => {
  const { server, entries } = echoServer();
  const Other = service("other.v1", { say: rpc(Text, Text) });
  const error = await rejection(createClient(Other, server.call).say({ text: "a" }));
  assert.deepEqual([error.code, error.received], ["unimplemented", true]);
  assert.equal(assertLogged(entries, error).method, undefined, "the log names no method that the server does not have");
});

test("createServer() goes by its own contract and not by its caller's", async () => {
  const { server, calls } = echoServer();
  const Mine = service("echo.v1", { say: rpc(v.strictObject({ n: v.number() }), Text) });
  const error = await rejection(createClient(Mine, server.call).say({ n: 1 }));
  assert.equal(error.code, "invalid_argument");
  assert.deepEqual(calls, []);
});

test("createServer() tells its handler of its own method and not of its caller's", async () => {
  let seen: unknown;
  const { server } = echoServer({}, (message, context) => {
    seen = context.method;
    return message;
  });
  const Mine = service("echo.v1", { say: rpc(Text, Text, { summary: "another" }) });
  await createClient(Mine, server.call).say({ text: "a" });
  assert.equal(seen, Echo.methods.say);
});

test("createServer() lets details leave by its own contract and not by its caller's", async () => {
  const failing = rpc(Text, Text, { errors: { not_found: v.object({ near: v.string() }) } });
  const Mine = service("echo.v1", { say: failing });
  const details = { near: "s3cret" };
  const { server } = echoServer({}, () => {
    throw new RpcError("not_found", "There is none", { details });
  });
  assert.equal((await rejection(createClient(Mine, server.call).say({ text: "a" }))).details, undefined);
});

test("createServer() answers a request with an empty body as one that cannot be decoded", async () => {
  const { server, calls } = echoServer();
  const headers = { "content-type": "application/json" };
  const refusal = await refusalOf(
    await server.fetch(new Request(`${ORIGIN}/echo.v1/say`, { method: "POST", headers })),
  );
  assert.deepEqual([refusal.status, refusal.code], [400, "invalid_argument"]);
  assert.deepEqual(calls, []);
});

test("createServer() goes on answering after any refusal", async () => {
  const { server } = echoServer();
  for (const body of ["", "{", "null", "[]", "\u0000"]) {
    assert.equal((await server.fetch(postRaw("/echo.v1/say", body))).status, 400);
    assert.equal((await server.fetch(post("/echo.v1/say", { text: "a" }))).status, 200);
  }
});

test("createServer() answers through fetch when that is taken off the server", async () => {
  const { fetch, call } = echoServer().server;
  assert.equal((await fetch(post("/echo.v1/say", { text: "a" }))).status, 200);
  assert.deepEqual(await createClient(Echo, call).say({ text: "a" }), { text: "a" });
});

test("createServer() refuses two codecs of one name", () => {
  assert.throws(() => echoServer({ codecs: [json(), json({ maxBytes: 10 })] }), /two codecs named "json"/);
});
