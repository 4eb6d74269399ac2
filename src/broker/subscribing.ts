import { isTopicName } from "../internal/topic_name.ts";
import { untilAborted } from "../internal/until_aborted.ts";
import { within } from "../internal/within.ts";
import { type Ahead, ahead } from "./ahead.ts";
import type { BrokerSubscribeOptions, Delivery, Subscription } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { type Gate, note, reasonOf } from "./gate.ts";
import type { IdempotencyStore } from "./idempotency.ts";
import type { Message } from "./message.ts";
import { type Arrival, type ProducerLog, producerLog } from "./producer_log.ts";
import { type ReaderPace, readerPace } from "./reader_pace.ts";
import type { Received } from "./reception.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What a subscription does with what it gets. */
export interface Subscribing {
  readonly gate: Gate;
  readonly pattern: string;
  readonly options: BrokerSubscribeOptions;
  readonly receive: (delivery: Delivery) => Promise<Received>;
  /** How often a message is tried. */
  readonly maxAttempts: number;
  /** Publishes a dead letter; undefined where there are none. */
  readonly bury: ((letter: Letter, signal: AbortSignal) => Promise<unknown>) | undefined;
  readonly idempotency: IdempotencyStore | undefined;
  /** Told once, when it ends in whichever way. */
  readonly ended: () => void | Promise<void>;
}

/** What cannot be dealt with. */
export interface Letter {
  readonly delivery: Delivery;
  readonly reason: string;
  readonly detail: string;
}

/** Subscribes, and gives what is verified, once, in its order, as messages. */
export async function subscribing(setup: Subscribing): Promise<Subscription<Message>> {
  const inner = await setup.gate.broker.subscribe(setup.pattern, setup.options);
  const { group, maxInFlight = 64, ackWaitMs = 30_000 } = setup.options;
  const desk: Desk = {
    ...setup,
    ackWaitMs,
    maxInFlight,
    log: producerLog(group === undefined ? "all" : "some"),
    pace: readerPace({ ackWaitMs, maxInFlight }),
    pending: new Set(),
    ending: new AbortController(),
  };
  const line = ahead(inner[Symbol.asyncIterator](), {
    begin: async (delivery) => ({ cameAt: performance.now(), received: await desk.receive(delivery) }),
    giveBack: (delivery) => delivery.nack(),
    most: () => Math.min(desk.pace.ahead, MAX_AHEAD),
  });
  const settled = async () => {
    while (desk.pending.size > 0) await Promise.all([...desk.pending]);
  };
  let over: Promise<void> | undefined;
  const end = () =>
    over ??= (async () => {
      line.stop();
      await within(settled(), () => LETTER_MS, () => undefined).catch(() => {}); // what was acknowledged, or rejected, is so
      desk.ending.abort();
      await settled();
      await inner[Symbol.asyncDispose]();
      await setup.ended();
    })();
  const messages = messagesOf(desk, line, end);
  return {
    get dropped() {
      return inner.dropped;
    },
    [Symbol.asyncIterator]: () => messages,
    async drain() {
      const drained = inner.drain();
      line.stop();
      await drained;
      await settled();
    },
    [Symbol.asyncDispose]: end,
  };
}

interface Desk extends Subscribing {
  readonly ackWaitMs: number;
  readonly maxInFlight: number;
  readonly log: ProducerLog;
  /** How fast messages are asked for, and so how many are verified before. */
  readonly pace: ReaderPace;
  /** What is being written somewhere before its message is settled; none of it rejects. */
  readonly pending: Set<Promise<unknown>>;
  /** Aborts when the subscription ends. */
  readonly ending: AbortController;
}

/** What came, and when. */
interface Arrived {
  readonly cameAt: number;
  readonly received: Received;
}

async function* messagesOf(desk: Desk, line: Ahead<Arrived>, end: () => Promise<void>): AsyncGenerator<Message> {
  try {
    for (let next = await line.next(); next; next = await line.next()) {
      while (desk.pending.size >= desk.maxInFlight) await Promise.race(desk.pending);
      const message = await taken(desk, next);
      if (!message) continue;
      desk.pace.handed(performance.now());
      yield message;
      desk.pace.ready(performance.now());
    }
  } finally {
    await end();
  }
}

/** The message, if it is one that a handler should see. */
async function taken(desk: Desk, { received, cameAt }: Arrived): Promise<Message | undefined> {
  const { delivery, event, error } = received;
  const { redelivers } = desk.gate.broker.properties;
  // Somebody else has it by now.
  if (redelivers && performance.now() - cameAt >= desk.ackWaitMs) return void delivery.nack();
  if (!event && error === undefined) return void delivery.ack(); // it is for others
  if (!event || error !== undefined) return refuse(desk, received, error);
  let arrival: Arrival | undefined;
  try {
    arrival = desk.log.take(event, delivery);
  } catch (error) {
    return refuse(desk, received, error);
  }
  if (!arrival) return undefined;
  const work: Work = { desk, event, arrival, delivery };
  if (attemptOf(delivery) > desk.maxAttempts) return void putAway(work, "too_many_attempts", "");
  try {
    if (await isKnown(work)) {
      note(desk.gate, "message.repeat", notedOf(event));
      settle(work);
      return undefined;
    }
    record(desk, event, arrival);
  } catch {
    // What cannot be looked up, or cannot be recorded, is not handed out, and comes again.
    giveBack(work, retryMs(delivery));
    return undefined;
  }
  return messageOf(work, received.data);
}

async function isKnown({ desk, event }: Work): Promise<boolean> {
  if (!desk.idempotency) return false;
  return await inTime(desk, (async () => await desk.idempotency!.has(keyOf(event)))());
}

/** A store that does not answer is waited for as long as the message is ours. */
function inTime<Value>({ ackWaitMs, ending }: Desk, answer: Promise<Value>): Promise<Value> {
  const late = () => new BrokerError("unreachable", "Cannot ask what was done with: the store does not answer");
  return untilAborted(within(answer, () => ackWaitMs, late), ending.signal, late);
}

function record({ gate }: Desk, event: VerifiedEvent, { missing, late }: Arrival): void {
  if (missing > 0) note(gate, "message.missing", { ...notedOf(event), count: missing });
  if (late) note(gate, "message.late", notedOf(event));
  note(gate, "message.accept", notedOf(event));
}

/** What is refused does not come again, but for what may pass: a key that is on its way, a clock that is behind. */
function refuse(desk: Desk, { delivery, event }: Received, error: unknown): undefined {
  const reason = reasonOf(error);
  try {
    const topic = isTopicName(delivery.topic) ? delivery.topic : "";
    note(desk.gate, "message.refuse", { topic, id: event?.id, publisher: event?.publisher.id }, reason);
  } catch {
    // It is refused all the same.
  }
  const { redelivers } = desk.gate.broker.properties;
  const comesAgain = PASSING.has(reason) && redelivers && attemptOf(delivery) < Math.min(desk.maxAttempts, MAX_RETRIES);
  if (comesAgain) return void delivery.nack({ delayMs: retryMs(delivery) });
  // A copy of what was dealt with is no dead letter.
  if (desk.bury && reason !== "replayed") bury(desk, { delivery, reason, detail: "" }, () => delivery.ack());
  else delivery.ack();
  return undefined;
}

/** A message that is out. */
interface Work {
  readonly desk: Desk;
  readonly event: VerifiedEvent;
  readonly arrival: Arrival;
  readonly delivery: Delivery;
}

function messageOf(work: Work, data: unknown): Message {
  const { event, arrival, delivery, desk } = work;
  const { redelivers } = desk.gate.broker.properties;
  let isSettled = false;
  const once = (what: () => void) => {
    if (isSettled || desk.ending.signal.aborted) return; // it was given back
    isSettled = true;
    what();
  };
  return {
    data,
    id: event.id,
    topic: event.topic,
    publisher: event.publisher,
    time: new Date(event.timeMs),
    attempt: attemptOf(delivery),
    sequence: event.sequence,
    orderingKey: event.orderingKey,
    position: delivery.position,
    missing: arrival.missing,
    late: arrival.late,
    ack: () => once(() => remember(work)),
    nack({ delayMs = 0 } = {}) {
      if (!redelivers) throw new BrokerError("unsupported", "Cannot give the message back: the broker delivers once");
      once(() => {
        if (attemptOf(delivery) >= desk.maxAttempts) putAway(work, "too_many_attempts", "");
        else giveBack(work, delayMs);
      });
    },
    reject: (detail = "") => once(() => putAway(work, "rejected", detail)),
  };
}

/** Where it has to be remembered, it is acknowledged only then. */
function remember(work: Work): void {
  const { desk, event } = work;
  const { idempotency, pending } = desk;
  if (!idempotency) return settle(work);
  const remembering = inTime(desk, (async () => await idempotency.add(keyOf(event)))());
  during(pending, remembering.then(() => settle(work), () => giveBack(work, retryMs(work.delivery))));
}

function settle({ arrival }: Work): void {
  const delivery = arrival.latest();
  arrival.settle();
  delivery.ack();
}

function giveBack({ arrival }: Work, delayMs: number): void {
  const delivery = arrival.latest();
  arrival.giveBack();
  delivery.nack({ delayMs });
}

function putAway(work: Work, reason: string, detail: string): void {
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
function bury(
  desk: Desk,
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

/** Which attempt it is; what a broker says of it need not be a number. */
export const attemptOf = ({ attempt }: Delivery): number => Number.isSafeInteger(attempt) && attempt > 0 ? attempt : 1;

const keyOf = ({ publisher, topic, id }: VerifiedEvent) => `${publisher.id} ${topic} ${id}`;

const notedOf = ({ topic, id, publisher }: VerifiedEvent) => ({ topic, id, publisher: publisher.id });

/** How many messages are verified before they are asked for, at most. */
const MAX_AHEAD = 32;
/** When to try again what should have worked, in milliseconds: later each time. */
const retryMs = (delivery: Delivery) => Math.min(1_000 * 2 ** Math.min(attemptOf(delivery) - 1, 6), 60_000);
/** How often that is: for about a quarter of an hour. */
const MAX_RETRIES = 20;
/** How long a dead letter may take, in milliseconds. */
const LETTER_MS = 10_000;
const PASSING: ReadonlySet<string> = /* @__PURE__ */ new Set(["no_key", "failed", "not_yet"]);
