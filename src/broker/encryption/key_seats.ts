import type { Recipient } from "./key_wrap.ts";
import type { VerifiedEvent } from "../verified_event.ts";
import type { Workload } from "../../auth/mod.ts";

/** Somebody who reads a topic. */
export interface Member {
  /** For whom keys are wrapped. */
  readonly recipient: Recipient;
  /** As whom it was verified when it asked last. */
  readonly reader: Workload;
  /** Until when it wants keys, in milliseconds since 1970. */
  readonly untilMs: number;
}

/** One subscription, there or gone. */
export interface Seat {
  /** Whose it is. */
  readonly identity: string;
  /** What it said last, by which an older request is known. */
  readonly last: Moment;
  /** Absent where it is gone. */
  member: Member | undefined;
}

type Moment = Pick<VerifiedEvent, "producer" | "sequence" | "timeMs">;

/** The subscriptions of one topic, by their names. */
export interface KeySeats {
  /** One of them. */
  get(name: string): Seat | undefined;
  /** All of them. */
  all(): Iterable<Seat>;
  /**
   * Its seat for something that it says, kept or new.
   *
   * @returns Undefined where it has said something newer, or there is no room for it.
   */
  take(name: string, event: VerifiedEvent): Seat | undefined;
}

/**
 * Makes the places of one topic.
 *
 * One that is gone is remembered while there is room: a broker that held a request of its back would otherwise bring it in again,
 * until what that asked for is over.
 *
 * @param lapse Looks who is gone; called where there is no room.
 */
export function keySeats(lapse: () => void): KeySeats {
  const seats = new Map<string, Seat>();

  /** Whether there is room for one more, which those who are gone make. */
  function makeRoom(identity: string): boolean {
    const all = [...seats];
    const own = all.filter(([, seat]) => seat.identity === identity);
    if (own.length < MAX_OF_ONE && all.length < MAX_MEMBERS) return true;
    lapse();
    const gone = (own.length < MAX_OF_ONE ? all : own).find(([, { member }]) => !member);
    return gone !== undefined && seats.delete(gone[0]);
  }

  return {
    get: (name) => seats.get(name),
    all: () => seats.values(),
    take(name, { publisher: { id: identity }, producer, sequence, timeMs }) {
      const before = seats.get(name);
      const last = { producer, sequence, timeMs };
      if (before ? !isNewer(last, before.last) : !makeRoom(identity)) return undefined;
      const seat = { identity, last, member: before?.member };
      seats.delete(name); // those who are gone for the longest time are forgotten first
      seats.set(name, seat);
      return seat;
    },
  };
}

/** By its number within a run of its publisher; runs are told apart by the time. */
function isNewer(event: Moment, last: Moment): boolean {
  return event.producer === last.producer ? event.sequence > last.sequence : event.timeMs > last.timeMs;
}

/** How many subscriptions of one topic a publisher gives keys to. */
export const MAX_MEMBERS = 1_024;
/** How many of these may be of one identity. */
export const MAX_OF_ONE = 64;
