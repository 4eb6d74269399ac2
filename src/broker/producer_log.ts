import type { Delivery } from "./broker.ts";
import { BrokerError } from "./broker_error.ts";
import { type PieceBudget, type SeenNumbers, seenNumbers } from "./seen_numbers.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What the numbers of a publisher say about an event. */
export interface Arrival {
  /** How many events of its publisher should have come before it, and did not. */
  readonly missing: number;
  /** Whether it comes after one that its publisher sent later. */
  readonly late: boolean;
  /** Its copy that came last, by which it is settled. */
  readonly latest: () => Delivery;
  /** Notes that it is done with, and is never taken again. */
  settle(): void;
  /** Notes that it was given back, and comes again. */
  giveBack(): void;
}

/** Which events of which publishers came to a subscription. */
export interface ProducerLog {
  /**
   * Takes an event.
   *
   * @param event The event.
   * @param delivery How it came.
   * @returns What its number says; undefined for a copy of one that is out, which from now on is settled by this copy.
   * @throws {BrokerError} `replayed`, `out_of_order`, `too_many_publishers`.
   */
  take(event: VerifiedEvent, delivery: Delivery): Arrival | undefined;
}

/**
 * Tells replays, copies and disorder by the numbers that publishers sign.
 *
 * Every run of a publisher numbers its events of a topic from 1. What was acknowledged is never taken again, what was given
 * back is. 16,384 runs are remembered, an equal share of each identity, those that were used last; what is not newer than a run
 * that was forgotten is refused where its own run is not known, because nobody could say any more whether it is a copy.
 *
 * @param sees Whether the subscription should see every event, so that one that is not there is missing.
 */
export function producerLog(sees: "all" | "some"): ProducerLog {
  const memory: Memory = { publishers: new Map(), pieces: MAX_PIECES, keys: MAX_KEYS };
  return {
    take(event, delivery) {
      const run = runOf(memory, event);
      const { sequence } = event;
      const out = run.out.get(sequence);
      if (out?.delivery) {
        out.delivery = delivery;
        return undefined;
      }
      if (run.seen.has(sequence)) throw replayed("it was taken before");
      if (!out) assertInOrder(memory, run, event);
      const { highest } = run;
      const late = !out && sequence < highest;
      const missing = sees === "all" && highest > 0 && sequence > highest ? sequence - highest - 1 : 0;
      run.highest = Math.max(highest, sequence);
      run.newestMs = Math.max(run.newestMs, event.timeMs);
      return arrivalOf(run, sequence, { delivery, missing, late });
    },
  };
}

/** One run of a publisher, as far as one topic goes. */
interface Run {
  readonly seen: SeenNumbers;
  /** What is out, and what was given back; the latter without a delivery. */
  readonly out: Map<number, { delivery: Delivery | undefined }>;
  /** The last number that was taken, for each ordering key. */
  readonly lastOf: Map<string, number>;
  /** What is not newer may have been taken before this was forgotten, and known again. */
  readonly sinceMs: number;
  highest: number;
  newestMs: number;
}

/** All that is remembered. */
interface Memory extends PieceBudget {
  readonly publishers: Map<string, Publisher>;
  /** How many ordering keys may still be remembered. */
  keys: number;
}

/** What is remembered of an identity; the run that was used last is the last. */
interface Publisher {
  readonly runs: Map<string, Run>;
  /** What is not newer is older than something that was forgotten. */
  forgottenMs: number;
}

function runOf(memory: Memory, { publisher: { id }, topic, producer, timeMs }: VerifiedEvent): Run {
  const { publishers } = memory;
  const publisher = publishers.get(id) ??
    { runs: new Map(), forgottenMs: -Infinity };
  const name = `${topic} ${producer}`;
  const known = publisher.runs.get(name);
  if (timeMs <= (known?.sinceMs ?? publisher.forgottenMs)) throw replayed("it is older than what is remembered");
  if (known) {
    publisher.runs.delete(name);
    publisher.runs.set(name, known);
    return known;
  }
  if (!publishers.has(id) && publishers.size >= MAX_PUBLISHERS) {
    throw new BrokerError("too_many_publishers", "Cannot take the event: there are too many publishers to remember");
  }
  publishers.set(id, publisher);
  const { forgottenMs: sinceMs } = publisher; // before room is made, which is at the expense of another run
  while (publisher.runs.size >= Math.max(MIN_RUNS, Math.floor(MAX_RUNS / publishers.size))) forget(memory, publisher);
  const run: Run = {
    seen: seenNumbers(memory, MIN_PIECES),
    out: new Map(),
    lastOf: new Map(),
    sinceMs,
    highest: 0,
    newestMs: 0,
  };
  publisher.runs.set(name, run);
  return run;
}

function forget(memory: Memory, publisher: Publisher): void {
  const [name, { newestMs, lastOf, seen }] = publisher.runs.entries().next().value!;
  publisher.runs.delete(name);
  publisher.forgottenMs = Math.max(publisher.forgottenMs, newestMs);
  memory.keys += lastOf.size;
  lastOf.clear();
  seen.clear();
}

/** What was given back comes again whenever it comes; anything else after what came before it. */
function assertInOrder(memory: Memory, { lastOf }: Run, { sequence, orderingKey }: VerifiedEvent): void {
  if (orderingKey === undefined) return;
  const last = lastOf.get(orderingKey);
  if (last !== undefined && sequence < last) {
    throw new BrokerError("out_of_order", "Cannot take the event: a later one of its key was taken before");
  }
  lastOf.delete(orderingKey); // the key that was used last is the last to be forgotten
  lastOf.set(orderingKey, sequence);
  if (last === undefined) memory.keys--;
  if (memory.keys >= 0 || lastOf.size <= MIN_KEYS) return;
  lastOf.delete(lastOf.keys().next().value!);
  memory.keys++;
}

function arrivalOf(
  run: Run,
  sequence: number,
  { delivery, missing, late }: { readonly delivery: Delivery; readonly missing: number; readonly late: boolean },
): Arrival {
  const copy: { delivery: Delivery | undefined } = { delivery };
  run.out.delete(sequence);
  run.out.set(sequence, copy);
  const latest = () => copy.delivery ?? delivery;
  return {
    missing,
    late,
    latest,
    settle() {
      run.out.delete(sequence);
      run.seen.add(sequence);
    },
    giveBack() {
      delivery = latest();
      copy.delivery = undefined;
      if (run.out.size > MAX_OUT) run.out.delete(run.out.keys().next().value!);
    },
  };
}

const replayed = (why: string) => new BrokerError("replayed", `Cannot take the event: ${why}`);

const MAX_PUBLISHERS = 4_096;
const MAX_RUNS = 16_384;
const MIN_RUNS = 4;
/** For all runs together, beside the least that each has: 134 million numbers in 16 MiB. */
const MAX_PIECES = 65_536;
/** For each run: the last 16,384 numbers and more. */
const MIN_PIECES = 8;
const MAX_KEYS = 262_144;
const MIN_KEYS = 16;
const MAX_OUT = 8_192;
