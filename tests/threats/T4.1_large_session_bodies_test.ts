// Large bodies are hashed by the runtime, which takes a moment: the call waits for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { rejection } from "../rpc/_rig.ts";
import { kindOf, underSession } from "../auth/_sessions.ts";

for (const size of [10, 4_000, 5_000, 100_000]) {
  test(`T4.1 a server refuses a request of ${size} bytes under a session whose body somebody changed`, async () => {
    const under = await underSession();
    const calls = under.echo.calls.length;
    under.between = (request, pass) => {
      assert.equal(kindOf(request), "session");
      return pass({ ...request, body: request.body.replace("x", "y") });
    };
    assert.equal((await rejection(under.client.say({ text: "x".repeat(size) }))).code, "unavailable");
    assert.equal(under.echo.calls.length, calls, "the handler was called");
  });

  test(`T4.1 a client refuses an answer of ${size} bytes under a session whose body somebody changed`, async () => {
    const under = await underSession();
    under.between = async (request, pass) => {
      const response = await pass(request);
      return new Response((await response.text()).replace("x", "y"), response);
    };
    assert.equal((await rejection(under.client.say({ text: "x".repeat(size) }))).code, "unavailable");
  });
}
