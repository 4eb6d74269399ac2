import { type EncryptionKey, importPeerKey, type Workload } from "../../auth/mod.ts";
import { encryptionThumbprint, type Recipient } from "./key_wrap.ts";
import { type JoinRequest, readJoin } from "./key_exchange.ts";
import { rateLimit } from "./key_rate.ts";
import { keySeats, MAX_MEMBERS, MAX_OF_ONE, type Member, type Seat } from "./key_seats.ts";
import type { VerifiedEvent } from "../verified_event.ts";

/** Who gets the keys of one topic, each encryption key once. */
export type Recipients = ReadonlyMap<string, Recipient>;

/** A request that was taken. */
export interface TakenRequest {
  /** Who asked. */
  readonly recipient: Recipient;
  /** The names of keys that it wants. */
  readonly kids: readonly string[];
}

/** Who reads one topic, as far as a publisher knows. */
export interface KeyMembers {
  /**
   * Takes a request. It is left out where it is malformed, not allowed, over, older than one that was taken, or one too many.
   *
   * @param event The request, verified.
   * @returns The request; undefined where it is left out, and for one who leaves.
   */
  take(event: VerifiedEvent): Promise<TakenRequest | undefined>;
  /**
   * Who is there now: has not left, has asked again in time, and may still read.
   *
   * @returns The same object until something has changed.
   */
  present(): Recipients;
  /** Whether somebody, by its name among recipients, left by itself, in the time that it had asked for, and may still read. */
  hasLeft(name: string): boolean;
}

/** What members are judged by. */
export interface KeyMembersOptions {
  /** Whether somebody may read the topic now. */
  readonly mayRead: (reader: Workload) => boolean;
  /** Another value when somebody may have lost that. Where it is lost in another way, it is noticed within a second. */
  readonly revision: () => unknown;
  /** A key to try those of members with. */
  readonly ownKey: () => Promise<EncryptionKey>;
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Keeps who reads one topic.
 *
 * @param options What members are judged by.
 */
export function keyMembers(options: KeyMembersOptions): KeyMembers {
  const { mayRead, ownKey, now } = options;
  const patience = rateLimit({ burst: MAX_OF_ONE, perSecond: REQUESTS_PER_SECOND, now });
  const seats = keySeats(lapse);
  const leaving = new Map<string, Member>();
  let present: Recipients | undefined = new Map();
  const judge = judging(options);

  async function take(event: VerifiedEvent): Promise<TakenRequest | undefined> {
    const { publisher } = event;
    const request = readJoin(event.data);
    if (!request || !isTimely(request, now())) return undefined;
    const thumbprint = await encryptionThumbprint(request.key);
    const name = `${publisher.id} ${thumbprint} ${request.subscription}`;
    if (request.leave) return void leave(name, event);
    if (!mayRead(publisher)) return undefined;
    const known = seats.get(name)?.member?.recipient;
    // Who is there and says so again is heard however many of its identity do.
    const isHeard = (known && !request.kids) || patience(publisher.id);
    if (!known && !isHeard) return undefined;
    const key = known?.key ?? await importPeerKey(request.key.x, await ownKey()).catch(() => undefined);
    const seat = key && seats.take(name, event);
    if (!seat) return undefined;
    const recipient = known ?? { id: publisher.id, thumbprint, key };
    if (seat.member?.recipient !== recipient) present = undefined;
    seat.member = { recipient, reader: publisher, untilMs: Math.min(request.until, publisher.expiresAtMs) };
    judge.noteEnd(seat.member.untilMs);
    leaving.delete(nameOf(recipient));
    return { recipient, kids: isHeard && request.kids || [] };
  }

  function leave(name: string, event: VerifiedEvent): void {
    if (!seats.get(name) && !(mayRead(event.publisher) && patience(event.publisher.id))) return;
    const seat = seats.take(name, event);
    if (seat?.member) leaving.set(nameOf(seat.member.recipient), seat.member);
    if (leaving.size > MAX_MEMBERS) leaving.delete(leaving.keys().next().value!);
    if (seat) goFrom(seat);
  }

  function lapse(): void {
    const stays = judge.look();
    if (!stays) return;
    for (const seat of seats.all()) if (seat.member && !stays(seat.member)) goFrom(seat);
    for (const [name, member] of leaving) if (!stays(member)) leaving.delete(name);
  }

  function goFrom(seat: Seat): void {
    seat.member = undefined;
    present = undefined;
  }

  return {
    take,
    present() {
      lapse();
      return present ??= recipientsOf(seats.all());
    },
    hasLeft: (name) => leaving.has(name),
  };
}

/** Who stays, which is asked for with each message: everybody is looked at only where something may have changed. */
interface Judging {
  /** Says until when one more stays by itself. */
  noteEnd(untilMs: number): void;
  /** What says of each whether it stays; undefined where all do. */
  look(): ((member: Member) => boolean) | undefined;
}

function judging({ mayRead, revision, now }: Omit<KeyMembersOptions, "ownKey">): Judging {
  let judged = { by: revision(), atMs: now() };
  let nextEndMs = Infinity;
  const noteEnd = (untilMs: number) => void (nextEndMs = Math.min(nextEndMs, untilMs));
  return {
    noteEnd,
    look() {
      const [nowMs, by] = [now(), revision()];
      const isJudged = judged.by === by && Math.abs(nowMs - judged.atMs) < JUDGE_MS;
      if (isJudged && nowMs < nextEndMs) return undefined;
      if (!isJudged) judged = { by, atMs: nowMs };
      nextEndMs = Infinity;
      return ({ untilMs, reader }) => {
        if (!(untilMs > nowMs && (isJudged || mayRead(reader)))) return false;
        noteEnd(untilMs);
        return true;
      };
    },
  };
}

/** Each encryption key of each identity once, however many subscriptions have it. */
function recipientsOf(seats: Iterable<Seat>): Recipients {
  const recipients = new Map<string, Recipient>();
  for (const { member } of seats) {
    if (member) recipients.set(nameOf(member.recipient), member.recipient);
  }
  return recipients;
}

/** The name of a recipient among others. */
export const nameOf = ({ id, thumbprint }: Pick<Recipient, "id" | "thumbprint">): string => `${id} ${thumbprint}`;

/** Whether it holds now, and not for longer than one that is held back may count. */
const isTimely = ({ until }: JoinRequest, nowMs: number) => until > nowMs && until <= nowMs + MAX_LEASE_MS;

/** For how long one may ask for keys at once, in milliseconds. */
export const MAX_LEASE_MS = 3_600_000;
/** How often a policy is asked again whether somebody may read, in milliseconds. */
const JUDGE_MS = 1_000;
/** How often one identity may come, or ask for keys again, beyond one time for each of its subscriptions. */
const REQUESTS_PER_SECOND = 4;
