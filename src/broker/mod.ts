/**
 * Publish and subscribe over a broker that nobody has to trust: topics as contracts, signed and checked messages, end-to-end
 * encryption, groups, dead letters; in this process, over a hub, or over NATS.
 *
 * @example A message, and who gets it
 * ```ts ignore
 * const OrderPlaced = topic("orders.v1.placed", v.strictObject({ id: v.string() }));
 * await using bus = createPubSub(memoryBroker(), { identity, trust, policy });
 * await using orders = await bus.subscribe(OrderPlaced, { group: "billing" });
 * await bus.publish(OrderPlaced, { id: "1" });
 * for await (const message of orders) message.ack();
 * ```
 *
 * @module
 */
export type {
  Broker,
  BrokerProperties,
  BrokerPublishOptions,
  BrokerSubscribeOptions,
  Delivery,
  OutgoingEvent,
  SlowConsumerPolicy,
  StartPosition,
  Subscription,
} from "./broker.ts";
export {
  type BrokerMethods,
  BrokerService,
  type EventLine,
  type HubMessage,
  type HubProperties,
  type HubStart,
  type PublishedEvent,
  type SubscriberMessage,
} from "./hub/broker_contract.ts";
export { BrokerError, type BrokerReason } from "./broker_error.ts";
export { brokerService, type BrokerServiceOptions } from "./hub/broker_service.ts";
export type { BrokerStore, StoreBatch, StoredBroker, StoredEvent, StoredGroup } from "./memory/broker_store.ts";
export { type DeadLetter, type DeadLetterTopic, deadLetterTopic } from "./dead_letter.ts";
export type { EncryptionOptions } from "./encryption/encryption_options.ts";
export { hubBroker, type HubBrokerOptions } from "./hub/hub_broker.ts";
export { type IdempotencyStore, memoryIdempotency, type MemoryIdempotencyOptions } from "./idempotency.ts";
export { memoryBroker, type MemoryBrokerOptions } from "./memory/memory_broker.ts";
export type { Message, Published, PublishOptions, SubscribeOptions } from "./message.ts";
export { natsBroker, type NatsBrokerOptions } from "./nats/nats_broker.ts";
export type * from "./nats/nats_like.ts";
export {
  natsInboxPrefix,
  type NatsPermissions,
  natsPermissions,
  type NatsPermissionsOptions,
  type NatsStreamRights,
  type NatsUser,
  natsUsers,
} from "./nats/nats_permissions.ts";
export { type PlainPubSub, plainPubSub, type PlainSubscribeOptions } from "./plain_pubsub.ts";
export { createPubSub, type PubSub, type PubSubOptions } from "./pubsub.ts";
export { type SqliteLike, type SqliteStatementLike, sqliteStore, type SqliteValue } from "./memory/sqlite_store.ts";
export { type Topic, topic, type TopicOptions, type TopicPattern, topicPattern } from "./topic.ts";
