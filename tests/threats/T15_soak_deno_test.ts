// Streams at full rate for ten minutes: what the process holds at the end is what it held in its first half, but for the first quarter.
// Run by `SOAK=1 deno test …`; SOAK_SECONDS makes it shorter.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Lane } from "../rpc/_sockets.ts";
import { crowd } from "./_crowd.ts";

const skip = Deno.env.get("SOAK") !== "1";
const SECONDS = Number(Deno.env.get("SOAK_SECONDS") ?? 600);
const STREAMS = 8;

test("T15 memory stays flat while streams run at full rate", { skip }, async () => {
  const { clients, socket, state } = await crowd((wire) => {
    for (const lane of [wire.toServer, wire.toClient]) forget(lane);
  });
  const end = performance.now() + SECONDS * 1_000;
  const isOver = () => performance.now() >= end;
  let messages = 0;
  let calls = 0;
  const data = "x".repeat(200);
  /** A stream for a second or so, and then another one. */
  const follow = async (way: keyof typeof clients, number: number) => {
    for (let call = 0; !isOver(); call++) {
      calls++;
      const until = performance.now() + 1_000;
      for await (const _ of clients[way].flood({ n: number, data })) {
        messages++;
        if (performance.now() > until) break;
      }
    }
  };
  /** Messages there and back. */
  async function* questions() {
    for (let n = 0; n < 2_000 && !isOver(); n++) yield { n, data };
  }
  const talk = async (way: keyof typeof clients) => {
    while (!isOver()) {
      calls++;
      for await (const _ of clients[way].echo(questions())) messages++;
    }
  };
  const series: { readonly s: number; readonly rss: number; readonly heap: number; readonly perS: number }[] = [];
  const sampleEveryMs = SECONDS * 1_000 / 20;
  let counted = 0;
  const sampler = setInterval(() => {
    const { rss, heapUsed } = Deno.memoryUsage();
    const mb = (bytes: number) => Math.round(bytes / 1_048_576);
    const s = Math.round((performance.now() - end) / 1_000 + SECONDS);
    series.push({
      s,
      rss: mb(rss),
      heap: mb(heapUsed),
      perS: Math.round((messages - counted) / sampleEveryMs * 1_000),
    });
    counted = messages;
  }, sampleEveryMs);
  const jobs = Array.from({ length: STREAMS }, (_, n) => follow(n % 2 === 0 ? "http" : "socket", n));
  await Promise.all([...jobs, talk("http"), talk("socket")]);
  clearInterval(sampler);
  await socket[Symbol.asyncDispose]();
  console.table(series);
  console.log({ messages, calls, running: state.running });
  const half = Math.ceil(series.length / 2);
  const least = (some: readonly number[]) => Math.min(...some);
  const [early, late] = [series.slice(half >> 1, half), series.slice(half)];
  const [before, after] = [least(early.map(({ heap }) => heap)), least(late.map(({ heap }) => heap))];
  assert.ok(after <= before * 1.25 + 5, `the heap went from ${before} to ${after} MiB`);
  const [rssBefore, rssAfter] = [least(early.map(({ rss }) => rss)), least(late.map(({ rss }) => rss))];
  assert.ok(rssAfter <= rssBefore * 1.25 + 20, `the process went from ${rssBefore} to ${rssAfter} MiB`);
});

/** The rig keeps all that was ever sent, which is not what is measured. */
function forget(lane: Lane): void {
  lane.log.push = () => 0;
}
