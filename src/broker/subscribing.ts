import { BrokerError } from "./broker_error.ts";
import { type Ahead, ahead } from "./ahead.ts";
import type { BrokerSubscribeOptions, Delivery, Subscription } from "./broker.ts";
import { type Gate, note, reasonOf } from "./gate.ts";
import type { IdempotencyStore } from "./idempotency.ts";
import type { Message } from "./message.ts";
import { type Arrival, type ProducerLog, producerLog } from "./producer_log.ts";
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
  readonly bury: ((letter: Letter) => Promise<unknown>) | undefined;
  readonly idempotency: IdempotencyStore | undefined;
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
  const source = inner[Symbol.asyncIterator]();
  const desk: Desk = {
    ...setup,
    log: producerLog(setup.options.group === undefined ? "all" : "some"),
    pending: new Set(),
  };
  const line = ahead(source, {
    begin: desk.receive,
    giveBack: (delivery) => delivery.nack(),
    most: AHEAD,
  });
  const settled = async () => {
    while (desk.pending.size > 0) await Promise.allSettled([...desk.pending]);
  };
  const end = async () => {
    line.stop();
    await settled();
    await inner[Symbol.asyncDispose]();
  };
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
  readonly log: ProducerLog;
  /** What is being written somewhere before its message is settled. */
  readonly pending: Set<Promise<unknown>>;
}

async function* messagesOf(desk: Desk, line: Ahead<Received>, end: () => Promise<void>): AsyncGenerator<Message> {
  try {
    for (let next = await line.next(); next; next = await line.next()) {
      const message = await taken(desk, next);
      if (message) yield message;
    }
  } finally {
    await end();
  }
}

/** The message, if it is one that a handler should see. */
async function taken(desk: Desk, received: Received): Promise<Message | undefined> {
  const { delivery, event, error } = received;
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
  if (delivery.attempt > desk.maxAttempts) return void putAway(work, "too_many_attempts", "");
  try {
    if (await desk.idempotency?.has(keyOf(event))) {
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

function record({ gate }: Desk, event: VerifiedEvent, { missing, late }: Arrival): void {
  if (missing > 0) note(gate, "message.missing", { ...notedOf(event), count: missing });
  if (late) note(gate, "message.late", notedOf(event));
  note(gate, "message.accept", notedOf(event));
}

/** What is refused does not come again, but for what may pass: a key that is on its way, a clock that is behind. */
function refuse(desk: Desk, { delivery, event }: Received, error: unknown): undefined {
  const reason = reasonOf(error);
  try {
    note(desk.gate, "message.refuse", { topic: delivery.topic, id: event?.id, publisher: event?.publisher.id }, reason);
  } catch {
    // It is refused all the same.
  }
  const { redelivers } = desk.gate.broker.properties;
  const comesAgain = PASSING.has(reason) && redelivers && delivery.attempt < Math.min(desk.maxAttempts, MAX_RETRIES);
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
    if (isSettled) return;
    isSettled = true;
    what();
  };
  return {
    data,
    id: event.id,
    topic: event.topic,
    publisher: event.publisher,
    time: new Date(event.timeMs),
    attempt: delivery.attempt,
    sequence: event.sequence,
    orderingKey: event.orderingKey,
    position: delivery.position,
    missing: arrival.missing,
    late: arrival.late,
    ack: () => once(() => remember(work)),
    nack({ delayMs = 0 } = {}) {
      if (!redelivers) throw new BrokerError("unsupported", "Cannot give the message back: the broker delivers once");
      once(() => {
        if (delivery.attempt >= desk.maxAttempts) putAway(work, "too_many_attempts", "");
        else giveBack(work, delayMs);
      });
    },
    reject: (detail = "") => once(() => putAway(work, "rejected", detail)),
  };
}

/** Where it has to be remembered, it is acknowledged only then. */
function remember(work: Work): void {
  const { desk: { idempotency, pending }, event } = work;
  if (!idempotency) return settle(work);
  const remembering = (async () => await idempotency.add(keyOf(event)))();
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

/** Lets go of a message only once its dead letter is published. */
function bury(
  desk: Desk,
  letter: Letter,
  done: () => void,
  failed: () => void = () => letter.delivery.nack({ delayMs: retryMs(letter.delivery) }),
): void {
  during(desk.pending, desk.bury!(letter).then(done, failed));
}

function during(pending: Set<Promise<unknown>>, promise: Promise<unknown>): void {
  pending.add(promise);
  promise.finally(() => pending.delete(promise));
}

const keyOf = ({ publisher, topic, id }: VerifiedEvent) => `${publisher.id} ${topic} ${id}`;

const notedOf = ({ topic, id, publisher }: VerifiedEvent) => ({ topic, id, publisher: publisher.id });

/** How many messages are verified before they are asked for. */
const AHEAD = 32;
/** When to try again what should have worked, in milliseconds: later each time. */
const retryMs = ({ attempt }: Delivery) => Math.min(1_000 * 2 ** Math.min(attempt - 1, 6), 60_000);
/** How often that is, which takes more than an hour. */
const MAX_RETRIES = 100;
const PASSING: ReadonlySet<string> = /* @__PURE__ */ new Set(["no_key", "failed", "not_yet"]);
