import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAnswers, echoServer, post, refusalOf } from "./_rig.ts";

const message = { text: "a" };

/** A call with a host, or undefined where the runtime's `Request` keeps `host` for itself. */
function from(host: string): Request | undefined {
  const request = post("/echo.v1/say", message, { host });
  return request.headers.get("host") === host ? request : undefined;
}

const wrong = [
  ...["echo.test/echo.v1", "/", "echo.test/", "echo.test?a=b", "echo.test#", "user@echo.test", "user:pw@echo.test"],
  ...["echo.test\\echo.v1", "echo.test%2fecho.v1", "echo test", "a,b", "echo.test, echo.test", "<script>", "a;b"],
];
for (const host of wrong) {
  test(`createServer().fetch refuses the host "${host}"`, async () => {
    const request = from(host);
    if (!request) return; // this runtime's Request takes no host; raw sockets test what its server does
    const { server, calls, entries } = echoServer();
    const refusal = await refusalOf(await server.fetch(request));
    assert.deepEqual([refusal.status, refusal.code], [400, "invalid_argument"]);
    assert.match(refusal.message, /host/);
    assert.ok(!refusal.text.includes(host.length > 1 ? host : "echo"), "a host is not echoed");
    assert.equal(entries.length, 1);
    assert.deepEqual(calls, []);
    await assertAnswers(server);
  });
}

for (
  const host of ["echo.test", "echo.test:8443", "localhost", "127.0.0.1:1", "[::1]", "[::1]:443", "a_b-c.test", ""]
) {
  test(`createServer().fetch takes the host "${host}"`, async () => {
    const request = from(host) ?? post("/echo.v1/say", message);
    assert.equal((await echoServer().server.fetch(request)).status, 200);
  });
}
