import * as v from "valibot";
import { isTopicName, isTopicPattern } from "../../internal/topic_name.ts";
import {
  type MethodDeclaration,
  rpc,
  type RpcCode,
  type Schema,
  type Service,
  service,
  type Stream,
  stream,
} from "../../rpc/mod.ts";
import { isEventId, isOrderingKey } from "../broker_input.ts";
import type { BrokerReason } from "../broker_error.ts";
import { MAX_EVENT } from "../event.ts";

/** An event on its way to a hub. */
export interface PublishedEvent {
  /** The topic's name. */
  topic: string;
  /** The event's id, the same with each attempt. */
  id: string;
  /** The signed event. */
  event: string;
  /** What it keeps its order with. */
  key?: string | undefined;
  /** Whether it waits where the broker is full; it does if absent. */
  waits?: boolean | undefined;
  /** What it is in line with, for who has several on their way at once. */
  line?: EventLine | undefined;
}

/** Events that one client has on their way at once. */
export interface EventLine {
  /** The client's name for it. */
  id: string;
  /** How often the client has begun once more: it does when nothing is on its way, so that what it tries again comes first. */
  turn: number;
  /** Its number in the turn, from 0: nothing is taken before what has a lower one is done with. */
  n: number;
}

/** What a hub promises. */
export interface HubProperties {
  /** Whether what it acknowledged survives its restart. */
  durable: boolean;
  /** Whether it delivers again what was not acknowledged. */
  redelivers: boolean;
  /** Whether subscribers can share messages. */
  groups: boolean;
  /** Whether it keeps messages. */
  positions: boolean;
  /** Whether messages of one key keep their order. */
  ordering: boolean;
}

/** Where a subscription begins, on the wire. */
export type HubStart = "new" | "earliest" | { after: string } | { timeMs: number };

/** What a subscriber says to a hub: first what it wants to have, and then how it goes. */
export interface SubscriberMessage {
  /** The subscription; in the first message, and in no other. */
  open?: {
    pattern: string;
    group?: string | undefined;
    start?: HubStart | undefined;
    maxInFlight?: number | undefined;
    ackWaitMs?: number | undefined;
    slow?: "block" | "drop_oldest" | "disconnect" | undefined;
  } | undefined;
  /** How many messages more it takes; what it has been given counts no more. */
  want?: number | undefined;
  /** How many characters of events more; the last message may go beyond. */
  room?: number | undefined;
  /** The deliveries that are done with, by their numbers. */
  ack?: number[] | undefined;
  /** The deliveries that are given back, and for how long they are not to come again. */
  nack?: { n: number; delayMs: number }[] | undefined;
  /** It takes no more, and settles what it has. */
  drain?: boolean | undefined;
}

/** What a hub says to a subscriber. */
export interface HubMessage {
  /** The subscription is there: what is published from now on is in it. The first message, and no other. */
  ready?: {
    /** The hub's time, in milliseconds since 1970, before it was. */
    timeMs: number;
  } | undefined;
  /** A message. */
  delivery?: {
    /** Its number on this stream: 1, 2, 3 and so on. */
    n: number;
    topic: string;
    event: string;
    attempt: number;
    position?: string | undefined;
    key?: string | undefined;
    /** The number of the one that was out for so long that this one has its place. */
    gone?: number | undefined;
    /** How many messages the subscriber has missed, where that is news. */
    dropped?: number | undefined;
  } | undefined;
}

/** The methods of {@linkcode BrokerService}. */
export type BrokerMethods = {
  /** What the hub promises. */
  readonly properties: MethodDeclaration<Schema<Record<never, never>>, Schema<HubProperties>>;
  /** Publishes an event of the caller's own. */
  readonly publish: MethodDeclaration<Schema<PublishedEvent>, Schema<Record<never, never>>>;
  /** Subscribes; a stream each way. */
  readonly subscribe: MethodDeclaration<Stream<Schema<SubscriberMessage>>, Stream<Schema<HubMessage>>>;
};

/** How many deliveries one message of a subscriber settles at most, each way. */
export const MAX_SETTLED = 1_024;
/** How many messages may be out, at most. */
export const MAX_IN_FLIGHT = 4_096;
/** How many characters of events a hub sends ahead of the reader, at most; one event more may go beyond. */
export const MAX_ROOM = 4_194_304;

const whole = (least: number, most: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(least), v.maxValue(most));
const textThat = (is: (text: unknown) => boolean) => v.pipe(v.string(), v.check((text: string) => is(text)));
const Topic = /* @__PURE__ */ textThat(isTopicName);
const Event = /* @__PURE__ */ v.pipe(v.string(), v.maxLength(MAX_EVENT));
const Key = /* @__PURE__ */ textThat(isOrderingKey);
const Position = /* @__PURE__ */ v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/));
const Delivered = /* @__PURE__ */ whole(1, Number.MAX_SAFE_INTEGER);
const Moment = /* @__PURE__ */ whole(0, 8_640_000_000_000_000); // the last that a Date has

const Opening = /* @__PURE__ */ v.strictObject({
  pattern: textThat(isTopicPattern),
  group: v.optional(v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/))),
  start: v.optional(
    v.union([
      v.picklist(["new", "earliest"]),
      v.strictObject({ after: Position }),
      v.strictObject({ timeMs: Moment }),
    ]),
  ),
  maxInFlight: v.optional(whole(1, MAX_IN_FLIGHT)),
  ackWaitMs: v.optional(whole(1_000, 3_600_000)),
  slow: v.optional(v.picklist(["block", "drop_oldest", "disconnect"])),
});

/** The contract of a broker that is called over the network. */
export const BrokerService: Service<BrokerMethods> = /* @__PURE__ */ service("postern.broker.v1", {
  properties: rpc(
    v.strictObject({}),
    v.object({
      durable: v.boolean(),
      redelivers: v.boolean(),
      groups: v.boolean(),
      positions: v.boolean(),
      ordering: v.boolean(),
    }),
    { safe: true, summary: "What the broker promises" },
  ),
  publish: rpc(
    v.strictObject({
      topic: Topic,
      id: textThat(isEventId),
      event: Event,
      key: v.optional(Key),
      waits: v.optional(v.boolean()),
      line: v.optional(v.strictObject({
        id: v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/)),
        turn: whole(0, Number.MAX_SAFE_INTEGER),
        n: whole(0, Number.MAX_SAFE_INTEGER),
      })),
    }),
    v.object({}),
    { idempotent: true, summary: "Publishes an event that the caller signed" },
  ),
  subscribe: rpc(
    stream(v.strictObject({
      open: v.optional(Opening),
      want: v.optional(whole(1, MAX_IN_FLIGHT)),
      room: v.optional(whole(1, 2 * MAX_ROOM)),
      ack: v.optional(v.pipe(v.array(Delivered), v.maxLength(MAX_SETTLED))),
      nack: v.optional(
        v.pipe(v.array(v.strictObject({ n: Delivered, delayMs: whole(0, 3_600_000) })), v.maxLength(MAX_SETTLED)),
      ),
      drain: v.optional(v.boolean()),
    })),
    stream(v.object({
      ready: v.optional(v.object({ timeMs: Moment })),
      delivery: v.optional(v.object({
        n: Delivered,
        topic: Topic,
        event: Event,
        attempt: whole(1, Number.MAX_SAFE_INTEGER),
        position: v.optional(Position),
        key: v.optional(Key),
        gone: v.optional(Delivered),
        dropped: v.optional(whole(0, Number.MAX_SAFE_INTEGER)),
      })),
    })),
    { summary: "The events of the topics that a pattern covers and the caller may receive" },
  ),
});

/** What a caller is told of what a broker refuses. */
export const CODE_OF_REASON: Readonly<Partial<Record<BrokerReason, RpcCode>>> = /* @__PURE__ */ Object.freeze({
  refused: "permission_denied",
  unsupported: "unimplemented",
  full: "failed_precondition", // for now, or for ever; "resource_exhausted" is what passes with what the caller has under way
  slow_consumer: "aborted",
  unreachable: "unavailable",
  closed: "unavailable",
});

/** How an event's publishing ends that is tried again: nothing of its client's gets through before it. */
export const AGAIN: readonly RpcCode[] = ["unavailable", "resource_exhausted"];

/** What that means to the caller; all else is that the hub is not to be reached. */
export const REASON_OF_CODE: Readonly<Partial<Record<RpcCode, BrokerReason>>> = /* @__PURE__ */ Object.freeze({
  invalid_argument: "refused",
  permission_denied: "refused",
  unauthenticated: "refused",
  unimplemented: "unsupported",
  resource_exhausted: "full",
  failed_precondition: "full",
  aborted: "slow_consumer",
});
