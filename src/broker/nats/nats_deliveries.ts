import { sequence, type Taker } from "../../internal/sequence.ts";
import type { Delivery, SlowConsumerPolicy, Subscription } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { checkDelay } from "../broker_input.ts";

/** A message as it came from NATS. */
export interface Arrival {
  /** What tells it from others: its place, or a number. */
  readonly key: number;
  readonly topic: string;
  readonly event: string;
  /** How large it is, in bytes. */
  readonly size: number;
  readonly attempt: number;
  readonly position?: string;
  /** Says that it is done with. */
  ack(): void;
  /** Gives it back. */
  nak(delayMs: number): void;
  /** Says that it is not forgotten, so that the server waits for it anew. */
  working(): void;
}

/** Where messages come from. */
export interface ArrivalSource {
  /** There is room for so many messages beside those that have come. */
  room(free: number): void;
  /** Ends what comes; after it is fulfilled nothing does. It does not reject. */
  stop(): Promise<void>;
}

/** What bounds what is held for a subscriber. */
export interface DeliveryTerms {
  readonly maxInFlight: number;
  readonly ackWaitMs: number;
  /** How much waits to be read where the server sends without being asked, and what happens beyond it. */
  readonly overflow?: {
    readonly maxMessages: number;
    readonly maxBytes: number;
    readonly policy: SlowConsumerPolicy;
  };
}

/** The messages of one subscriber, between NATS and it. */
export interface Deliveries {
  /** What the subscriber gets. */
  readonly subscription: Subscription<Delivery>;
  /** A message came, perhaps again: then it takes the place of the earlier attempt. */
  push(arrival: Arrival): void;
  /** A message came again that is out, which is no new attempt: it is settled by this from now on. False where it is not out. */
  adopt(arrival: Arrival): boolean;
  /** The lowest key of what is not settled. */
  lowest(): number | undefined;
  /** It cannot go on; fulfilled when all is given back. */
  fail(error: BrokerError): Promise<void>;
}

/**
 * Holds what came until it is read, and what was read until it is settled.
 *
 * @param terms Its bounds.
 * @param source Where messages come from.
 */
export function deliveries(terms: DeliveryTerms, source: ArrivalSource): Deliveries {
  const line: Line = {
    terms,
    source,
    held: new Map(),
    out: new Map(),
    back: [],
    heldBytes: 0,
    dropped: 0,
    taker: undefined,
    failed: undefined,
    stopping: undefined,
    timer: undefined,
    settled: [],
  };
  const read = sequence<Delivery>({
    pull(taker) {
      const { failed } = line;
      line.failed = undefined;
      if (failed) taker.fail(failed);
      else if (line.stopping) taker.end();
      else {
        line.taker = taker;
        give(line);
      }
    },
    close() {
      line.taker = undefined;
      // Who drains still settles what is out.
      if (!line.stopping) void leave(line);
    },
  });
  return {
    subscription: {
      get dropped() {
        return line.dropped;
      },
      async drain() {
        await stop(line);
        if (line.out.size > 0) await new Promise<void>((resolve) => line.settled.push(resolve));
      },
      [Symbol.asyncIterator]: () => read[Symbol.asyncIterator](),
      [Symbol.asyncDispose]: () => leave(line),
    },
    push: (arrival) => push(line, arrival),
    adopt(arrival) {
      const entry = line.out.get(arrival.key);
      if (entry) entry.arrival = arrival;
      return entry !== undefined;
    },
    lowest() {
      const keys = [...line.held.keys(), ...line.out.keys()];
      return keys.length === 0 ? undefined : keys.reduce((lowest, key) => Math.min(lowest, key));
    },
    fail: (error) => fail(line, error),
  };
}

interface Held {
  readonly arrival: Arrival;
  /** When the server began to wait for it. */
  sinceMs: number;
}

interface Out {
  arrival: Arrival;
  /** Until when it can be settled. */
  readonly untilMs: number;
}

interface Line {
  readonly terms: DeliveryTerms;
  readonly source: ArrivalSource;
  /** What nobody has read, in the order that it came in. */
  readonly held: Map<number, Held>;
  /** What was read and is not settled, in the order of reading. */
  readonly out: Map<number, Out>;
  /** What goes back once nothing more comes: before, it would come again. */
  readonly back: Arrival[];
  heldBytes: number;
  dropped: number;
  /** Who waits for the next. */
  taker: Taker<Delivery> | undefined;
  /** Why it ended, while nobody knows. */
  failed: BrokerError | undefined;
  stopping: Promise<void> | undefined;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** Who waits until nothing is out. */
  readonly settled: (() => void)[];
}

function push(line: Line, arrival: Arrival): void {
  if (line.stopping) return void line.back.push(arrival);
  line.out.delete(arrival.key);
  takeHeld(line, arrival.key);
  line.held.set(arrival.key, { arrival, sinceMs: Date.now() });
  line.heldBytes += arrival.size;
  watch(line);
  give(line);
  const { overflow } = line.terms;
  if (!overflow) return;
  while (line.held.size > overflow.maxMessages || (line.held.size > 1 && line.heldBytes > overflow.maxBytes)) {
    if (overflow.policy === "disconnect") {
      return void fail(line, new BrokerError("slow_consumer", "Cannot go on: the subscriber reads too slowly"));
    }
    takeHeld(line, line.held.keys().next().value!);
    line.dropped++;
  }
}

function takeHeld(line: Line, key: number): Held | undefined {
  const held = line.held.get(key);
  if (!held) return undefined;
  line.held.delete(key);
  line.heldBytes -= held.arrival.size;
  return held;
}

/** Gives the oldest to who waits, unless enough is out. */
function give(line: Line): void {
  const { taker, terms } = line;
  if (!taker || line.held.size === 0 || line.out.size >= terms.maxInFlight) return;
  const { arrival, sinceMs } = takeHeld(line, line.held.keys().next().value!)!;
  const now = Date.now();
  // The wait is for who works on it, not for the line.
  if (now - sinceMs > terms.ackWaitMs / 8) arrival.working();
  const entry: Out = { arrival, untilMs: now + terms.ackWaitMs };
  line.out.set(arrival.key, entry);
  line.taker = undefined;
  taker.give(deliveryOf(line, entry));
}

function deliveryOf(line: Line, entry: Out): Delivery {
  const { key, topic, event, attempt, position } = entry.arrival;
  const settle = (how: (arrival: Arrival) => void) => {
    if (line.out.get(key) !== entry) return;
    line.out.delete(key);
    how(entry.arrival);
    moveOn(line);
  };
  return {
    topic,
    event,
    attempt,
    ...position === undefined ? {} : { position },
    ack: () => settle((arrival) => arrival.ack()),
    nack(options) {
      const delayMs = checkDelay(options);
      settle((arrival) => arrival.nak(delayMs));
    },
  };
}

/** Something is no longer out. */
function moveOn(line: Line): void {
  if (line.out.size === 0) { for (const resolve of line.settled) resolve(); }
  if (line.stopping) return;
  give(line);
  line.source.room(Math.max(0, line.terms.maxInFlight - line.held.size - line.out.size));
}

/** Looks now and then at what waits, while something does. */
function watch(line: Line): void {
  line.timer ??= setTimeout(() => {
    line.timer = undefined;
    const now = Date.now();
    const { ackWaitMs } = line.terms;
    for (const held of line.held.values()) {
      if (now - held.sinceMs < ackWaitMs / 4) continue;
      held.arrival.working();
      held.sinceMs = now;
    }
    const { size } = line.out;
    for (const [key, { untilMs }] of line.out) if (untilMs <= now) line.out.delete(key);
    if (line.held.size > 0 || line.out.size > 0) watch(line);
    if (line.out.size < size) moveOn(line);
  }, line.terms.ackWaitMs / 4);
}

/** Takes nothing new; what nobody has seen goes back. */
function stop(line: Line): Promise<void> {
  if (line.stopping) return line.stopping;
  line.stopping = line.source.stop().then(() => giveBack(line));
  for (const { arrival } of line.held.values()) line.back.push(arrival);
  line.held.clear();
  line.heldBytes = 0;
  line.taker?.end();
  return line.stopping;
}

/** The same, and what is out goes back too. */
async function leave(line: Line): Promise<void> {
  const stopped = stop(line);
  for (const { arrival } of line.out.values()) line.back.push(arrival);
  line.out.clear();
  end(line);
  await stopped;
  giveBack(line);
}

/** Nothing is out, and nothing will be. */
function end(line: Line): void {
  clearTimeout(line.timer);
  for (const resolve of line.settled) resolve();
}

/** In its order, so that it comes in its order. */
function giveBack(line: Line): void {
  for (const arrival of line.back.splice(0).sort((a, b) => a.key - b.key)) arrival.nak(0);
}

function fail(line: Line, error: BrokerError): Promise<void> {
  if (line.stopping) return leave(line);
  const { taker } = line;
  line.taker = undefined;
  if (!taker) line.failed = error;
  const left = leave(line);
  taker?.fail(error);
  return left;
}
