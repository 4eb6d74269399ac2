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
 * back is. 65,536 runs are remembered, an equal share of each identity, those that were used last; what is not newer than a run
 * that was forgotten is refused where its own run is not known, because nobody could say any more whether it is a copy.
 *
 * @param sees Whether the subscription should see every event, so that one that is not there is missing.
 */
export function producerLog(sees: "all" | "some"): ProducerLog {
  const publishers = new Map<string, Publisher>();
  return {
    take(event, delivery) {
      const run = runOf(publishers, event);
      const { sequence } = event;
      const out = run.out.get(sequence);
      if (out?.delivery) {
        out.delivery = delivery;
        return undefined;
      }
      if (run.seen.has(sequence)) throw replayed("it was taken before");
      if (!out) assertInOrder(run, event);
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
  readonly publisher: Publisher;
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

/** What is remembered of an identity; the run that was used last is the last. */
interface Publisher extends PieceBudget {
  readonly runs: Map<string, Run>;
  /** How many ordering keys may still be remembered. */
  keys: number;
  /** What is not newer is older than something that was forgotten. */
  forgottenMs: number;
}

function runOf(publishers: Map<string, Publisher>, { publisher: { id }, topic, producer, timeMs }: VerifiedEvent): Run {
  const publisher = publishers.get(id) ??
    { runs: new Map(), pieces: MAX_PIECES, keys: MAX_KEYS, forgottenMs: -Infinity };
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
  while (publisher.runs.size >= Math.max(MIN_RUNS, Math.floor(MAX_RUNS / publishers.size))) forget(publisher);
  const run: Run = {
    publisher,
    seen: seenNumbers(publisher),
    out: new Map(),
    lastOf: new Map(),
    sinceMs: publisher.forgottenMs,
    highest: 0,
    newestMs: 0,
  };
  publisher.runs.set(name, run);
  return run;
}

function forget(publisher: Publisher): void {
  const [name, { newestMs, lastOf, seen }] = publisher.runs.entries().next().value!;
  publisher.runs.delete(name);
  publisher.forgottenMs = Math.max(publisher.forgottenMs, newestMs);
  publisher.keys += lastOf.size;
  lastOf.clear();
  seen.clear();
}

/** What was given back comes again whenever it comes; anything else after what came before it. */
function assertInOrder({ lastOf, publisher }: Run, { sequence, orderingKey }: VerifiedEvent): void {
  if (orderingKey === undefined) return;
  const last = lastOf.get(orderingKey);
  if (last !== undefined && sequence < last) {
    throw new BrokerError("out_of_order", "Cannot take the event: a later one of its key was taken before");
  }
  lastOf.delete(orderingKey); // the key that was used last is the last to be forgotten
  lastOf.set(orderingKey, sequence);
  if (last === undefined) publisher.keys--;
  if (publisher.keys >= 0 || lastOf.size === 1) return;
  lastOf.delete(lastOf.keys().next().value!);
  publisher.keys++;
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

const MAX_PUBLISHERS = 16_384;
const MAX_RUNS = 65_536;
const MIN_RUNS = 4;
/** Of one identity, beside one for each run: 8 million numbers in 1 MiB. */
const MAX_PIECES = 4_096;
/** Of one identity, beside one for each run. */
const MAX_KEYS = 65_536;
const MAX_OUT = 8_192;
