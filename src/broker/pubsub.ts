import type { Identity, Policy, Trust } from "../auth/mod.ts";
import { nobleHash } from "../internal/hash.ts";
import { coversTopic } from "../internal/topic_name.ts";
import { within } from "../internal/within.ts";
import type { Audit, InputOf, OutputOf, Schema } from "../rpc/mod.ts";
import type { Broker, BrokerProperties, BrokerSubscribeOptions, Subscription } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { type Encryption, encryption } from "./encryption/encryption.ts";
import type { EncryptionOptions } from "./encryption/encryption_options.ts";
import { type Gate, note } from "./gate.ts";
import { letterOf } from "./dead_letter.ts";
import type { Message, Published, PublishOptions, SubscribeOptions } from "./message.ts";
import { type Publishing, publishing } from "./publishing.ts";
import { readMessage, type Reception } from "./reception.ts";
import { signedEvents } from "./signed_events.ts";
import { type Subscribing, subscribing } from "./subscribing.ts";
import { codecOf, type Topic, type TopicPattern } from "./topic.ts";
import { mayPublish, maySubscribe } from "./topic_rules.ts";

/** How messages are protected. */
export interface PubSubOptions {
  /** Who publishes, and who subscribes. */
  readonly identity: Identity;
  /** Whose words count. */
  readonly trust: Trust;
  /** Who may publish and subscribe to what: the same policy for all of them, because each checks the others by it. */
  readonly policy: Policy;
  /** Where decisions go. @default {nowhere} */
  readonly audit?: Audit;
  /** When the keys of encrypted topics change. @default {with their subscribers, each hour, after 16,777,216 messages} */
  readonly encryption?: EncryptionOptions;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/** Publishes messages of contracts, and subscribes to them, over a broker that nobody has to trust. */
export interface PubSub extends AsyncDisposable {
  /**
   * Publishes a message.
   *
   * @param topic The topic.
   * @param message The message, which is checked before anything leaves.
   * @param options Its id, and what it keeps its order with.
   * @returns When the broker has it, and where it is durable keeps it.
   * @throws {BrokerError} `malformed_message`, `not_allowed`, `unsupported`, `full`, `refused`, `unreachable`, `closed`.
   * @throws {AuthError} The identity has ended.
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
   * @param options Group, place, limits, dead letters.
   * @returns The messages, when the broker has the subscription: what is published afterwards is in it.
   * @throws {BrokerError} `not_allowed`, `unsupported`, `full`, `refused`, `unreachable`, `closed`.
   * @throws {TypeError} An option is not as it must be.
   */
  subscribe<MessageSchema extends Schema>(
    topic: TopicPattern<MessageSchema>,
    options?: SubscribeOptions,
  ): Promise<Subscription<Message<OutputOf<MessageSchema>>>>;
}

/**
 * Publishes and subscribes with proof: every message is signed by who publishes it, and whoever receives it verifies that, and
 * that the policy lets its publisher publish it.
 *
 * The broker is not trusted: it can hold messages back, and nothing else. What it alters, forges, moves to another topic, or
 * delivers again to a subscription that acknowledged it, is refused and audited, and so is what comes in another order than its key demands;
 * what is missing or late is told with the messages. What an encrypted topic carries, it cannot read.
 *
 * @example A message, and who gets it
 * ```ts
 * import { allow, createAuthority, createTrust, generateKey, importIdentity, policy } from "@postern/rpc/auth";
 * import { createPubSub, memoryBroker, topic } from "@postern/rpc/broker";
 * import * as v from "valibot";
 *
 * const OrderPlaced = topic("orders.v1.placed", v.strictObject({ id: v.string() }));
 *
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * const id = "spiffe://example.org/shop";
 * const key = await generateKey();
 * const identity = importIdentity(key, await authority.issue(key.jwk, { id }));
 *
 * await using broker = memoryBroker();
 * await using bus = createPubSub(broker, {
 *   identity,
 *   trust,
 *   policy: policy([allow({ caller: id, publish: "orders.v1.placed", subscribe: "orders.v1.*" })]),
 * });
 * await using orders = await bus.subscribe(OrderPlaced, { group: "billing" });
 * await bus.publish(OrderPlaced, { id: "1" });
 * for await (const message of orders) {
 *   console.log(message.publisher.id, message.data.id);
 *   message.ack();
 *   break;
 * }
 * ```
 *
 * @param broker What moves the messages; the caller ends it.
 * @param options Who publishes and subscribes, and who may.
 * @returns What publishes and subscribes; ending it waits for what is on its way, and ends its subscriptions.
 * @throws {TypeError} The policy has a rule that can never hold.
 * @throws {BrokerError} `insecure`: others on the way to the broker could read everything, or anybody could use it.
 */
export function createPubSub(broker: Broker, options: PubSubOptions): PubSub {
  const { identity, trust, policy, audit, now = Date.now } = options;
  policy.start(undefined, trust.trustDomains);
  const { encrypted, accessControlled } = broker.properties;
  if (!encrypted || !accessControlled) {
    throw new BrokerError("insecure", "Cannot use the broker: the way to it is open to others");
  }
  const gate: Gate = { broker, identity, trust, policy, audit, hash: nobleHash(), now };
  const signed = signedEvents(gate, publishing(gate));
  const keys = encryption(signed, identity, { ...options.encryption, now });
  const publisher = publishing(gate, keys.encrypt);
  const open = new Set<AsyncDisposable>();
  let isClosed = false;
  const assertOpen = () => {
    if (isClosed) throw new BrokerError("closed", "Cannot publish or subscribe: it has ended");
  };
  return {
    async publish(topic, message, options) {
      assertOpen();
      return await publisher.message(topic, message, options);
    },
    async subscribe<MessageSchema extends Schema>(
      topic: TopicPattern<MessageSchema>,
      options: SubscribeOptions = {},
    ) {
      assertOpen();
      const own: { subscription?: AsyncDisposable } = {};
      const ended = () => void (own.subscription && open.delete(own.subscription));
      const subscription = await subscribed({ gate, keys, publisher, ended }, topic, options);
      own.subscription = subscription;
      if (isClosed) await subscription[Symbol.asyncDispose]();
      assertOpen();
      open.add(subscription);
      return subscription as Subscription<Message<OutputOf<MessageSchema>>>;
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      await Promise.all([...open].map((each) => each[Symbol.asyncDispose]()));
      // What waits for a broker that does not answer is given up, and what waits for a key fails when there are no more.
      await within(publisher.settled(), () => DRAIN_MS, () => undefined).catch(() => {});
      await keys[Symbol.asyncDispose]();
    },
  };
}

interface Parts {
  readonly gate: Gate;
  readonly keys: Encryption;
  readonly publisher: Publishing;
  /** Told when the subscription ends. */
  readonly ended: () => void;
}

async function subscribed(
  { gate, keys, publisher, ended }: Parts,
  contract: TopicPattern,
  options: SubscribeOptions,
): Promise<Subscription<Message>> {
  const { deadLetter, maxAttempts = deadLetter ? 5 : Infinity, maxAgeMs = WEEK_MS, idempotency } = options;
  assertAsked(gate, contract, options);
  const reader = contract.encrypted ? await keys.reader(contract.pattern) : undefined;
  const reception: Reception = { gate, contract, decrypt: reader?.decrypt, codec: codecOf(contract) };
  const setup: Subscribing = {
    gate,
    options: brokerOptions(options),
    receiving: { pattern: contract.pattern, maxAgeMs, read: (event) => readMessage(reception, event) },
    maxAttempts,
    bury: deadLetter &&
      (async (letter, signal) => await publisher.message(deadLetter, letterOf(letter), { signal, waits: false })),
    idempotency,
    async ended() {
      ended();
      await reader?.[Symbol.asyncDispose]();
    },
  };
  try {
    return await subscribing(setup);
  } catch (error) {
    await reader?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** What a broker cannot keep is not asked of it, and what nobody allows is not begun. */
function assertAsked(gate: Gate, { pattern }: TopicPattern, options: SubscribeOptions): void {
  const { deadLetter, maxAttempts, maxAgeMs } = options;
  const { properties } = gate.broker;
  for (
    const [name, given, most] of [["maxAttempts", maxAttempts, 1_000], ["maxAgeMs", maxAgeMs, YEAR_MS]] as const
  ) {
    if (given !== undefined && !(Number.isInteger(given) && given >= 1 && given <= most)) {
      throw new TypeError(`Cannot subscribe: "${name}" is a whole number from 1 to ${most}`);
    }
  }
  if (maxAttempts !== undefined && !deadLetter) {
    throw new TypeError(`Cannot subscribe: "maxAttempts" needs "deadLetter", or messages would be lost`);
  }
  if (deadLetter && coversTopic(pattern, deadLetter.name)) {
    throw new TypeError("Cannot subscribe: its own dead letters would come to it, for ever");
  }
  assertKept(properties, options);
  const denied = !maySubscribe(gate.policy, gate.identity, pattern)
    ? `Cannot subscribe to "${pattern}"`
    : deadLetter && !mayPublish(gate.policy, gate.identity, deadLetter.name)
    ? `Cannot publish to "${deadLetter.name}"`
    : undefined;
  const noted = { topic: pattern, publisher: gate.identity.id };
  if (denied === undefined) return note(gate, "subscription.open", noted);
  note(gate, "subscription.refuse", noted, "not_allowed");
  throw new BrokerError("not_allowed", `${denied}: no rule of the policy allows it`);
}

function assertKept(properties: BrokerProperties, options: SubscribeOptions): void {
  const { group, start = "new", deadLetter, ackWaitMs } = options;
  const missing = [
    group !== undefined && !properties.groups && "groups",
    start !== "new" && !properties.positions && "the messages of before",
    (deadLetter !== undefined || ackWaitMs !== undefined) && !properties.redelivers && "what was not acknowledged",
  ].filter((what) => what !== false);
  if (missing.length === 0) return;
  throw new BrokerError("unsupported", `Cannot subscribe: the broker does not keep ${missing.join(", and not ")}`);
}

function brokerOptions({ group, start, maxInFlight, ackWaitMs, slow }: SubscribeOptions): BrokerSubscribeOptions {
  return { group, start, maxInFlight, ackWaitMs, slow };
}

const WEEK_MS = 604_800_000;
/** How long an end waits for messages that are on their way, in milliseconds. */
const DRAIN_MS = 10_000;
const YEAR_MS = 366 * 86_400_000;
