import assert from "node:assert/strict";
import { test } from "node:test";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import { ADAPTED } from "./launch.ts";
import { createWebSocketLauncher } from "./websocket_launch.ts";
import { rawFrame, rawWebSocket } from "./websocket_raw.ts";
import type { Upgrade } from "../../src/rpc/mod.ts";
import { createWebSocket, serve } from "../../src/runtime/deno.ts";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { issueClient } from "./mtls_certificates.ts";

const hello = rawFrame({ first: 0x81, payload: new TextEncoder().encode("hello") });

for (const runtime of ADAPTED) {
  test(`serve() on ${runtime} cuts a WebSocket that is still open after drainMs`, async () => {
    const authority = await testAuthority();
    await using launcher = await createWebSocketLauncher();
    await using server = await launcher.startServer(runtime, { ...authority, drainMs: 500 });
    using socket = await rawWebSocket(server.port, authority);
    await socket.send(hello);
    assert.equal((await socket.next())?.payload.length, 5);
    server.program.terminate();
    assert.notEqual((await mustCome(socket.next(), "the end"))?.opcode, 1);
    await mustCome(server.program.line("drained"), "the end of draining");
    assert.equal((await mustCome(server.program.status, "the end of the program")).code, 0);
  });

  test(`serve() on ${runtime} waits for its WebSockets when it drains, and ends with the last`, async () => {
    const authority = await testAuthority();
    await using launcher = await createWebSocketLauncher();
    await using server = await launcher.startServer(runtime, { ...authority, drainMs: 15_000 });
    using socket = await rawWebSocket(server.port, authority);
    await socket.send(hello);
    await socket.next();
    server.program.terminate();
    await socket.send(hello);
    assert.equal((await socket.next())?.payload.length, 5);
    await socket.send(rawFrame({ first: 0x81, payload: new TextEncoder().encode("close") }));
    assert.equal((await socket.next())?.code, 1000);
    await socket.send(rawFrame({ first: 0x88, payload: Uint8Array.of(3, 232) }));
    await mustCome(server.program.line("drained"), "the end of draining");
  });
}

/** A server that gives back what it gets. */
const echo = (): Upgrade => ({
  protocol: "echo",
  maxMessageBytes: 1_000_000,
  open: (pipe) => ({
    receive(message) {
      if (message !== "quiet") pipe.send(typeof message === "string" ? message : new Uint8Array(message));
    },
    closed() {},
  }),
});

const never = () => new Response(null, { status: 404 });

for (const listener of ["Deno.serve", "node:http2"] as const) {
  test(`createWebSocket() carries text and binary of any size to serve() with ${listener}`, async () => {
    const authority = await makeCa();
    const { ca } = authority;
    const { cert, key } = await issueCertificate({ authority });
    const clientCerts = { caCerts: [ca] };
    const options = { cert, key, port: 0, drainMs: 1_000, ...listener === "node:http2" && { clientCerts } };
    await using serving = await serve({ fetch: never, upgrade: echo }, options);
    const own = listener === "node:http2" ? await issueClient(authority, []) : {};
    const socket = createWebSocket({ caCerts: [ca], ...own })(`${serving.url}/`, ["echo"]);
    const messages: unknown[] = [];
    await mustCome(
      new Promise<void>((resolve, reject) => {
        socket.onopen = resolve;
        socket.onclose = reject;
      }),
      "the WebSocket",
    );
    const sent = [
      new Uint8Array(0),
      "é",
      "",
      ...[1, 125, 126, 65_535, 65_536, 1_000_000].map((n) => new Uint8Array(n)),
    ];
    const all = new Promise<void>((resolve) => {
      socket.onmessage = ({ data }: { data: unknown }) => messages.push(data) === sent.length && resolve();
    });
    for (const message of sent) socket.send(message);
    await mustCome(all, "the echoes");
    assert.deepEqual(messages, sent);
    const closed = new Promise<{ readonly code: number }>((resolve) => socket.onclose = resolve);
    socket.close(4000, "bye");
    assert.equal((await mustCome(closed, "the end")).code, 4000);
  });
}

test("createWebSocket() does not open to a server whose certificate nobody signed for it", async () => {
  const { cert, key } = await testAuthority();
  const { ca } = await makeCa();
  await using serving = await serve({ fetch: never, upgrade: echo }, { cert, key, port: 0, drainMs: 100 });
  for (const options of [{}, { caCerts: [ca] }]) {
    const socket = createWebSocket(options)(`${serving.url}/`, ["echo"]);
    const outcome = await new Promise((resolve) => {
      socket.onopen = () => resolve("open");
      socket.onclose = () => resolve("closed");
    });
    assert.equal(outcome, "closed");
  }
});

// That it does not wait for acknowledgements of TCP either is a matter of time, and in bench/stalls.ts.
test("createWebSocket() gets messages of any size to the server and back, one or two at a time", async () => {
  const { ca, cert, key } = await testAuthority();
  await using serving = await serve({ fetch: never, upgrade: echo }, { cert, key, port: 0, drainMs: 1_000 });
  const socket = createWebSocket({ caCerts: [ca] })(`${serving.url}/`, ["echo"]);
  await mustCome(new Promise((resolve) => socket.onopen = resolve), "the WebSocket");
  for (
    const [size, isSecond] of [[100, false], [100, true], [1_100, false], [16_384, false], [65_536, true]] as const
  ) {
    const echoed = new Promise<{ readonly data: ArrayBuffer }>((resolve) => {
      socket.onmessage = (event: object) => resolve(event as unknown as { readonly data: ArrayBuffer });
    });
    if (isSecond) socket.send("quiet"); // as a call after a cancellation
    socket.send(new Uint8Array(size));
    assert.equal((await mustCome(echoed, "the echo")).data.byteLength, size);
  }
  const closed = new Promise((resolve) => socket.onclose = resolve);
  socket.close();
  await mustCome(closed, "the end");
});
