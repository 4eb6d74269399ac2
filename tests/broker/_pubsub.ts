// Publishers and subscribers of one trust domain over one broker, with their audits, on one clock.
import * as v from "valibot";
import { allow, type Policy, policy, type Rule } from "../../src/auth/mod.ts";
import {
  type Broker,
  createPubSub,
  memoryBroker,
  type Message,
  type PubSub,
  type PubSubOptions,
  type Subscription,
  topic,
} from "../../src/broker/mod.ts";
import { disposables } from "../_disposables.ts";
import { type Clock, DOMAIN, watchedAudit, type World, world } from "../auth/_world.ts";

export const OrderPlaced = topic(
  "orders.v1.placed",
  v.strictObject({ id: v.string(), amount: v.optional(v.number()) }),
);
export const CardCharged = topic("cards.v1.charged", v.strictObject({ id: v.string() }), { encrypted: true });

/** Who may do what: the shop publishes, billing and shipping subscribe. */
export const RULES: readonly Rule[] = [
  allow({ caller: id("shop"), publish: ["orders.v1.*", "cards.v1.*"] }),
  allow({ caller: [id("billing"), id("shipping")], subscribe: ["orders.v1.placed", "cards.v1.*"] }),
  allow({ caller: id("billing"), publish: "orders.v1.dead" }),
];

export function id(name: string): string {
  return `spiffe://${DOMAIN}/${name}`;
}

/** Somebody who publishes and subscribes. */
export interface Party extends PubSub {
  readonly events: ReturnType<typeof watchedAudit>["events"];
  /** How often an event with a reason was recorded. */
  refused(reason: string): number;
}

export interface Market extends AsyncDisposable {
  readonly world: World;
  readonly now: Clock;
  readonly broker: Broker;
  join(
    name: string,
    more?: Partial<PubSubOptions> & { readonly over?: Broker; readonly rules?: readonly Rule[] },
  ): Promise<Party>;
}

/** A broker, and whoever joins it. */
export async function market(given?: (world: World) => Broker): Promise<Market> {
  const inside = await world();
  const { now } = inside;
  const stack = disposables();
  const broker = stack.use(given ? given(inside) : memoryBroker({ now }));
  const rules: Policy = policy(RULES);
  return {
    world: inside,
    now,
    broker,
    async join(name, { over = broker, rules: own, ...more } = {}) {
      const audit = watchedAudit();
      const identity = await inside.join(id(name));
      const bus = stack.use(
        createPubSub(over, {
          identity,
          trust: inside.trust,
          policy: own ? policy(own) : rules,
          audit,
          now,
          ...more,
        }),
      );
      return {
        ...bus,
        events: audit.events,
        refused: (reason) => audit.events.filter((event) => event.reason === reason).length,
      };
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}

/** Reads so many messages, acknowledging each. */
export async function read<Data>(subscription: Subscription<Message<Data>>, count: number): Promise<Message<Data>[]> {
  const messages: Message<Data>[] = [];
  const source = subscription[Symbol.asyncIterator]();
  while (messages.length < count) {
    const next = await source.next();
    if (next.done) break;
    next.value.ack();
    messages.push(next.value);
  }
  return messages;
}

/** What a promise gives, if it is there within some turns; undefined if not. */
export async function within<Value>(promise: Promise<Value>, turns = 40): Promise<Value | undefined> {
  let value: Value | undefined;
  promise.then((given) => value = given, () => {});
  for (let turn = 0; turn < turns && value === undefined; turn++) await new Promise((done) => setTimeout(done, 0));
  return value;
}
