import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type TestAuthority, testAuthority } from "../_authority.ts";
import { type RuntimeName, RUNTIMES, type ServerProgram } from "./launch.ts";
import { createWebSocketLauncher, type WebSocketLauncher } from "./websocket_launch.ts";
import { type RawFrame, rawFrame, type RawHandshake, type RawWebSocket, rawWebSocket } from "./websocket_raw.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const [TEXT, BINARY] = [0x81, 0x82] as const;

let launcher: WebSocketLauncher;
let authority: TestAuthority;
const servers = new Map<RuntimeName, ServerProgram>();

before(async () => {
  authority = await testAuthority();
  launcher = await createWebSocketLauncher();
  await Promise.all(RUNTIMES.map(async (name) => servers.set(name, await launcher.startServer(name, authority))));
});

after(async () => {
  for (const server of servers.values()) await server[Symbol.asyncDispose]();
  await launcher[Symbol.asyncDispose]();
});

const connect = (runtime: RuntimeName, handshake?: RawHandshake) =>
  rawWebSocket(servers.get(runtime)!.port, authority, handshake);

/** Says something and expects to hear it: the server still serves. */
async function assertServes(runtime: RuntimeName): Promise<void> {
  using socket = await connect(runtime);
  await socket.send(rawFrame({ first: TEXT, payload: utf8("hello") }));
  assert.deepEqual((await socket.next())?.payload, utf8("hello"));
}

/** The close code, or "cut" where the connection ended without one. */
async function endOf(socket: RawWebSocket): Promise<number | "cut" | RawFrame> {
  const frame = await socket.next();
  if (frame === undefined) return "cut";
  return frame.opcode === 8 ? frame.code ?? 1005 : frame;
}

const refusals: readonly (readonly [what: string, handshake: RawHandshake, statuses: readonly number[]])[] = [
  ["version 8", { headers: { "Sec-WebSocket-Version": "8" } }, [400, 426]],
  ["no version", { headers: { "Sec-WebSocket-Version": undefined } }, [400, 426]],
  ["a key of 15 bytes", { headers: { "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAA" } }, [400, 426]],
  ["no key", { headers: { "Sec-WebSocket-Key": undefined } }, [400, 426]],
  ["another subprotocol", { headers: { "Sec-WebSocket-Protocol": "chat" } }, [400]],
  ["no subprotocol", { headers: { "Sec-WebSocket-Protocol": undefined } }, [400]],
  ["a web page's origin", { headers: { Origin: "https://evil.example" } }, [403]],
  ["a query", { path: "/postern.v1?token=1" }, [400, 404]],
  ["another path", { path: "/postern.v2" }, [404]],
];
for (const runtime of RUNTIMES) {
  for (const [what, handshake, statuses] of refusals) {
    test(`serve() on ${runtime} refuses a WebSocket with ${what}`, async () => {
      using socket = await connect(runtime, { path: "/postern.v1", ...handshake });
      assert.ok(statuses.includes(socket.status), `${socket.status}`);
      await assertServes(runtime);
    });
  }

  test(`serve() on ${runtime} selects the subprotocol and no compression`, async () => {
    const headers = { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" };
    using socket = await connect(runtime, { path: "/postern.v1", headers });
    assert.equal(socket.status, 101);
    assert.match(socket.head, /^sec-websocket-protocol: *postern\.v1$/im);
    assert.doesNotMatch(socket.head, /^sec-websocket-extensions/im);
  });

  test(`serve() on ${runtime} tells text from binary, and closes when its server does`, async () => {
    using socket = await connect(runtime);
    await socket.send(
      rawFrame({ first: BINARY, payload: utf8("close") }),
      rawFrame({ first: TEXT, payload: utf8("é") }),
    );
    const [first, second] = [await socket.next(), await socket.next()];
    assert.deepEqual([first?.opcode, first?.payload, second?.opcode, second?.payload], [
      2,
      utf8("close"),
      1,
      utf8("é"),
    ]);
    await socket.send(rawFrame({ first: TEXT, payload: utf8("close") }));
    assert.equal(await endOf(socket), 1000);
  });

  for (
    const [what, frame] of [
      ["reserved bits", rawFrame({ first: 0xc2, payload: utf8("x") })],
      ["a reserved opcode", rawFrame({ first: 0x83, payload: utf8("x") })],
      ["a fragmented ping", rawFrame({ first: 0x09, payload: utf8("x") })],
      ["a continuation of nothing", rawFrame({ first: 0x80, payload: utf8("x") })],
    ] as const
  ) {
    test(`serve() on ${runtime} closes a WebSocket that sends ${what}`, async () => {
      using socket = await connect(runtime);
      await socket.send(frame);
      assert.ok([1002, "cut"].includes(await endOf(socket) as number));
      await assertServes(runtime);
    });
  }

  test(`serve() on ${runtime} closes a WebSocket whose message is larger than its server takes`, async () => {
    using socket = await connect(runtime);
    await socket.send(rawFrame({ first: BINARY, payload: new Uint8Array(100_000) }));
    assert.equal((await socket.next())?.payload.length, 100_000);
    await socket.send(rawFrame({ first: BINARY, payload: new Uint8Array(100_001) }));
    assert.equal(await endOf(socket), 1009);
  });

  test(`serve() on ${runtime} closes a WebSocket that sends 65 MiB`, async () => {
    using socket = await connect(runtime);
    const piece = new Uint8Array(1024 * 1024);
    const sending = (async () => {
      await socket.send(rawFrame({ first: BINARY, says: 65 * piece.length }));
      for (let i = 0; i < 65; i++) await socket.send(piece);
    })();
    assert.ok([1009, "cut"].includes(await endOf(socket) as number));
    socket[Symbol.dispose]();
    await sending;
    await assertServes(runtime);
  });

  test(`serve() on ${runtime} outlives 10,000 pings and 10,000 empty fragments`, async () => {
    using pinging = await connect(runtime);
    const pings = rawFrame({ first: 0x89, payload: utf8("ping") });
    await pinging.send(repeat(pings, 10_000), rawFrame({ first: TEXT, payload: utf8("still here") }));
    assert.deepEqual((await pinging.next())?.payload, utf8("still here"));
    using fragmenting = await connect(runtime);
    await fragmenting.send(rawFrame({ first: 0x02 }), repeat(rawFrame({ first: 0x00 }), 10_000));
    await fragmenting.send(rawFrame({ first: 0x80, payload: utf8("end") }));
    const outcome = await fragmenting.next();
    // Node's is ours, and finds it not worth the work.
    assert.ok(runtime === "node" ? outcome?.code === 1008 : outcome?.opcode === 2 && outcome.payload.length === 3);
    await assertServes(runtime);
  });

  test(`serve() on ${runtime} gives no text to its server that is not UTF-8`, async () => {
    using socket = await connect(runtime);
    await socket.send(rawFrame({ first: TEXT, payload: Uint8Array.of(0xc3, 0x28) }));
    const end = await endOf(socket);
    // workerd puts U+FFFD in place of what is wrong, and the protocol's texts are only JSON.
    if (typeof end === "object") assert.deepEqual([runtime, end.payload], ["workerd", utf8("\ufffd(")]);
    else assert.ok(end === 1007 || end === "cut", `${end}`);
    await assertServes(runtime);
  });

  test(`serve() on ${runtime} is told of a client that goes without a word`, async () => {
    const told = async () => Number(await (await fetchText(runtime, "/closings")));
    const before = await told();
    const socket = await connect(runtime);
    await socket.send(rawFrame({ first: TEXT, payload: utf8("hello") }));
    await socket.next();
    socket[Symbol.dispose]();
    for (let i = 0; await told() === before; i++) assert.ok(i < 1_000, "nobody told");
  });
}

test("serve() closes the WebSocket of a client that never says who it is, on every runtime", async () => {
  await Promise.all(RUNTIMES.map(async (runtime) => {
    using socket = await connect(runtime, { path: "/postern.v1" });
    assert.equal(socket.status, 101);
    const end = await endOf(socket);
    assert.ok(typeof end !== "object", runtime);
  }));
});

function repeat(frame: Uint8Array, times: number): Uint8Array {
  const all = new Uint8Array(frame.length * times);
  for (let i = 0; i < times; i++) all.set(frame, i * frame.length);
  return all;
}

async function fetchText(runtime: RuntimeName, path: string): Promise<string> {
  using client = Deno.createHttpClient({ caCerts: [authority.ca] });
  const response = await fetch(`${servers.get(runtime)!.url}${path}`, { client });
  return await response.text();
}
