import { letGo } from "../../internal/let_go.ts";
import { pulled } from "../../internal/pulled.ts";
import { RpcError } from "../../rpc/mod.ts";
import type { Delivery, Subscription } from "../broker.ts";
import { type HubMessage, MAX_ROOM, type SubscriberMessage } from "./broker_contract.ts";

/** What a hub gives to one subscriber, and where from. */
export interface ServedSubscriptionParts {
  /** What the subscriber says after its first message. */
  readonly messages: AsyncIterator<SubscriberMessage>;
  /** What the first message said beside what it opened. */
  readonly first: SubscriberMessage;
  /** The subscription in the broker. */
  readonly source: Subscription<Delivery>;
  /** How many messages may be out. */
  readonly maxInFlight: number;
  /** The time before it was opened, in milliseconds since 1970. */
  readonly timeMs: number;
  /** Aborts when the subscriber is gone, or the hub ends. */
  readonly signal: AbortSignal;
  /** Whether the subscriber may have what is published to a topic. */
  readonly mayReceive: (topic: string) => boolean;
  /** What becomes of what it may not have; throws where it may have nothing any more. */
  readonly withhold: (delivery: Delivery) => void;
  /** Makes what the subscriber is told of an error. */
  readonly refusal: (error: unknown) => unknown;
  /** Told once that it is over, and that the broker has back what was out. */
  readonly over: () => void;
}

/**
 * Gives a subscriber its messages, each only when it has asked for one more, and takes what it says of them.
 *
 * Nothing is kept here but the deliveries that are out, which the broker bounds: when it gives one more than may be out, the
 * oldest has been out for too long and is given to somebody else.
 */
export function servedSubscription(parts: ServedSubscriptionParts): AsyncIterable<HubMessage> {
  const { signal, source } = parts;
  const own: Served = {
    parts,
    deliveries: source[Symbol.asyncIterator](),
    out: new Map(),
    lastN: 0,
    want: 0,
    room: 0,
    dropped: 0,
    isReady: false,
    drained: undefined,
    ending: undefined,
    wake: undefined,
    closing: undefined,
  };
  const abort = () => end(own, undefined);
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort);
  void listen(own);
  return pulled<HubMessage>({
    async pull() {
      try {
        const message = await next(own);
        return message ? { done: false, value: message } : { done: true, value: undefined };
      } catch (error) {
        throw parts.refusal(error);
      }
    },
    close() {
      signal.removeEventListener("abort", abort);
      end(own, undefined);
    },
  });
}

interface Served {
  readonly parts: ServedSubscriptionParts;
  readonly deliveries: AsyncIterator<Delivery>;
  /** What is out, by its number, the oldest first. */
  readonly out: Map<number, Delivery>;
  lastN: number;
  /** How much the subscriber takes. */
  want: number;
  room: number;
  /** How many messages the subscriber knows that it missed. */
  dropped: number;
  isReady: boolean;
  drained: Promise<void> | undefined;
  ending: { readonly error: unknown } | undefined;
  wake: (() => void) | undefined;
  closing: Promise<void> | undefined;
}

async function next(own: Served): Promise<HubMessage | undefined> {
  const { timeMs, mayReceive, withhold } = own.parts;
  if (!own.isReady) {
    own.isReady = true;
    return { ready: { timeMs } };
  }
  for (;;) {
    while ((own.want <= 0 || own.room <= 0) && !own.ending && !own.drained) await woken(own);
    if (own.drained) await own.drained;
    if (own.ending || own.drained) return await last(own);
    const { done, value } = await own.deliveries.next();
    if (done && !own.drained) end(own, undefined);
    if (done) continue;
    if (mayReceive(value.topic)) return given(own, value);
    try {
      withhold(value);
    } catch (error) {
      end(own, error); // which gives it back
    }
  }
}

function given(own: Served, delivery: Delivery): HubMessage {
  const { topic, event, attempt, position, orderingKey } = delivery;
  const { dropped } = own.parts.source;
  const [oldest] = own.out.size >= own.parts.maxInFlight ? own.out.keys() : [];
  if (oldest !== undefined) own.out.delete(oldest);
  const n = ++own.lastN;
  own.out.set(n, delivery);
  own.want--;
  own.room -= event.length;
  const isNews = dropped !== own.dropped;
  own.dropped = dropped;
  return {
    delivery: {
      n,
      topic,
      event,
      attempt,
      ...position === undefined ? {} : { position },
      ...orderingKey === undefined ? {} : { key: orderingKey },
      ...oldest === undefined ? {} : { gone: oldest },
      ...isNews ? { dropped } : {},
    },
  };
}

/** The stream ends when the broker has back what was out: what the subscriber asks for next will find it there. */
async function last(own: Served): Promise<undefined> {
  end(own, undefined);
  await own.closing;
  if (own.ending?.error !== undefined) throw own.ending.error;
}

/** It is over; what waits for a delivery, or for the last of them to be settled, is woken by the source's own end. */
function end(own: Served, error: unknown): void {
  if (own.ending) return;
  own.ending = { error };
  own.closing = close(own);
  own.wake?.();
}

async function close({ parts, out }: Served): Promise<void> {
  void letGo(parts.messages);
  try {
    await parts.source[Symbol.asyncDispose]();
  } catch {
    // It has ended, one way or the other.
  } finally {
    out.clear();
    parts.over();
  }
}

/** Takes what the subscriber says until it says no more; that is its end too. */
async function listen(own: Served): Promise<void> {
  const { messages, first } = own.parts;
  try {
    hear(own, first);
    for (;;) {
      const { done, value } = await messages.next();
      if (done) return end(own, undefined);
      if (value.open) throw new RpcError("invalid_argument", "Cannot subscribe twice on one stream");
      hear(own, value);
    }
  } catch (error) {
    end(own, error);
  }
}

function hear(own: Served, { want = 0, room = 0, ack = [], nack = [], drain = false }: SubscriberMessage): void {
  if (own.ending) return;
  for (const n of ack) taken(own, n)?.ack();
  for (const { n, delayMs } of nack) taken(own, n)?.nack({ delayMs });
  own.want += want;
  own.room += room;
  if (own.want > own.parts.maxInFlight || own.room > MAX_ROOM) {
    throw new RpcError("invalid_argument", "Cannot have so many messages on their way");
  }
  if (drain && !own.drained) own.drained = own.parts.source.drain().catch(() => {});
  own.wake?.();
}

/** What is out under a number; undefined where it was settled, or was out for too long. */
function taken(own: Served, n: number): Delivery | undefined {
  const delivery = own.out.get(n);
  own.out.delete(n);
  return delivery;
}

function woken(own: Served): Promise<void> {
  return new Promise((resolve) => {
    own.wake = () => {
      own.wake = undefined;
      resolve();
    };
  });
}
