import type { Clock } from "../../rpc/mod.ts";
import type { Broker, BrokerSubscribeOptions, OutgoingEvent } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { checkOutgoing, checkSubscribe, type SubscribeTerms } from "../broker_input.ts";
import type { BrokerStore, StoredEvent } from "./broker_store.ts";
import { serve, wakeAt } from "./deliver.ts";
import { createEngine, type Engine, ENGINE_PROPERTIES, type EngineLimits, routeOf } from "./engine.ts";
import { type Journal, journal } from "./journal.ts";
import { detach, endPlace, join, over, subscriptionOf } from "./member.ts";
import { sizeOf } from "./message_log.ts";
import { createPlace, groupKey, type Place } from "./place.ts";
import { startIn } from "./position.ts";
import { type Publishers, publishers } from "./publishers.ts";
import { type RecentIds, recentIds } from "./recent_ids.ts";
import { catchUp, forgetIdle, forgetOld, makeRoom } from "./room.ts";

/** How a broker in this process is set up. */
export interface MemoryBrokerOptions<Event = string> {
  /**
   * Makes what was published survive a restart, as `brokerStore()` of the runtime does. The broker disposes it at its end.
   *
   * @default {nothing survives}
   */
  readonly store?: BrokerStore<Event>;
  /** How many messages are kept, 1 to 10,000,000. @default {100_000} */
  readonly maxMessages?: number;
  /**
   * How much room the kept messages' texts may take, at two bytes for a character, in bytes, from 1,024. Events that are
   * no strings count nothing.
   *
   * @default {67_108_864}
   */
  readonly maxBytes?: number;
  /** How long a message is kept, whoever needs it, in milliseconds, from 1,000. @default {604_800_000} */
  readonly retentionMs?: number;
  /** How many groups there may be, 0 to 65,536. @default {1_024} */
  readonly maxGroups?: number;
  /** How long a group keeps its place while nobody is there, in milliseconds, from 0. @default {604_800_000} */
  readonly groupIdleMs?: number;
  /** How many subscriptions there may be, 1 to 1,048,576. @default {16_384} */
  readonly maxSubscriptions?: number;
  /** How many publishers may wait for room, 0 to 65,536; the next is refused (`full`). @default {1_024} */
  readonly maxWaiting?: number;
  /** The time of day, in milliseconds since 1970: of what was published when, and of groups. @default {Date.now} */
  readonly now?: () => number;
  /** What messages that are out are timed by. @default {the runtime's} */
  readonly clock?: Clock;
}

/**
 * A broker in this process: for a program that has all its services inside, for tests, and behind `brokerService`.
 *
 * It keeps all messages until one of its limits is reached. Then the oldest is forgotten, once nobody needs it; who needs
 * it is dealt with by its `slow` policy: `"block"` has publishers wait, also for a group that nobody comes back to until
 * `groupIdleMs` has passed, `"drop_oldest"` moves it on and counts that in `dropped`, and `"disconnect"` ends the
 * subscription (`slow_consumer`); of a group all of them, and it is moved on. In a group the policy of who came last counts.
 *
 * Groups of one name and other patterns are different groups. An id counts within its topic, for two minutes, and for as
 * many ids as there may be messages. A position that is not known, or not kept any more, stands for the earliest one.
 *
 * @example A broker
 * ```ts
 * import { memoryBroker } from "@postern/rpc/broker";
 *
 * await using broker = memoryBroker();
 * await using orders = await broker.subscribe("orders.v1.*", { group: "billing" });
 * await broker.publish({ topic: "orders.v1.placed", id: crypto.randomUUID(), event: "one book" });
 * for await (const delivery of orders) {
 *   delivery.ack();
 *   break;
 * }
 * ```
 *
 * @param options What differs from the defaults.
 * @returns The broker; dispose it to end all subscriptions, and to have the rest stored.
 * @throws {RangeError} An option is out of its range.
 * @throws {Error} What the store has is not whole.
 */
export function memoryBroker<Event = string>(options: MemoryBrokerOptions<Event> = {}): Broker<Event> {
  const limits = checkLimits(options);
  const { store, now = Date.now, clock = systemClock } = options;
  const engine = createEngine<Event>({ limits, now, clock, stored: store?.load() });
  const keeping: Keeping<Event> = {
    engine,
    ids: recentIds(limits.maxMessages),
    line: publishers(limits.maxWaiting),
    journal: undefined,
    admitting: false,
    isKnown: (topic) => engine.routes.has(topic),
    lastMs: engine.log.end > engine.log.first ? engine.log.at(engine.log.end - 1).atMs : 0,
  };
  engine.freed = () => admit(keeping);
  engine.isAwaited = () => keeping.line.size > 0;
  if (store) durable(keeping, store);
  let disposed: Promise<void> | undefined;
  return {
    properties: Object.freeze({ ...ENGINE_PROPERTIES, durable: store !== undefined }),
    publish: (event, options) => publish(keeping, event, options?.signal),
    subscribe: (pattern, options) => subscribe(keeping, pattern, options),
    [Symbol.asyncDispose]: () => disposed ??= dispose(keeping),
  };
}

/** What a broker works with. */
interface Keeping<Event> {
  readonly engine: Engine<Event>;
  readonly ids: RecentIds;
  readonly line: Publishers<OutgoingEvent<Event>>;
  journal: Journal<Event> | undefined;
  /** Whether publishers are being let in: what they publish may lead to more room. */
  admitting: boolean;
  /** Whether a text was found to be a topic's name: where its messages go is known. */
  readonly isKnown: (topic: string) => boolean;
  /** When the newest message was published. */
  lastMs: number;
}

function publish<Event>(
  keeping: Keeping<Event>,
  event: OutgoingEvent<Event>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { engine, line } = keeping;
  try {
    checkOutgoing(event, keeping.isKnown);
    if (engine.closed) throw closed();
    if (sizeOf(event) > engine.limits.maxBytes) throw new BrokerError("full", "Cannot publish: the event is too large");
    signal?.throwIfAborted();
  } catch (error) {
    return Promise.reject(error);
  }
  if (line.size > 0) return line.wait(event, signal);
  return keep(keeping, event) ?? waiting(keeping, event, signal);
}

/** Waits for room, and looks from time to time whether retention has made some. */
function waiting<Event>(
  { engine, line }: Keeping<Event>,
  event: OutgoingEvent<Event>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const waited = line.wait(event, signal);
  wakeAt(engine, Infinity);
  return waited;
}

/**
 * Keeps a message and gives it to who waits for it.
 *
 * @returns When it is kept for good; nothing if there is no room.
 */
function keep<Event>(keeping: Keeping<Event>, event: OutgoingEvent<Event>): Promise<void> | undefined {
  const { engine, ids, journal } = keeping;
  const { log } = engine;
  const { topic, id } = event;
  const nowMs = engine.now();
  if (ids.add(topic, id, nowMs)) return journal?.isPending() ? journal.stored() : DONE;
  forgetOld(engine, nowMs);
  if (!makeRoom(engine, sizeOf(event), nowMs)) {
    ids.remove(topic, id);
    return undefined;
  }
  keeping.lastMs = Math.max(keeping.lastMs, nowMs);
  const message: StoredEvent<Event> = {
    position: log.end,
    topic,
    id,
    event: event.event,
    orderingKey: event.orderingKey,
    atMs: keeping.lastMs,
  };
  log.push(message);
  const kept = journal ? journal.add(message) : DONE;
  if (!journal) show(engine, topic);
  if (engine.later.length > 0) catchUp(engine);
  return kept;
}

/** Gives what is kept to who waits for it. */
function show<Event>(engine: Engine<Event>, topic: string): void {
  engine.visible = engine.log.end;
  for (const place of routeOf(engine, topic)) {
    if (place.waiting.length > 0) serve(engine, place);
  }
}

/** Lets publishers go on for whom there is room. */
function admit<Event>(keeping: Keeping<Event>): void {
  const { line, engine } = keeping;
  if (keeping.admitting) return;
  keeping.admitting = true;
  while (line.size > 0 && !engine.closed) {
    const kept = keep(keeping, line.peek()!);
    if (!kept) break;
    line.admit(kept);
  }
  keeping.admitting = false;
}

async function subscribe<Event>(
  keeping: Keeping<Event>,
  pattern: string,
  options: BrokerSubscribeOptions | undefined,
) {
  const { engine, journal } = keeping;
  const terms = checkSubscribe(pattern, options);
  if (engine.closed) throw closed();
  const { members, limits } = engine;
  if (members.size >= limits.maxSubscriptions) {
    throw new BrokerError("full", `Cannot subscribe: there are ${limits.maxSubscriptions} subscriptions`);
  }
  const nowMs = engine.now();
  forgetOld(engine, nowMs);
  forgetIdle(engine, nowMs);
  const { group } = terms;
  const known = group === undefined ? undefined : engine.groups.get(groupKey(group, pattern));
  const place = known ?? addPlace(engine, pattern, terms);
  const member = join(engine, place, terms);
  if (group !== undefined && journal && !known) {
    try {
      await journal.stored();
    } catch (error) {
      detach(engine, member);
      endPlace(engine, place);
      throw error;
    }
  }
  return subscriptionOf(engine, member);
}

function addPlace<Event>(engine: Engine<Event>, pattern: string, { group, start }: SubscribeTerms): Place<Event> {
  const { limits, log } = engine;
  if (group !== undefined && engine.groups.size >= limits.maxGroups) {
    throw new BrokerError("full", `Cannot subscribe: there are ${limits.maxGroups} groups`);
  }
  const place = createPlace<Event>(pattern, { group, from: startIn(log, engine.epoch, start) });
  engine.places.add(place);
  engine.routes.clear();
  engine.needless = Math.min(engine.needless, place.cursor);
  if (group !== undefined) engine.groups.set(groupKey(group, pattern), place);
  return place;
}

/** Has all that counts stored. */
function durable<Event>(keeping: Keeping<Event>, store: BrokerStore<Event>): void {
  const { engine, ids } = keeping;
  const { log } = engine;
  for (let position = log.first; position < log.end; position++) {
    const { topic, id, atMs } = log.at(position);
    ids.add(topic, id, atMs);
  }
  const stores = keeping.journal = journal(engine, store, {
    stored(events) {
      engine.visible = log.end;
      for (const topic of new Set(events.map((event) => event.topic))) show(engine, topic);
      admit(keeping);
    },
    failed(events) {
      for (const { topic, id } of events) {
        log.pop();
        ids.remove(topic, id);
      }
      for (const place of engine.places) place.cursor = Math.min(place.cursor, log.end);
      admit(keeping);
    },
  });
  engine.touch = stores.touch;
  engine.removed = stores.removed;
}

async function dispose<Event>({ engine, line, journal }: Keeping<Event>): Promise<void> {
  engine.closed = true;
  line.refuse(closed);
  for (const member of [...engine.members]) {
    detach(engine, member);
    over(member, { error: closed() });
  }
  if (engine.timer !== undefined) engine.clock.clear(engine.timer);
  engine.timer = undefined;
  await journal?.close();
}

function checkLimits(options: Omit<MemoryBrokerOptions, "store">): EngineLimits {
  const check = (name: keyof EngineLimits, least: number, most: number, fallback: number) => {
    const value = options[name] ?? fallback;
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw new RangeError(`Cannot make the broker: "${name}" is from ${least} to ${most}`);
  };
  return {
    maxMessages: check("maxMessages", 1, 10_000_000, 100_000),
    maxBytes: check("maxBytes", 1_024, Number.MAX_SAFE_INTEGER, 64 * 1024 * 1024),
    retentionMs: check("retentionMs", 1_000, Number.MAX_SAFE_INTEGER, WEEK_MS),
    maxGroups: check("maxGroups", 0, 65_536, 1_024),
    groupIdleMs: check("groupIdleMs", 0, Number.MAX_SAFE_INTEGER, WEEK_MS),
    maxSubscriptions: check("maxSubscriptions", 1, 1_048_576, 16_384),
    maxWaiting: check("maxWaiting", 0, 65_536, 1_024),
  };
}

const closed = () => new BrokerError("closed", "The broker is closed");

/** There is nothing to wait for. */
const DONE: Promise<void> = /* @__PURE__ */ Promise.resolve();
const WEEK_MS = 604_800_000;

/** The runtime's own clock. */
const systemClock: Clock = {
  now: () => performance.now(),
  set: (wake, ms) => setTimeout(wake, ms),
  clear: (timer) => clearTimeout(timer as number | undefined),
};
