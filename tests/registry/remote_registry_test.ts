import { anonymous, createServer, fetchTransport, implement, publicOnly } from "../../src/rpc/mod.ts";
import { RegistryService, remoteRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { mustCome } from "../_patience.ts";
import { heldTimers, SERVICE } from "./_rig.ts";

/** A registry service that answers every question at once, with news that are none. */
function busyService() {
  let calls = 0;
  const service = implement(RegistryService, {
    register: () => ({}),
    deregister: () => ({}),
    resolve: () => {
      calls++;
      return { cursor: "c", reset: true, records: [], gone: [], more: false };
    },
    list: () => ({ services: [] }),
  });
  const guard = publicOnly(["register", "deregister", "resolve", "list"].map((name) => `postern.registry.v1/${name}`));
  const server = createServer(service, { guard, log: () => {} });
  const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
  const registry = remoteRegistry(fetchTransport("https://registry.test", { prover: anonymous(), fetch }));
  return { registry, calls: () => calls };
}

test("remoteRegistry() watch() asks at most every 250 ms, though the service answers at once", async () => {
  const { registry, calls } = busyService();
  const ending = new AbortController();
  const started = performance.now();
  const watching = async () => {
    for await (const _ of registry.watch(SERVICE, { signal: ending.signal })) {
      if (calls() === 3) ending.abort();
    }
  };
  await mustCome(watching(), "the third answer");
  const tookMs = performance.now() - started;
  assert.ok(tookMs >= 2 * 250 - 10, `three questions in ${tookMs} ms`);
});

test("remoteRegistry() watch() ends at once when its signal aborts between two questions", async () => {
  const { registry, calls } = busyService();
  const ending = new AbortController();
  using timers = heldTimers(); // which nobody fires
  let [answers, hasEnded] = [0, false];
  const watching = async () => {
    for await (const _ of registry.watch(SERVICE, { signal: ending.signal })) answers++;
    hasEnded = true;
  };
  const watched = watching();
  while (answers === 0) await timers.settle();
  await timers.settle();
  assert.equal(hasEnded, false);
  ending.abort();
  await timers.settle();
  assert.equal(hasEnded, true);
  await watched;
  assert.deepEqual([calls(), timers.waits()], [1, []]);
});
