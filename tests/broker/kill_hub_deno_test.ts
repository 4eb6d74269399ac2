// A hub with a store and its consumers are killed in the midst of it: what was acknowledged to its publisher is delivered.
// With `SOAK=1`, of 100,000 messages; SOAK_MESSAGES and SOAK_KILLS change that.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createPubSub } from "../../src/broker/mod.ts";
import { testAuthority } from "../_authority.ts";
import { freePorts } from "../servers/_process.ts";
import { killable, LOAD, members, repeated, storm, type Tally, tally } from "./_kill.ts";
import { memberOf, TOPICS } from "./programs/kill_app.ts";
import type { HubSetup } from "./programs/kill_hub.ts";
import type { HubConsumerSetup } from "./programs/kill_hub_consumer.ts";
import { reachHub } from "./programs/kill_hub_reach.ts";

/** A hub, consumers and publishers, in processes of their own but for the last. */
async function scene(count: Tally) {
  await using stack = new AsyncDisposableStack();
  const { hub, shop, packing } = await members();
  const { ca, cert, key } = await testAuthority();
  const folder = await Deno.makeTempDir({ prefix: "postern-kill-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const [port] = freePorts(1) as [number];
  // Fewer than there are messages: the hub has to forget some, and publishers to wait for consumers.
  const maxMessages = LOAD.messages / 4;
  const setup: HubSetup = { member: hub, cert, key, port, store: `${folder}/broker.db`, maxMessages };
  const server = stack.use(await killable("kill_hub.ts", setup));
  const consumer = () => {
    const setup: HubConsumerSetup = { member: packing, ca, port };
    return killable("kill_hub_consumer.ts", setup, (line) => count.deliver(Number(line)));
  };
  const consumers = (await Promise.all([consumer(), consumer()])).map((each) => stack.use(each));
  const { identity, trust } = await memberOf(shop);
  const publisher = async () => {
    const { broker } = stack.use(await reachHub({ identity, trust, ca, port }));
    return stack.use(createPubSub(broker, { identity, trust, policy: TOPICS }));
  };
  const publishers = [await publisher(), await publisher()];
  const all = stack.move();
  return { server, consumers, publishers, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

test("what a hub acknowledged is delivered, whoever is killed or asked to end", async () => {
  const count = tally(LOAD.messages);
  const memory: { readonly acked: number; readonly hub: number; readonly test: number }[] = [];
  const watch = () => {
    const test = Math.round(Deno.memoryUsage().rss / 1_048_576);
    memory.push({ acked: count.acked, hub: at.server.memory() ?? 0, test });
  };
  await using at = await scene(count);
  const { kill, end } = at.server;
  const stops = repeated(Math.floor(LOAD.kills * 1.5), (time) => time % 3 === 0 ? end : kill);
  await storm({ count, stops, ...at, watch: LOAD.isLong ? watch : undefined });
  await Promise.all(at.publishers.map((bus) => bus[Symbol.asyncDispose]()));
  await Promise.all(at.consumers.map((each) => each.end()));
  await at.server.end();
  if (LOAD.isLong) console.table(memory);
  for (const who of ["hub", "test"] as const) {
    const most = (some: typeof memory) => Math.max(0, ...some.map((each) => each[who]));
    const [early, late] = [most(memory.slice(4, 12)), most(memory.slice(12))];
    assert.ok(late <= early * 1.25 + 20, `the ${who} went from ${early} to ${late} MiB`);
  }
});
