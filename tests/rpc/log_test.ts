import { createClient, createServer, implement, type LogEntry, logToConsole, publicOnly } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAnswers, Echo, echoServer, post, printed, refusalOf } from "./_rig.ts";

const entry: LogEntry = { level: "info", event: "happened", correlationId: "id-1" };

/** The one line that an entry is printed as. */
async function lineOf(given: Partial<LogEntry>): Promise<string> {
  const lines = await printed(() => logToConsole({ ...entry, ...given }));
  assert.equal(lines.length, 1);
  const [line] = lines as [string];
  assert.doesNotMatch(line, /[\r\n\v\f]/, "one entry is one line");
  return line;
}

const fail = (): never => {
  throw new Error("s3cret");
};
const cycle: Record<string, unknown> = { name: "cycle" };
cycle["self"] = cycle;

test("logToConsole() prints an entry as one line of JSON with the time", async () => {
  const { time, ...rest } = JSON.parse(await lineOf({ method: "echo.v1/say", code: "aborted", fields: { a: 1 } }));
  assert.deepEqual(rest, { ...entry, method: "echo.v1/say", code: "aborted", fields: { a: 1 } });
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
});

/** What acts on a terminal or a viewer in place of being shown. */
// deno-lint-ignore no-control-regex
const UNPRINTED = /[\u0000-\u001f\u007f-\u009f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/;

const forging: readonly (readonly [name: string, text: string])[] = [
  ["a line feed", '\n{"level":"info","event":"forged"}'],
  ["a carriage return and a line feed", '\r\n{"level":"info"}'],
  ["a carriage return", "\roverwritten"],
  ["an ANSI colour", "\u001b[31mred\u001b[0m"],
  ["an ANSI erase", "\u001b[2K\u001b[1A"],
  ["a backspace", "\b\b\b"],
  ["a bell", "\u0007"],
  ["a null", "\u0000"],
  ["a delete", "\u007f"],
  ["a C1 control sequence introducer", "\u009b31m"],
  ["a next line", "\u0085"],
  ["a line separator", "\u2028forged"],
  ["a paragraph separator", "\u2029forged"],
  ["a right-to-left override", "\u202eforged"],
  ["a left-to-right embedding", "\u202a"],
  ["an isolate", "\u2066\u2067\u2068\u2069"],
  ["a mark", "\u200e\u200f"],
  ["an Arabic letter mark", "\u061c"],
  ["a byte order mark", "\ufeff"],
  ["a lone surrogate", "\ud800"],
];
for (const [name, text] of forging) {
  test(`logToConsole() escapes ${name} wherever it stands`, async () => {
    const places: Partial<LogEntry>[] = [
      { event: text },
      { correlationId: text },
      { method: text },
      { cause: text },
      { cause: new Error(text) },
      { cause: new Error("x", { cause: { deep: [text] } }) },
      { fields: { a: text } },
      { fields: { [text]: 1 } },
      { fields: { a: [{ [text]: text }] } },
    ];
    for (const place of places) {
      const line = await lineOf(place);
      assert.doesNotMatch(line, UNPRINTED);
      assert.ok(line.isWellFormed());
      assert.ok(Object.keys(JSON.parse(line)).includes("time"), "the line is one object of JSON");
    }
  });
}

test("logToConsole() lets no field stand in for another", async () => {
  const { level, event } = JSON.parse(
    await lineOf({ fields: { level: "error", event: "forged" }, cause: { level: "error" } }),
  );
  assert.deepEqual([level, event], ["info", "happened"]);
});

const anything: readonly (readonly [name: string, value: unknown])[] = [
  ["undefined", undefined],
  ["null", null],
  ["a big integer", 7n],
  ["a symbol", Symbol("s")],
  ["a function", () => {}],
  ["a cycle", cycle],
  [
    "an error that is its own cause",
    (() => {
      const error = new Error("own");
      error.cause = error;
      return error;
    })(),
  ],
  ["a throwing getter", Object.defineProperty({}, "a", { get: fail, enumerable: true })],
  [
    "an error with throwing getters",
    Object.defineProperties(new Error(), { stack: { get: fail }, message: { get: fail } }),
  ],
  ["a throwing toJSON", { toJSON: fail }],
  ["a Proxy that throws", new Proxy({}, { get: fail, ownKeys: fail, getPrototypeOf: fail })],
  [
    "a revoked Proxy",
    (() => {
      const { proxy, revoke } = Proxy.revocable({}, {});
      revoke();
      return proxy;
    })(),
  ],
  ["a Response", new Response("x")],
  ["an invalid date", new Date(NaN)],
  ["a map", new Map([["a", 1]])],
];
for (const [name, value] of anything) {
  test(`logToConsole() prints ${name} as one line, and what else it was given`, async () => {
    for (const place of [{ cause: value }, { fields: { a: value } }, { fields: { a: [{ b: value }] } }]) {
      const seen = JSON.parse(await lineOf(place as never));
      assert.deepEqual([seen.level, seen.event, seen.correlationId], ["info", "happened", "id-1"]);
    }
  });
}

test("logToConsole() prints what an error holds", async () => {
  const cause = new RangeError("too large", { cause: new TypeError("the reason") });
  const seen = JSON.parse(await lineOf({ cause })).cause;
  assert.deepEqual([seen.name, seen.message, seen.cause.name, seen.cause.message], [
    "RangeError",
    "too large",
    "TypeError",
    "the reason",
  ]);
  assert.equal(typeof seen.stack, "string");
});

const huge: readonly (readonly [name: string, value: unknown])[] = [
  ["text", "a".repeat(5_000_000)],
  ["error", new Error("a".repeat(5_000_000))],
  ["list", Array(1_000_000).fill(7)],
  ["list of texts", Array(1_000).fill("a".repeat(100_000))],
  ["object", Object.fromEntries(Array.from({ length: 100_000 }, (_, n) => [`key${n}`, n]))],
  ["name", { ["a".repeat(5_000_000)]: 1 }],
  ["byte array", new Uint8Array(1_000_000)],
];
for (const [name, value] of huge) {
  test(`logToConsole() cuts a huge ${name}`, async () => {
    for (const place of [{ cause: value }, { fields: { a: value } }]) {
      const line = await lineOf(place);
      assert.ok(line.length < 1_200_000, `the line is ${line.length} long`);
    }
  });
}

test("logToConsole() ends a chain of causes", async () => {
  let cause = new Error("first");
  for (let n = 0; n < 10_000; n++) cause = new Error(`next ${n}`, { cause });
  assert.ok((await lineOf({ cause })).length < 1_200_000);
});

test("createServer() prints to the console where it is given no log", async () => {
  const handlers = { say: fail, look: fail, hidden: fail };
  const server = createServer(implement(Echo, handlers), { guard: publicOnly(["echo.v1/say"]) });
  let id = "";
  const lines = await printed(async () => {
    id = (await refusalOf(await server.fetch(post("/echo.v1/say", { text: "\r\nforged" })))).correlationId;
  });
  assert.equal(lines.length, 1);
  const seen = JSON.parse(lines[0] ?? "");
  assert.deepEqual([seen.level, seen.correlationId, seen.method, seen.code], ["error", id, "echo.v1/say", "internal"]);
  assert.equal(seen.cause.message, "s3cret");
});

test("context.log() notes an event under the call's id", async () => {
  const { server, entries } = echoServer({}, (message, context) => {
    context.log("reached the shelf", { row: 7 });
    context.log("left it");
    return message;
  });
  await assertAnswers(server);
  assert.deepEqual(entries.map(({ event, level, method, fields }) => [event, level, method, fields]), [
    ["reached the shelf", "info", "echo.v1/say", { row: 7 }],
    ["left it", "info", "echo.v1/say", {}],
  ]);
  assert.equal(entries[0]?.correlationId, entries[1]?.correlationId);
});

test("context.log() and the failure of the same call share an id", async () => {
  const { server, entries } = echoServer({}, (_, context) => {
    context.log("first");
    return fail();
  });
  const { correlationId } = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "a" })));
  assert.deepEqual(entries.map((each) => each.correlationId), [correlationId, correlationId]);
});

for (
  const [name, log] of [["throws", fail], ["throws null", () => {
    throw null;
  }]] as const
) {
  test(`createServer() answers an error all the same with a log that ${name}`, async () => {
    const { server } = echoServer({ log });
    await printed(async () => {
      assert.equal(
        (await refusalOf(await server.fetch(post("/echo.v1/hidden", { text: "a" })))).code,
        "permission_denied",
      );
      await assert.rejects(createClient(Echo, server.call).hidden({ text: "a" }), { code: "permission_denied" });
    });
    await assertAnswers(server);
  });

  test(`createServer() answers a call whose handler notes something to a log that ${name}`, async () => {
    const { server } = echoServer({ log }, (message, context) => {
      context.log("reached the shelf");
      return message;
    });
    await printed(() => assertAnswers(server));
  });
}

test("createServer() answers a call although its log rejects later", async () => {
  const { server } = echoServer({ log: () => Promise.reject(new Error("the disk is full")) }, () => {
    throw null;
  });
  const lines = await printed(async () => {
    assert.equal((await server.fetch(post("/echo.v1/say", { text: "a" }))).status, 500);
  });
  assert.deepEqual(lines, ["The log of a server failed"]);
});
