// A shop and its billing over a broker of the attacker's, and what an attacker does to events.
import { canonicalJson } from "../../src/codec/mod.ts";
import type { Identity, Rule } from "../../src/auth/mod.ts";
import { memoryBroker, type Message, type Subscription } from "../../src/broker/mod.ts";
import { type EventAttributes, JSON_TYPE, signEvent } from "../../src/broker/event.ts";
import { fromBase64, toBase64Url } from "../../src/internal/base64.ts";
import { nobleHash } from "../../src/internal/hash.ts";
import assert from "node:assert/strict";
import { type Market, market, OrderPlaced, type Party } from "../broker/_pubsub.ts";
import { lying, type LyingBroker } from "./_lying_broker.ts";

export const ORDERS: string = OrderPlaced.name;

export interface Scene extends AsyncDisposable {
  readonly place: Market;
  readonly liar: LyingBroker;
  readonly shop: Party;
  readonly billing: Party;
}

/** A shop and its billing over a broker that lies. */
export async function scene(rules?: readonly Rule[]): Promise<Scene> {
  let liar!: LyingBroker;
  const place = await market(({ now }) => liar = lying(memoryBroker({ now })));
  const more = rules ? { rules } : {};
  const [shop, billing] = [await place.join("shop", more), await place.join("billing", more)];
  return { place, liar, shop, billing, [Symbol.asyncDispose]: () => place[Symbol.asyncDispose]() };
}

/** One that the broker kept to itself. */
export async function heldBack({ liar, shop }: Scene): Promise<string> {
  const { behaviour } = liar;
  let came = false;
  liar.behaviour = () => {
    came = true;
    return [];
  };
  await shop.publish(OrderPlaced, { id: "kept" });
  await until(() => came);
  liar.behaviour = behaviour;
  return liar.events.at(-1)!.event;
}

/** Waits for a condition. */
export async function until(condition: () => boolean): Promise<void> {
  for (let turns = 0; !condition(); turns++) {
    assert.ok(turns < 5_000, `never: ${condition}`);
    await new Promise((done) => turn(done, 0));
  }
}

const { setTimeout: turn } = globalThis; // not one that a test holds

/** Why a party refused what it refused, in that order. */
export const refusals = ({ events }: Party): (string | undefined)[] =>
  events.flatMap(({ event, reason }) => event === "message.refuse" ? [reason] : []);

/** How often something was recorded. */
export const recorded = ({ events }: Party, name: string): number =>
  events.filter(({ event }) => event === name).length;

type Orders = Subscription<Message<{ id: string }>>;

/** Publishes an honest message, and asserts that it is the next that arrives. */
export async function arrives({ shop }: Scene, orders: Orders): Promise<Message> {
  await shop.publish(OrderPlaced, { id: "honest" });
  const message = await nextOf(orders);
  assert.deepEqual({ ...message.data }, { id: "honest" });
  message.ack();
  return message;
}

/** The next message; the subscription goes on. */
export async function nextOf<Data>(subscription: Subscription<Message<Data>>): Promise<Message<Data>> {
  const { value, done } = await subscription[Symbol.asyncIterator]().next();
  assert.equal(done, false);
  return value as Message<Data>;
}

const hash = nobleHash();
export const PRODUCER: string = "p".repeat(22);
export const attributesAt = (timeMs: number, changes: Partial<EventAttributes> = {}): EventAttributes => ({
  topic: ORDERS,
  id: "forged",
  producer: PRODUCER,
  sequence: 1,
  timeMs,
  orderingKey: undefined,
  contentType: JSON_TYPE,
  ...changes,
});

/** Signs an event that nobody checks. */
export const forge = (identity: Identity, attributes: EventAttributes, data = '{"id":"forged"}'): Promise<string> =>
  signEvent(identity, attributes, { data, hash });

/** The attributes, the identity token, and the data, which may hold anything. */
export function partsOf(event: string): [attributes: string, token: string, data: string] {
  const [attributes, token, ...data] = event.split("~");
  return [attributes!, token!, data.join("~")];
}
export const joined = (...parts: readonly string[]): string => parts.join("~");

/** A JWS whose header (0) or claims (1) are others; its signature is what it was. */
export function reworded(jws: string, part: 0 | 1, change: (words: Record<string, unknown>) => object): string {
  const parts = jws.split(".");
  const words = JSON.parse(new TextDecoder().decode(fromBase64(parts[part]!)));
  parts[part] = toBase64Url(new TextEncoder().encode(canonicalJson(change(words) as never)));
  return parts.join(".");
}
