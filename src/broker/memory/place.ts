import { coversTopic } from "../../internal/topic_name.ts";
import type { Taker } from "../../internal/sequence.ts";
import type { SlowConsumerPolicy } from "../broker.ts";
import type { StoredEvent, StoredGroup } from "./broker_store.ts";
import { type Heap, heap } from "./heap.ts";
import type { MessageLog } from "./message_log.ts";

/** Where a group, or a subscriber of no group, is among the messages. */
export interface Place<Event> {
  /** The group's name. */
  readonly group: string | undefined;
  readonly pattern: string;
  readonly covers: (topic: string) => boolean;
  /** The first position that was not looked at. */
  cursor: number;
  /** What was looked at and is not done with, by position. */
  oldest: Item<Event> | undefined;
  newest: Item<Event> | undefined;
  /** How many those are. */
  count: number;
  /** What can be given again, by position. */
  readonly ready: Heap<Item<Event>>;
  /** The last message of each ordering key that is not done with. */
  readonly keys: Map<string, Item<Event>>;
  readonly members: Set<Member<Event>>;
  /** Members that have asked and can take something. */
  readonly waiting: Member<Event>[];
  slow: SlowConsumerPolicy;
  /** How many messages it missed. */
  dropped: number;
  /** Since when there is no member; 0 while there is one. */
  idleSinceMs: number;
  /** Whether it is given up, and nothing is given any more. */
  ended: boolean;
  /** Positions from the cursor on that an earlier run was done with. */
  readonly skipped: Set<number>;
  /** Positions that are done with out of turn, which the store does not know. */
  done: number[];
}

/** A message that a place is not done with. */
export interface Item<Event> {
  readonly message: StoredEvent<Event>;
  readonly place: Place<Event>;
  /** How often it was handed out. */
  attempt: number;
  /** Who has it. */
  holder: Member<Event> | undefined;
  /** When it is taken back, or given again. */
  dueMs: number;
  /** Whether it waits to be given again. */
  delayed: boolean;
  /** Whether it is done with, or was left out. */
  gone: boolean;
  /** Its neighbours in the place, by position. */
  before: Item<Event> | undefined;
  after: Item<Event> | undefined;
  /** Its neighbours with its holder, by the time it was handed out. */
  earlier: Item<Event> | undefined;
  later: Item<Event> | undefined;
  /** What it keeps its order with, and the next message of the same. */
  readonly key: string | undefined;
  next: Item<Event> | undefined;
}

/** A subscriber. */
export interface Member<Event> {
  readonly place: Place<Event>;
  readonly maxInFlight: number;
  readonly ackWaitMs: number;
  /** How many messages the place had missed when this member came. */
  readonly droppedBefore: number;
  /** What it has, by the time it was handed out. */
  first: Item<Event> | undefined;
  last: Item<Event> | undefined;
  inFlight: number;
  /** What it asked with, until there is an answer. */
  taker: Taker<Item<Event>> | undefined;
  /** Whether it asked while it had all that it may have. */
  stalled: boolean;
  /** How it ended, for the next question. */
  over: { readonly error?: unknown } | undefined;
  /** Whether it is being told of its end, which is no leaving. */
  ending: boolean;
  /** Told when nothing is out any more. */
  drained: (() => void) | undefined;
  /** Whether it has given back what it had. */
  left: boolean;
}

/** Makes a place. */
export function createPlace<Event>(
  pattern: string,
  { group, from, done = [], slow = "block", idleSinceMs = 0 }: Partial<StoredGroup> & {
    readonly group: string | undefined;
  },
): Place<Event> {
  return {
    group,
    pattern,
    covers: matcher(pattern),
    cursor: from ?? 1,
    oldest: undefined,
    newest: undefined,
    count: 0,
    ready: heap<Item<Event>>(({ message }) => message.position),
    keys: new Map(),
    members: new Set(),
    waiting: [],
    slow,
    dropped: 0,
    idleSinceMs,
    ended: false,
    skipped: new Set(done),
    done: [],
  };
}

/** A group is its name and its pattern. */
export function groupKey(group: string, pattern: string): string {
  return `${group}\n${pattern}`;
}

/** The first position that a place needs, as far as it has looked. */
export function needsFrom<Event>({ oldest, cursor }: Place<Event>): number {
  return oldest ? oldest.message.position : cursor;
}

/** Looks past messages that are not for a place. */
export function skipForeign<Event>(place: Place<Event>, log: MessageLog<Event>, end: number): void {
  while (place.cursor < end && !isFor(place, log.at(place.cursor))) place.cursor++;
}

/** The next message that can be given, if there is one. */
export function nextItem<Event>(place: Place<Event>, log: MessageLog<Event>, end: number): Item<Event> | undefined {
  if (place.ready.size > 0) {
    const given = nextReady(place);
    if (given) return given;
  }
  while (place.cursor < end && place.count < MAX_ITEMS) {
    const message = log.at(place.cursor);
    if (isFor(place, message)) {
      place.cursor++;
      const item = add(place, message);
      if (item.key === undefined || isFirstOfKey(item, item.key)) return item;
    } else {
      place.cursor++;
    }
  }
  return undefined;
}

/** Is done with a message that nobody has: the next of its key is its turn. */
export function forget<Event>(item: Item<Event>): void {
  const { place, before, after, key, next } = item;
  item.gone = true;
  place.count--;
  if (before) before.after = after;
  else place.oldest = after;
  if (after) after.before = before;
  else place.newest = before;
  if (key === undefined) return;
  if (next) place.ready.push(next);
  else place.keys.delete(key);
}

/** Leaves out the oldest message that a place needs, which nobody has. */
export function leaveOut<Event>(place: Place<Event>, log: MessageLog<Event>, end: number): void {
  place.dropped++;
  if (!place.oldest) {
    place.cursor++;
    return skipForeign(place, log, end);
  }
  forget(place.oldest);
  // Those that are left out have the lowest positions: they are on top, and the heap does not fill with them.
  while (place.ready.peek()?.gone) place.ready.pop();
}

function nextReady<Event>({ ready }: Place<Event>): Item<Event> | undefined {
  for (let item = ready.pop(); item; item = ready.pop()) {
    if (!item.gone) return item;
  }
  return undefined;
}

function isFor<Event>({ covers, skipped }: Place<Event>, { topic, position }: StoredEvent<Event>): boolean {
  return covers(topic) && !(skipped.size > 0 && skipped.delete(position));
}

function add<Event>(place: Place<Event>, message: StoredEvent<Event>): Item<Event> {
  const { newest } = place;
  const { orderingKey } = message;
  const item: Item<Event> = {
    message,
    place,
    attempt: 0,
    holder: undefined,
    dueMs: 0,
    delayed: false,
    gone: false,
    before: newest,
    after: undefined,
    earlier: undefined,
    later: undefined,
    key: orderingKey === undefined || place.group === undefined ? undefined : `${message.topic}\n${orderingKey}`,
    next: undefined,
  };
  place.count++;
  if (newest) newest.after = item;
  else place.oldest = item;
  place.newest = item;
  return item;
}

/** Puts a message behind the last of its key; if there is none, it can be given. */
function isFirstOfKey<Event>(item: Item<Event>, key: string): boolean {
  const { keys } = item.place;
  const last = keys.get(key);
  if (last) last.next = item;
  keys.set(key, item);
  return last === undefined;
}

/** How much is looked at that waits for others of its key, for one group. */
const MAX_ITEMS = 16_384;

/** Whether a pattern covers a name, remembered for as many names as a broker usually has. */
function matcher(pattern: string): (topic: string) => boolean {
  if (pattern === ">") return () => true;
  if (!/[*>]/.test(pattern)) return (topic) => topic === pattern;
  const known = new Map<string, boolean>();
  return (topic) => {
    let covers = known.get(topic);
    if (covers === undefined) {
      if (known.size >= MAX_KNOWN) known.clear();
      known.set(topic, covers = coversTopic(pattern, topic));
    }
    return covers;
  };
}

const MAX_KNOWN = 4_096;
