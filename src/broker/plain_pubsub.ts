import { type CheckedMessage, checkMessage, type InputOf, type OutputOf, type Schema } from "../rpc/mod.ts";
import type { Broker, Delivery, Subscription } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { memoryBroker, type MemoryBrokerOptions } from "./memory/memory_broker.ts";
import type { Message, Published, PublishOptions, SubscribeOptions } from "./message.ts";
import type { Topic, TopicPattern } from "./topic.ts";

/** How messages go from one part of a process to another. */
export interface PlainSubscribeOptions
  extends Pick<SubscribeOptions, "group" | "start" | "maxInFlight" | "ackWaitMs" | "slow"> {}

/** Publishes and subscribes within one process. */
export interface PlainPubSub extends AsyncDisposable {
  /**
   * Publishes a message.
   *
   * @param topic The topic.
   * @param message The message, which is checked and copied.
   * @param options Its id, and what it keeps its order with.
   * @returns When there is room for it.
   * @throws {BrokerError} `malformed_message`, `full`, `closed`.
   */
  publish<MessageSchema extends Schema>(
    topic: Topic<MessageSchema>,
    message: InputOf<MessageSchema>,
    options?: PublishOptions,
  ): Promise<Published>;
  /**
   * Subscribes to a topic, or to several of one contract.
   *
   * @param topic The topic, or the pattern of topics.
   * @param options Group, place, limits.
   * @returns The messages; each subscriber gets its own copy.
   */
  subscribe<MessageSchema extends Schema>(
    topic: TopicPattern<MessageSchema>,
    options?: PlainSubscribeOptions,
  ): Promise<Subscription<Message<OutputOf<MessageSchema>, undefined>>>;
}

/**
 * Publishes and subscribes within this process, where nobody has to prove anything to anybody: messages are checked by their
 * contracts, and not signed. It has a broker of its own, because over any other it would be open to all.
 *
 * @example Parts of one program
 * ```ts
 * import { plainPubSub, topic } from "@postern/rpc/broker";
 * import * as v from "valibot";
 *
 * const Saved = topic("editor.saved", v.strictObject({ file: v.string() }));
 * await using bus = plainPubSub();
 * await using saves = await bus.subscribe(Saved);
 * await bus.publish(Saved, { file: "notes.md" });
 * for await (const { data, ack } of saves) {
 *   console.log(data.file);
 *   ack();
 *   break;
 * }
 * ```
 *
 * @param options What the broker keeps.
 * @returns What publishes and subscribes.
 */
export function plainPubSub(options: Omit<MemoryBrokerOptions, "store"> = {}): PlainPubSub {
  const { now = Date.now } = options;
  const broker: Broker<PlainEvent> = memoryBroker<PlainEvent>(options);
  let count = 0;
  return {
    publish(topic, message, options = {}) {
      const id = options.id ?? `${++count}`;
      const send = ({ value, problem }: CheckedMessage): Promise<Published> => {
        if (problem !== undefined) return Promise.reject(malformed(topic.name, problem));
        const event = { id, timeMs: now(), value };
        const outgoing = { topic: topic.name, id, event, orderingKey: options.orderingKey };
        return broker.publish(outgoing, options).then(() => ({ id, time: new Date(event.timeMs) }));
      };
      const checked = checkMessage(topic.validate, message);
      return checked instanceof Promise ? checked.then(send) : send(checked);
    },
    async subscribe<MessageSchema extends Schema>(
      topic: TopicPattern<MessageSchema>,
      options?: PlainSubscribeOptions,
    ) {
      const inner = await broker.subscribe(topic.pattern, options);
      const messages: Subscription<Message<OutputOf<MessageSchema>, undefined>> = {
        get dropped() {
          return inner.dropped;
        },
        [Symbol.asyncIterator]: () => messagesOf(topic, inner[Symbol.asyncIterator]()),
        drain: () => inner.drain(),
        [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
      };
      return messages;
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

/** What a message is between the parts of a process. */
interface PlainEvent {
  readonly id: string;
  readonly timeMs: number;
  readonly value: unknown;
}

const malformed = (name: string, problem: string) =>
  new BrokerError("malformed_message", `Cannot publish to "${name}": ${problem}`);

/** One promise more for each message than the broker makes. */
function messagesOf<Data>(
  contract: TopicPattern,
  source: AsyncIterator<Delivery<PlainEvent>>,
): AsyncIterableIterator<Message<Data, undefined>> {
  const next = async (): Promise<IteratorResult<Message<Data, undefined>, undefined>> => {
    const { done, value: delivery } = await source.next();
    if (done) return { done, value: undefined };
    // Checked once more, because a schema makes a new value: what one subscriber changes, no other sees.
    const checked = checkMessage(contract.validate, delivery.event.value);
    const { value, problem } = checked instanceof Promise ? await checked : checked;
    if (problem !== undefined) throw malformed(delivery.topic, problem);
    return { done: false, value: messageOf(delivery, value as Data) };
  };
  return {
    next,
    async return() {
      await source.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function messageOf<Data>(delivery: Delivery<PlainEvent>, data: Data): Message<Data, undefined> {
  const { topic, attempt, orderingKey, position, event: { id, timeMs } } = delivery;
  return {
    data,
    id,
    topic,
    publisher: undefined,
    time: new Date(timeMs),
    attempt,
    sequence: 0,
    orderingKey,
    position,
    missing: 0,
    late: false,
    ack: () => delivery.ack(),
    nack: (options) => delivery.nack(options),
    reject: () => delivery.ack(),
  };
}
