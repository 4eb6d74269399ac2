// A schema is a stranger's code: it may throw, and wait in its own way.
import {
  createClient,
  createServer,
  implement,
  publicOnly,
  rpc,
  type Schema,
  service,
  type Transport,
  uncheckedSchema,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { assertLogged, collect, post, refusalOf, rejection, Text } from "./_rig.ts";

const message = { text: "a" };
type Validate = (value: unknown) => unknown;

const throwing = (thrown: unknown): Validate => () => {
  throw thrown;
};
const rejecting = (thrown: unknown): Validate => () => Promise.reject(thrown);
const foreign = (result: unknown): Validate => () => ({ then: (resolve: (value: unknown) => void) => resolve(result) });
const foreignRejecting = (thrown: unknown): Validate => () => ({
  then: (_: unknown, reject: (why: unknown) => void) => reject(thrown),
});
const issues = { issues: [{ message: "s3cret" }] };

/** A schema made by hand. */
function handmade(validate: Validate): Schema<{ text: string }> {
  return uncheckedSchema({ "~standard": { version: 1, vendor: "by hand", validate: validate as never } });
}

function rig(input: Schema<{ text: string }>, output: Schema<{ text: string }> = Text) {
  const Hand = service("hand.v1", { m: rpc(input, output) });
  const { log, entries } = collect();
  const calls: unknown[] = [];
  const m = (given: { text: string }) => (calls.push(given), given);
  const server = createServer(implement(Hand, { m }), { guard: publicOnly(["hand.v1/m"]), log });
  const viaFetch = async () => await refusalOf(await server.fetch(post("/hand.v1/m", message)));
  const inProcess = () => rejection(server.call({ method: Hand.methods.m, message, timeoutMs: 1_000 }));
  return { entries, calls, viaFetch, inProcess };
}

const ways = [["throws", throwing], ["rejects with", rejecting], [
  "rejects by a foreign thenable with",
  foreignRejecting,
]] as const;
for (const [way, fail] of ways) {
  for (const cause of [new TypeError("s3cret"), new Error("s3cret"), "s3cret", null]) {
    const name = cause instanceof Error ? cause.name : String(cause);
    test(`createServer() answers internal for an input schema that ${way} ${name}, and logs why`, async () => {
      const { viaFetch, inProcess, entries, calls } = rig(handmade(fail(cause)));
      for (const call of [viaFetch, inProcess]) {
        const { code, message: said, correlationId } = await call();
        assert.deepEqual([code, said], ["internal", "The call failed inside the service"]);
        const entry = assertLogged(entries.splice(0), { code, correlationId });
        assert.deepEqual([entry.level, entry.cause], ["error", cause]);
      }
      assert.deepEqual(calls, []);
    });
  }

  test(`createServer() answers invalid_argument for an input schema that ${way} RangeError`, async () => {
    const { viaFetch, inProcess, entries, calls } = rig(handmade(fail(new RangeError("s3cret: stack size exceeded"))));
    for (const call of [viaFetch, inProcess]) {
      const { code, message: said, correlationId } = await call();
      assert.deepEqual([code, said], ["invalid_argument", "The message does not match the contract"]);
      assert.equal(assertLogged(entries.splice(0), { code, correlationId }).level, "info");
    }
    assert.deepEqual(calls, []);
  });
}

test("createServer() answers internal for a Valibot check that throws, and logs why", async () => {
  const cause = new TypeError("s3cret");
  const { viaFetch, entries, calls } = rig(v.pipe(
    Text,
    v.check(() => {
      throw cause;
    }),
  ));
  const refusal = await viaFetch();
  assert.equal(refusal.code, "internal");
  assert.equal(assertLogged(entries, refusal).cause, cause);
  assert.deepEqual(calls, []);
});

test("uncheckedSchema() refuses a message by a foreign thenable that gives issues", async () => {
  const { viaFetch, inProcess, calls } = rig(handmade(foreign(issues)));
  assert.equal((await viaFetch()).code, "invalid_argument");
  assert.equal((await inProcess()).code, "invalid_argument");
  assert.deepEqual(calls, []);
});

test("uncheckedSchema() refuses an answer by a foreign thenable that gives issues", async () => {
  const { viaFetch, inProcess, calls } = rig(Text, handmade(foreign(issues)));
  assert.equal((await viaFetch()).code, "internal");
  assert.equal((await inProcess()).code, "internal");
  assert.equal(calls.length, 2);
});

test("uncheckedSchema() takes the value that a foreign thenable gives", async () => {
  const Hand = service("hand.v1", { m: rpc(handmade(foreign({ value: { text: "b" } })), Text) });
  const server = createServer(implement(Hand, { m: (given) => given }), { guard: publicOnly(["hand.v1/m"]) });
  assert.deepEqual(await createClient(Hand, server.call).m(message), { text: "b" });
});

for (const [way, fail] of ways) {
  for (const side of ["input", "output"] as const) {
    test(`createClient() answers internal for an ${side} schema that ${way} an Error`, async () => {
      const cause = new Error("s3cret");
      const bad = handmade(fail(cause));
      const Hand = service("hand.v1", { m: side === "input" ? rpc(bad, Text) : rpc(Text, bad) });
      let sent = 0;
      const transport: Transport = (call) => (sent++, Promise.resolve({ message: call.message }));
      const error = await rejection(createClient(Hand, transport).m(message));
      assert.deepEqual([error.code, error.received, error.cause], ["internal", true, cause]);
      assert.ok(!error.message.includes("s3cret"));
      assert.equal(sent, side === "input" ? 0 : 1);
    });
  }
}
