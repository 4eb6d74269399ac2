import type { Caller } from "../rpc/mod.ts";
import type { SlowConsumerPolicy, StartPosition } from "./broker.ts";
import type { DeadLetterTopic } from "./dead_letter.ts";
import type { IdempotencyStore } from "./idempotency.ts";

/** A message as a subscriber gets it: checked, and by a publisher who may publish it. */
export interface Message<Data = unknown, Publisher = Caller> {
  /** What was published. */
  readonly data: Data;
  /** Its id, unique for its publisher: the same whenever it comes again. */
  readonly id: string;
  /** The topic's name. */
  readonly topic: string;
  /** Who published it. */
  readonly publisher: Publisher;
  /** When it was published, as its publisher says. */
  readonly time: Date;
  /** Which attempt to deliver it this is, from 1, as the broker says. */
  readonly attempt: number;
  /** Its number among those that this run of its publisher sent to the topic, from 1; 0 where nobody numbers them. */
  readonly sequence: number;
  /** The key that it keeps its order with. */
  readonly orderingKey: string | undefined;
  /** Its place, where the broker keeps messages. */
  readonly position: string | undefined;
  /**
   * How many messages of its publisher should have come before it and did not: they were held back, or come late, or were never
   * published because an attempt failed. Always 0 for members of a group, who do not get everything.
   */
  readonly missing: number;
  /** Whether its publisher sent it before one that came already. */
  readonly late: boolean;
  /** Says that it is done with: it is never delivered again. A second time, nothing happens. */
  ack(): void;
  /**
   * Gives it back, to be delivered again; after the last of its attempts it goes to the dead letters.
   *
   * @param options How long not to, in milliseconds, from 0 to 3,600,000; at once if absent.
   */
  nack(options?: { readonly delayMs?: number }): void;
  /**
   * Says that it can never be dealt with: it goes to the dead letters, or where there are none it is left out.
   *
   * @param detail Why, in at most 256 characters.
   */
  reject(detail?: string): void;
}

/** How a message is published. */
export interface PublishOptions {
  /**
   * Its id, 1 to 128 visible ASCII characters: the same one for another attempt to publish what may have been published before.
   *
   * On a broker that others publish to without a hub, such as NATS, an id that they can guess can be used before.
   *
   * @default {128 random bits}
   */
  readonly id?: string;
  /** Keeps it in order with others of the topic that have the same key; 1 to 128 visible ASCII characters. */
  readonly orderingKey?: string;
  /** Ends the waiting for the broker. */
  readonly signal?: AbortSignal;
}

/** What became of a message that was published. */
export interface Published {
  /** Its id. */
  readonly id: string;
  /** Its time. */
  readonly time: Date;
}

/** How a topic is subscribed to. */
export interface SubscribeOptions {
  /**
   * The group whose members share the messages, each of which goes to one of them; 1 to 64 letters, digits, `_` and `-`.
   *
   * @default {none: the subscriber gets every message while it is there}
   */
  readonly group?: string;
  /** Where to begin; a group that is there already goes on where it was. @default {"new"} */
  readonly start?: StartPosition;
  /** How many messages may be out at once that were not acknowledged, 1 to 4,096. @default {64} */
  readonly maxInFlight?: number;
  /** How long a message may be out before it goes to somebody else, in milliseconds, 1,000 to 3,600,000. @default {30_000} */
  readonly ackWaitMs?: number;
  /**
   * What happens when the broker is full because of this subscriber.
   *
   * @default {"block" for a group, at a hub only where it grants that, "drop_oldest" for others}
   */
  readonly slow?: SlowConsumerPolicy;
  /** Where messages go that cannot be dealt with. @default {nowhere: what is refused is audited and left out} */
  readonly deadLetter?: DeadLetterTopic;
  /** How often a message is tried, 1 to 1,000; only with `deadLetter`. @default {5 with `deadLetter`, else without end} */
  readonly maxAttempts?: number;
  /**
   * How old a message may be, in milliseconds; an older one is refused. It bounds what a broker can replay to a subscriber that was
   * started again, and remembers nothing.
   *
   * @default {604_800_000, 7 days}
   */
  readonly maxAgeMs?: number;
  /** Remembers what was done with, also across restarts, so that nothing is done twice. @default {nothing does} */
  readonly idempotency?: IdempotencyStore;
}
