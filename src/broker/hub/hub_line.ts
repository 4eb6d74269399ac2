import { pulled } from "../../internal/pulled.ts";
import type { BrokerSubscribeOptions, Delivery, StartPosition } from "../broker.ts";
import { type HubMessage, type HubStart, MAX_SETTLED, type SubscriberMessage } from "./broker_contract.ts";
import { checkDelay } from "../broker_input.ts";

/** A delivery as it came. */
export type Letter = NonNullable<HubMessage["delivery"]>;

/** One stream to a hub: what the subscriber says on it, and what it still has of what the hub said. */
export interface HubLine {
  /** What is said, for the call. */
  readonly messages: AsyncIterable<SubscriberMessage>;
  /** Whether the hub has the subscription. */
  isOpen: boolean;
  /** What the reader has, unsettled. */
  readonly out: ReadonlySet<number>;
  /** How many messages were asked for and have not come. */
  readonly granted: number;
  /** How many came. */
  readonly came: number;
  /** How many the subscriber missed. */
  readonly dropped: number;
  /** Takes a delivery; false for one that was not asked for. */
  arrived(letter: Letter): boolean;
  /** The reader has it now. */
  handed(letter: Letter): void;
  /** Asks for so many messages and characters in all, with those that were asked for. */
  grant(messages: number, characters: number): void;
  /** Says what becomes of a delivery; nothing where that was said, or it is out no more. */
  settle(n: number, delayMs: number | undefined): boolean;
  /** Gives back what nobody has seen, and says that nothing more is taken. */
  drain(unseen: readonly number[]): void;
  /** Says what is still to be said, and ends; what is settled later is too late. */
  finish(): void;
  /** It is gone. */
  close(): void;
}

/** Begins a stream. */
export function hubLine(pattern: string, { start, ...options }: BrokerSubscribeOptions): HubLine {
  const own: Own = {
    out: new Set(),
    granted: 0,
    room: 0,
    came: 0,
    dropped: 0,
    saying: {
      open: present({ pattern, ...options, ...start === undefined ? {} : { start: startOf(start) } }),
      want: 0,
      room: 0,
      acks: [],
      nacks: [],
      drains: false,
      isFinished: false,
      isClosed: false,
      wake: undefined,
    },
  };
  const { out, saying } = own;
  return {
    messages: pulled<SubscriberMessage>({
      pull: () => said(saying),
      close() {
        saying.isClosed = true;
      },
    }),
    isOpen: false,
    out,
    get granted() {
      return own.granted;
    },
    get came() {
      return own.came;
    },
    get dropped() {
      return own.dropped;
    },
    arrived: (letter) => arrived(own, letter),
    handed: ({ n }) => void out.add(n),
    grant: (messages, characters) => grant(own, messages, characters),
    settle: (n, delayMs) => settle(own, n, delayMs),
    drain(unseen) {
      saying.nacks.push(...unseen.map((n) => ({ n, delayMs: 0 })));
      saying.drains = true;
      saying.wake?.();
    },
    finish() {
      saying.isFinished = true;
      saying.wake?.();
    },
    close() {
      saying.isClosed = saying.isFinished = true;
      out.clear();
      saying.wake?.();
    },
  };
}

/** What a subscriber has of a stream. */
interface Own {
  readonly out: Set<number>;
  /** How much was asked for and has not come. */
  granted: number;
  room: number;
  came: number;
  dropped: number;
  readonly saying: Saying;
}

/** What is to be said, until it was. */
interface Saying {
  open: SubscriberMessage["open"];
  want: number;
  room: number;
  acks: number[];
  nacks: { n: number; delayMs: number }[];
  drains: boolean;
  isFinished: boolean;
  /** Whether nobody listens. */
  isClosed: boolean;
  wake: (() => void) | undefined;
}

function arrived(own: Own, { n, event, gone, dropped }: Letter): boolean {
  if (n !== own.came + 1 || own.granted <= 0 || own.room <= 0) return false;
  own.came++;
  own.granted--;
  own.room -= event.length;
  own.dropped = Math.max(own.dropped, dropped ?? 0);
  if (gone !== undefined) own.out.delete(gone);
  return true;
}

function grant(own: Own, messages: number, characters: number): void {
  const { saying } = own;
  // In halves: each message of a long row by itself would be as many to the hub.
  const more = messages - own.granted;
  const isDue = more > 0 && more * 2 >= messages;
  const room = characters - own.room;
  const isRoomDue = room > 0 && room * 2 >= characters;
  if (isDue) {
    own.granted += more;
    saying.want += more;
  }
  if (isRoomDue) {
    own.room += room;
    saying.room += room;
  }
  if (isDue || isRoomDue) saying.wake?.();
}

function settle({ out, saying }: Own, n: number, delayMs: number | undefined): boolean {
  if (saying.isFinished || !out.delete(n)) return false;
  if (delayMs === undefined) saying.acks.push(n);
  else saying.nacks.push({ n, delayMs });
  saying.wake?.();
  return true;
}

/** The next message, as soon as there is something to say; all that is said in one turn goes into one. */
async function said(saying: Saying): Promise<IteratorResult<SubscriberMessage, undefined>> {
  for (;;) {
    const message = saying.open || isSomething(saying) ? take(saying) : undefined;
    if (message) return { done: false, value: message };
    if (saying.isFinished || saying.isClosed) return { done: true, value: undefined };
    await new Promise<void>((resolve) => saying.wake = resolve);
    saying.wake = undefined;
    for (let turn = 0; turn < TURNS; turn++) await undefined;
  }
}

const isSomething = ({ want, room, acks, nacks, drains, isClosed }: Saying) =>
  !isClosed && want + room + acks.length + nacks.length + Number(drains) > 0;

function take(saying: Saying): SubscriberMessage {
  const { open, want, room, drains } = saying;
  const ack = saying.acks.splice(0, MAX_SETTLED);
  const nack = saying.nacks.splice(0, MAX_SETTLED);
  // First all that is given back: what comes after that is what nobody else has.
  const isLast = saying.acks.length + saying.nacks.length === 0;
  saying.open = undefined;
  saying.want = saying.room = 0;
  if (isLast) saying.drains = false;
  return {
    ...open ? { open } : {},
    ...want > 0 ? { want } : {},
    ...room > 0 ? { room } : {},
    ...ack.length > 0 ? { ack } : {},
    ...nack.length > 0 ? { nack } : {},
    ...drains && isLast ? { drain: true } : {},
  };
}

/** Without what is undefined, which not every encoding carries. */
function present<Value extends object>(value: Value): Value {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as Value;
}

const startOf = (start: StartPosition): HubStart =>
  typeof start === "object" && "time" in start ? { timeMs: Math.max(0, start.time.getTime()) } : start;

/** A delivery as its reader has it; `settled` is told what becomes of it, once. */
export function deliveryOf(line: HubLine, letter: Letter, settled: (isAcked: boolean) => void): Delivery {
  const { n, topic, event, attempt, position, key } = letter;
  return {
    topic,
    event,
    attempt,
    ...position === undefined ? {} : { position },
    ...key === undefined ? {} : { orderingKey: key },
    ack() {
      if (line.settle(n, undefined)) settled(true);
    },
    nack(options) {
      if (line.settle(n, checkDelay(options))) settled(false);
    },
  };
}

/** Enough for a few nested async functions of the reader. */
const TURNS = 16;
