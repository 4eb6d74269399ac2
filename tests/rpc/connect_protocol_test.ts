import { type RpcCode, RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertLogged, echoServer, post, refusalOf } from "./_rig.ts";

const message = { text: "a" };

const codes: readonly (readonly [RpcCode, number])[] = [
  ["canceled", 499],
  ["unknown", 500],
  ["invalid_argument", 400],
  ["deadline_exceeded", 504],
  ["not_found", 404],
  ["already_exists", 409],
  ["permission_denied", 403],
  ["resource_exhausted", 429],
  ["failed_precondition", 400],
  ["aborted", 409],
  ["out_of_range", 400],
  ["unimplemented", 501],
  ["internal", 500],
  ["unavailable", 503],
  ["data_loss", 500],
  ["unauthenticated", 401],
];
for (const [code, status] of codes) {
  test(`createServer().fetch answers ${code} with the status ${status}`, async () => {
    const { server, entries } = echoServer({}, () => {
      throw new RpcError(code, "The author's own words");
    });
    const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message)));
    assert.deepEqual([refusal.status, refusal.code, refusal.message], [status, code, "The author's own words"]);
    assert.equal(assertLogged(entries, refusal).method, "echo.v1/say");
  });
}
