import type { Clock } from "../../rpc/mod.ts";
import type { Broker } from "../broker.ts";
import type { StoredBroker } from "./broker_store.ts";
import { type Heap, heap } from "./heap.ts";
import { type MessageLog, messageLog, sizeOf } from "./message_log.ts";
import { createPlace, groupKey, type Item, type Member, type Place } from "./place.ts";
import { createEpoch } from "./position.ts";

/** The state of a broker in this process. */
export interface Engine<Event> {
  readonly limits: EngineLimits;
  readonly now: () => number;
  readonly clock: Clock;
  readonly log: MessageLog<Event>;
  /** What tells positions of this log from those of others. */
  readonly epoch: string;
  /** The position behind the last that is given to subscribers: what is not stored yet is not. */
  visible: number;
  readonly places: Set<Place<Event>>;
  /** The places of groups, by their names and patterns. */
  readonly groups: Map<string, Place<Event>>;
  /** Who subscribes, or still has something. */
  readonly members: Set<Member<Event>>;
  /** Which places want the messages of a topic. */
  readonly routes: Map<string, readonly Place<Event>[]>;
  /** What was given back for later, and how many of them are gone. */
  readonly delayed: Heap<Item<Event>>;
  delayedGone: number;
  /** No place needs what is before this position. */
  needless: number;
  /** The time at which was looked last for what is too old. */
  lookedMs: number;
  /** What may call back, and so has to wait until room was made. */
  readonly later: (() => void)[];
  closed: boolean;
  /** Whether a store has to be told what is done with. */
  isStored: boolean;
  /** The one timer, and when it goes off. */
  timer: unknown;
  timerMs: number;
  /** Told when there may be room that there was not. */
  freed(): void;
  /** Whether publishers wait for room. */
  isAwaited(): boolean;
  /** Told when a group has moved. */
  touch(place: Place<Event>): void;
  /** Told when a group is no more. */
  removed(place: Place<Event>): void;
}

/** What bounds a broker in this process. */
export interface EngineLimits {
  readonly maxMessages: number;
  readonly maxBytes: number;
  readonly retentionMs: number;
  readonly maxGroups: number;
  readonly groupIdleMs: number;
  readonly maxSubscriptions: number;
  readonly maxWaiting: number;
}

/** What a broker of this kind promises. */
export const ENGINE_PROPERTIES: Omit<Broker["properties"], "durable"> = /* @__PURE__ */ Object.freeze({
  encrypted: true,
  accessControlled: true,
  redelivers: true,
  groups: true,
  positions: true,
  ordering: true,
});

/** Which places want the messages of a topic. */
export function routeOf<Event>({ routes, places }: Engine<Event>, topic: string): readonly Place<Event>[] {
  const known = routes.get(topic);
  if (known) return known;
  const route = [...places].filter(({ covers }) => covers(topic));
  if (routes.size >= MAX_ROUTES) routes.clear();
  routes.set(topic, route);
  return route;
}

const MAX_ROUTES = 4_096;

/** Makes an engine; nothing is given before its functions are set. */
export function createEngine<Event>(
  { limits, now, clock, stored }: Pick<Engine<Event>, "limits" | "now" | "clock"> & {
    readonly stored: StoredBroker<Event> | undefined;
  },
): Engine<Event> {
  const log = messageLog<Event>(stored ? stored.end - stored.events.length : 1);
  for (const event of stored?.events ?? []) log.push(event, sizeOf(event));
  const places = (stored?.groups ?? []).map((group) =>
    createPlace<Event>(group.pattern, {
      ...group,
      group: group.name,
      from: Math.max(group.from, log.first),
      idleSinceMs: group.idleSinceMs || now(), // whoever was there is not any more
    })
  );
  return {
    limits,
    now,
    clock,
    log,
    epoch: stored?.epoch ?? createEpoch(),
    visible: log.end,
    places: new Set(places),
    groups: new Map(places.map((place) => [groupKey(place.group!, place.pattern), place])),
    members: new Set(),
    routes: new Map(),
    delayed: heap(({ dueMs }) => dueMs),
    delayedGone: 0,
    needless: log.first,
    lookedMs: NaN,
    later: [],
    closed: false,
    isStored: false,
    timer: undefined,
    timerMs: 0,
    freed: nothing,
    isAwaited: () => false,
    touch: nothing,
    removed: nothing,
  };
}

const nothing = () => {};
