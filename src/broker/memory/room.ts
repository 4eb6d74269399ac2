import { BrokerError } from "../broker_error.ts";
import { release, serve } from "./deliver.ts";
import type { Engine } from "./engine.ts";
import { detach, endPlace, over } from "./member.ts";
import { leaveOut, needsFrom, type Place, skipForeign } from "./place.ts";

/**
 * Makes room for a message: forgets the oldest ones that nobody needs, then deals with who needs the oldest.
 *
 * @returns Whether there is room; if not, somebody keeps it whom publishers wait for.
 */
export function makeRoom<Event>(engine: Engine<Event>, bytes: number, nowMs: number): boolean {
  const { log, limits: { maxMessages, maxBytes } } = engine;
  let looked = false;
  while (log.end - log.first >= maxMessages || log.bytes + bytes > maxBytes) {
    // What is not stored yet cannot be forgotten.
    if (log.first >= engine.visible) return false;
    if (isLetGo(engine, log.first)) {
      log.shift();
    } else {
      if (looked) return false;
      looked = true;
      forgetIdle(engine, nowMs); // perhaps nobody comes back to who keeps it
    }
  }
  return true;
}

/** Forgets what is older than messages are kept. */
export function forgetOld<Event>(engine: Engine<Event>, nowMs: number): void {
  if (nowMs === engine.lookedMs) return;
  engine.lookedMs = nowMs;
  const { log, visible, limits: { retentionMs } } = engine;
  while (log.first < visible && log.at(log.first).atMs + retentionMs <= nowMs) {
    for (const place of engine.places) pass(engine, place, log.first);
    log.shift();
  }
}

/** Gives up groups to which nobody has come back. */
export function forgetIdle<Event>(engine: Engine<Event>, nowMs: number): void {
  for (const place of engine.groups.values()) {
    if (place.members.size === 0 && place.idleSinceMs + engine.limits.groupIdleMs <= nowMs) endPlace(engine, place);
  }
}

/** Does what was put off while room was made: it may call back, and more may be published then. */
export function catchUp<Event>({ later }: Engine<Event>): void {
  for (const each of later.splice(0)) each();
}

/** Whether the oldest message can be forgotten, once those who need it were dealt with as they asked. */
function isLetGo<Event>(engine: Engine<Event>, position: number): boolean {
  if (position < engine.needless) return true;
  const needing = [...engine.places].filter((place) => needs(engine, place, position));
  if (needing.some(({ slow }) => slow === "block")) return false; // then nobody misses anything
  for (const place of needing) moveOn(engine, place, position);
  let needless = engine.visible;
  for (const place of engine.places) needless = Math.min(needless, needsFrom(place));
  engine.needless = needless;
  return true;
}

function needs<Event>({ log, visible }: Engine<Event>, place: Place<Event>, position: number): boolean {
  if (needsFrom(place) > position) return false;
  if (!place.oldest) skipForeign(place, log, visible);
  return needsFrom(place) <= position;
}

function moveOn<Event>(engine: Engine<Event>, place: Place<Event>, position: number): void {
  if (place.slow === "disconnect") {
    for (const member of [...place.members]) {
      const error = new BrokerError("slow_consumer", `Too slow for "${place.pattern}": the broker is full`);
      detach(engine, member);
      engine.later.push(() => over(member, { error }));
    }
  }
  if (!place.ended) pass(engine, place, position);
}

/** Moves a place on behind a position. */
function pass<Event>(engine: Engine<Event>, place: Place<Event>, position: number): void {
  while (needs(engine, place, position)) {
    const { oldest } = place;
    if (oldest?.holder) {
      place.dropped--; // somebody has it: it is not missed
      release(engine, oldest);
    }
    if (oldest?.delayed) engine.delayedGone++;
    leaveOut(place, engine.log, engine.visible);
    if (place.group !== undefined) engine.touch(place);
    if (place.waiting.length > 0) engine.later.push(() => serve(engine, place));
  }
  if (engine.delayedGone > MANY && engine.delayedGone > engine.delayed.size / 2) {
    engine.delayed.keep(({ gone }) => !gone);
    engine.delayedGone = 0;
  }
}

const MANY = 1_024;
