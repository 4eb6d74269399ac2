import { coversTopic } from "../../internal/topic_name.ts";
import { pause } from "../../internal/pause.ts";
import { pulled } from "../../internal/pulled.ts";
import { withResolvers } from "../../internal/with_resolvers.ts";
import { type Client, RpcError } from "../../rpc/mod.ts";
import type { BrokerSubscribeOptions, Delivery, Subscription } from "../broker.ts";
import { type BrokerMethods, type HubMessage, MAX_ROOM } from "./broker_contract.ts";
import { BrokerError } from "../broker_error.ts";
import type { SubscribeTerms } from "../broker_input.ts";
import { hubError } from "./hub_error.ts";
import { deliveryOf, type HubLine, hubLine, type Letter } from "./hub_line.ts";
import { type ReaderPace, readerPace } from "../reader_pace.ts";
import { type ResumePoint, resumePoint } from "./resume_point.ts";

/** What a subscription needs. */
export interface HubSubscriptionParts {
  readonly client: Client<BrokerMethods>;
  readonly pattern: string;
  /** What the subscriber asked for, and what that comes to. */
  readonly options: BrokerSubscribeOptions;
  readonly terms: SubscribeTerms;
  /** Whether the hub keeps messages, so that a subscription can go on where it was. */
  readonly resumes: boolean;
  /** How long the hub may take at first, and to end a subscription of which nothing is out, in milliseconds. */
  readonly timeoutMs: number;
  /** How long to wait after so many attempts that failed, in milliseconds. */
  readonly backoffMs: (failures: number) => number;
  /** Told once that it is over. */
  readonly over: () => void;
}

/** A subscription at a hub. */
export interface HubSubscription extends Subscription<Delivery> {
  /** Settles when the hub has it. */
  readonly opened: Promise<void>;
  /** Ends it with an error, which its reader gets. */
  fail(error: BrokerError): Promise<void>;
}

/**
 * Subscribes at a hub, and again whenever the connection is gone, until somebody ends it or the hub refuses it.
 */
export function hubSubscription(parts: HubSubscriptionParts): HubSubscription {
  const own: Own = {
    parts,
    point: parts.resumes ? resumePoint(parts.options.start) : undefined,
    buffer: [],
    size: 0,
    pace: readerPace(parts.terms),
    reader: undefined,
    line: undefined,
    missed: 0,
    cause: undefined,
    ending: undefined,
    drains: false,
    idle: undefined,
    leaving: new AbortController(),
    done: Promise.resolve(),
  };
  const { promise: opened, resolve, reject } = withResolvers<void>();
  opened.catch(() => {}); // nobody may wait any more
  own.done = run(own, { resolve, reject });
  const dispose = () => end(own, undefined);
  const deliveries = pulled<Delivery>({
    pull: () => pull(own),
    close() {
      if (!own.drains) void dispose(); // what was handed out is still to be settled then
    },
  });
  return {
    opened,
    get dropped() {
      return own.missed + (own.line?.dropped ?? 0);
    },
    drain: () => drain(own),
    fail: (error) => end(own, error),
    [Symbol.asyncIterator]: () => deliveries[Symbol.asyncIterator](),
    [Symbol.asyncDispose]: dispose,
  };
}

interface Own {
  readonly parts: HubSubscriptionParts;
  /** Where it goes on, and a group that the hub does not know any more; undefined where the hub keeps nothing. */
  readonly point: ResumePoint | undefined;
  /** What came and nobody has seen, of the line there is. */
  readonly buffer: Letter[];
  /** How many characters of events that is. */
  size: number;
  readonly pace: ReaderPace;
  reader: Reader | undefined;
  /** The stream to the hub, where there is one. */
  line: HubLine | undefined;
  /** How many messages were missed on lines that are gone. */
  missed: number;
  /** Why there was no line the last time. */
  cause: unknown;
  ending: { error: unknown } | undefined;
  /** Whether what was handed out is waited for. */
  drains: boolean;
  /** Told when nothing is out any more. */
  idle: (() => void) | undefined;
  readonly leaving: AbortController;
  /** Settles when nothing of it runs any more. */
  done: Promise<void>;
}

type Next = IteratorResult<Delivery, undefined>;

interface Reader {
  readonly resolve: (next: Next) => void;
  readonly reject: (error: unknown) => void;
}

interface Opened {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** One line after the other. */
async function run(own: Own, opened: Opened): Promise<void> {
  const { parts, point, leaving: { signal } } = own;
  const first = new AbortController();
  void expire(own, first.signal);
  let failures = 0;
  while (!own.ending) {
    const line = hubLine(parts.pattern, point ? { ...parts.options, start: point.start } : parts.options);
    own.line = line;
    point?.restart();
    const beganAt = performance.now();
    const error = await listen(own, line, () => {
      first.abort();
      opened.resolve();
    });
    hangUp(own, line);
    if (isFinal(error, line.isOpen, first.signal.aborted)) fail(own, hubError(error));
    if (own.ending) break;
    if (line.isOpen && (line.came > 0 || performance.now() - beganAt > STEADY_MS)) failures = 0;
    own.cause = error;
    await pause(parts.backoffMs(failures++), signal);
  }
  first.abort();
  opened.reject(own.ending?.error ?? new BrokerError("closed", "The subscription was ended"));
  parts.over();
}

/** Takes what the hub says until it says no more; gives the error with which it ended. */
async function listen(own: Own, line: HubLine, opened: () => void): Promise<unknown> {
  try {
    for await (const answer of own.parts.client.subscribe(line.messages, { signal: own.leaving.signal })) {
      take(own, line, answer);
      if (line.isOpen) opened();
    }
  } catch (error) {
    return error;
  }
}

/** A hub that is not there at first is not waited for without end. */
async function expire(own: Own, opened: AbortSignal): Promise<void> {
  await pause(own.parts.timeoutMs, opened);
  if (opened.aborted) return;
  const { cause } = own;
  await end(own, new BrokerError("unreachable", "Cannot subscribe: the hub is not to be reached", { cause }));
}

/** Whether the hub said something that it will say again. */
function isFinal(error: unknown, isOpen: boolean, wasOpen: boolean): boolean {
  if (!(error instanceof RpcError)) return error !== undefined;
  if (error.code === "aborted" || error.code === "unimplemented") return true;
  if (isOpen) return false; // what let it in may have ended, and there is something newer by now
  // The hub may not know yet that the old one is gone.
  if (error.code === "resource_exhausted" || error.code === "failed_precondition") return !wasOpen;
  return ["permission_denied", "unauthenticated", "invalid_argument"].includes(error.code);
}

/** The hub says something. */
function take(own: Own, line: HubLine, { ready, delivery }: HubMessage): void {
  if (ready) {
    if (line.isOpen) throw misbehaved();
    line.isOpen = true;
    own.point?.begun(ready.timeMs);
    return ask(own);
  }
  if (!delivery || !coversTopic(own.parts.pattern, delivery.topic)) throw misbehaved();
  if (!line.arrived(delivery)) throw misbehaved();
  if (own.ending) {
    line.drain([delivery.n]); // nobody will see it
    return rest(own);
  }
  if (delivery.position !== undefined) following(own)?.came(delivery.position);
  own.buffer.push(delivery);
  own.size += delivery.event.length;
  hand(own);
}

function pull(own: Own): Next | Promise<Next> {
  if (own.ending) {
    const { error } = own.ending;
    own.ending.error = undefined;
    if (error !== undefined) throw error;
    return END;
  }
  return new Promise((resolve, reject) => {
    own.reader = { resolve, reject };
    hand(own);
  });
}

/** Gives the reader what is there, and asks the hub for more. */
function hand(own: Own): void {
  const { reader, line, buffer, pace, parts: { terms } } = own;
  if (reader && line && line.out.size < terms.maxInFlight) {
    pace.ready(performance.now());
    const letter = buffer.shift();
    if (letter) {
      own.reader = undefined;
      own.size -= letter.event.length;
      pace.handed(performance.now());
      line.handed(letter);
      reader.resolve({ done: false, value: deliveryOf(line, letter, (isAcked) => settled(own, letter, isAcked)) });
    }
  }
  ask(own);
}

function settled(own: Own, { position }: Letter, isAcked: boolean): void {
  if (isAcked && position !== undefined) following(own)?.settled(position);
  if (own.reader) hand(own);
  rest(own);
}

/**
 * What follows the messages: not in a group, whose other members have some of those between. One that the hub forgot begins
 * where this member began, so that it misses nothing.
 */
const following = ({ point, parts: { terms } }: Own) => terms.group === undefined ? point : undefined;

/** Tells who drains that nothing is out. */
function rest({ line, idle }: Own): void {
  if (!line?.out.size) idle?.();
}

/** Asks for what the reader waits for, and for so much ahead as it can take in time. */
function ask({ line, buffer, size, pace, reader, ending }: Own): void {
  if (!line?.isOpen || ending) return;
  line.grant(pace.ahead + (reader ? 1 : 0) - buffer.length, MAX_ROOM - size);
}

/** The line is gone, and with it what came by it. */
function hangUp(own: Own, line: HubLine): void {
  own.missed += line.dropped;
  own.buffer.length = own.size = 0;
  own.line = undefined;
  line.close();
}

/** Nothing can be read any more; what waits for something is told. */
function fail(own: Own, error: unknown): void {
  if (own.ending) return;
  own.ending = { error };
  const { reader } = own;
  own.reader = undefined;
  if (!reader) return;
  own.ending.error = undefined;
  if (error === undefined) reader.resolve(END);
  else reader.reject(error);
}

/** Ends it: what was acknowledged is still said, all else goes back. */
async function end(own: Own, error: unknown): Promise<void> {
  fail(own, error);
  own.line?.finish();
  await within(own, CLOSING_MS);
}

async function drain(own: Own): Promise<void> {
  const { line, buffer } = own;
  own.drains = true;
  fail(own, undefined);
  if (line?.isOpen) {
    line.drain(buffer.splice(0).map(({ n }) => n));
    await settledAll(own);
    await within(own, own.parts.timeoutMs);
  } else {
    own.leaving.abort();
    await own.done;
  }
}

/** Waits until nothing is out, or was for so long that it is out no more; or until it is over anyway. */
async function settledAll(own: Own): Promise<void> {
  const waiting = new AbortController();
  const { promise, resolve } = withResolvers<void>();
  own.idle = resolve;
  rest(own);
  await Promise.race([own.done, promise, pause(own.parts.terms.ackWaitMs, waiting.signal)]);
  waiting.abort();
}

/** Waits for the end of the line, and then ends it. */
async function within(own: Own, ms: number): Promise<void> {
  if (!own.line?.isOpen) own.leaving.abort();
  const waiting = new AbortController();
  await Promise.race([own.done, pause(ms, waiting.signal)]);
  waiting.abort();
  own.leaving.abort();
  await own.done;
}

const misbehaved = () => new RpcError("unavailable", "The hub does not keep to the protocol");

const END: IteratorReturnResult<undefined> = /* @__PURE__ */ Object.freeze({ done: true, value: undefined });

/** How long a hub may take to end a subscription, in milliseconds. */
const CLOSING_MS = 1_000;
/** For how long a subscription must have been there, so that the next attempt is made soon, in milliseconds. */
const STEADY_MS = 10_000;
