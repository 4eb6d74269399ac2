/** What a broker promises; asking one for more than it promises is refused at once. */
export interface BrokerProperties {
  /** Whether what goes to and from it is encrypted, or never leaves the process. */
  readonly encrypted: boolean;
  /** Whether it knows who publishes and who subscribes, and lets nobody else. */
  readonly accessControlled: boolean;
  /** Whether what it acknowledged survives its restart. */
  readonly durable: boolean;
  /** Whether it delivers again what was not acknowledged, and counts the attempts. */
  readonly redelivers: boolean;
  /** Whether subscribers can share the messages of a topic as one group. */
  readonly groups: boolean;
  /** Whether it keeps messages, so that one can start with those of before. */
  readonly positions: boolean;
  /** Whether it gives messages of one ordering key in their order, one at a time within a group. */
  readonly ordering: boolean;
}

/** What goes to a broker: an event that it moves without looking into it. */
export interface OutgoingEvent<Event = string> {
  /** The topic's name. */
  readonly topic: string;
  /** The event's id, the same for each attempt to publish it, so that a broker takes it once. */
  readonly id: string;
  /** The event. */
  readonly event: Event;
  /** What it has to keep its order with: events of one topic with the same key. */
  readonly orderingKey?: string | undefined;
}

/** Where a subscription begins: with what is published from now on, with all that is kept, or behind a place or a time. */
export type StartPosition =
  | "new"
  | "earliest"
  | { readonly after: string }
  | { readonly time: Date };

/** How a subscriber who is too slow is dealt with once the broker cannot keep more for it. */
export type SlowConsumerPolicy = "block" | "drop_oldest" | "disconnect";

/** How a broker is subscribed to. */
export interface BrokerSubscribeOptions {
  /**
   * The group whose members share the messages: each goes to one of them. It has a place of its own in the topic, which a
   * broker keeps while nobody is there; without one, a subscriber gets all messages while it is there.
   */
  readonly group?: string | undefined;
  /** Where it begins; a group that is there already goes on where it was. @default {"new"} */
  readonly start?: StartPosition | undefined;
  /** How many messages may be out at once that were neither acknowledged nor given back, 1 to 4,096. @default {64} */
  readonly maxInFlight?: number | undefined;
  /** How long a message may be out before it is given to somebody else, in milliseconds, 1,000 to 3,600,000. @default {30_000} */
  readonly ackWaitMs?: number | undefined;
  /**
   * What happens when the broker is full and this subscriber is why: publishers wait, the oldest messages are left out and
   * counted, or the subscription ends with an error (`slow_consumer`).
   *
   * @default {"block" for a group, at a hub only where it grants that, "drop_oldest" for others}
   */
  readonly slow?: SlowConsumerPolicy | undefined;
}

/** How a broker is given an event. */
export interface BrokerPublishOptions {
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
  /** Whether to wait where the broker is full; otherwise it says so at once (`full`). @default {true} */
  readonly waits?: boolean | undefined;
}

/** An event as a broker gives it to one subscriber. */
export interface Delivery<Event = string> {
  /** The topic's name. */
  readonly topic: string;
  /** The event. */
  readonly event: Event;
  /** The key that it keeps its order with, as the broker says. */
  readonly orderingKey?: string | undefined;
  /** Which attempt it is, from 1; always 1 where the broker delivers once. */
  readonly attempt: number;
  /** Its place, where the broker keeps messages: to start after it another time. */
  readonly position?: string | undefined;
  /** Says that it is done with. A second time, or after `nack`, nothing happens. */
  ack(): void;
  /**
   * Gives it back, to be delivered again.
   *
   * @param options How long not to, in milliseconds, from 0 to 3,600,000; at once if absent.
   */
  nack(options?: { readonly delayMs?: number }): void;
}

/**
 * What a subscriber reads, once, in a `for await`.
 *
 * Who leaves the loop, or disposes it, gives back what is not acknowledged. It throws {@linkcode BrokerError} when it cannot go
 * on: what reconnects by itself does so silently.
 */
export interface Subscription<Item> extends AsyncIterable<Item>, AsyncDisposable {
  /** How many messages this subscriber missed because it was too slow. */
  readonly dropped: number;
  /**
   * Ends it in good order: nothing new is taken, what nobody has seen yet goes back, and the loop ends.
   *
   * @returns When all that was handed out has been acknowledged or given back.
   */
  drain(): Promise<void>;
}

/**
 * Moves events from publishers to subscribers.
 *
 * Nobody has to trust one: events are signed by who publishes them and checked by who receives them, so the worst that it can
 * do is to withhold. An implementation MUST give events as they were published, MUST NOT promise in its properties what it
 * cannot keep, MUST refuse what it is asked for beyond them (`unsupported`), and MUST bound what it holds.
 */
export interface Broker<Event = string> extends AsyncDisposable {
  /** What it promises. */
  readonly properties: BrokerProperties;
  /**
   * Publishes an event, once, however often it is tried with the same id within two minutes.
   *
   * @param event The event.
   * @param options What ends the waiting, and whether it waits for a place.
   * @returns When the broker has it; where it is durable, so that it survives.
   * @throws {BrokerError} `full`, `refused`, `unreachable`, `closed`.
   */
  publish(event: OutgoingEvent<Event>, options?: BrokerPublishOptions): Promise<void>;
  /**
   * Subscribes to topics.
   *
   * @param pattern A topic's name, or names with `*` for one segment and `>` at the end for one or more.
   * @param options Group, place, limits.
   * @returns The subscription, when the broker has it: what is published afterwards is in it.
   * @throws {BrokerError} `unsupported`, `refused`, `full`, `unreachable`, `closed`.
   */
  subscribe(pattern: string, options?: BrokerSubscribeOptions): Promise<Subscription<Delivery<Event>>>;
}
