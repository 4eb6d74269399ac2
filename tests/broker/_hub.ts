// A hub behind `protect`, and clients of it over WebSockets in memory that a test can cut.
import { allow, type Identity, memoryReplay, policy, protect, prove, type Rule } from "../../src/auth/mod.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { brokerService, type BrokerServiceOptions } from "../../src/broker/hub/broker_service.ts";
import { checkOutgoing } from "../../src/broker/broker_input.ts";
import { brokerId, JSON_TYPE, signEvent } from "../../src/broker/event.ts";
import { hubBroker, type HubBrokerOptions } from "../../src/broker/hub/hub_broker.ts";
import { memoryBroker } from "../../src/broker/memory/memory_broker.ts";
import { nobleHash } from "../../src/internal/hash.ts";
import { anonymous, createServer, type Server, type Transport, webSocketTransport } from "../../src/rpc/mod.ts";
import { disposables } from "../_disposables.ts";
import { DOMAIN, watchedAudit, type World } from "../auth/_world.ts";
import { collect } from "../rpc/_rig.ts";
import { type Network, network, type Wire } from "../rpc/_sockets.ts";

export const HUB = `spiffe://${DOMAIN}/hub`;

export const id = (name: string) => `spiffe://${DOMAIN}/${name}`;

/** Whoever calls at all. */
export const CALLS = [allow({ caller: `spiffe://${DOMAIN}/*`, call: "postern.broker.v1/*" })];
/** The shop publishes, billing reads some of it, and everything is open to admin. */
export const TOPICS: readonly Rule[] = [
  allow({ caller: id("shop"), publish: "orders.v1.*" }),
  allow({ caller: [id("billing"), id("shipping")], subscribe: "orders.v1.*" }),
  allow({ caller: id("admin"), publish: ">", subscribe: ">" }),
];

export interface Hub extends AsyncDisposable {
  readonly broker: Broker;
  readonly audit: ReturnType<typeof watchedAudit>;
  /** The network that leads to the server there is. */
  readonly net: Network;
  readonly server: Server;
  /** A way to the hub for an identity; without one, for somebody who proves nothing. */
  transport(identity: Identity | undefined): Transport & AsyncDisposable;
  /** The hub as an identity uses it. */
  as(identity: Identity, options?: HubBrokerOptions): Promise<Broker>;
  /** Ends the server, in good order or not, and starts another one over the same broker. */
  restart(): Promise<void>;
  /** Ends the server, as a crash does. */
  crash(): void;
}

export interface HubOptions extends Partial<BrokerServiceOptions> {
  readonly broker?: Broker;
  readonly topics?: readonly Rule[];
  /** Sees each connection before it begins. */
  readonly prepare?: (wire: Wire) => void;
}

export async function hub(world: World, options: HubOptions = {}): Promise<Hub> {
  const { trust, now } = world;
  const { broker = memoryBroker({ now }), topics = TOPICS, prepare, ...more } = options;
  const audit = watchedAudit();
  const stack = disposables();
  stack.use(broker);
  const identity = await world.join(HUB, { serves: ["postern.broker.v1"] });
  const start = () => {
    const service = brokerService(broker, { trust, policy: policy(topics), audit, now, ...more });
    const guard = protect({ identity, trust, policy: policy(CALLS), replay: memoryReplay({ now }), now });
    const server = createServer(service, { guard, log: collect().log });
    return { service, server, net: network(server, prepare) };
  };
  let current = start();
  const stop = async ({ service, server }: typeof current) => {
    await service[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  };
  stack.defer(() => stop(current));
  const transport = (caller: Identity | undefined) => {
    const prover = caller ? prove({ identity: caller, trust, peer: HUB, now }) : anonymous();
    return stack.use(
      webSocketTransport("wss://hub.test", { prover, open: (url, protocols) => current.net.open(url, protocols) }),
    );
  };
  const crash = () => {
    current.net.down = true;
    for (const each of current.net.wires) each.cut();
  };
  return {
    broker,
    audit,
    get net() {
      return current.net;
    },
    get server() {
      return current.server;
    },
    transport,
    as: async (caller, options) => stack.use(await hubBroker(transport(caller), options)),
    async restart() {
      const old = current;
      old.net.down = true;
      await stop(old);
      current = start();
    },
    crash() {
      crash();
      current = start();
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}

const hash = nobleHash();
let producers = 0;

/** A signed event. */
export function signed(
  identity: Identity,
  { topic, id, event, orderingKey }: Parameters<Broker["publish"]>[0],
  { timeMs }: { readonly timeMs: number },
): Promise<string> {
  const producer = `producer${String(++producers).padStart(14, "0")}`;
  const attributes = { topic, id, producer, sequence: 1, timeMs, orderingKey, contentType: JSON_TYPE };
  return signEvent(identity, attributes, { data: event, hash });
}

/** The id of an event as brokers know it. */
export const idAt = (identity: Identity, topic: string, id: string) =>
  brokerId({ publisher: identity.id, topic, id }, hash);

export const PLACED = "orders.v1.placed";

/** What an event says of itself, or is said to be. */
export interface Outgoing {
  readonly topic?: string;
  readonly id?: string;
  readonly orderingKey?: string;
}

/** An event of somebody's, published by somebody, perhaps as something else. */
export async function publishAs(
  { now }: World,
  broker: Broker,
  signer: Identity,
  says: Outgoing & { readonly timeMs?: number; readonly text?: string } = {},
  as: Outgoing & { readonly by?: Identity } = {},
): Promise<void> {
  const event = { topic: PLACED, id: "1", event: `"data"`, ...says };
  const text = says.text ?? await signed(signer, event, { timeMs: says.timeMs ?? now() });
  const { topic, id: own, orderingKey } = { ...event, ...as };
  await broker.publish({
    topic,
    id: idAt(as.by ?? signer, topic, own),
    event: text,
    ...orderingKey === undefined ? {} : { orderingKey },
  });
}

/** What the hub refused, to whom, of which topic. */
export const refusals = ({ audit }: Hub) =>
  audit.events.filter(({ event }) => event === "message.refuse").map(({ reason, caller, fields }) => [
    reason,
    caller,
    fields?.topic,
  ]);

/** The same broker for texts that are not signed: signs what is published, and takes the data out of what comes. */
export function signing(broker: Broker, identity: Identity, now: () => number): Broker {
  let line = Promise.resolve();
  return {
    properties: broker.properties,
    async publish(outgoing, options) {
      checkOutgoing(outgoing);
      const { topic, id, event } = outgoing;
      const orderingKey = outgoing.orderingKey === undefined ? undefined : asKey(outgoing.orderingKey);
      const text = signed(identity, { ...outgoing, event: packed(event), orderingKey }, { timeMs: now() });
      const before = line; // signatures are ready in any order
      let publishing: Promise<void> | undefined;
      line = (async () => {
        await before;
        const named = { topic, id: idAt(identity, topic, id), event: await text, orderingKey };
        publishing = broker.publish(named, options);
        publishing.catch(() => {});
      })();
      await line;
      await publishing;
    },
    async subscribe(pattern, options) {
      const subscription = await broker.subscribe(pattern, options);
      return {
        get dropped() {
          return subscription.dropped;
        },
        drain: () => subscription.drain(),
        [Symbol.asyncDispose]: () => subscription[Symbol.asyncDispose](),
        [Symbol.asyncIterator]() {
          const deliveries = subscription[Symbol.asyncIterator]();
          return {
            async next() {
              const next = await deliveries.next();
              if (next.done) return next;
              const { event, orderingKey } = next.value;
              const value = {
                ...next.value,
                event: unpacked(event.slice(event.indexOf("~", event.indexOf("~") + 1) + 1)),
                ...orderingKey === undefined ? {} : { orderingKey: ofKey(orderingKey) },
              };
              return { done: false, value };
            },
            return: () => deliveries.return!(),
          };
        },
      };
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

/** Keys of signed events are visible ASCII. */
const asKey = (key: string) => encodeURIComponent(key);
const ofKey = (key: string) => decodeURIComponent(key);

/** Signed events are shorter than the largest that a broker moves: runs of one character are counted. */
function packed(event: string): string {
  const runs = event.length > 700_000 && /^(.)\1*$/su.exec(event);
  return runs ? `run ${event.length / runs[1]!.length} ${runs[1]}` : `raw ${event}`;
}

function unpacked(text: string): string {
  if (text.startsWith("raw ")) return text.slice(4);
  const [, count, unit] = text.split(" ");
  return unit!.repeat(Number(count));
}
