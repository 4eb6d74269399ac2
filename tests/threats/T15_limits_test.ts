import { json } from "../../src/codec/mod.ts";
import {
  createServer,
  implement,
  type LogEntry,
  publicOnly,
  rpc,
  type ServerLimits,
  service,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

// The attacker tries to use up a server: with size, with shape, with number and with time. An honest caller is served
// beside every attack, and after it.

const Message = v.strictObject({ text: v.string(), more: v.optional(v.array(v.string())) });
const Work = service("work.v1", {
  quick: rpc(Message, v.object({ text: v.string() })),
  hold: rpc(Message, v.object({ text: v.string() })),
  tiny: rpc(Message, v.object({ text: v.string() }), { maxBodyBytes: 64 }),
});

function work(limits: ServerLimits = {}) {
  const entries: LogEntry[] = [];
  const held: (() => void)[] = [];
  const signals: AbortSignal[] = [];
  const server = createServer(
    implement(Work, {
      quick: ({ text }) => ({ text }),
      tiny: ({ text }) => ({ text }),
      hold: ({ text }, { signal }) => {
        signals.push(signal);
        return new Promise((resolve) => held.push(() => resolve({ text })));
      },
    }),
    {
      guard: publicOnly(["work.v1/quick", "work.v1/hold", "work.v1/tiny"]),
      codecs: [json()],
      limits,
      log: (entry) => void entries.push(entry),
    },
  );
  return { server, entries, held, signals };
}

type Rig = ReturnType<typeof work>;

function post(body: BodyInit, method = "quick", headers: Record<string, string> = {}): Request {
  const init = { method: "POST", body, headers: { "content-type": "application/json", ...headers }, duplex: "half" };
  return new Request(`https://work.test/work.v1/${method}`, init);
}

async function assertHonest({ server }: Rig): Promise<void> {
  const response = await server.fetch(post('{"text":"honest"}'));
  assert.deepEqual([response.status, await response.json()], [200, { text: "honest" }]);
}

/** Asserts that an attack was answered with a code and logged under the id in the answer. */
async function assertRefused(rig: Rig, response: Response, status: number, code: string, why: RegExp): Promise<void> {
  const wire = await response.json();
  assert.deepEqual([response.status, wire.code], [status, code]);
  assert.match(wire.message, why);
  const entry = rig.entries.find(({ correlationId }) => correlationId === wire.details[0].debug.requestId);
  assert.equal(entry?.code, code);
}

/** A body without an end, and how much of it was taken. */
function endless(chunk: number) {
  const taken = { bytes: 0, canceled: false };
  const body = new ReadableStream({
    pull(controller) {
      taken.bytes += chunk;
      controller.enqueue(new Uint8Array(chunk).fill(0x20));
    },
    cancel() {
      taken.canceled = true;
    },
  }, { highWaterMark: 0 });
  return { body, taken };
}

const tooMuch = "resource_exhausted";

test("T15 createServer() refuses a body that is declared too large, without reading it", async () => {
  const rig = work();
  const { body, taken } = endless(1_024);
  const response = await rig.server.fetch(post(body, "quick", { "content-length": "1048577" }));
  await assertRefused(rig, response, 429, tooMuch, /1048576 bytes/);
  assert.equal(taken.bytes, 0);
  await assertHonest(rig);
});

test("T15 createServer() takes no more of a body without an end than the limit and a chunk", async () => {
  const rig = work();
  const { body, taken } = endless(65_536);
  await assertRefused(rig, await rig.server.fetch(post(body)), 429, tooMuch, /1048576 bytes/);
  assert.ok(taken.bytes <= 1_048_576 + 3 * 65_536, `${taken.bytes} bytes were taken`);
  assert.equal(taken.canceled, true);
  await assertHonest(rig);
});

test("T15 createServer() holds a method to the smaller limit of its own", async () => {
  const rig = work();
  const large = JSON.stringify({ text: "a".repeat(64) });
  await assertRefused(rig, await rig.server.fetch(post(large, "tiny")), 429, tooMuch, /64 bytes/);
  assert.equal((await rig.server.fetch(post(large, "quick"))).status, 200);
  assert.equal((await rig.server.fetch(post('{"text":"a"}', "tiny"))).status, 200);
});

const bombs: readonly (readonly [name: string, body: string, why: RegExp])[] = [
  ["nested half a million levels deep", "[".repeat(500_000), /levels/],
  ["of objects in objects", '{"a":'.repeat(100_000), /levels/],
  ["of a hundred thousand items", `{"text":"a","more":[${Array(100_000).fill('"a"').join()}]}`, /items/],
  ["of a hundred thousand names", `{${Array.from({ length: 60_000 }, (_, n) => `"k${n}":1`).join()}}`, /items/],
];
for (const [name, body, why] of bombs) {
  test(`T15 createServer() refuses a message ${name} before it is built`, async () => {
    const rig = work();
    await assertRefused(rig, await rig.server.fetch(post(body)), 429, tooMuch, why);
    await assertHonest(rig);
  });
}

test("T15 createServer() refuses headers that are too large, whoever sends them", async () => {
  const rig = work();
  for (
    const headers of [
      { cookie: "a".repeat(17_000) },
      Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`x-${n}`, "a".repeat(60)])),
    ]
  ) {
    await assertRefused(
      rig,
      await rig.server.fetch(post('{"text":"a"}', "quick", headers as never)),
      431,
      tooMuch,
      /headers/,
    );
  }
  await assertHonest(rig);
});

test("T15 createServer() takes no more calls at once than its limit, and is itself again when they end", async () => {
  const rig = work({ maxConcurrentCalls: 8 });
  const flood = Array.from({ length: 100 }, () => rig.server.fetch(post('{"text":"a"}', "hold")));
  const refused = (await Promise.all(flood.map((call) => Promise.race([call, wait(rig)])))).filter((one) =>
    one !== undefined
  );
  assert.equal(refused.length, 92);
  for (const response of refused) await assertRefused(rig, response, 429, tooMuch, /too many calls/);
  assert.equal(rig.held.length, 8);
  for (const release of rig.held) release();
  const answers = (await Promise.all(flood)).filter((response) => response.status === 200);
  assert.equal(answers.length, 8);
  await assertHonest(rig);
});

/** Settles when the handlers that may run are running and the rest is answered. */
async function wait({ entries, held }: Rig): Promise<undefined> {
  while (entries.length < 92 || held.length < 8) await new Promise((resolve) => setTimeout(resolve));
}

test("T15 createServer() does not let calls whose deadline is over free places that their handlers still use", async () => {
  const rig = work({ maxConcurrentCalls: 2 });
  const short = { "connect-timeout-ms": "10" };
  const calls = [0, 1].map(() => rig.server.fetch(post('{"text":"a"}', "hold", short)));
  for (const call of calls) await assertRefused(rig, await call, 504, "deadline_exceeded", /deadline/);
  assert.ok(rig.signals.every((signal) => signal.aborted));
  await assertRefused(rig, await rig.server.fetch(post('{"text":"a"}')), 429, tooMuch, /too many calls/);
  for (const release of rig.held) release();
  for (let turn = 0; turn < 20; turn++) await undefined;
  await assertHonest(rig);
});

test("T15 createServer() gives up on a body that trickles, and serves others meanwhile", async () => {
  const rig = work({ receiveDeadlineMs: 30 });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const trickle = new ReadableStream({
    pull: (controller) =>
      new Promise((resolve) => {
        timer = setTimeout(() => {
          controller.enqueue(new TextEncoder().encode(" "));
          resolve();
        }, 4);
      }),
  });
  const slow = rig.server.fetch(post(trickle));
  await assertHonest(rig);
  await assertRefused(rig, await slow, 504, "deadline_exceeded", /too long to arrive/);
  clearTimeout(timer);
  await assertHonest(rig);
});

test("T15 createServer() ends a call at its own deadline, whatever the caller asks for", async () => {
  const rig = work({ callDeadlineMs: 15 });
  const response = await rig.server.fetch(post('{"text":"a"}', "hold", { "connect-timeout-ms": "9999999999" }));
  await assertRefused(rig, response, 504, "deadline_exceeded", /deadline/);
  assert.equal(rig.signals[0]?.aborted, true);
  await assertHonest(rig);
});

test("T15 service() refuses a contract in which 300 bytes could block a server", () => {
  // Each level of such a message doubles the time that Valibot takes to refuse it.
  const Node: v.GenericSchema = v.union([
    v.strictObject({ next: v.lazy(() => Node) }),
    v.strictObject({ next: v.lazy(() => Node), text: v.optional(v.string()) }),
  ]);
  const declare = () => service("block.v1", { m: rpc(v.strictObject({ node: Node }), v.object({})) });
  assert.throws(declare, /^TypeError: Cannot declare "block\.v1\/m": input\.node has several recursive options/);
});
