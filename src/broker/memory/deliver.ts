import type { Delivery } from "../broker.ts";
import { checkDelay } from "../broker_input.ts";
import type { Engine } from "./engine.ts";
import { forget, type Item, type Member, nextItem, type Place } from "./place.ts";
import { positionText } from "./position.ts";

/** Gives members what they asked for, as far as there is something. */
export function serve<Event>(engine: Engine<Event>, place: Place<Event>): void {
  while (place.waiting.length > 0 && !engine.closed) {
    const item = nextItem(place, engine.log, engine.visible);
    if (!item) return;
    hand(engine, firstOf(place.waiting), item);
  }
}

/** Takes the first out of a list, which has one mostly: then moving up the others is most of the work. */
const firstOf = <Value>(list: Value[]): Value => (list.length === 1 ? list.pop() : list.shift())!;

/** A member asks: it gets an answer at once, or once there is one. */
export function ask<Event>(engine: Engine<Event>, member: Member<Event>): void {
  const { place } = member;
  if (member.inFlight >= member.maxInFlight) {
    member.stalled = true;
    return;
  }
  const item = nextItem(place, engine.log, engine.visible);
  if (item) hand(engine, member, item);
  else place.waiting.push(member);
}

/** Takes a message from who has it. */
export function release<Event>(engine: Engine<Event>, item: Item<Event>): void {
  const { holder, earlier, later } = item;
  if (!holder) return;
  if (earlier) earlier.later = later;
  else holder.first = later;
  if (later) later.earlier = earlier;
  else holder.last = earlier;
  item.holder = item.earlier = item.later = undefined;
  holder.inFlight--;
  if (holder.stalled) {
    holder.stalled = false;
    holder.place.waiting.push(holder);
  }
  if (holder.inFlight === 0 && holder.drained) {
    engine.members.delete(holder);
    holder.drained();
  }
}

/** Is done with a message. */
export function finish<Event>(engine: Engine<Event>, item: Item<Event>): void {
  const { place } = item;
  release(engine, item);
  const isInTurn = item === place.oldest;
  forget(item);
  if (place.group !== undefined) {
    if (!isInTurn && engine.isStored) place.done.push(item.message.position);
    engine.touch(place);
  }
  if (place.waiting.length > 0) serve(engine, place);
  if (engine.isAwaited()) engine.freed();
}

/** Takes a message from who has it, to give it again. */
export function giveBack<Event>(engine: Engine<Event>, item: Item<Event>, delayMs: number): void {
  const { place } = item;
  release(engine, item);
  if (place.ended) return;
  if (delayMs > 0) {
    item.dueMs = engine.clock.now() + delayMs;
    item.delayed = true;
    engine.delayed.push(item);
    wakeAt(engine, item.dueMs);
  } else {
    place.ready.push(item);
  }
  serve(engine, place);
}

/** Sees to it that {@linkcode tick} is called when something is due. */
export function wakeAt<Event>(engine: Engine<Event>, dueMs: number): void {
  const { clock } = engine;
  const now = clock.now();
  const atMs = Math.min(dueMs, now + TICK_MS);
  if (engine.timer !== undefined) {
    if (engine.timerMs <= atMs) return;
    clock.clear(engine.timer);
  }
  engine.timerMs = atMs;
  engine.timer = clock.set(() => tick(engine), Math.max(0, Math.ceil(atMs - now)));
}

/** Gives again what is due, and what was out for too long; while anything can be, it sees to it that it is called again. */
function tick<Event>(engine: Engine<Event>): void {
  const { clock, delayed, members } = engine;
  engine.timer = undefined;
  const now = clock.now();
  for (let item = delayed.peek(); item && item.dueMs <= now; item = delayed.peek()) {
    delayed.pop();
    item.delayed = false;
    if (item.gone) engine.delayedGone--;
    else again(engine, item);
  }
  let nextMs = delayed.peek()?.dueMs ?? Infinity;
  for (const member of members) {
    while (member.first && member.first.dueMs <= now) giveBack(engine, member.first, 0);
    nextMs = Math.min(nextMs, member.first?.dueMs ?? Infinity);
  }
  if (engine.isAwaited()) {
    engine.freed(); // what waits may be due to retention, or to a group that nobody comes back to
    if (engine.isAwaited()) nextMs = Math.min(nextMs, now + TICK_MS);
  }
  if (nextMs !== Infinity && !engine.closed) wakeAt(engine, nextMs);
}

function again<Event>(engine: Engine<Event>, item: Item<Event>): void {
  if (item.place.ended) return;
  item.place.ready.push(item);
  serve(engine, item.place);
}

function hand<Event>(engine: Engine<Event>, member: Member<Event>, item: Item<Event>): void {
  item.attempt++;
  item.holder = member;
  const { last } = member;
  item.earlier = last;
  if (last) last.later = item;
  else member.first = item;
  member.last = item;
  member.inFlight++;
  const now = engine.clock.now();
  item.dueMs = now + member.ackWaitMs;
  // Nothing is due sooner than after a tick: so a timer is set once for many messages, and never for one that is done with.
  if (engine.timer === undefined) wakeAt(engine, now + TICK_MS);
  const taker = member.taker!;
  member.taker = undefined;
  taker.give(item);
}

/** How a message that was handed out is settled: as often as one likes, the first time counts. */
export interface Settling {
  /** Is done with it. */
  ack(): void;
  /** Gives it back. */
  nack(options?: { readonly delayMs?: number }): void;
}

/** Settles this attempt; a later one is another delivery, which it has no say in. */
export function settlingOf<Event>(engine: Engine<Event>, item: Item<Event>): Settling {
  const { attempt } = item;
  return {
    ack() {
      if (item.holder !== undefined && item.attempt === attempt) finish(engine, item);
    },
    nack(options) {
      const delayMs = options === undefined ? 0 : checkDelay(options);
      if (item.holder !== undefined && item.attempt === attempt) giveBack(engine, item, delayMs);
    },
  };
}

/** What a subscriber gets of a message. */
export function deliveryOf<Event>(engine: Engine<Event>, item: Item<Event>): Delivery<Event> {
  const { message: { topic, event, orderingKey, position }, attempt } = item;
  const { ack, nack } = settlingOf(engine, item);
  return { topic, event, orderingKey, attempt, position: positionText(engine, position), ack, nack };
}

/** How often is looked for what is due, in milliseconds: the least time that a message may be out. */
export const TICK_MS = 1_000;
