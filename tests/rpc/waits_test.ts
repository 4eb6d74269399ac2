// Nothing that a call waits for may hold its place for ever: not the guard, not a schema, not a proof.
import { createClient, createServer, type Guard, implement, rpc, RpcError, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { collect, post, refusalOf, rejection, soon, Text } from "./_rig.ts";

const message = { text: "a" };
const parts = ["admit", "decide", "input", "output", "details", "seal"] as const;

/** A server with one place, one part of which never settles until `assertFree()` is called. */
function stuck(part: typeof parts[number]) {
  let hanging = true;
  const never = new Promise<never>(() => {});
  const wait = (asked: string) => asked === part && hanging ? never : undefined;
  const slow = (asked: string) => v.pipeAsync(Text, v.checkAsync(async () => (await wait(asked), true)));
  const details = v.pipeAsync(v.object({ n: v.number() }), v.checkAsync(async () => (await wait("details"), true)));
  const Slow = service("slow.v1", { m: rpc(slow("input"), slow("output"), { errors: { not_found: details } }) });
  const guard: Guard = {
    start() {},
    admit: async () => {
      await wait("admit");
      return { decide: () => wait("decide"), seal: () => wait("seal") ?? { "x-seal": "1" } };
    },
  };
  const m = (given: { text: string }) => {
    if (part === "details" && hanging) throw new RpcError("not_found", "There is none", { details: { n: 1 } });
    return given;
  };
  const { log, entries } = collect();
  const server = createServer(implement(Slow, { m }), { guard, log, limits: { maxConcurrentCalls: 1 } });
  return {
    server,
    entries,
    client: createClient(Slow, server.call),
    inProcess: () => server.call({ method: Slow.methods.m, message, timeoutMs: 20 }),
    call: (headers = {}) => soon(server.fetch(post("/slow.v1/m", message, headers))),
    /** Asserts that the place is free again and that the server can end. */
    async assertFree() {
      hanging = false;
      assert.equal((await this.call()).status, 200);
      assert.deepEqual(await this.client.m(message), message);
      await soon(Promise.resolve(server[Symbol.asyncDispose]()));
    },
  };
}

for (const part of ["admit", "decide", "input", "output"] as const) {
  test(`createServer() ends a call by HTTP at its deadline whose ${part} never settles, and frees its place`, async () => {
    const rig = stuck(part);
    const refusal = await refusalOf(await rig.call({ "connect-timeout-ms": "20" }));
    assert.deepEqual([refusal.status, refusal.code], [504, "deadline_exceeded"]);
    await rig.assertFree();
  });

  test(`createServer() ends a call in process at its deadline whose ${part} never settles, and frees its place`, async () => {
    const rig = stuck(part);
    const error = await rejection(soon(rig.inProcess()));
    assert.equal(error.code, "deadline_exceeded");
    await rig.assertFree();
  });

  test(`createServer() can be disposed while the ${part} of a call never settles`, async () => {
    const rig = stuck(part);
    const call = rig.call({ "connect-timeout-ms": "20" });
    await soon(Promise.resolve(rig.server[Symbol.asyncDispose]()));
    assert.equal((await call).status, 504);
  });
}

test("createServer() ends a call of no method at its deadline whose admit never settles", async () => {
  const { server } = stuck("admit");
  const request = post("/slow.v1/nothing", message, { "connect-timeout-ms": "20" });
  assert.equal((await refusalOf(await soon(server.fetch(request)))).code, "deadline_exceeded");
});

test("createServer() answers without the details whose schema never settles, and frees the place", async () => {
  const rig = stuck("details");
  const refusal = await refusalOf(await rig.call());
  assert.deepEqual([refusal.code, refusal.message, refusal.details], ["not_found", "There is none", []]);
  await rig.assertFree();
});

test("createServer() masks an answer whose seal never settles, and frees the place", async () => {
  const rig = stuck("seal");
  const refusal = await refusalOf(await rig.call());
  assert.deepEqual([refusal.status, refusal.code, refusal.headers.get("x-seal")], [500, "internal", null]);
  assert.ok(rig.entries.some(({ correlationId }) => correlationId === refusal.correlationId));
  await rig.assertFree();
});
