import { decidesFor } from "../auth/mod.ts";
import { toBase64Url } from "../internal/base64.ts";
import { CodecError } from "../codec/mod.ts";
import { untilAborted } from "../internal/until_aborted.ts";
import { checkMessage } from "../rpc/mod.ts";
import type { BrokerPublishOptions } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { brokerId, EVENT_ID, JOSE_TYPE, JSON_TYPE, signEvent } from "./event.ts";
import { type Gate, note, reasonOf } from "./gate.ts";
import type { Published, PublishOptions } from "./message.ts";
import { codecOf, type Topic } from "./topic.ts";
import { mayPublish } from "./topic_rules.ts";

/** What signs and publishes under one name. */
export interface Publishing {
  /** Publishes a message of a contract. */
  message(topic: Topic, message: unknown, options?: OutgoingOptions): Promise<Published>;
  /** Publishes data that are checked already. */
  data(topic: string, data: OutgoingData, options?: Pick<PublishOptions, "signal">): Promise<Published>;
  /** Waits until all that was to be published is, or failed. */
  settled(): Promise<void>;
}

/** How a message leaves. */
export type OutgoingOptions = PublishOptions & Pick<BrokerPublishOptions, "waits">;

type Named = OutgoingOptions & { readonly id: string };

/** Data, and what they are; encrypted only once their event has an id. */
export interface OutgoingData {
  readonly contentType: string;
  readonly text: (id: string) => string | Promise<string>;
}

/** Encrypts the data of an event of a topic. */
export type Encrypt = (topic: string, id: string, text: string) => Promise<string>;

/**
 * Makes one run of a publisher: its messages have numbers, and go to the broker in their order.
 *
 * @param gate What they have to pass.
 * @param encrypt What encrypts, where there are messages of encrypted topics.
 */
export function publishing(gate: Gate, encrypt?: Encrypt): Publishing {
  const line: Line = {
    gate,
    producer: randomId(),
    sequences: new Map(),
    pending: new Set(),
    handedOver: new Map(),
    lastOfKey: new Map(),
  };
  return {
    data: (topic, outgoing, options) => inOrder(line, topic, outgoing, { ...options, id: randomId() }),
    // One that nobody can guess: a broker that several publish to takes an id once, from whoever sends it first.
    message: (topic, message, options) =>
      publish(line, topic, message, { ...options, encrypt, id: options?.id ?? randomId() }),
    async settled() {
      await Promise.allSettled([...line.pending]);
    },
  };
}

const randomId = () => toBase64Url(crypto.getRandomValues(new Uint8Array(16)));

async function publish(
  line: Line,
  topic: Topic,
  message: unknown,
  { encrypt, ...options }: Named & { readonly encrypt: Encrypt | undefined },
): Promise<Published> {
  const { gate } = line;
  const noted = { topic: topic.name, id: options.id, publisher: gate.identity.id };
  const text = await checkedText(gate, topic, message, options).catch((error) => {
    if (error instanceof BrokerError) note(gate, "message.refuse", noted, error.reason);
    throw error;
  });
  if (line.pending.size >= MAX_PENDING) {
    note(gate, "message.refuse", noted, "full");
    throw new BrokerError("full", "Cannot publish: too many messages wait for the broker");
  }
  note(gate, "message.publish", noted); // what cannot be recorded does not happen
  const outgoing: OutgoingData = topic.encrypted
    ? { contentType: JOSE_TYPE, text: (id) => encrypt!(topic.name, id, text) }
    : { contentType: JSON_TYPE, text: () => text };
  try {
    return await inOrder(line, topic.name, outgoing, options);
  } catch (error) {
    note(gate, "message.fail", noted, reasonOf(error));
    throw error;
  }
}

/** Sends data when it is the turn of their key, and gives them up when their publisher does. */
async function inOrder(line: Line, topic: string, outgoing: OutgoingData, options: Named): Promise<Published> {
  const { orderingKey, signal } = options;
  const begin = () => send(line, topic, outgoing, options);
  const sent = orderingKey === undefined ? begin() : afterKey(line, `${topic} ${orderingKey}`, begin);
  return await untilAborted(pending(line, sent), signal, (reason) => reason);
}

async function send(line: Line, topic: string, outgoing: OutgoingData, options: Named): Promise<Published> {
  const { gate, producer, sequences } = line;
  const { id, orderingKey, signal, waits } = options;
  signal?.throwIfAborted(); // a number that nothing has would be missed
  const sequence = (sequences.get(topic) ?? 0) + 1;
  sequences.set(topic, sequence);
  const timeMs = gate.now();
  const make = async () => {
    const attributes = { topic, id, producer, sequence, timeMs, orderingKey, contentType: outgoing.contentType };
    return await signEvent(gate.identity, attributes, { data: await outgoing.text(id), hash: gate.hash });
  };
  const named = brokerId({ publisher: gate.identity.id, topic, id }, gate.hash);
  const hand = async (event: string) => {
    signal?.throwIfAborted(); // nobody waits for it any more
    await gate.broker.publish({ topic, id: named, event, orderingKey }, { signal, waits });
  };
  await inTurn(line, topic, { make, hand });
  return { id, time: new Date(timeMs) };
}

/** What is on its way to the broker. */
interface Line {
  readonly gate: Gate;
  /** The name of this run. */
  readonly producer: string;
  /** The last number of each topic. */
  readonly sequences: Map<string, number>;
  readonly pending: Set<Promise<unknown>>;
  /** When all that came before was given to the broker, which may not have answered yet; of each topic where something is. */
  readonly handedOver: Map<string, Promise<unknown>>;
  /** The last message of each ordering key. */
  readonly lastOfKey: Map<string, Promise<unknown>>;
}

async function pending<Value>(line: Line, done: Promise<Value>): Promise<Value> {
  line.pending.add(done);
  try {
    return await done;
  } finally {
    line.pending.delete(done);
  }
}

/** Begins with a message when the one of its key before it is done with: that one may have to be tried again. */
async function afterKey<Value>({ lastOfKey }: Line, key: string, begin: () => Promise<Value>): Promise<Value> {
  const before = lastOfKey.get(key);
  const done = before ? before.then(begin, begin) : begin();
  lastOfKey.set(key, done);
  try {
    return await done;
  } finally {
    if (lastOfKey.get(key) === done) lastOfKey.delete(key);
  }
}

/** Signs side by side, and hands over one after the other of a topic. */
async function inTurn({ handedOver }: Line, topic: string, { make, hand }: Turn): Promise<void> {
  const before = handedOver.get(topic);
  const making = make();
  const handed = (async () => {
    const [made] = await Promise.allSettled([making, before]);
    if (made.status === "rejected") throw made.reason;
    return { answer: hand(made.value) };
  })();
  const isOver = handed.then(() => {}, () => {}).then(() => {
    if (handedOver.get(topic) === isOver) handedOver.delete(topic);
  });
  handedOver.set(topic, isOver);
  await (await handed).answer;
}

interface Turn {
  readonly make: () => Promise<string>;
  readonly hand: (event: string) => Promise<void>;
}

/** What leaves is what the contract says, and what its rules let this publisher say. */
async function checkedText(gate: Gate, topic: Topic, message: unknown, options: Named): Promise<string> {
  const { policy, identity, broker, now } = gate;
  const { id, orderingKey } = options;
  if (!EVENT_ID.test(id)) throw new TypeError("Cannot publish: the id is not 1 to 128 visible ASCII characters");
  if (orderingKey !== undefined && !EVENT_ID.test(orderingKey)) {
    throw new TypeError("Cannot publish: the ordering key is not 1 to 128 visible ASCII characters");
  }
  if (orderingKey !== undefined && !broker.properties.ordering) {
    throw new BrokerError("unsupported", "Cannot publish: the broker does not keep the order of a key");
  }
  if (!mayPublish(policy, identity, topic.name)) {
    throw new BrokerError("not_allowed", `Cannot publish to "${topic.name}": no rule of the policy allows it`);
  }
  const { value, problem } = await checkMessage(topic.validate, message);
  if (problem !== undefined) throw malformed(topic, problem);
  const rules = policy.matching({ caller: identity, publish: topic.name });
  if (!decidesFor(rules, { caller: identity, message: value, now: new Date(now()) })) {
    throw new BrokerError(
      "not_allowed",
      `Cannot publish to "${topic.name}": no rule of the policy allows this message`,
    );
  }
  try {
    const encoded = codecOf(topic).encode(value);
    return typeof encoded === "string" ? encoded : new TextDecoder().decode(encoded);
  } catch (error) {
    if (error instanceof CodecError) throw malformed(topic, error.message);
    throw error;
  }
}

const malformed = ({ name }: Topic, problem: string) =>
  new BrokerError("malformed_message", `Cannot publish to "${name}": ${problem}`);

/** How many messages may be on their way at once. */
const MAX_PENDING = 16_384;
