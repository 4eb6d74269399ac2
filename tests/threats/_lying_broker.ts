// A broker that is somebody else's: it keeps all that it was ever given, and gives out what it likes.
import type { Broker, Delivery, OutgoingEvent, Subscription } from "../../src/broker/broker.ts";

/** What a broker does with a delivery: gives out others in its place, none to hold it back. */
export type Behaviour = (delivery: Delivery, pattern: string) => readonly Delivery[];

export interface LyingBroker extends Broker {
  /** What it does from now on. */
  behaviour: Behaviour;
  /** What was published, in its order. */
  readonly events: OutgoingEvent[];
  /** Every text that was ever in its hands. */
  readonly held: string[];
  /** Gives an event to all subscriptions whose pattern it finds right; nobody may have published it. */
  inject(delivery: Pick<Delivery, "topic" | "event"> & Partial<Delivery>, into?: (pattern: string) => boolean): void;
}

export const honest: Behaviour = (delivery) => [delivery];

/** A broker that behaves as it likes over one that is honest. */
export function lying(inner: Broker, behaviour: Behaviour = honest): LyingBroker {
  const open = new Set<Open>();
  const liar: LyingBroker = {
    behaviour,
    events: [],
    held: [],
    properties: inner.properties,
    async publish(event, options) {
      liar.events.push(event);
      keepTexts(liar.held, event);
      await inner.publish(event, options);
    },
    async subscribe(pattern, options) {
      keepTexts(liar.held, { pattern, ...options });
      const source = await inner.subscribe(pattern, options);
      const own: Open = { pattern, queue: [], wake: undefined, isOver: false };
      open.add(own);
      const pump = async () => {
        for await (const delivery of source) {
          keepTexts(liar.held, delivery);
          own.queue.push(...liar.behaviour(delivery, pattern));
          own.wake?.();
        }
      };
      pump().catch(() => {}).then(() => end(own));
      return subscriptionOf(own, source, () => open.delete(own));
    },
    inject(delivery, into = () => true) {
      for (const { queue, wake } of [...open].filter(({ pattern }) => into(pattern))) {
        queue.push({ attempt: 1, ack() {}, nack() {}, ...delivery });
        wake?.();
      }
    },
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
  return liar;
}

/** The same event another time; acknowledging this one means nothing. */
export const again = (delivery: Delivery, changes: Partial<Delivery> = {}): Delivery => ({
  ...delivery,
  ack() {},
  nack() {},
  ...changes,
});

interface Open {
  readonly pattern: string;
  readonly queue: Delivery[];
  wake: (() => void) | undefined;
  isOver: boolean;
}

function end(own: Open): void {
  own.isOver = true;
  own.wake?.();
}

function subscriptionOf(own: Open, source: Subscription<Delivery>, over: () => void): Subscription<Delivery> {
  const close = async () => {
    over();
    end(own);
    await source[Symbol.asyncDispose]();
  };
  const next = async (): Promise<IteratorResult<Delivery>> => {
    while (own.queue.length === 0 && !own.isOver) await new Promise<void>((resolve) => own.wake = resolve);
    const value = own.queue.shift();
    return value ? { done: false, value } : { done: true, value: undefined };
  };
  return {
    get dropped() {
      return source.dropped;
    },
    async drain() {
      end(own);
      await source.drain();
    },
    [Symbol.asyncDispose]: close,
    [Symbol.asyncIterator]: () => ({
      next,
      async return() {
        await close();
        return { done: true, value: undefined };
      },
    }),
  };
}

function keepTexts(held: string[], given: object): void {
  for (const value of Object.values(given)) {
    if (typeof value === "string") held.push(value);
  }
}
