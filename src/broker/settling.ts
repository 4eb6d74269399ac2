import { untilAborted } from "../internal/until_aborted.ts";
import { within } from "../internal/within.ts";
import type { Delivery } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { attemptOf } from "./broker_input.ts";
import { type Gate, note, type Noted, reasonOf } from "./gate.ts";
import type { IdempotencyStore } from "./idempotency.ts";
import type { Arrival } from "./producer_log.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What is needed to be done with a message. */
export interface SettlingTerms {
  readonly gate: Gate;
  /** How often a message is tried. */
  readonly maxAttempts: number;
  /** Publishes a dead letter; undefined where there are none. */
  readonly bury: ((letter: Letter, signal: AbortSignal) => Promise<unknown>) | undefined;
  readonly idempotency: IdempotencyStore | undefined;
}

/** What cannot be dealt with. */
export interface Letter {
  readonly delivery: Delivery;
  readonly reason: string;
  readonly detail: string;
}

/** Where the messages of a subscription are settled. */
export interface Settlement extends SettlingTerms {
  readonly ackWaitMs: number;
  /** What is being written somewhere before its message is settled; none of it rejects. */
  readonly pending: Set<Promise<unknown>>;
  /** Aborts when the subscription ends. */
  readonly ending: AbortController;
}

/** A message that is out. */
export interface Work {
  readonly desk: Settlement;
  readonly event: VerifiedEvent;
  readonly arrival: Arrival;
  readonly delivery: Delivery;
}

/** Whether a message was done with, as far as somebody remembers it. */
export async function isKnown({ desk, event }: Work): Promise<boolean> {
  if (!desk.idempotency) return false;
  return await inTime(desk, (async () => await desk.idempotency!.has(keyOf(event)))());
}

/** A store that does not answer is waited for as long as the message is ours. */
function inTime<Value>({ ackWaitMs, ending }: Settlement, answer: Promise<Value>): Promise<Value> {
  const late = () => new BrokerError("unreachable", "Cannot ask what was done with: the store does not answer");
  return untilAborted(within(answer, () => ackWaitMs, late), ending.signal, late);
}

/** Acknowledges a message; where it has to be remembered, only then. */
export function remember(work: Work): void {
  const { desk, event } = work;
  const { idempotency, pending } = desk;
  if (!idempotency) return settle(work);
  const remembering = inTime(desk, (async () => await idempotency.add(keyOf(event)))());
  during(pending, remembering.then(() => settle(work), () => giveBack(work, retryMs(work.delivery))));
}

/** Is done with a message: it never comes again. */
export function settle({ arrival }: Work): void {
  const delivery = arrival.latest();
  arrival.settle();
  delivery.ack();
}

/** Gives a message back. */
export function giveBack({ arrival }: Work, delayMs: number): void {
  const delivery = arrival.latest();
  arrival.giveBack();
  delivery.nack({ delayMs });
}

/** Is done with what cannot be dealt with: it goes to the dead letters, where there are any. */
export function putAway(work: Work, reason: string, detail: string): void {
  const { desk, event, delivery } = work;
  try {
    note(desk.gate, desk.bury ? "message.bury" : "message.drop", notedOf(event), reason);
  } catch {
    // It is put away all the same: it was delivered, and that is recorded.
  }
  if (desk.bury) bury(desk, { delivery, reason, detail }, () => settle(work), () => giveBack(work, retryMs(delivery)));
  else settle(work);
}

/**
 * Lets go of a message only once its dead letter is published.
 *
 * A broker that is full may be so because of this very message, which would then wait for itself: before everything stands still,
 * the letter is left out, which is recorded.
 */
export function bury(
  desk: Settlement,
  letter: Letter,
  done: () => void,
  failed: () => void = () => letter.delivery.nack({ delayMs: retryMs(letter.delivery) }),
): void {
  const { gate, ending, pending } = desk;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), LETTER_MS);
  const over = () => clearTimeout(timer);
  const unburied = (error: unknown) => {
    if (ending.signal.aborted) return; // the end gives it back
    if (reasonOf(error) !== "full") return failed();
    note(gate, "message.drop", { topic: letter.delivery.topic }, "full");
    done();
  };
  const burying = desk.bury!(letter, AbortSignal.any([late.signal, ending.signal]));
  during(pending, burying.then(done, unburied).finally(over));
}

function during(pending: Set<Promise<unknown>>, work: Promise<unknown>): void {
  const settled: Promise<unknown> = work.catch(() => {}).then(() => pending.delete(settled)); // it comes again
  pending.add(settled);
}

const keyOf = ({ publisher, topic, id }: VerifiedEvent) => `${publisher.id} ${topic} ${id}`;

/** An event, for an audit log. */
export const notedOf = ({ topic, id, publisher }: VerifiedEvent): Noted => ({ topic, id, publisher: publisher.id });

/** When to try again what should have worked, in milliseconds: later each time. */
export const retryMs = (delivery: Delivery): number =>
  Math.min(1_000 * 2 ** Math.min(attemptOf(delivery) - 1, 6), 60_000);
/** How long a dead letter may take, in milliseconds. */
export const LETTER_MS = 10_000;
