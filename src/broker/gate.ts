import { AuthError, type Identity, type Policy, type Trust } from "../auth/mod.ts";
import type { HashProvider } from "../internal/hash.ts";
import { coversTopic, isTopicPattern } from "../internal/topic_name.ts";
import type { Audit } from "../rpc/mod.ts";
import type { Broker, Delivery } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { verifyEvent } from "./event.ts";
import { isKeyTopic, mayPublish } from "./topic_rules.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What everything that goes to a broker, and comes from it, has to pass. */
export interface Gate {
  readonly broker: Broker;
  readonly identity: Identity;
  readonly trust: Trust;
  readonly policy: Policy;
  readonly audit: Audit | undefined;
  readonly hash: HashProvider;
  readonly now: () => number;
}

/**
 * Verifies what a broker delivered: who published it, for this topic.
 *
 * @throws {BrokerError} `malformed_event`, `wrong_topic`, `wrong_digest`, `not_yet`.
 * @throws {AuthError} Its publisher is nobody's, or did not sign it.
 */
async function verified({ trust, hash, now }: Gate, { topic, event }: Delivery): Promise<VerifiedEvent> {
  if (typeof event !== "string") throw new BrokerError("malformed_event", "Cannot read the event: it is no text");
  return await verifyEvent(event, { trust, topic, nowMs: now(), hash });
}

/**
 * Refuses an event that its publisher may not publish, or that comes too late.
 *
 * @param gate What it has to pass.
 * @param event The event.
 * @param came How it came, and how old it may be.
 * @throws {BrokerError} `too_old`, `wrong_key`, `not_allowed`.
 */
function assertAdmitted(
  { broker, policy, now }: Gate,
  event: VerifiedEvent,
  { delivery, maxAgeMs }: { readonly delivery: Delivery; readonly maxAgeMs: number },
): void {
  if (now() - event.timeMs > maxAgeMs) throw new BrokerError("too_old", "Cannot take the event: it is too old");
  if (broker.properties.ordering && delivery.orderingKey !== event.orderingKey) {
    throw new BrokerError("wrong_key", "Cannot take the event: it was put in order by another key");
  }
  if (!mayPublish(policy, event.publisher, event.topic)) {
    throw new BrokerError("not_allowed", "Cannot take the event: its publisher may not publish it");
  }
}

/** What came, as far as it could be read. */
export type Received =
  | { readonly kind: "message"; readonly delivery: Delivery; readonly event: VerifiedEvent; readonly data: unknown }
  /** What was verified of it is there, and why it is refused. */
  | {
    readonly kind: "refused";
    readonly delivery: Delivery;
    readonly event: VerifiedEvent | undefined;
    readonly error: unknown;
  }
  /** It is nobody's message. */
  | { readonly kind: "others"; readonly delivery: Delivery };

/** How a delivery is read. */
export interface Receiving {
  /** What was subscribed to. */
  readonly pattern: string;
  /** How old an event may be, in milliseconds. */
  readonly maxAgeMs: number;
  /** Reads the data of an event that was admitted. */
  readonly read: (event: VerifiedEvent) => Promise<unknown>;
}

/**
 * Reads what was delivered, in this order: is its topic one that was asked for, did its publisher sign it, may its publisher publish
 * it, what is in it.
 *
 * @returns What it is, or why it is refused; it never rejects.
 */
export async function receive(
  gate: Gate,
  delivery: Delivery,
  { pattern, maxAgeMs, read }: Receiving,
): Promise<Received> {
  let event: VerifiedEvent | undefined;
  try {
    if (!coversTopic(pattern, delivery.topic)) {
      throw new BrokerError("wrong_topic", "Cannot take the event: it is of a topic that was not asked for");
    }
    // A wildcard covers what carries keys too.
    if (isKeyTopic(delivery.topic) && !isKeyTopic(pattern)) return { kind: "others", delivery };
    event = await verified(gate, delivery);
    assertAdmitted(gate, event, { delivery, maxAgeMs });
    return { kind: "message", delivery, event, data: await read(event) };
  } catch (error) {
    return { kind: "refused", delivery, event, error };
  }
}

/** What an event is in an audit log. */
export interface Noted {
  readonly topic: string;
  /** The event's id, where it is known. */
  readonly id?: string | undefined;
  /** Who published it, where that was verified. */
  readonly publisher?: string | undefined;
  /** How many it is about. */
  readonly count?: number;
}

/** Records what was decided on an event; throws where it cannot be recorded. */
export function note({ audit }: Gate, event: string, noted: Noted, reason?: string): void {
  if (!audit) return;
  const { topic, id, publisher, count } = noted;
  // What a broker calls a topic may be anything.
  const fields = {
    topic: isTopicPattern(topic) ? topic : "",
    ...id === undefined ? {} : { id },
    ...count === undefined ? {} : { count },
  };
  audit.record({ event, reason, caller: publisher, fields });
}

/** The reason of an error, for an audit log and for dead letters. */
export function reasonOf(error: unknown): string {
  return error instanceof BrokerError || error instanceof AuthError ? error.reason : "failed";
}
