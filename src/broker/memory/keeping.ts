import { type Clock, systemClock } from "../../rpc/mod.ts";
import type { BrokerPublishOptions, BrokerSubscribeOptions, OutgoingEvent } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { checkSubscribe, type SubscribeTerms } from "../broker_input.ts";
import type { BrokerStore, StoredEvent } from "./broker_store.ts";
import { serve, wakeAt } from "./deliver.ts";
import { createEngine, type Engine, type EngineLimits, routeOf } from "./engine.ts";
import { type Journal, journal } from "./journal.ts";
import { detach, endPlace, join, over } from "./member.ts";
import { sizeOf } from "./message_log.ts";
import { createPlace, groupKey, type Member, type Place } from "./place.ts";
import { startIn } from "./position.ts";
import { type Publishers, publishers } from "./publishers.ts";
import { type RecentIds, recentIds } from "./recent_ids.ts";
import { catchUp, forgetIdle, forgetOld, makeRoom } from "./room.ts";

/** What is published within a process: nothing is a copy of what has no id. */
export interface LocalEvent<Event> extends Omit<OutgoingEvent<Event>, "id"> {
  readonly id?: string | undefined;
}

/** What a broker works with. */
export interface Keeping<Event> {
  readonly engine: Engine<Event>;
  readonly ids: RecentIds;
  readonly line: Publishers<LocalEvent<Event>>;
  journal: Journal<Event> | undefined;
  /** Whether publishers are being let in: what they publish may lead to more room. */
  admitting: boolean;
  /** Whether a text was found to be a topic's name: where its messages go is known. */
  readonly isKnown: (topic: string) => boolean;
  /** When the newest message was published. */
  lastMs: number;
}

/**
 * Makes what keeps messages and gives them out.
 *
 * @param limits What bounds it.
 * @param options The store, the time of day, and the clock for timers.
 * @throws {Error} What the store has is not whole.
 */
export function keepingOf<Event>(
  limits: EngineLimits,
  { store, now = Date.now, clock = systemClock }: {
    readonly store?: BrokerStore<Event>;
    readonly now?: () => number;
    readonly clock?: Clock;
  },
): Keeping<Event> {
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
  return keeping;
}

/**
 * Takes a message that is well formed.
 *
 * @param keeping What keeps it.
 * @param event The message.
 * @param options What ends the waiting for room, whether to wait at all, and the time, for who knows it.
 * @returns When it is kept for good: {@linkcode KEPT} if it is already.
 * @throws {BrokerError} `full`, `closed`; or the reason of an abort.
 */
export function take<Event>(
  keeping: Keeping<Event>,
  event: LocalEvent<Event>,
  { signal, waits = true, nowMs }: BrokerPublishOptions & { readonly nowMs?: number },
): Promise<void> {
  const { engine, line } = keeping;
  if (engine.closed) throw closed();
  if (sizeOf(event) > engine.limits.maxBytes) {
    throw new BrokerError("refused", "Cannot publish: the event can never fit");
  }
  signal?.throwIfAborted();
  if (line.size > 0 && waits) return line.wait(event, signal);
  const kept = line.size > 0 ? undefined : keep(keeping, event, nowMs);
  if (kept) return kept;
  if (!waits) throw new BrokerError("full", "Cannot publish: there is no room");
  return waiting(keeping, event, signal);
}

/** Waits for room, and looks from time to time whether retention has made some. */
function waiting<Event>(
  { engine, line }: Keeping<Event>,
  event: LocalEvent<Event>,
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
function keep<Event>(
  keeping: Keeping<Event>,
  { topic, id, event, orderingKey }: LocalEvent<Event>,
  nowMs: number = keeping.engine.now(),
): Promise<void> | undefined {
  const { engine, ids, journal } = keeping;
  const { log } = engine;
  if (id !== undefined && ids.add(topic, id, nowMs)) return journal?.isPending() ? journal.stored() : KEPT;
  forgetOld(engine, nowMs);
  const message: StoredEvent<Event> = {
    position: log.end,
    topic,
    id: id ?? "",
    event,
    orderingKey,
    atMs: Math.max(keeping.lastMs, nowMs),
  };
  const bytes = sizeOf(message);
  if (!makeRoom(engine, bytes, nowMs)) {
    if (id !== undefined) ids.remove(topic, id);
    return undefined;
  }
  keeping.lastMs = message.atMs;
  log.push(message, bytes);
  const kept = journal ? journal.add(message) : KEPT;
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

/**
 * Adds a subscriber, as the port says.
 *
 * @returns The subscriber, when its group is kept for good: `subscriptionOf` reads for it.
 */
export async function subscribe<Event>(
  keeping: Keeping<Event>,
  pattern: string,
  options: BrokerSubscribeOptions | undefined,
): Promise<Member<Event>> {
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
      if (place.members.size === 0) endPlace(engine, place); // others may have come to it
      throw error;
    }
  }
  return member;
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
  engine.isStored = true;
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

/** Ends all subscriptions, and has the rest stored. */
export async function dispose<Event>({ engine, line, journal }: Keeping<Event>): Promise<void> {
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

/** There is nothing to wait for. */
export const KEPT: Promise<void> = /* @__PURE__ */ Promise.resolve();

const closed = () => new BrokerError("closed", "The broker is closed");
