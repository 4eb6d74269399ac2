import type { Broker, BrokerProperties, BrokerSubscribeOptions, OutgoingEvent } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { checkOutgoing, checkSubscribe } from "../broker_input.ts";
import { type Deliveries, deliveries } from "./nats_deliveries.ts";
import { natsFailure } from "./nats_failure.ts";
import { decodeEvent, encodeEvent } from "./nats_message.ts";
import type { NatsLink } from "./nats_link.ts";
import { groupName, subjectOf, topicOf } from "./nats_names.ts";

/** How much waits for a subscriber of core NATS. */
export interface CoreLimits {
  readonly maxHeldMessages: number;
  readonly maxHeldBytes: number;
}

/** Publishes to, and subscribes to, what NATS moves without keeping it. */
export function coreBroker(link: NatsLink, limits: CoreLimits): Omit<Broker, keyof AsyncDisposable> {
  const sent = pendingOf(link);
  return {
    properties: PROPERTIES,
    publish: async (event, { signal } = {}) => {
      checkOutgoing(event);
      assertUnordered(event);
      signal?.throwIfAborted();
      link.check();
      const subject = subjectOf(link.subjectPrefix, event.topic);
      // What is sent without a connection is forgotten when there is one.
      if (!link.connection.info) await link.connected(link.publishTimeoutMs, signal);
      await send(link, sent, { subject, payload: encodeEvent(event.event) });
    },
    subscribe: (pattern, options) => subscribe(link, pattern, { ...options, ...limits }),
  };
}

/** Refuses a key: NATS keeps the order of messages, but gives the next before one is done. */
export function assertUnordered({ orderingKey }: OutgoingEvent): void {
  if (orderingKey !== undefined) throw unsupported("NATS keeps no messages of one ordering key in their order");
}

/** Makes the error for what this broker does not claim. */
export function unsupported(what: string): BrokerError {
  return new BrokerError("unsupported", `Cannot use the broker: ${what}`);
}

/** Who waits to hear whether the server took a message. */
type Sent = Set<{ readonly subject: string; error: unknown }>;

function pendingOf(link: NatsLink): Sent {
  const sent: Sent = new Set();
  link.listen({
    notAllowed(subject, error) {
      for (const one of sent) if (one.subject === subject) one.error = error;
    },
  });
  return sent;
}

/**
 * Sends a message, and waits until the server has looked at it.
 *
 * A server says nothing of what it took, and of what it did not allow it tells before it answers the next question. The
 * client passes that on a moment after the answer, so a turn of the event loop goes by before nothing having come is good.
 */
async function send(
  link: NatsLink,
  sent: Sent,
  { subject, payload }: { readonly subject: string; readonly payload: Uint8Array },
): Promise<void> {
  const one: { readonly subject: string; error: unknown } = { subject, error: undefined };
  sent.add(one);
  try {
    link.connection.publish(subject, payload);
    await link.round();
    if (one.error === undefined) await link.turn();
  } catch (error) {
    throw natsFailure(error);
  } finally {
    sent.delete(one);
  }
  if (one.error !== undefined) throw natsFailure(one.error);
}

async function subscribe(
  link: NatsLink,
  pattern: string,
  { maxHeldMessages, maxHeldBytes, ...options }: BrokerSubscribeOptions & CoreLimits,
): Promise<Deliveries["subscription"]> {
  const { group, maxInFlight, ackWaitMs, start } = checkSubscribe(pattern, options);
  if (start !== "new") throw unsupported("NATS without JetStream keeps no messages");
  if (options.ackWaitMs !== undefined) throw unsupported("NATS without JetStream gives no message again");
  if (options.slow === "block") throw unsupported("NATS without JetStream does not let publishers wait");
  link.check();
  const { connection, subjectPrefix } = link;
  const subject = subjectOf(subjectPrefix, pattern);
  const state: { count: number; refused?: unknown } = { count: 0 };
  const incoming = connection.subscribe(subject, {
    ...group === undefined ? {} : { queue: groupName(group, subject) },
    callback(error, message) {
      if (error) {
        state.refused = error;
        return line.fail(natsFailure(error));
      }
      const topic = topicOf(subjectPrefix, message.subject);
      if (topic === undefined) return;
      const { data } = message;
      line.push({ ...SETTLED, key: state.count++, topic, event: decodeEvent(data), size: data.length, attempt: 1 });
    },
  });
  const line = deliveries({
    maxInFlight,
    ackWaitMs,
    overflow: { maxMessages: maxHeldMessages, maxBytes: maxHeldBytes, policy: options.slow ?? "drop_oldest" },
  }, {
    room() {},
    stop() {
      unlisten();
      incoming.unsubscribe();
      return Promise.resolve();
    },
  });
  const unlisten = link.listen({ ended: (error) => line.fail(error) });
  try {
    await link.round();
    if (state.refused !== undefined) throw state.refused;
  } catch (error) {
    await line.subscription[Symbol.asyncDispose]();
    throw natsFailure(error);
  }
  return line.subscription;
}

/** Nobody waits to hear of it. */
const SETTLED = { ack() {}, nak() {}, working() {} };
const PROPERTIES: BrokerProperties = {
  encrypted: true,
  accessControlled: true,
  durable: false,
  redelivers: false,
  groups: true,
  positions: false,
  ordering: false,
};
