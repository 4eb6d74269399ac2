import { anonymous, createClient, createServer, implement, rpc, RpcError, service, stream } from "../../src/rpc/mod.ts";
import { webSocketTransport } from "../../src/rpc/websocket_transport.ts";
import { acquainted } from "./_chain.ts";
import { collect, rejection } from "./_rig.ts";
import { type Lane, type Message, network, settle, type Wire } from "./_sockets.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const N = v.strictObject({ n: v.number() });
const Counter = service("counter.v1", {
  double: rpc(N, v.object({ n: v.number() })),
  upTo: rpc(N, stream(v.object({ n: v.number() }))),
});

function rig(prepare?: (wire: Wire) => void, options: { readonly introduces?: boolean } = {}) {
  const known = acquainted(options);
  const handled: number[] = [];
  const server = createServer(
    implement(Counter, {
      double({ n }) {
        handled.push(n);
        return { n: 2 * n };
      },
      async *upTo({ n }) {
        for (let i = 1; i <= n; i++) {
          yield { n: i };
          await settle(1);
        }
      },
    }),
    { guard: known.guard, log: collect().log },
  );
  const net = network(server, prepare);
  const transport = webSocketTransport("wss://counter.test/", { prover: known.prover, open: net.open });
  return { ...known, net, server, handled, client: createClient(Counter, transport), transport };
}

test("webSocketTransport() proves the connection, each message and each call", async () => {
  const it = rig();
  await using _ = it.transport;
  assert.deepEqual(await it.client.double({ n: 1 }), { n: 2 });
  const seen: number[] = [];
  for await (const { n } of it.client.upTo({ n: 3 })) seen.push(n);
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(it.proofs, { asked: 1, verified: 1 });
  assert.deepEqual(it.calls.map(({ carries, request }) => [carries, request?.method, request?.url]), [
    ["body", "POST", "https://counter.test/counter.v1/double"],
    ["stream", "POST", "https://counter.test/counter.v1/upTo"],
  ]);
});

test("webSocketTransport() proves again what was an introduction", async () => {
  const it = rig(undefined, { introduces: true });
  await using _ = it.transport;
  assert.deepEqual(await it.client.double({ n: 1 }), { n: 2 });
  assert.deepEqual(it.proofs, { asked: 1, verified: 2 });
  assert.equal(it.net.wires.length, 1);
});

test("webSocketTransport() gives the server's refusal of a connection", async () => {
  const { guard, ...it } = rig();
  const server = createServer(implement(Counter, { double: (m) => m, async *upTo() {} }), {
    guard,
    log: collect().log,
  });
  await using transport = webSocketTransport("wss://counter.test", {
    prover: anonymous(),
    open: network(server).open,
  });
  const error = await rejection(createClient(Counter, transport).double({ n: 1 }));
  assert.equal(error.code, "unauthenticated");
  assert.equal(error.message, "Who are you");
  await it.transport[Symbol.asyncDispose]();
});

test("webSocketTransport() believes no refusal and no welcome that is not proven", async () => {
  for (const changed of [{ status: 403 }, { body: "x" }, { headers: {} }, { headers: { proof: "200 undefined" } }]) {
    const it = rig((wire) => {
      wire.toClient.tamper = (message, index) =>
        index === 0 ? [JSON.stringify({ ...JSON.parse(message as string), ...changed })] : [message];
    });
    const error = await rejection(it.client.double({ n: 1 }));
    assert.equal(error.code, "unavailable");
    assert.deepEqual(it.handled, []);
    await it.transport[Symbol.asyncDispose]();
  }
});

type Attack = (message: Uint8Array<ArrayBuffer>, past: Message[]) => readonly Message[];
let held: Message | undefined;
const attacks: Readonly<Record<string, Attack>> = {
  "a bit is flipped": (message) => [message.map((byte, i) => i === message.length - 20 ? byte ^ 1 : byte)],
  "a bit of the proof is flipped": (message) => [message.map((byte, i) => i === message.length - 1 ? byte ^ 1 : byte)],
  "it is left out": (message) => {
    if (held !== undefined) return [message];
    held = message;
    return [];
  },
  "it is cut": (message) => [message.slice(0, -1)],
  "it has a byte more": (message) => [Uint8Array.of(...message, 0)],
  "it comes twice": (message) => [message, message],
  "one is put before it": (message) => [Uint8Array.of(7, ...Array(16).fill(0)), message],
  "an older one is repeated": (message, past) => [past.find((each) => typeof each !== "string") ?? message, message],
  "it comes as text": (message) => [String.fromCharCode(...message)],
  "it has no proof": (message) => [message.slice(0, -16)],
  "it changes places with the next one": (message) => {
    if (held === undefined) {
      held = message;
      return [];
    }
    return [message, held];
  },
};

for (const [name, attack] of Object.entries(attacks)) {
  for (const lane of ["toServer", "toClient"] as const) {
    test(`webSocketTransport() and its server accept no message ${lane} after one where ${name}`, async () => {
      held = undefined;
      let attacked: Lane | undefined;
      let from = Infinity;
      const it = rig((wire) => {
        attacked ??= wire[lane];
        if (attacked !== wire[lane]) return;
        attacked.tamper = (message, index) =>
          typeof message !== "string" && index >= from ? attack(message, attacked!.log) : [message];
      });
      assert.deepEqual(await it.client.double({ n: 1 }), { n: 2 });
      assert.deepEqual(await it.client.double({ n: 2 }), { n: 4 });
      from = attacked!.log.length;
      const answers: number[] = [];
      const ask = async (n: number) => {
        try {
          answers.push((await it.client.double({ n }, { timeoutMs: 50 })).n);
        } catch (error) {
          assert.ok(
            error instanceof RpcError && ["unavailable", "deadline_exceeded"].includes(error.code),
            String(error),
          );
        }
      };
      const { closes } = it.net.wires[0]!;
      for (const n of [3, 4, 5]) {
        if (closes.length === 0) await ask(n);
        await settle();
      }
      // Only a message that comes twice, or before the next one, is in its place the first time.
      assert.deepEqual(answers, name === "it comes twice" ? [6] : []);
      assert.ok(closes[0]?.code === 4401 || closes[0]?.code === 4400, "nobody noticed");
      assert.equal(closes[0].by, lane === "toServer" ? "server" : "client");
      await it.transport[Symbol.asyncDispose]();
    });
  }
}
