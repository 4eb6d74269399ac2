import { anonymous, createServer, fetchTransport, implement, publicOnly } from "../../src/rpc/mod.ts";
import { type RegistryChanges, RegistryError, RegistryService, remoteRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { mustCome } from "../_patience.ts";
import { heldTimers, SERVICE } from "./_rig.ts";

/** What a registry service says; where nothing is said, news that are none. */
interface Script {
  readonly resolve?: (cursor: string | undefined) => RegistryChanges | Promise<RegistryChanges>;
  readonly services?: readonly string[];
}

/** A registry service that answers every question at once. */
function busyService(script: Script = {}) {
  let calls = 0;
  const service = implement(RegistryService, {
    register: () => ({}),
    deregister: () => ({}),
    resolve: ({ cursor }) => {
      calls++;
      return script.resolve?.(cursor) ?? { cursor: "c", reset: true, records: [], gone: [], more: false };
    },
    list: () => ({ services: [...script.services ?? []] }),
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

/** Pages of three, of a log that is another one after some answers; "a" is in the first page only. */
function pagedService() {
  const names = ["a", "b", "c", "d", "e", "f", "g"];
  let resets = 0;
  const resolve = async (cursor: string | undefined): Promise<RegistryChanges> => {
    for (let i = 0; i < 3; i++) await new Promise((done) => setTimeout(done, 0));
    const [, from] = /^log\.(\d)$/.exec(cursor ?? "") ?? [];
    const at = Number(from ?? 0);
    const reset = from === undefined || at === names.length;
    if (reset) resets++;
    const start = reset ? 0 : at;
    const end = Math.min(start + 3, names.length);
    return {
      cursor: `log.${end}`,
      reset,
      records: names.slice(start, end).map((name) => ({ name, record: `record of ${name}` })),
      gone: [],
      more: end < names.length,
    };
  };
  return { names, resolve, resets: () => resets };
}

test("remoteRegistry() resolve() gives whole answers to all who ask at once, with pages and resets", async () => {
  const { names, resolve, resets } = pagedService();
  const { registry } = busyService({ resolve });
  const answers = await Promise.all(Array.from({ length: 8 }, () => registry.resolve(SERVICE)));
  const whole = names.map((name) => `record of ${name}`);
  for (const answer of answers) assert.deepEqual([...answer].sort(), whole);
  assert.equal(resets(), 8, "each of them began with nothing");
});

test("remoteRegistry() resolve() goes on after one of those who ask at once has failed", async () => {
  const { names, resolve } = pagedService();
  let calls = 0;
  const { registry } = busyService({
    resolve: (cursor) => ++calls === 2 ? Promise.reject(new Error("down")) : resolve(cursor),
  });
  const answers = await Promise.allSettled(Array.from({ length: 3 }, () => registry.resolve(SERVICE)));
  assert.equal(answers.filter(({ status }) => status === "rejected").length, 1);
  for (const answer of answers) {
    if (answer.status === "fulfilled") assert.equal(answer.value.length, names.length);
  }
  assert.equal((await registry.resolve(SERVICE)).length, names.length);
});

test("remoteRegistry() resolve() does not wait for another one, of the same service or of another", async () => {
  let calls = 0;
  const { registry } = busyService({
    resolve: () =>
      ++calls === 1 ? new Promise<never>(() => {}) : { cursor: "c", reset: true, records: [], gone: [], more: false },
  });
  const ending = new AbortController();
  const stuck = registry.resolve("stuck.v1", { signal: ending.signal });
  stuck.catch(() => {});
  assert.deepEqual(await mustCome(registry.resolve(SERVICE), "the answer for another service"), []);
  assert.deepEqual(await mustCome(registry.resolve("stuck.v1"), "the answer for the same service"), []);
  ending.abort();
  await assert.rejects(stuck, RegistryError);
});

test("remoteRegistry() list() refuses a name that is none", async () => {
  assert.deepEqual(await busyService({ services: ["a.v1", SERVICE] }).registry.list(), ["a.v1", SERVICE]);
  for (const name of ["", "a b", "../etc", "a/b", "a".repeat(129), "\u001b[2J", "<b>"]) {
    await assert.rejects(busyService({ services: ["a.v1", name] }).registry.list(), RegistryError, name);
  }
});
