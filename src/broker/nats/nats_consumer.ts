import type { StartPosition } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import type { SubscribeTerms } from "../broker_input.ts";
import type { Arrival } from "./nats_deliveries.ts";
import type { NatsJetStreamLike, NatsMessageLike } from "./nats_like.ts";
import type { NatsLink } from "./nats_link.ts";
import { decodeEvent, placeOf } from "./nats_message.ts";
import { topicOf } from "./nats_names.ts";

/** What a subscription of JetStream is made of. */
export interface StreamSubscribing {
  readonly link: NatsLink;
  readonly jetstream: NatsJetStreamLike;
  /** The subject. */
  readonly subject: string;
  readonly terms: SubscribeTerms;
}

/** What all consumers of a broker have in common. */
export function consumerConfig({ subject, terms }: StreamSubscribing, name: string): Readonly<Record<string, unknown>> {
  return {
    name,
    filter_subject: subject,
    ack_policy: "explicit",
    ack_wait: terms.ackWaitMs * NANOS,
    max_deliver: -1,
    replay_policy: "instant",
  };
}

/**
 * Where a consumer begins, as JetStream says it.
 *
 * @throws {TypeError} A position is none of this broker's.
 */
export function startOf(start: StartPosition): Readonly<Record<string, unknown>> {
  if (start === "new") return { deliver_policy: "new" };
  if (start === "earliest") return { deliver_policy: "all" };
  if ("time" in start) return { deliver_policy: "by_start_time", opt_start_time: start.time.toISOString() };
  if (!/^\d{1,15}$/.test(start.after)) throw new TypeError("Cannot subscribe: the position is none of this broker's");
  return { deliver_policy: "by_start_sequence", opt_start_seq: Number(start.after) + 1 };
}

/** A message of a consumer; undefined for what no broker has published. */
export function arrivalOf({ link }: StreamSubscribing, message: NatsMessageLike): Arrival | undefined {
  const place = placeOf(message);
  const topic = topicOf(link.subjectPrefix, message.subject);
  if (!place || topic === undefined) return undefined;
  const { data, reply = "" } = message;
  const say = (what: string) => {
    try {
      link.connection.publish(reply, ENCODER.encode(what));
    } catch {
      // There is no connection any more: the server waits for this one no longer than its time.
    }
  };
  return {
    key: place.sequence,
    topic,
    event: decodeEvent(data),
    size: data.length,
    attempt: place.attempt,
    position: String(place.sequence),
    ack: () => say("+ACK"),
    nak: (delayMs) => say(delayMs > 0 ? `-NAK {"delay":${delayMs * NANOS}}` : "-NAK"),
    working: () => say("+WPI"),
  };
}

/** Somebody took away what a subscription read from. */
export const consumerGone = (): BrokerError =>
  new BrokerError("closed", "Cannot go on: the consumer of the group was deleted");

/** Milliseconds as NATS counts them. */
export const NANOS = 1_000_000;
const ENCODER = /* @__PURE__ */ new TextEncoder();
