// A connection is secret from its first byte on, and nobody opens one from a page of his own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { anonymous, createServer, implement, publicOnly, webSocketTransport } from "../../src/rpc/mod.ts";
import { collect } from "../rpc/_rig.ts";
import { upgradeRequest } from "../rpc/_socket_server.ts";
import { Streams } from "../rpc/_streams.ts";
import { streaming } from "./_streaming.ts";

const ADDRESSES = [
  "ws://streams.test",
  "ws://localhost",
  "ws://127.0.0.1:8080",
  "ws://[::1]",
  "WS://streams.test",
  " ws://streams.test",
  "http://streams.test",
  "https://streams.test",
  "ftp://streams.test",
];

for (const url of ADDRESSES) {
  test(`T3.1 T20 T24 webSocketTransport() refuses the address "${url}", and opens nothing`, () => {
    const opened: string[] = [];
    const open = (to: string): never => {
      opened.push(to);
      throw new Error("opened");
    };
    assert.throws(
      () => webSocketTransport(url, { prover: anonymous(), open }),
      (error: Error) => error instanceof TypeError && /"wss:"/.test(error.message),
    );
    assert.deepEqual(opened, []);
  });
}

for (const secret of ["?token=s3cret", "#s3cret"]) {
  test(`T3.1 T2.2 webSocketTransport() takes no secret in its address, and does not repeat "${secret}"`, () => {
    const options = { prover: anonymous(), open: () => assert.fail("opened") };
    const refuses = (url: string) =>
      assert.throws(
        () => webSocketTransport(url, options),
        (error: Error) => error instanceof TypeError && !error.message.includes("s3cret"),
      );
    refuses(`wss://streams.test/${secret}`);
    refuses("wss://me:s3cret@streams.test");
  });
}

for (const scheme of ["http", "ws"]) {
  for (const tlsTerminated of [undefined, false]) {
    test(`T3.1 T20 T24 createServer() opens no connection that came by ${scheme}: (tlsTerminated: ${tlsTerminated})`, async () => {
      const it = await streaming({ serving: tlsTerminated === undefined ? {} : { tlsTerminated } });
      const answer = await it.server.upgrade(upgradeRequest({ url: `${scheme}://streams.test/postern.v1` }));
      assert.ok(answer instanceof Response);
      const { code, message } = await answer.json();
      assert.deepEqual([answer.status, code, message], [
        400,
        "failed_precondition",
        "Cannot connect: the request came without TLS",
      ]);
      assert.deepEqual(it.audit.events, [], "the guard was asked");
      const good = await it.server.upgrade(upgradeRequest({ url: "https://streams.test/postern.v1" }));
      assert.ok(!(good instanceof Response));
    });
  }
}

test("T3.1 T24 createServer() opens connections by http: only where somebody says that TLS ends before it", async () => {
  const it = await streaming({ serving: { tlsTerminated: true } });
  for (const scheme of ["http", "https"]) {
    const answer = await it.server.upgrade(upgradeRequest({ url: `${scheme}://streams.test/postern.v1` }));
    assert.ok(!(answer instanceof Response), scheme);
  }
});

const ORIGINS = [
  "https://evil.test",
  "https://app.test.evil.test",
  "https://app.test:8443",
  "https://APP.test",
  "http://app.test",
  "https://app.test/",
  "null",
  "",
  "https://app.test, https://evil.test",
];

for (const origin of ORIGINS) {
  test(`T2.2 a page of "${origin}" opens no connection: it is refused before there is one`, async () => {
    const it = await streaming({ serving: { origins: ["https://app.test"] } });
    const request = upgradeRequest({ url: "https://streams.test/postern.v1" });
    request.headers.set("origin", origin);
    const answer = await it.server.upgrade(request);
    assert.ok(answer instanceof Response);
    assert.deepEqual([answer.status, (await answer.json()).code], [403, "permission_denied"]);
    assert.deepEqual(it.audit.events, [], "the guard was asked");
  });
}

test("T2.2 no page at all opens a connection where none was named", async () => {
  const names = Object.keys(Streams.methods);
  const nothing = () => assert.fail("called");
  const handlers = Object.fromEntries(names.map((name) => [name, nothing]));
  const server = createServer(implement(Streams, handlers as never), {
    guard: publicOnly(names.map((name) => `streams.v1/${name}`)),
    log: collect().log,
  });
  for (const origin of ["https://streams.test", "https://localhost", "null"]) {
    const answer = await server.upgrade(
      upgradeRequest({ url: "https://streams.test/postern.v1", headers: { origin } }),
    );
    assert.ok(answer instanceof Response && answer.status === 403, origin);
  }
});
