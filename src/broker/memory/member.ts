import { sequence, type Taker } from "../../internal/sequence.ts";
import type { Subscription } from "../broker.ts";
import type { SubscribeTerms } from "../broker_input.ts";
import { ask, release, serve } from "./deliver.ts";
import type { Engine } from "./engine.ts";
import { groupKey, type Item, type Member, type Place } from "./place.ts";

/** Adds a member to a place. */
export function join<Event>(engine: Engine<Event>, place: Place<Event>, terms: SubscribeTerms): Member<Event> {
  const member: Member<Event> = {
    place,
    maxInFlight: terms.maxInFlight,
    ackWaitMs: terms.ackWaitMs,
    droppedBefore: place.dropped,
    first: undefined,
    last: undefined,
    inFlight: 0,
    taker: undefined,
    stalled: false,
    over: undefined,
    ending: false,
    drained: undefined,
    left: false,
  };
  place.slow = terms.slow;
  place.idleSinceMs = 0;
  place.members.add(member);
  if (place.group !== undefined) engine.touch(place);
  engine.members.add(member);
  return member;
}

/**
 * What a member reads.
 *
 * @param engine The engine.
 * @param member The member.
 * @param give Gives it what it reads of a message that was handed out; throws nothing.
 */
export function subscriptionOf<Event, Read>(
  engine: Engine<Event>,
  member: Member<Event>,
  give: (item: Item<Event>, reader: Taker<Read>) => void,
): Subscription<Read> {
  let reader: Taker<Read>;
  const taker: Taker<Item<Event>> = {
    give: (item) => give(item, reader),
    end: () => reader.end(),
    fail: (error) => reader.fail(error),
  };
  const deliveries = sequence<Read>({
    pull(asker) {
      reader = asker;
      member.taker = taker;
      if (member.over) over(member, member.over);
      else ask(engine, member);
    },
    close() {
      if (!member.ending) leave(engine, member);
    },
  });
  let draining: Promise<void> | undefined;
  return {
    [Symbol.asyncIterator]: () => deliveries[Symbol.asyncIterator](),
    get dropped() {
      return member.place.dropped - member.droppedBefore;
    },
    drain: () => draining ??= drain(engine, member),
    async [Symbol.asyncDispose]() {
      await deliveries.return!();
      leave(engine, member);
    },
  };
}

/** Ends a member: what it has is given back, and others get it. */
export function leave<Event>(engine: Engine<Event>, member: Member<Event>): void {
  if (member.left) return;
  detach(engine, member);
  over(member, {});
  serve(engine, member.place);
  engine.freed();
}

/** Tells who asks, now or later, that there is no more. */
export function over<Event>(member: Member<Event>, how: { readonly error?: unknown }): void {
  const { taker } = member;
  member.over ??= how;
  member.taker = undefined;
  if (!taker) return;
  member.ending = true; // what it has is still its own
  answer(taker, how);
  member.ending = false;
}

/** Takes a member out, and what it has away from it; calls nobody back. */
export function detach<Event>(engine: Engine<Event>, member: Member<Event>): void {
  const { place } = member;
  if (member.left) return;
  member.left = true;
  stopAsking(engine, member);
  for (let item = member.first; item; item = member.first) {
    release(engine, item);
    if (!place.ended) place.ready.push(item);
  }
  engine.members.delete(member);
}

/** Gives up a place: nothing is kept for it any more. */
export function endPlace<Event>(engine: Engine<Event>, place: Place<Event>): void {
  place.ended = true;
  engine.places.delete(place);
  engine.routes.clear();
  if (place.group === undefined) return;
  engine.groups.delete(groupKey(place.group, place.pattern));
  engine.removed(place);
}

/** Ends the asking, and waits until nothing is out. */
function drain<Event>(engine: Engine<Event>, member: Member<Event>): Promise<void> {
  if (member.left) return Promise.resolve();
  stopAsking(engine, member);
  over(member, {});
  engine.freed(); // nobody waits for who was alone in its place
  if (member.inFlight > 0) return new Promise((resolve) => member.drained = resolve);
  engine.members.delete(member);
  return Promise.resolve();
}

function stopAsking<Event>(engine: Engine<Event>, member: Member<Event>): void {
  const { place } = member;
  member.stalled = false;
  const asked = place.waiting.indexOf(member);
  if (asked >= 0) place.waiting.splice(asked, 1);
  if (!place.members.delete(member)) return;
  if (place.group === undefined) return endPlace(engine, place);
  if (place.members.size > 0) return;
  place.idleSinceMs = engine.now();
  engine.touch(place);
}

function answer(taker: Taker<never>, how: { readonly error?: unknown }): void {
  if ("error" in how) taker.fail(how.error);
  else taker.end();
}
