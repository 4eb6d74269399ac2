// What the conformance tests of brokers work with.
import assert from "node:assert/strict";
import type { Broker, BrokerProperties, BrokerSubscribeOptions, Delivery } from "../../src/broker/broker.ts";
import { BrokerError, type BrokerReason } from "../../src/broker/broker_error.ts";
import { mustCome } from "../_patience.ts";

/** A clock that the tests move. */
export interface MovedClock {
  /** The time, in milliseconds since 1970. */
  now(): number;
  /** Moves it on; what is due then has happened, or is on its way. */
  pass(ms: number): void;
}

/** A broker to test, with nothing in it. */
export interface BrokerUnderTest extends AsyncDisposable {
  /** The broker. */
  readonly broker: Broker;
  /** A second connection to the same broker, or the same object where there are no connections. */
  another(): Promise<Broker>;
  /** Its clock, where the tests can move it; without one they wait for the machine's. */
  readonly clock?: MovedClock;
}

/** Makes a broker for a test. */
export type OpenBroker = () => Promise<BrokerUnderTest>;

/** What a test works with. */
export interface Rig {
  readonly broker: Broker;
  readonly can: BrokerProperties;
  another(): Promise<Broker>;
  readonly clock?: MovedClock;
}

/** Registers a test. */
export type Conforms = (title: string, run: (rig: Rig) => Promise<void>) => void;

/** Publishes events, which are their own ids if nothing else is said, one after another. */
export async function publish(broker: Broker, topic: string, ...events: readonly string[]): Promise<void> {
  for (const event of events) await broker.publish({ topic, id: `${topic}/${event.replaceAll(" ", "-")}`, event });
}

/** Who reads a subscription. */
export interface Reader extends AsyncDisposable {
  /** The next delivery; it must come. */
  next(): Promise<Delivery>;
  /** As many deliveries, all acknowledged. */
  take(count: number): Promise<string[]>;
  /** The next delivery, whenever it comes. */
  ask(): Promise<IteratorResult<Delivery>>;
  /** Waits for the loop to end. */
  ended(): Promise<void>;
  /** Leaves the loop. */
  leave(): Promise<void>;
  drain(): Promise<void>;
  readonly dropped: number;
}

/** Subscribes, and reads. */
export async function reader(broker: Broker, pattern: string, options?: BrokerSubscribeOptions): Promise<Reader> {
  const subscription = await mustCome(broker.subscribe(pattern, options), `the subscription to ${pattern}`);
  const iterator = subscription[Symbol.asyncIterator]();
  const next = async () => {
    const { done, value } = await mustCome(iterator.next(), `a delivery of ${pattern}`);
    if (done) assert.fail(`The subscription to ${pattern} ended`);
    return value;
  };
  return {
    next,
    async take(count) {
      const events: string[] = [];
      while (events.length < count) {
        const delivery = await next();
        events.push(delivery.event);
        delivery.ack();
      }
      return events;
    },
    ask: () => iterator.next(),
    async ended() {
      const { done } = await mustCome(iterator.next(), `the end of ${pattern}`);
      assert.ok(done);
    },
    async leave() {
      await iterator.return!();
    },
    drain: () => subscription.drain(),
    get dropped() {
      return subscription.dropped;
    },
    [Symbol.asyncDispose]: () => subscription[Symbol.asyncDispose](),
  };
}

/** What refuses must say why. */
export async function refused(promise: Promise<unknown>, reason: BrokerReason): Promise<void> {
  await assert.rejects(mustCome(promise, `the refusal "${reason}"`), (error) => {
    assert.ok(error instanceof BrokerError, String(error));
    assert.equal(error.reason, reason, error.message);
    return true;
  });
}

/** Whether a promise is settled by now. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(() => settled = true, () => settled = true);
  await roundTrip();
  return settled;
}

/** A turn of the event loop. */
export function roundTrip(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Numbers as events. */
export function events(count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index));
}
