import { createClient, fetchTransport, rpc, type RpcCode, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { rejection, Text } from "./_rig.ts";
import { client, message, prover, typed } from "./_stub_fetch.ts";

const statuses: readonly (readonly [status: number, code: RpcCode])[] = [
  [400, "internal"],
  [401, "unauthenticated"],
  [403, "permission_denied"],
  [404, "unimplemented"],
  [405, "unknown"],
  [408, "unknown"],
  [413, "unknown"],
  [418, "unknown"],
  [429, "unavailable"],
  [500, "unknown"],
  [501, "unknown"],
  [502, "unavailable"],
  [503, "unavailable"],
  [504, "unavailable"],
  [201, "unknown"],
  [204, "unknown"],
];
for (const [status, code] of statuses) {
  test(`fetchTransport() answers ${code} for the status ${status} of something that is not Connect's`, async () => {
    const body = status === 204 ? null : "<html>s3cret of a proxy</html>";
    for (const type of ["text/html", "application/json"]) {
      const error = await rejection(
        client(() => new Response(body, { status, headers: { "content-type": type } })).echo.say(message),
      );
      assert.deepEqual([error.code, error.received, error.correlationId], [code, true, undefined]);
      assert.match(error.message, new RegExp(`status ${status}`));
      assert.ok(!error.message.includes("s3cret"));
    }
  });
}

const wire = (error: unknown, status = 409, type = "application/json") =>
  new Response(JSON.stringify(error), { status, headers: { "content-type": type } });

const codes: readonly RpcCode[] = [
  ...["canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists"] as const,
  ...["permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range"] as const,
  ...["unimplemented", "internal", "unavailable", "data_loss", "unauthenticated"] as const,
];
for (const code of codes) {
  test(`fetchTransport() hands on the code ${code} whatever the status`, async () => {
    const error = await rejection(client(() => wire({ code, message: "Their words" }, 500)).echo.say(message));
    assert.deepEqual([error.code, error.message, error.received], [code, "Their words", true]);
  });
}

const info = (bytes: string) => ({ type: "google.rpc.RequestInfo", value: btoa(bytes).replace(/=+$/, "") });

test("fetchTransport() gives the correlation id of an error", async () => {
  const details = [{ type: "x" }, info("\n\u0005abc-1")];
  assert.equal(
    (await rejection(client(() => wire({ code: "aborted", details })).echo.say(message))).correlationId,
    "abc-1",
  );
});

const malformed: readonly (readonly [name: string, body: unknown, code?: RpcCode])[] = [
  ["no object", "text"],
  ["null", null],
  ["a number", 7],
  ["an array", []],
  ["an unknown code", { code: "no_such_code", message: "Theirs" }],
  ["an inherited code", { code: "toString" }],
  ["an inherited code again", { code: "constructor" }],
  ["a code that is a number", { code: 5 }],
  ["a message that is no text", { code: "aborted", message: { a: 1 } }, "aborted"],
  ["details that are no list", { code: "aborted", details: { 0: 1 } }, "aborted"],
  ["details that are text", { code: "aborted", details: "xyz" }, "aborted"],
  ["details of null and numbers", { code: "aborted", details: [null, 7, "x", [], {}] }, "aborted"],
  [
    "details with values that are no text",
    { code: "aborted", details: [{ type: "google.rpc.RequestInfo", value: 7 }] },
    "aborted",
  ],
  ["details with values that are lists", {
    code: "aborted",
    details: [{ type: "google.rpc.RequestInfo", value: [{}] }],
  }, "aborted"],
  [
    "an id that is not base64",
    { code: "aborted", details: [{ type: "google.rpc.RequestInfo", value: "!!!" }] },
    "aborted",
  ],
  ["an id that is empty", { code: "aborted", details: [info("")] }, "aborted"],
  ["an id of another field", { code: "aborted", details: [info("\u0012\u0001a")] }, "aborted"],
  ["an id longer than itself says", { code: "aborted", details: [info(`\n\u00ff${"a".repeat(300)}`)] }, "aborted"],
  ["an id that forges a line", { code: "aborted", details: [info("\n\u0004a\r\nb")] }, "aborted"],
  ["members beside", { code: "aborted", message: "Theirs", stack: "s3cret", cause: {} }, "aborted"],
];
for (const [name, body, code = "unknown"] of malformed) {
  test(`fetchTransport() takes what it can of an error with ${name}`, async () => {
    const error = await rejection(client(() => wire(body, 500)).echo.say(message));
    assert.deepEqual([error.code, error.correlationId, error.details, error.received], [
      code,
      undefined,
      undefined,
      true,
    ]);
    assert.equal(typeof error.message, "string");
  });
}

for (
  const [name, text] of [
    ["a name written twice", '{"code":"aborted","code":"not_found"}'],
    ["deep nesting", `{"code":"aborted","details":${"[".repeat(100)}${"]".repeat(100)}}`],
    ["a prototype", '{"code":"aborted","__proto__":{"message":"x"}}'],
    ["a byte order mark", '\ufeff{"code":"aborted"}'],
  ] as const
) {
  test(`fetchTransport() goes by the status of an error with ${name}`, async () => {
    assert.equal((await rejection(client(() => typed(text, 403)).echo.say(message))).code, "permission_denied");
  });
}

test("fetchTransport() cuts a message that has no end", async () => {
  const error = await rejection(
    client(() => wire({ code: "aborted", message: "x".repeat(100_000) })).echo.say(message),
  );
  assert.ok(error.message.length <= 4_096);
});

const Stock = service("stock.v1", { take: rpc(Text, Text, { errors: { not_found: v.object({ near: v.string() }) } }) });
const encoded = (value: unknown) => btoa(JSON.stringify(value)).replace(/=+$/, "");
const taking = (details: unknown, code = "not_found") => {
  const transport = fetchTransport("https://echo.test", {
    prover,
    fetch: () => Promise.resolve(wire({ code, details }, 404)),
  });
  return rejection(createClient(Stock, transport).take(message));
};

test("fetchTransport() gives the details that the contract has for the code", async () => {
  const error = await taking([{
    type: "stock.v1.take.not_found",
    value: encoded({ near: "b", more: 1 }),
    debug: { near: "z" },
  }]);
  assert.deepEqual(error.details, { near: "b" });
});

for (
  const [name, details, code] of [
    ["of another shape", [{ type: "stock.v1.take.not_found", value: encoded({ near: 7 }) }]],
    ["of another type", [{ type: "stock.v1.take.aborted", value: encoded({ near: "b" }) }]],
    ["of another code", [{ type: "stock.v1.take.aborted", value: encoded({ near: "b" }) }], "aborted"],
    ["in the debug member only", [{ type: "stock.v1.take.not_found", debug: { near: "b" } }]],
    ["that are not base64", [{ type: "stock.v1.take.not_found", value: "***" }]],
    ["that are not JSON", [{ type: "stock.v1.take.not_found", value: btoa("<x>") }]],
    ["with a name written twice", [{ type: "stock.v1.take.not_found", value: btoa('{"near":"a","near":"b"}') }]],
  ] as const
) {
  test(`fetchTransport() drops details ${name}`, async () => {
    const error = await taking(details, code);
    assert.deepEqual([error.code, error.details], [code ?? "not_found", undefined]);
  });
}
