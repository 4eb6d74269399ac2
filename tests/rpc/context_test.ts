import type { Context } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Echo, echoServer, post } from "./_rig.ts";

/** A signal that counts who listens to it. */
function counted() {
  const controller = new AbortController();
  const { signal } = controller;
  const counts = { added: 0, removed: 0 };
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...args: unknown[]) => (counts.added++, add(...args as Parameters<typeof add>));
  signal.removeEventListener = (...args: unknown[]) => (counts.removed++, remove(...args as Parameters<typeof remove>));
  return { signal, counts, abort: () => controller.abort() };
}

const message = { text: "a" };

for (const way of ["fetch", "call"] as const) {
  const make = (read: boolean) => {
    const contexts: Context[] = [];
    const { server } = echoServer({}, (given, context) => {
      contexts.push(context);
      if (read) assert.equal(context.signal.aborted, false);
      return given;
    });
    const caller = counted();
    const call = async () => {
      if (way === "call") return await server.call({ method: Echo.methods.say, message, timeoutMs: 1_000, ...caller });
      const request = Object.defineProperty(post("/echo.v1/say", message), "signal", { value: caller.signal });
      assert.equal((await server.fetch(request)).status, 200);
    };
    return { contexts, caller, call };
  };

  test(`Context.signal adds no listener to the caller's signal when it is first read after a ${way} ended`, async () => {
    const { contexts, caller, call } = make(false);
    await call();
    await new Promise((resolve) => setTimeout(resolve)); // the last listener goes in a later turn
    const { added, removed } = caller.counts;
    assert.equal(added, removed);
    const { signal } = contexts[0]!;
    assert.deepEqual(caller.counts, { added, removed });
    assert.equal(signal.aborted, false);
    caller.abort();
    assert.equal(signal.aborted, false, "a caller that goes away after its answer is none of the handler's business");
    assert.equal(contexts[0]!.signal, signal);
  });

  test(`Context.signal takes its listener off the caller's signal when a ${way} ends`, async () => {
    const { caller, call } = make(true);
    await call();
    await new Promise((resolve) => setTimeout(resolve));
    assert.equal(caller.counts.added, way === "call" ? 2 : 1);
    assert.equal(caller.counts.removed, caller.counts.added);
  });

  test(`Context.signal is aborted when it is first read after a ${way} ended whose caller is gone`, async () => {
    const { contexts, caller, call } = make(false);
    await call();
    caller.abort();
    assert.equal(contexts[0]!.signal.aborted, true);
  });
}
