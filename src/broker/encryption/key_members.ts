import { type EncryptionKey, importPeerKey, type Workload } from "../../auth/mod.ts";
import { encryptionThumbprint, type Recipient } from "./key_wrap.ts";
import { type JoinRequest, readJoin } from "./key_exchange.ts";
import { rateLimit } from "./key_rate.ts";
import { keySeats, MAX_OF_ONE, type Seat } from "./key_seats.ts";
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
}

/** What members are judged by. */
export interface KeyMembersOptions {
  /** Whether somebody may read the topic now. */
  readonly mayRead: (reader: Workload) => boolean;
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
export function keyMembers({ mayRead, ownKey, now }: KeyMembersOptions): KeyMembers {
  const patience = rateLimit({ burst: MAX_OF_ONE, perSecond: REQUESTS_PER_SECOND, now });
  const seats = keySeats(lapse);
  let present: Recipients | undefined = new Map();

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
    return { recipient, kids: isHeard && request.kids || [] };
  }

  function leave(name: string, event: VerifiedEvent): void {
    if (!seats.get(name) && !(mayRead(event.publisher) && patience(event.publisher.id))) return;
    const seat = seats.take(name, event);
    if (seat) goFrom(seat);
  }

  function lapse(): void {
    for (const seat of seats.all()) {
      const { member } = seat;
      if (member && !(member.untilMs > now() && mayRead(member.reader))) goFrom(seat);
    }
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
  };
}

/** Each encryption key of each identity once, however many subscriptions have it. */
function recipientsOf(seats: Iterable<Seat>): Recipients {
  const recipients = new Map<string, Recipient>();
  for (const { member } of seats) {
    if (member) recipients.set(`${member.recipient.id} ${member.recipient.thumbprint}`, member.recipient);
  }
  return recipients;
}

/** Whether it holds now, and not for longer than one that is held back may count. */
const isTimely = ({ until }: JoinRequest, nowMs: number) => until > nowMs && until <= nowMs + MAX_LEASE_MS;

/** For how long one may ask for keys at once, in milliseconds. */
export const MAX_LEASE_MS = 3_600_000;
/** How often one identity may come, or ask for keys again, beyond one time for each of its subscriptions. */
const REQUESTS_PER_SECOND = 4;
