import {
  createClient,
  createServer,
  implement,
  type LogEntry,
  publicOnly,
  rpc,
  type RpcCode,
  RpcError,
  service,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { assertAnswers, assertLogged, collect, Echo, echoServer, post, refusalOf, rejection, Text } from "./_rig.ts";

const secret = "s3cret_row_7_of_stock";

const fail = (): never => {
  throw new Error(secret);
};

/** Throws whatever is done to it. */
const hostileProxy = (target: object = {}) =>
  new Proxy(
    target,
    Object.fromEntries(Reflect.ownKeys(Reflect).filter((key) => typeof key === "string").map((key) => [key, fail])),
  );

class HostileError extends RpcError {
  override get message(): string {
    return fail();
  }
}

const thrown: readonly (readonly [name: string, make: () => unknown])[] = [
  ["null", () => null],
  ["undefined", () => undefined],
  ["a text", () => secret],
  ["a number", () => 7],
  ["a big integer", () => 7n],
  ["a symbol", () => Symbol(secret)],
  ["a function", () => fail],
  ["a Response", () => new Response(secret, { status: 200 })],
  ["an Error", () => new Error(secret, { cause: secret })],
  ["an AggregateError", () => new AggregateError([new Error(secret)], secret)],
  ["an abort error", () => AbortSignal.abort().reason],
  [
    "a plain object that looks like an RpcError",
    () => ({ name: "RpcError", code: "not_found", message: secret, received: false }),
  ],
  [
    "an object with throwing getters",
    () =>
      Object.defineProperties({}, {
        code: { get: fail },
        message: { get: fail },
        received: { get: fail },
        then: { get: fail },
      }),
  ],
  [
    "an Error with throwing getters",
    () => Object.defineProperties(new Error(), { stack: { get: fail }, message: { get: fail }, cause: { get: fail } }),
  ],
  ["a Proxy that throws on everything", () => hostileProxy()],
  ["a Proxy of a function that throws on everything", () => hostileProxy(() => {})],
  ["an object that is its own cause", () => {
    const error = new Error(secret);
    error.cause = error;
    return error;
  }],
  ["what another server answered", () => new RpcError("not_found", secret, { received: true, details: { secret } })],
  ["a Proxy around an RpcError that throws later", () =>
    new Proxy(new RpcError("not_found", secret), {
      get: (target, key) => key === "code" || key === "message" ? fail() : Reflect.get(target, key),
    })],
  [
    "an RpcError whose message throws",
    () => Object.defineProperty(new RpcError("not_found", ""), "message", { get: fail }),
  ],
  ["an RpcError of a class whose message throws", () => {
    const error = new HostileError("not_found", "");
    delete (error as { message?: string }).message;
    return error;
  }],
  [
    "an RpcError whose message is no text",
    () => Object.defineProperty(new RpcError("not_found", ""), "message", { value: { secret } }),
  ],
  ["an RpcError whose code is none", () => new RpcError("no_such_code" as RpcCode, secret)],
  ["an RpcError whose code is inherited", () => new RpcError("toString" as RpcCode, secret)],
  ["an RpcError whose code is nothing", () => new RpcError(undefined as unknown as RpcCode, secret)],
];

const ways: readonly (readonly [name: string, run: (make: () => unknown) => unknown])[] = [
  ["throws", (make) => {
    throw make();
  }],
  ["rejects with", (make) => Promise.reject(make())],
  ["rejects later with", async (make) => {
    for (let turn = 0; turn < 20; turn++) await undefined;
    throw make();
  }],
];

/** Asserts that the caller learns nothing, and that the log has it under the caller's id. */
function assertMasked(
  seen: { code: RpcCode; message: string; correlationId?: string | undefined; text?: string },
  entries: readonly LogEntry[],
) {
  assert.deepEqual([seen.code, seen.message], ["internal", "The call failed inside the service"]);
  assert.ok(!(seen.text ?? "").includes("s3cret"), seen.text);
  const entry = assertLogged(entries, seen);
  assert.deepEqual([entry.level, entry.method], ["error", "echo.v1/say"]);
  return entry;
}

for (const [name, make] of thrown) {
  for (const [way, run] of ways) {
    test(`createServer() masks and logs a handler that ${way} ${name}`, async () => {
      let made: unknown;
      const { server, entries } = echoServer({}, ({ text }) => text === "honest" ? { text } : run(() => made = make()));
      const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "a" })));
      assert.equal(refusal.status, 500);
      assert.deepEqual(refusal.details, []);
      assert.equal(assertMasked(refusal, entries).cause, made);
      await assertAnswers(server);
    });
  }

  test(`createServer() masks and logs a handler that throws ${name} for a caller in the same process`, async () => {
    const { server, entries } = echoServer({}, () => {
      throw make();
    });
    const error = await rejection(createClient(Echo, server.call).say({ text: "a" }));
    assertMasked(error, entries);
    assert.deepEqual([error.received, error.details, error.cause], [true, undefined, undefined]);
  });
}

const returned: readonly (readonly [name: string, make: () => unknown])[] = [
  ["undefined", () => undefined],
  ["null", () => null],
  ["a text", () => secret],
  ["another shape", () => ({ text: 7, secret })],
  ["a Response", () => new Response(secret)],
  ["a function", () => fail],
  ["an Error", () => new Error(secret)],
  ["an object with a throwing getter", () => Object.defineProperty({}, "text", { get: fail, enumerable: true })],
  ["a Proxy that throws on everything", () => hostileProxy()],
  ["a thenable that throws", () => ({ then: fail })],
  ["a thenable whose then throws when it is read", () => Object.defineProperty({}, "then", { get: fail })],
  ["a thenable that rejects", () => ({ then: (_: unknown, reject: (why: unknown) => void) => reject(secret) })],
  ["a thenable that rejects with null", () => ({ then: (_: unknown, reject: (why: unknown) => void) => reject(null) })],
  ["a thenable of another shape", () => ({ then: (resolve: (what: unknown) => void) => resolve({ secret }) })],
  ["a text that no codec carries", () => ({ text: `${secret}\ud800` })],
  ["a text over the codec's limit", () => ({ text: secret.repeat(100_000) })],
];

for (const [name, make] of returned) {
  test(`createServer() masks and logs a handler that returns ${name}`, async () => {
    const { server, entries } = echoServer({}, ({ text }) => text === "honest" ? { text } : make());
    const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "a" })));
    assert.equal(refusal.status, 500);
    assertMasked(refusal, entries);
    await assertAnswers(server);
  });
}

test("createServer() says in its log which field of an answer is wrong", async () => {
  const { server, entries } = echoServer({}, () => ({ text: 7 }));
  await server.fetch(post("/echo.v1/say", { text: "a" }));
  assert.match(String(entries[0]?.cause), /"text"/);
});

test("createServer() answers for a thenable that is no promise", async () => {
  const { server } = echoServer({}, ({ text }) => ({ then: (resolve: (what: unknown) => void) => resolve({ text }) }));
  await assertAnswers(server);
});

test("createServer() lets an RpcError's code and message through, and keeps its cause in the log", async () => {
  const cause = new Error(secret);
  const { server, entries } = echoServer({}, () => {
    throw new RpcError("aborted", "Try again", { cause });
  });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "a" })));
  assert.deepEqual([refusal.status, refusal.code, refusal.message], [409, "aborted", "Try again"]);
  assert.ok(!refusal.text.includes("s3cret"));
  const entry = assertLogged(entries, refusal);
  assert.deepEqual([entry.level, entry.event, entry.cause], ["info", "Try again", cause]);
});

test("createServer() logs an RpcError with the code internal as its own failure", async () => {
  const { server, entries } = echoServer({}, () => {
    throw new RpcError("internal", "The shelf fell over");
  });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "a" })));
  assert.equal(refusal.message, "The shelf fell over");
  assert.equal(assertLogged(entries, refusal).level, "error");
});

test("createServer() masks what a client inside a handler was answered", async () => {
  const inner = echoServer({}, () => {
    throw new RpcError("not_found", secret);
  });
  const outer = echoServer({}, (message, context) => context.call(createClient(Echo, inner.server.call)).say(message));
  assertMasked(await refusalOf(await outer.server.fetch(post("/echo.v1/say", { text: "a" }))), outer.entries);
});

test("createServer() does not blame its caller for a message that a client inside a handler could not send", async () => {
  const inner = echoServer();
  const outer = echoServer({}, () => createClient(Echo, inner.server.call).say({ [secret]: 7 } as never));
  assertMasked(await refusalOf(await outer.server.fetch(post("/echo.v1/say", { text: "a" }))), outer.entries);
});

const Details = v.object({ near: v.array(v.object({ sku: v.string() })) });
const Stock = service("stock.v1", { take: rpc(Text, Text, { errors: { not_found: Details, aborted: Details } }) });

function stock(code: RpcCode, details: unknown) {
  const { log, entries } = collect();
  const take = () => {
    throw new RpcError(code, "There is none", { details });
  };
  return { server: createServer(implement(Stock, { take }), { guard: publicOnly(["stock.v1/take"]), log }), entries };
}

test("createServer() sends the details that the contract gives for a code, stripped to what it names", async () => {
  const { server } = stock("not_found", { near: [{ sku: "b", cost: secret }], secret });
  const refusal = await refusalOf(await server.fetch(post("/stock.v1/take", { text: "a" })));
  assert.equal(refusal.details.length, 1);
  const [detail] = refusal.details;
  assert.equal(detail?.type, "stock.v1.take.not_found");
  assert.doesNotMatch(detail?.value ?? "", /=/);
  assert.deepEqual(JSON.parse(atob(detail?.value ?? "")), { near: [{ sku: "b" }] });
  assert.deepEqual(detail?.debug, { near: [{ sku: "b" }] });
  assert.ok(!refusal.text.includes("s3cret"));
  const error = await rejection(createClient(Stock, server.call).take({ text: "a" }));
  assert.deepEqual(error.details, { near: [{ sku: "b" }] });
});

const dropped: readonly (readonly [name: string, code: RpcCode, details: unknown])[] = [
  ["of another shape", "not_found", { near: secret }],
  ["for a code that the contract gives none for", "unavailable", { near: [] }],
  ["for the masked code", "internal", { near: [] }],
  ["that are no object", "not_found", secret],
  ["that throw", "not_found", Object.defineProperty({}, "near", { get: fail, enumerable: true })],
  ["that are a hostile Proxy", "not_found", hostileProxy()],
  ["that are too large for an error", "aborted", { near: Array(2_000).fill({ sku: "0123456789" }) }],
];
for (const [name, code, details] of dropped) {
  test(`createServer() drops details ${name}, and answers with the rest`, async () => {
    const { server, entries } = stock(code, details);
    const refusal = await refusalOf(await server.fetch(post("/stock.v1/take", { text: "a" })));
    assert.deepEqual([refusal.code, refusal.message, refusal.details], [code, "There is none", []]);
    assert.ok(!refusal.text.includes("s3cret"));
    assertLogged(entries, refusal);
  });
}

test("createServer() drops details whose schema throws", async () => {
  const Bad = service("bad.v1", { m: rpc(Text, Text, { errors: { aborted: v.pipe(v.object({}), v.check(fail)) } }) });
  const m = () => {
    throw new RpcError("aborted", "No", { details: {} });
  };
  const server = createServer(implement(Bad, { m }), { guard: publicOnly(["bad.v1/m"]), log: () => {} });
  const refusal = await refusalOf(await server.fetch(post("/bad.v1/m", { text: "a" })));
  assert.deepEqual([refusal.code, refusal.details], ["aborted", []]);
});

for (const side of ["input", "output"]) {
  test(`createServer() survives a schema of the ${side} that throws`, async () => {
    const Throwing = v.pipe(v.strictObject({ text: v.string() }), v.check(fail));
    const Bad = service("bad.v1", { m: side === "input" ? rpc(Throwing, Text) : rpc(Text, Throwing) });
    const { log, entries } = collect();
    const server = createServer(implement(Bad, { m: (message) => message }), { guard: publicOnly(["bad.v1/m"]), log });
    const refusal = await refusalOf(await server.fetch(post("/bad.v1/m", { text: "a" })));
    assert.equal(refusal.code, "internal", "the caller did nothing wrong");
    assert.ok(!refusal.text.includes("s3cret"));
    assertLogged(entries, refusal);
  });
}

const mistaken: readonly (readonly [name: string, make: () => unknown])[] = [
  ["an Error", () => new Error(secret)],
  ["an RpcError", () => new RpcError("not_found", secret)],
  ["a Response", () => new Response(secret, { statusText: secret })],
];
for (const [name, make] of mistaken) {
  for (const way of ["returns", "promises"]) {
    test(`createServer() masks and logs a handler that ${way} ${name} where the contract would take it`, async () => {
      const fields = {
        message: v.optional(v.string()),
        status: v.optional(v.number()),
        statusText: v.optional(v.string()),
      };
      const Wide = service("wide.v1", { m: rpc(Text, v.object(fields)) });
      const { log, entries } = collect();
      const m = () => (way === "returns" ? make() : Promise.resolve(make())) as object;
      const server = createServer(implement(Wide, { m }), { guard: publicOnly(["wide.v1/m"]), log });
      const refusal = await refusalOf(await server.fetch(post("/wide.v1/m", { text: "a" })));
      assert.deepEqual([refusal.code, refusal.message], ["internal", "The call failed inside the service"]);
      assert.ok(!refusal.text.includes("s3cret"));
      const entry = assertLogged(entries.splice(0), refusal);
      assert.equal(entry.level, "error");
      assert.match(String(entry.cause), /errors are thrown/);
      const error = await rejection(createClient(Wide, server.call).m({ text: "a" }));
      assert.equal(error.code, "internal");
      assertLogged(entries, error);
    });
  }
}

test("createServer() cuts the message of an RpcError to 4096 letters", async () => {
  const { server } = echoServer({}, () => {
    throw new RpcError("not_found", "a".repeat(1_000_000));
  });
  assert.equal((await refusalOf(await server.fetch(post("/echo.v1/say", { text: "a" })))).message, "a".repeat(4096));
  assert.equal((await rejection(createClient(Echo, server.call).say({ text: "a" }))).message, "a".repeat(4096));
});
