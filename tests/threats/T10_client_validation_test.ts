import {
  anonymous,
  type Call,
  createClient,
  createServer,
  fetchTransport,
  implement,
  type LogEntry,
  publicOnly,
  rpc,
  RpcError,
  service,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

// The attacker fills in a form of a service that calls another: whatever that service passes on without a look must not
// leave it, and must not work if it does.

const Transfers = service("transfers.v1", {
  send: rpc(
    v.strictObject({
      to: v.pipe(v.string(), v.regex(/^[a-z]{1,16}$/)),
      cents: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(10_000)),
      notes: v.optional(v.array(v.strictObject({ text: v.pipe(v.string(), v.maxLength(80)) }))),
    }),
    v.object({ sent: v.number() }),
  ),
});

function bank() {
  const entries: LogEntry[] = [];
  const moved: unknown[] = [];
  const send = (transfer: { cents: number }) => {
    moved.push(transfer);
    return { sent: transfer.cents };
  };
  const server = createServer(implement(Transfers, { send }), {
    guard: publicOnly(["transfers.v1/send"]),
    log: (entry) => void entries.push(entry),
  });
  return { server, entries, moved };
}

const honest = { to: "ada", cents: 100, notes: [{ text: "lunch" }] };

const attacks: readonly (readonly [name: string, input: unknown, field: string])[] = [
  ["a path in place of a name", { ...honest, to: "../admin_s3cret" }, "to"],
  ["an object in place of a name", { ...honest, to: { $ne: "s3cret" } }, "to"],
  ["a negative amount", { ...honest, cents: -100 }, "cents"],
  ["an amount that is no number", { ...honest, cents: "100s3cret" }, "cents"],
  ["an amount over the limit", { ...honest, cents: 10_001 }, "cents"],
  ["an amount that is NaN", { ...honest, cents: NaN }, "cents"],
  ["a member too many", { ...honest, admin: "s3cret" }, "admin"],
  ["a member too many at depth", { ...honest, notes: [{ text: "a" }, { text: "b", html: "s3cret" }] }, "notes[1].html"],
  ["an inherited name", { ...honest, constructor: "s3cret" }, "constructor"],
  ["a text that is too long", { ...honest, notes: [{ text: "s3cret".repeat(20) }] }, "notes[0].text"],
];

for (const [name, input, field] of attacks) {
  test(`T10 createClient() lets not a byte of ${name} leave, and its error names the field and not the value`, async () => {
    const { server, moved } = bank();
    const sent: unknown[] = [];
    const fetch = (url: string, init: RequestInit) => {
      sent.push(init.body);
      return server.fetch(new Request(url, { method: "POST", headers: init.headers ?? {}, body: init.body ?? null }));
    };
    const client = createClient(Transfers, fetchTransport("https://bank.test", { prover: anonymous(), fetch }));
    await assert.rejects(client.send(input as never), (error: unknown) => {
      assert.ok(error instanceof RpcError);
      assert.equal(error.code, "invalid_argument");
      assert.equal(error.message, `The message does not match the contract at "${field}"`);
      return !`${error.message}${error.stack}${error.cause}`.includes("s3cret");
    });
    assert.deepEqual([sent, moved], [[], []]);
    assert.deepEqual(await client.send(honest), { sent: 100 });
    assert.deepEqual(moved, [honest]);
  });

  test(`T10 createServer() refuses ${name} from a client that checks nothing, and logs it`, async () => {
    const { server, entries, moved } = bank();
    const call: Call = { method: Transfers.methods.send, message: input, timeoutMs: 1_000 };
    await assert.rejects(server.call(call), (error: unknown) => {
      assert.ok(error instanceof RpcError);
      assert.deepEqual([error.code, entries.length, entries[0]?.correlationId], [
        "invalid_argument",
        1,
        error.correlationId,
      ]);
      return error.message.includes(`"${field}"`) && !error.message.includes("s3cret");
    });
    assert.deepEqual(moved, []);
    assert.deepEqual((await server.call({ ...call, message: honest })).message, { sent: 100 });
  });
}
