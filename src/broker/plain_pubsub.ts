import type { Taker } from "../internal/sequence.ts";
import { type CheckedMessage, checkMessage, type InputOf, type OutputOf, type Schema } from "../rpc/mod.ts";
import type { Subscription } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { checkEventId, checkRouting } from "./broker_input.ts";
import type { Engine } from "./memory/engine.ts";
import { dispose, keepingOf, KEPT, subscribe, take } from "./memory/keeping.ts";
import { checkLimits } from "./memory/limits.ts";
import { subscriptionOf } from "./memory/member.ts";
import type { MemoryBrokerOptions } from "./memory/memory_broker.ts";
import type { Item } from "./memory/place.ts";
import type { Message, Published, PublishOptions, SubscribeOptions } from "./message.ts";
import { plainCopy } from "./plain_copy.ts";
import { type PlainEvent, PlainMessage, PlainPublished } from "./plain_message.ts";
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
 * @param options What the broker keeps; 10,000 messages if `maxMessages` is absent.
 * @returns What publishes and subscribes.
 */
export function plainPubSub(options: Omit<MemoryBrokerOptions, "store"> = {}): PlainPubSub {
  const { now = Date.now } = options;
  const limits = checkLimits({ ...options, maxMessages: options.maxMessages ?? MAX_MESSAGES });
  const keeping = keepingOf<PlainEvent>(limits, { ...options, now });
  let count = 0;
  const send = ({ name: topic, schema }: Topic, value: unknown, options: PublishOptions): Promise<Published> => {
    const { orderingKey, signal } = options;
    checkRouting({ topic, orderingKey }, keeping.isKnown);
    if (options.id !== undefined) checkEventId(options.id);
    const nowMs = now();
    const id = options.id ?? `${++count}`;
    const event = { topic, id: options.id, event: { id, timeMs: nowMs, value, schema }, orderingKey };
    const kept = take(keeping, event, { signal, nowMs });
    const published = new PlainPublished(id, nowMs);
    return kept === KEPT ? Promise.resolve(published) : kept.then(() => published);
  };
  return {
    publish(topic, message, options = NO_OPTIONS) {
      const { name } = topic;
      try {
        const checked = checkMessage(topic.validate, message);
        if (checked instanceof Promise) return checked.then((each) => send(topic, valueOf(each, name), options));
        return send(topic, valueOf(checked, name), options);
      } catch (error) {
        return Promise.reject(error);
      }
    },
    async subscribe<MessageSchema extends Schema>(
      topic: TopicPattern<MessageSchema>,
      options?: PlainSubscribeOptions,
    ) {
      const { engine } = keeping;
      const member = await subscribe(keeping, topic.pattern, options);
      return subscriptionOf<PlainEvent, Message<OutputOf<MessageSchema>, undefined>>(
        engine,
        member,
        giver(topic, engine),
      );
    },
    [Symbol.asyncDispose]: () => dispose(keeping),
  };
}

/** What the schema made of a message. */
function valueOf({ value, problem }: CheckedMessage, topic: string): unknown {
  if (problem === undefined) return value;
  throw new BrokerError("malformed_message", `Cannot publish to "${topic}": ${problem}`);
}

/**
 * Gives one subscriber a message of its own: what it changes, no other sees, nor it itself when the message comes again.
 *
 * @param contract What it subscribed to.
 * @param engine What settles the message.
 * @returns Gives.
 */
function giver<Data>(contract: TopicPattern, engine: Engine<PlainEvent>) {
  return (item: Item<PlainEvent>, reader: Taker<Message<Data, undefined>>): void => {
    const { topic, event: { value, schema } } = item.message;
    // What another schema has checked is checked by this one.
    const copy = schema === contract.schema ? plainCopy(value) : undefined;
    if (copy !== undefined) return reader.give(new PlainMessage(engine, item, copy as Data));
    const give = (each: CheckedMessage) => reader.give(new PlainMessage(engine, item, valueOf(each, topic) as Data));
    try {
      // What a schema gives is new as well.
      const checked = checkMessage(contract.validate, value);
      if (checked instanceof Promise) checked.then(give).catch(reader.fail);
      else give(checked);
    } catch (error) {
      reader.fail(error);
    }
  };
}

const NO_OPTIONS: PublishOptions = /* @__PURE__ */ Object.freeze({});
const MAX_MESSAGES = 10_000;
