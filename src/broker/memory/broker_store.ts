import type { SlowConsumerPolicy } from "../broker.ts";

/** A message as a broker keeps it. */
export interface StoredEvent<Event = string> {
  /** Its place among all that were published, from 1, without gaps. */
  readonly position: number;
  /** The topic's name. */
  readonly topic: string;
  /** Its id. */
  readonly id: string;
  /** The event. */
  readonly event: Event;
  /** What it keeps its order with. */
  readonly orderingKey: string | undefined;
  /** When it was published, in milliseconds since 1970; never before an earlier position's. */
  readonly atMs: number;
}

/** Where a group of subscribers is. */
export interface StoredGroup {
  /** The group's name. */
  readonly name: string;
  /** The topics that it is subscribed to; groups of one name and other topics are others. */
  readonly pattern: string;
  /** The first position that is not done with. */
  readonly from: number;
  /** Positions behind that which are done with; in a batch, those that came to it. */
  readonly done: readonly number[];
  /** What happens to it when the broker is full: as the member that came last asked. */
  readonly slow: SlowConsumerPolicy;
  /** Since when nobody is there, in milliseconds since 1970; 0 while somebody is. */
  readonly idleSinceMs: number;
}

/** What a store has of an earlier run. */
export interface StoredBroker<Event = string> {
  /** What tells the positions of this store from those of others. */
  readonly epoch: string;
  /** The position that the next message gets. */
  readonly end: number;
  /** All messages, in the order of their positions. */
  readonly events: readonly StoredEvent<Event>[];
  /** All groups. */
  readonly groups: readonly StoredGroup[];
}

/** What is stored together: all of it, or nothing. */
export interface StoreBatch<Event = string> {
  /** New messages, in the order of their positions. */
  readonly events: readonly StoredEvent<Event>[];
  /** Groups that are new or moved; what is done with before `from` need not be kept. */
  readonly groups: readonly StoredGroup[];
  /** Groups that are no more; one of the same name and pattern may be among the new ones. */
  readonly removed: readonly Pick<StoredGroup, "name" | "pattern">[];
  /** The first position that is kept; messages before it are forgotten. */
  readonly first: number;
  /** The position that the next message gets. */
  readonly end: number;
}

/**
 * Keeps what {@linkcode memoryBroker} moves, so that it survives a restart.
 *
 * One broker at a time uses a store, and disposes it. An implementation MUST have a batch where a crash of the machine does
 * not reach it when `write` returns, MUST store all of it or nothing, and MUST refuse to be opened twice where it can.
 */
export interface BrokerStore<Event = string> extends AsyncDisposable {
  /**
   * Gives what there is; called once, first.
   *
   * @throws {Error} What is stored is not whole; the store is closed then.
   */
  load(): StoredBroker<Event>;
  /**
   * Stores a batch, before it returns.
   *
   * @throws {Error} Nothing of it is stored.
   */
  write(batch: StoreBatch<Event>): void;
}
