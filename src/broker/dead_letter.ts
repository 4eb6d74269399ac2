import * as v from "valibot";
import type { Schema } from "../rpc/mod.ts";
import { attemptOf } from "./broker_input.ts";
import type { Letter } from "./settling.ts";
import { MAX_DATA, type Topic, topic } from "./topic.ts";

/** A message that could not be dealt with. */
export interface DeadLetter {
  /** The topic that it came by. */
  topic: string;
  /** Why it is here: one of the reasons of `BrokerError` and `AuthError`; `rejected` and `too_many_attempts` are the handler's. */
  reason: string;
  /** What the handler said of it. */
  detail: string;
  /** How often it was tried. */
  attempts: number;
  /** The event as it came, signed by its publisher, and encrypted where the topic is; "" where it is longer than 400,000. */
  event: string;
}

/** The contract of a topic for dead letters. */
export type DeadLetterTopic = Topic<Schema<DeadLetter>>;

/**
 * Declares a topic for what subscribers cannot deal with: each of them publishes there, under its own name.
 *
 * @example A subscriber that gives up after five attempts
 * ```ts ignore
 * const OrdersDead = deadLetterTopic("orders.v1.dead");
 * await using orders = await bus.subscribe(OrderPlaced, { group: "billing", deadLetter: OrdersDead });
 * ```
 *
 * @param name The topic's name.
 * @returns The contract.
 * @throws {TypeError} The name is not allowed.
 */
export function deadLetterTopic(name: string): DeadLetterTopic {
  return topic(name, deadLetterSchema, { maxBytes: MAX_DATA });
}

/** The letter of a message that cannot be dealt with; an event that would not fit is left out. */
export function letterOf({ delivery, reason, detail }: Letter): DeadLetter {
  const { topic, event } = delivery;
  // The limit of a topic is one of bytes, and JSON in JSON is longer than it was.
  const fits = typeof event === "string" && event.length <= MAX_ENCLOSED_BYTES && event.isWellFormed() &&
    new TextEncoder().encode(JSON.stringify(event)).length <= MAX_ENCLOSED_BYTES;
  return {
    topic,
    reason,
    detail: [...`${detail}`.slice(0, MAX_DETAIL).toWellFormed()].slice(0, MAX_DETAIL / 2).join(""),
    attempts: attemptOf(delivery),
    event: fits ? event : "",
  };
}

/** The longest event that a dead letter holds, in bytes of the JSON that it becomes. */
const MAX_ENCLOSED_BYTES = 400_000;
/** The longest explanation of a handler, in UTF-16 code units. */
const MAX_DETAIL = 256;

const deadLetterSchema = /* @__PURE__ */ v.strictObject({
  topic: v.pipe(v.string(), v.maxLength(128)),
  reason: v.pipe(v.string(), v.regex(/^[a-z_]{1,64}$/)),
  detail: v.pipe(v.string(), v.maxLength(MAX_DETAIL)),
  attempts: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  event: v.pipe(v.string(), v.maxLength(MAX_ENCLOSED_BYTES)),
});
