import type { Clock } from "../../rpc/mod.ts";
import type { Broker, Delivery } from "../broker.ts";
import { checkOutgoing } from "../broker_input.ts";
import type { BrokerStore } from "./broker_store.ts";
import { deliveryOf } from "./deliver.ts";
import { ENGINE_PROPERTIES } from "./engine.ts";
import { dispose, keepingOf, subscribe, take } from "./keeping.ts";
import { checkLimits } from "./limits.ts";
import { subscriptionOf } from "./member.ts";

/** How a broker in this process is set up. */
export interface MemoryBrokerOptions<Event = string> {
  /**
   * Makes what was published survive a restart, as `brokerStore()` of the runtime does. The broker disposes it at its end.
   *
   * @default {nothing survives}
   */
  readonly store?: BrokerStore<Event>;
  /** How many messages are kept, 1 to 10,000,000. @default {100_000} */
  readonly maxMessages?: number;
  /**
   * How much room the kept messages' texts may take, at two bytes for a character, in bytes, from 1,024. Events that are
   * no strings count nothing.
   *
   * @default {67_108_864}
   */
  readonly maxBytes?: number;
  /** How long a message is kept, whoever needs it, in milliseconds, from 1,000. @default {604_800_000} */
  readonly retentionMs?: number;
  /** How many groups there may be, 0 to 65,536. @default {1_024} */
  readonly maxGroups?: number;
  /** How long a group keeps its place while nobody is there, in milliseconds, from 0. @default {604_800_000} */
  readonly groupIdleMs?: number;
  /** How many subscriptions there may be, 1 to 1,048,576. @default {16_384} */
  readonly maxSubscriptions?: number;
  /** How many publishers may wait for room, 0 to 65,536; the next is refused (`full`). @default {1_024} */
  readonly maxWaiting?: number;
  /** The time of day, in milliseconds since 1970: of what was published when, and of groups. @default {Date.now} */
  readonly now?: () => number;
  /** What messages that are out are timed by. @default {the runtime's} */
  readonly clock?: Clock;
}

/**
 * A broker in this process: for a program that has all its services inside, for tests, and behind `brokerService`.
 *
 * It keeps all messages until one of its limits is reached. Then the oldest is forgotten, once nobody needs it; who needs
 * it is dealt with by its `slow` policy: `"block"` has publishers wait, also for a group that nobody comes back to until
 * `groupIdleMs` has passed, `"drop_oldest"` moves it on and counts that in `dropped`, and `"disconnect"` ends the
 * subscription (`slow_consumer`); of a group all of them, and it is moved on. In a group the policy of who came last counts.
 *
 * Groups of one name and other patterns are different groups. An id counts within its topic, for two minutes, and for as
 * many ids as there may be messages. A position that is not known, or not kept any more, stands for the earliest one.
 *
 * @example A broker
 * ```ts
 * import { memoryBroker } from "@postern/rpc/broker";
 *
 * await using broker = memoryBroker();
 * await using orders = await broker.subscribe("orders.v1.*", { group: "billing" });
 * await broker.publish({ topic: "orders.v1.placed", id: crypto.randomUUID(), event: "one book" });
 * for await (const delivery of orders) {
 *   delivery.ack();
 *   break;
 * }
 * ```
 *
 * @param options What differs from the defaults.
 * @returns The broker; dispose it to end all subscriptions, and to have the rest stored.
 * @throws {RangeError} An option is out of its range.
 * @throws {Error} What the store has is not whole.
 */
export function memoryBroker<Event = string>(options: MemoryBrokerOptions<Event> = {}): Broker<Event> {
  const keeping = keepingOf<Event>(checkLimits(options), options);
  let disposed: Promise<void> | undefined;
  return {
    properties: Object.freeze({ ...ENGINE_PROPERTIES, durable: options.store !== undefined }),
    publish(event, options) {
      try {
        checkOutgoing(event, keeping.isKnown);
        return take(keeping, event, options ?? {});
      } catch (error) {
        return Promise.reject(error);
      }
    },
    async subscribe(pattern, options) {
      const { engine } = keeping;
      const member = await subscribe(keeping, pattern, options);
      return subscriptionOf<Event, Delivery<Event>>(engine, member, (item, reader) => {
        reader.give(deliveryOf(engine, item));
      });
    },
    [Symbol.asyncDispose]: () => disposed ??= dispose(keeping),
  };
}
