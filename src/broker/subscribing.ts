import { within } from "../internal/within.ts";
import { type Ahead, ahead } from "./ahead.ts";
import type { BrokerSubscribeOptions, Subscription } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { attemptOf } from "./broker_input.ts";
import { note, reasonOf, receive, type Received, type Receiving } from "./gate.ts";
import type { Message } from "./message.ts";
import { type Arrival, type ProducerLog, producerLog } from "./producer_log.ts";
import { type ReaderPace, readerPace } from "./reader_pace.ts";
import {
  bury,
  giveBack,
  isKnown,
  LETTER_MS,
  notedOf,
  putAway,
  remember,
  retryMs,
  settle,
  type Settlement,
  type SettlingTerms,
  type Work,
} from "./settling.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What a subscription does with what it gets. */
export interface Subscribing extends SettlingTerms {
  readonly options: BrokerSubscribeOptions;
  readonly receiving: Receiving;
  /** Told once, when it ends in whichever way. */
  readonly ended: () => void | Promise<void>;
}

/** Subscribes, and gives what is verified, once, in its order, as messages. */
export async function subscribing(setup: Subscribing): Promise<Subscription<Message>> {
  const inner = await setup.gate.broker.subscribe(setup.receiving.pattern, setup.options);
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
    begin: async (delivery) => ({
      cameAt: performance.now(),
      received: await receive(desk.gate, delivery, desk.receiving),
    }),
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

interface Desk extends Subscribing, Settlement {
  readonly maxInFlight: number;
  readonly log: ProducerLog;
  /** How fast messages are asked for, and so how many are verified before. */
  readonly pace: ReaderPace;
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
  const { delivery } = received;
  const { redelivers } = desk.gate.broker.properties;
  // Somebody else has it by now, and giving it back would take it from them.
  if (redelivers && performance.now() - cameAt >= desk.ackWaitMs) return undefined;
  if (received.kind === "others") return void delivery.ack();
  if (received.kind === "refused") return refuse(desk, received);
  const { event } = received;
  let arrival: Arrival | undefined;
  try {
    arrival = desk.log.take(event, delivery);
  } catch (error) {
    return refuse(desk, { delivery, event, error });
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

function record({ gate }: Desk, event: VerifiedEvent, { missing, late }: Arrival): void {
  if (missing > 0) note(gate, "message.missing", { ...notedOf(event), count: missing });
  if (late) note(gate, "message.late", notedOf(event));
  note(gate, "message.accept", notedOf(event));
}

/** What is refused does not come again, but for what may pass: a key that is on its way, a clock that is behind. */
function refuse(desk: Desk, { delivery, event, error }: Refused): undefined {
  const reason = reasonOf(error);
  try {
    const { topic } = delivery;
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

type Refused = Omit<Received & { readonly kind: "refused" }, "kind">;

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

/** How many messages are verified before they are asked for, at most. */
const MAX_AHEAD = 32;
/** How often what may pass is tried: for about a quarter of an hour. */
const MAX_RETRIES = 20;
const PASSING: ReadonlySet<string> = /* @__PURE__ */ new Set(["no_key", "failed", "not_yet"]);
