import { type Guard, implement, ProveAgainError, rpc, RpcError, service } from "../../src/rpc/mod.ts";
import { webSocketUpgrade } from "../../src/rpc/websocket_server.ts";
import { gate } from "./_rig.ts";
import { connected, socketServer, upgradeRequest } from "./_socket_server.ts";
import { settle } from "./_sockets.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const Echo = service("echo.v1", { say: rpc(v.strictObject({ n: v.number() }), v.object({ n: v.number() })) });
const echo = implement(Echo, { say: (message) => message });
const HELLO = JSON.stringify({ headers: {}, codec: "json" });

const upgrades: Readonly<Record<string, readonly [number, Parameters<typeof upgradeRequest>[0]]>> = {
  "came without TLS": [400, { url: "http://counter.test/postern.v1" }],
  "wants another path": [404, { url: "https://counter.test/postern.v1/" }],
  "has a query": [404, { url: "https://counter.test/postern.v1?token=x" }],
  "is a POST": [405, { method: "POST" }],
  "upgrades to nothing": [426, { headers: { upgrade: "" } }],
  "has another version": [426, { headers: { "sec-websocket-version": "8" } }],
  "has no key": [400, { headers: { "sec-websocket-key": "" } }],
  "has a key that is none": [400, { headers: { "sec-websocket-key": "short" } }],
  "offers no subprotocol": [400, { headers: { "sec-websocket-protocol": "" } }],
  "offers another subprotocol": [400, { headers: { "sec-websocket-protocol": "graphql-ws, postern.v10" } }],
  "comes from another page": [403, { headers: { origin: "https://evil.test" } }],
  "comes from a page of nowhere": [403, { headers: { origin: "null" } }],
  "has a host that is none": [400, { headers: { host: "a/b" } }],
  "has headers that are too large": [431, { headers: { "x-large": "x".repeat(17_000) } }],
};

for (const [name, [status, changes]] of Object.entries(upgrades)) {
  test(`webSocketUpgrade() refuses a request that ${name}`, async () => {
    const answer = await socketServer(echo).upgrade(upgradeRequest(changes));
    assert.ok(answer instanceof Response);
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get("content-type"), "application/json");
    assert.equal(typeof (await answer.json()).code, "string");
  });
}

test("webSocketUpgrade() takes a request of an allowed page, and one of no page", async () => {
  const server = socketServer(echo);
  const allowed: readonly Readonly<Record<string, string>>[] = [
    { origin: "https://app.test" },
    { "sec-websocket-protocol": "other, postern.v1" },
  ];
  for (const headers of allowed) {
    const answer = await server.upgrade(upgradeRequest({ headers }));
    assert.ok(!(answer instanceof Response));
    assert.equal(answer.protocol, "postern.v1");
    assert.equal(answer.maxMessageBytes, 1_048_576 + 65_536);
  }
});

test("webSocketUpgrade() throws for an origin that is none", () => {
  const { core } = socketServer(echo);
  for (const origin of ["*", "https://app.test/", "app.test", "null"]) {
    assert.throws(() => webSocketUpgrade(core, { origins: [origin] }), TypeError);
  }
});

test("webSocketUpgrade() holds 1,024 connections and takes another when one is gone", async () => {
  const server = socketServer(echo);
  const all = await Promise.all(Array.from({ length: 1_024 }, () => connected(server)));
  const answer = await server.upgrade(upgradeRequest());
  assert.ok(answer instanceof Response && answer.status === 503);
  all[7]!.user.closed();
  assert.ok(!(await server.upgrade(upgradeRequest()) instanceof Response));
  for (const { user } of all) user.closed();
  assert.equal(server.clock.waiting, 0);
});

const binary = new Uint8Array([7]);
const notHello: Readonly<Record<string, string | Uint8Array>> = {
  "is binary": binary,
  "is not JSON": "hello",
  "is an array": "[]",
  "has no headers": JSON.stringify({ codec: "json" }),
  "has no codec": JSON.stringify({ headers: {} }),
  "has another member": JSON.stringify({ headers: {}, codec: "json", more: 1 }),
  "has a header that is no text": JSON.stringify({ headers: { a: 1 }, codec: "json" }),
  "has a header with a line break": JSON.stringify({ headers: { a: "b\r\nc: d" }, codec: "json" }),
  "has a header in upper case": JSON.stringify({ headers: { A: "b" }, codec: "json" }),
  "has a header twice": '{"headers":{"a":"b","a":"c"},"codec":"json"}',
  "is over 16 KiB": JSON.stringify({ headers: { a: "b".repeat(16_384) }, codec: "json" }),
};

for (const [name, message] of Object.entries(notHello)) {
  test(`webSocketUpgrade() ends a connection whose first message ${name}`, async () => {
    const server = socketServer(echo);
    const { user, closes, sent } = await connected(server);
    user.receive(message);
    await settle();
    assert.deepEqual(closes, [{ code: 4400, reason: "not the protocol" }]);
    assert.deepEqual(sent, []);
    user.closed();
    assert.equal(server.clock.waiting, 0);
  });
}

test("webSocketUpgrade() refuses a codec that is not offered", async () => {
  const { user, closes, sent } = await connected(socketServer(echo));
  user.receive(JSON.stringify({ headers: {}, codec: "proto" }));
  await settle();
  assert.equal(JSON.parse(sent[0] as string).status, 415);
  assert.equal(closes[0]!.code, 4401);
});

test("webSocketUpgrade() ends a connection that says nothing for 10 s", async () => {
  const server = socketServer(echo);
  const { closes } = await connected(server);
  server.clock.pass(9_999);
  assert.deepEqual(closes, []);
  server.clock.pass(1);
  assert.deepEqual(closes, [{ code: 4408, reason: "no answer in time" }]);
});

test("webSocketUpgrade() ends a connection that goes on before it is let in, and decodes nothing of that", async () => {
  const asked = gate<{ admitCall: () => object }>();
  const guard: Guard = { start() {}, admit: () => asked.opened };
  const { user, closes, sent } = await connected(socketServer(echo, guard));
  user.receive(HELLO);
  user.receive(HELLO);
  assert.equal(closes[0]!.code, 4400);
  asked.open({ admitCall: () => ({}) });
  await settle();
  assert.deepEqual(sent, []);
});

test("webSocketUpgrade() ends a connection that says hello again once it is in", async () => {
  const { user, closes, sent } = await connected(socketServer(echo));
  user.receive(HELLO);
  await settle();
  assert.deepEqual(JSON.parse(sent[0] as string), {
    status: 200,
    headers: { "content-type": "application/postern.v1" },
    body: "",
  });
  user.receive(HELLO);
  assert.equal(closes[0]!.code, 4400);
});

test("webSocketUpgrade() takes one hello more where the guard asks for another proof, and no third", async () => {
  const guard: Guard = {
    start() {},
    admit() {
      throw new ProveAgainError("unauthenticated", "Prove it again", { ageMs: 5 });
    },
  };
  const { user, closes, sent } = await connected(socketServer(echo, guard));
  user.receive(HELLO);
  await settle();
  assert.equal(closes.length, 0);
  user.receive(HELLO);
  await settle();
  assert.deepEqual(sent.map((each) => JSON.parse(each as string).status), [401, 401]);
  assert.equal(closes[0]!.code, 4401);
});

test("webSocketUpgrade() refuses whom the guard refuses, proves that, and masks a guard that fails", async () => {
  const admits: readonly [Guard["admit"], number, string][] = [
    [
      ({ sealRefusal }) => {
        sealRefusal(({ status }) => ({ proof: `of ${status}` }));
        throw new RpcError("permission_denied", "Not you");
      },
      403,
      "of 403",
    ],
    [
      () => {
        throw new Error("secret");
      },
      500,
      "",
    ],
  ];
  for (const [admit, status, proof] of admits) {
    const { user, closes, sent } = await connected(socketServer(echo, { start() {}, admit }));
    user.receive(HELLO);
    await settle();
    const answer = JSON.parse(sent[0] as string);
    assert.equal(answer.status, status);
    assert.equal(answer.headers.proof ?? "", proof);
    assert.doesNotMatch(sent[0] as string, /secret/);
    assert.equal(closes[0]!.code, 4401);
  }
});

test("webSocketUpgrade() carries no calls on a connection that was admitted without saying so", async () => {
  const { user, sent } = await connected(socketServer(echo, { start() {}, admit: () => ({}) }));
  user.receive(HELLO);
  await settle();
  const path = [..."/echo.v1/say"].map((each) => each.charCodeAt(0));
  user.receive(Uint8Array.of(0x31, 0, 0, 0, 1, 0, 0, 0, 0, path.length, ...path, 0, 0, 0, 0, 2, 123, 125));
  await settle();
  assert.match(new TextDecoder().decode(sent[1] as Uint8Array), /permission_denied/);
});

test("webSocketUpgrade() keeps no place for a connection that it ended and that does not go", async () => {
  const { clock, upgrade } = socketServer(echo);
  const silent = { bufferedBytes: 0, send() {}, close() {} }; // it never says that it is closed
  const connect = async () => {
    const answer = await upgrade(upgradeRequest());
    if (answer instanceof Response) return answer.status;
    answer.open(silent).receive("no hello");
    return 101;
  };
  for (let i = 0; i < 1_024; i++) assert.equal(await connect(), 101);
  await settle();
  assert.equal(await connect(), 503);
  clock.pass(1_000);
  assert.equal(await connect(), 101);
});
