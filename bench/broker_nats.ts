// The rows of `deno run -A bench/broker.ts` that need a nats-server: one event of 600 bytes from a publisher to a subscriber, over
// our port and over NATS's own client on the same server, each with connections of its own.
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { type Broker, natsBroker } from "@postern/rpc/broker";
import { findNats, launchNats, type NatsServer } from "../tests/servers/nats.ts";
import { compare, type Row, row } from "./lib/measure.ts";

const EVENT = "e".repeat(600);
const COUNT = 5_000;
/** How many are on their way at once. */
const OUTSTANDING = 256;

/** Publishes and receives that many; gives how many a second. */
type Contestant = (name: string) => Promise<number>;

async function timed(publish: (index: number) => Promise<unknown>, received: Promise<void>): Promise<number> {
  const start = performance.now();
  let next = 0;
  const worker = async () => {
    while (next < COUNT) await publish(next++);
  };
  await Promise.all(Array.from({ length: OUTSTANDING }, worker));
  await received;
  return COUNT / (performance.now() - start) * 1_000;
}

async function countTo(source: AsyncIterable<{ ack?(): unknown }>): Promise<void> {
  let count = 0;
  for await (const message of source) {
    message.ack?.();
    if (++count === COUNT) return;
  }
}

function core(from: NatsConnection, to: NatsConnection): Contestant {
  return async (name) => {
    const subscription = to.subscribe(`events.${name}`);
    await to.flush();
    // Who publishes wants to know that the server has it, as ours tells.
    return await timed(async () => {
      from.publish(`events.${name}`, EVENT);
      await from.flush();
    }, countTo(subscription as AsyncIterable<object>));
  };
}

async function stream(from: NatsConnection, to: NatsConnection): Promise<Contestant> {
  const [publisher, subscriber] = [jetstream(from), jetstream(to)];
  const manager = await jetstreamManager(to);
  return async (name) => {
    const { name: durable } = await manager.consumers.add("EVENTS", {
      durable_name: name,
      ack_policy: "explicit",
      filter_subject: `events.${name}`,
      max_ack_pending: 4_096,
    });
    const messages = await (await subscriber.consumers.get("EVENTS", durable)).consume({ max_messages: 1_024 });
    return await timed(
      (index) => publisher.publish(`events.${name}`, EVENT, { msgID: `${name} ${index}` }),
      countTo(messages),
    );
  };
}

function ours(from: Broker, to: Broker): Contestant {
  return async (name) => {
    const group = to.properties.redelivers ? { group: name, maxInFlight: 1_024 } : {};
    await using subscription = await to.subscribe(name, group);
    return await timed(
      (index) => from.publish({ topic: name, id: `${name} ${index}`.replace(" ", "-"), event: EVENT }),
      countTo(subscription),
    );
  };
}

async function rowOf(name: string, rounds: number, [bare, own]: readonly [Contestant, Contestant]): Promise<Row> {
  let turn = 0;
  const all = await compare(rounds, (isOurs) => (isOurs ? own : bare)(`${isOurs ? "ours" : "bare"}${++turn}`));
  return row(`${name}, 600 bytes, to NATS's own client`, "events/s", all, { atLeast: 0.8 });
}

async function rows(nats: NatsServer, rounds: number): Promise<Row[]> {
  const connect = () => nats.connectEvents("bench");
  const manager = await jetstreamManager(await connect());
  const own = async (isStream: boolean) => {
    const connection = await connect();
    const clients = { client: jetstream(connection), manager: await jetstreamManager(connection), stream: "EVENTS" };
    return await natsBroker(connection, { subjectPrefix: "events", ...isStream ? { jetstream: clients } : {} });
  };
  const first = await rowOf("NATS", rounds, [
    core(await connect(), await connect()),
    ours(await own(false), await own(false)),
  ]);
  await manager.streams.add({
    name: "EVENTS",
    subjects: ["events.>"],
    storage: "file",
    discard: "new",
    max_age: 600 * 1e9,
  });
  const second = await rowOf("NATS JetStream", rounds, [
    await stream(await connect(), await connect()),
    ours(await own(true), await own(true)),
  ]);
  return [first, second];
}

/** The rows over NATS; none where there is no nats-server. */
export async function natsRows(rounds: number): Promise<Row[]> {
  const { path } = await findNats();
  if (path === undefined) {
    console.log("nats-server is not installed: its rows are left out");
    return [];
  }
  const everything = { publish: { allow: [">"] }, subscribe: { allow: ["_INBOX_bench.>", ">"] } };
  await using nats = await launchNats(path, { events: { bench: everything } });
  return await rows(nats, rounds);
}
