// A guard is a stranger's code too: whatever it answers that is no admission, and no decision, is a refusal.
import { createClient, type Guard, RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertLogged, Echo, echoServer, post, refusalOf, rejection } from "./_rig.ts";

const message = { text: "a" };

/** A thenable that is no promise of this realm. */
const foreign = (settle: (resolve: (value: unknown) => void, reject: (why: unknown) => void) => void) => ({
  then: (resolve: (value: unknown) => void, reject: (why: unknown) => void) => settle(resolve, reject),
});

/** Asserts that both ways in refuse with a code, each with one entry in the log, and that no handler is called. */
async function assertShut(guard: Guard, code: string): Promise<void> {
  const { server, calls, entries } = echoServer({ guard });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message)));
  assert.equal(refusal.code, code);
  assertLogged(entries.splice(0), refusal);
  const error = await rejection(createClient(Echo, server.call).say(message));
  assert.deepEqual([error.code, error.received], [code, true]);
  assertLogged(entries, error);
  assert.deepEqual(calls, []);
}

const thrown: readonly (readonly [name: string, thrown: unknown, code: string])[] = [
  ["an RpcError", new RpcError("permission_denied", "Not you"), "permission_denied"],
  ["an Error", new Error("s3cret"), "internal"],
  ["nothing", undefined, "internal"],
];
for (const [name, why, code] of thrown) {
  const rejecting = foreign((_, reject) => reject(why)) as never;

  test(`createServer() refuses a call whose guard admits with a foreign thenable that rejects with ${name}`, async () => {
    await assertShut({ start() {}, admit: () => rejecting }, code);
  });

  test(`createServer() refuses a call whose guard decides with a foreign thenable that rejects with ${name}`, async () => {
    await assertShut({ start() {}, admit: () => ({ decide: () => rejecting }) }, code);
  });
}

for (const answer of [false, 0, "", null, undefined, true, "yes", 1, () => ({})]) {
  const name = typeof answer === "string" ? JSON.stringify(answer) : String(answer);
  for (const way of ["at once", "later", "by a foreign thenable"] as const) {
    const given = () => {
      if (way === "at once") return answer as never;
      if (way === "later") return Promise.resolve(answer) as never;
      return foreign((resolve) => resolve(answer)) as never;
    };

    test(`createServer() refuses a call whose guard admits with ${name} ${way}`, async () => {
      await assertShut({ start() {}, admit: given }, "internal");
    });

    if (answer === undefined) continue;
    test(`createServer() refuses a call whose guard decides with ${name} ${way}`, async () => {
      await assertShut({ start() {}, admit: () => ({ decide: given }) }, "internal");
    });
  }
}

test("createServer() takes an admission and a decision from foreign thenables", async () => {
  const decide = () => foreign((resolve) => resolve(undefined)) as never;
  const guard: Guard = { start() {}, admit: () => foreign((resolve) => resolve({ decide })) as never };
  const { server, calls } = echoServer({ guard });
  assert.equal((await server.fetch(post("/echo.v1/say", message))).status, 200);
  assert.deepEqual(await createClient(Echo, server.call).say(message), message);
  assert.equal(calls.length, 2);
});
