import { isTopicName, isTopicPattern } from "../internal/topic_name.ts";
import type { BrokerSubscribeOptions, OutgoingEvent, SlowConsumerPolicy, StartPosition } from "./broker.ts";

/** What a subscriber asked for, with all that it left open filled in. */
export interface SubscribeTerms {
  /** The group, if it is of one. */
  readonly group: string | undefined;
  /** Where it begins. */
  readonly start: StartPosition;
  /** How many messages may be out. */
  readonly maxInFlight: number;
  /** How long a message may be out, in milliseconds. */
  readonly ackWaitMs: number;
  /** What happens when it is too slow. */
  readonly slow: SlowConsumerPolicy;
}

/**
 * Refuses what no broker takes: a name that is none, an id that a protocol could not carry, a key without an end.
 *
 * @param event What is to be published.
 * @param isKnown Whether a text was found to be a name before, for who is asked often.
 * @throws {TypeError} It is malformed.
 */
export function checkOutgoing(event: OutgoingEvent<unknown>, isKnown?: (topic: string) => boolean): void {
  checkRouting(event, isKnown);
  checkEventId(event.id);
}

/** The same for what has no id. */
export function checkRouting(
  { topic, orderingKey }: Pick<OutgoingEvent<unknown>, "topic" | "orderingKey">,
  isKnown: (topic: string) => boolean = isTopicName,
): void {
  if (!isKnown(topic) && !isTopicName(topic)) {
    throw new TypeError(`Cannot publish: ${quote(topic)} is not the name of a topic`);
  }
  if (orderingKey !== undefined && !isOrderingKey(orderingKey)) {
    throw new TypeError(`Cannot publish: "orderingKey" is 1 to ${MAX_TEXT} characters, none of them a control`);
  }
}

/** Refuses what is no id. */
export function checkEventId(id: unknown): void {
  if (!isEventId(id)) throw new TypeError(`Cannot publish: "id" is 1 to ${MAX_TEXT} printable ASCII characters`);
}

/**
 * Refuses how no broker can be subscribed to, and fills in the defaults.
 *
 * @param pattern Which topics.
 * @param options What the subscriber asks for.
 * @returns What it gets.
 * @throws {TypeError} A pattern, a group or an option is malformed or out of its range.
 */
export function checkSubscribe(pattern: string, options: BrokerSubscribeOptions = {}): SubscribeTerms {
  const { group, start = "new", maxInFlight = 64, ackWaitMs = 30_000 } = options;
  const { slow = group === undefined ? "drop_oldest" : "block" } = options;
  const refuse = (why: string) => new TypeError(`Cannot subscribe: ${why}`);
  if (!isTopicPattern(pattern)) throw refuse(`${quote(pattern)} is not a pattern of topics`);
  if (group !== undefined && !isGroupName(group)) {
    throw refuse(`"group" is 1 to 64 letters, digits, "_" or "-"`);
  }
  if (!isBetween(maxInFlight, 1, 4_096)) throw refuse(`"maxInFlight" is from 1 to 4096`);
  if (!isBetween(ackWaitMs, 1_000, MAX_DELAY_MS)) throw refuse(`"ackWaitMs" is from 1000 to ${MAX_DELAY_MS}`);
  if (!isSlowPolicy(slow)) throw refuse(`"slow" is one of ${SLOW.join(", ")}`);
  if (!isStart(start)) throw refuse(`"start" is "new", "earliest", a position or a time`);
  return { group, start, maxInFlight, ackWaitMs, slow };
}

/**
 * How long a message is not to come again.
 *
 * @param options As `nack` takes them.
 * @returns The time, in milliseconds.
 * @throws {TypeError} It is out of its range.
 */
export function checkDelay(options: { readonly delayMs?: number } | undefined): number {
  const delayMs = options?.delayMs ?? 0;
  if (!isBetween(delayMs, 0, MAX_DELAY_MS)) {
    throw new TypeError(`Cannot give the message back: "delayMs" is from 0 to ${MAX_DELAY_MS}`);
  }
  return delayMs;
}

/** Whether a text can be an event's id. */
export function isEventId(text: unknown): text is string {
  return typeof text === "string" && ID.test(text);
}

/** Whether a text can be an ordering key. */
export function isOrderingKey(text: unknown): text is string {
  return typeof text === "string" && KEY.test(text);
}

/** Whether a text can be a group's name. */
export function isGroupName(text: unknown): text is string {
  return typeof text === "string" && GROUP.test(text);
}

function isStart(start: unknown): boolean {
  if (typeof start !== "object" || start === null) return start === "new" || start === "earliest";
  const { after, time } = start as { readonly after?: unknown; readonly time?: unknown };
  if (after !== undefined) return time === undefined && typeof after === "string" && POSITION.test(after);
  return time instanceof Date && !Number.isNaN(time.getTime());
}

function isBetween(value: unknown, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
}

/** What was given, harmless in a log and of a bounded length. */
const quote = (text: unknown) => typeof text === "string" ? JSON.stringify(text.slice(0, 40)) : typeof text;

const MAX_TEXT = 256;
const ID = /^[\x21-\x7e]{1,256}$/;
/** No control characters, which break headers and logs, and no halves of characters, which no UTF-8 carries. */
const KEY = /^[^\p{Cc}\p{Cs}]{1,256}$/u;
const GROUP = /^[\w-]{1,64}$/;
const POSITION = /^[\x21-\x7e]{1,128}$/;
/** Which attempt a delivery is; what a broker says of it need not be a number. */
export const attemptOf = ({ attempt }: { readonly attempt: number }): number =>
  Number.isSafeInteger(attempt) && attempt > 0 ? attempt : 1;

/** Whether something is a way to deal with who is too slow. */
export const isSlowPolicy = (value: unknown): value is SlowConsumerPolicy => SLOW.some((each) => each === value);

const SLOW: readonly SlowConsumerPolicy[] = ["block", "drop_oldest", "disconnect"];
const MAX_DELAY_MS = 3_600_000;
