import type { Policy, Trust } from "../../auth/mod.ts";
import { toBase64Url } from "../../internal/base64.ts";
import { nobleHash } from "../../internal/hash.ts";
import { withResolvers } from "../../internal/with_resolvers.ts";
import { type Audit, type Caller, type Context, implement, type Implementation, RpcError } from "../../rpc/mod.ts";
import type { Broker, BrokerSubscribeOptions, Delivery, Subscription } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { isKeyTopic, mayReceive, maySubscribe } from "../topic_rules.ts";
import { BrokerService, type HubMessage, type HubStart, type SubscriberMessage } from "./broker_contract.ts";
import {
  NOT_SUBSCRIBED,
  NOT_TO_BLOCK,
  type Refusal,
  refusalOf,
  TOO_MANY_GROUPS,
  TOO_MANY_SUBSCRIPTIONS,
} from "./hub_refusal.ts";
import { accountOf, callerOf, type Hub, note, refuseAs, settle } from "./hub_state.ts";
import { servePublish } from "./serve_publish.ts";
import { servedSubscription } from "./served_subscription.ts";

/** How a broker is served. */
export interface BrokerServiceOptions {
  /** Whose identities count: publishers are verified by their signatures, as their subscribers verify them. */
  readonly trust: Trust;
  /** Who may publish and subscribe to which topics; whatever no rule allows is denied. */
  readonly policy: Policy;
  /** Takes what was decided. @default {nothing} */
  readonly audit?: Audit;
  /**
   * The clock, in milliseconds since 1970. It must not be ahead of the broker's: who loses its connection before it has
   * acknowledged anything goes on at the time at which it began.
   *
   * @default {Date.now}
   */
  readonly now?: () => number;
  /** How many subscriptions one identity may have at once, all of its instances together. @default {64} */
  readonly maxSubscriptionsPerIdentity?: number;
  /**
   * How many groups one identity may use, counted since the hub started: a broker keeps a place for each, also while nobody
   * is there.
   *
   * @default {64}
   */
  readonly maxGroupsPerIdentity?: number;
  /** How many events of one identity may be on their way into the broker, all of its instances together. @default {1_024} */
  readonly maxPublishingPerIdentity?: number;
  /**
   * For whom publishers wait once the broker is full: all of them, of all topics, for as long as one group of such an
   * identity has not done with the oldest message, or does not come back. Nothing is lost for it then.
   *
   * A group of anybody else has `slow: "drop_oldest"`, where the broker leaves that choice, and `slow: "block"` is refused.
   *
   * @default {nobody}
   */
  readonly mayBlock?: (caller: Caller) => boolean;
}

/**
 * Serves a broker, whatever moves its events: the hub.
 *
 * A caller has to prove who it is, and the policy has to let it publish or subscribe to the very topics; what it subscribes
 * to by a pattern reaches it only where the policy lets it read the topic. What it publishes has to be signed by itself, for
 * this topic, under this id and key, in the last two minutes. Subscribers do not rely on that: they verify all of it again.
 *
 * A group is of the identity that subscribes: the instances of one service share it, and nobody else takes its messages away
 * by naming it. Events of one identity go into the broker in the order in which they came; what a client has on its way behind
 * an event that has to be tried again, has to be tried again with it.
 *
 * @example A hub
 * ```ts ignore
 * await using hub = brokerService(memoryBroker(), { trust, policy: topics, audit });
 * await using server = createServer(hub, {
 *   guard: protect({ identity, trust, policy: policy([allow({ role: "service", call: "postern.broker.v1/*" })]) }),
 * });
 * ```
 *
 * @param broker What moves the events; disposing the service does not dispose it.
 * @param options Whose identities count, who may do what, and the limits.
 * @returns What `createServer` takes. Disposing it ends the subscriptions, whose subscribers come back by themselves; do so
 * before the server, which waits for them.
 * @throws {RangeError} A limit is not a whole number above 0.
 */
export function brokerService(broker: Broker, options: BrokerServiceOptions): Implementation & AsyncDisposable {
  const hub: Hub = {
    broker,
    trust: options.trust,
    policy: options.policy,
    audit: options.audit,
    now: options.now ?? Date.now,
    hash: nobleHash(),
    maxSubscriptions: limit("maxSubscriptionsPerIdentity", options.maxSubscriptionsPerIdentity ?? 64),
    maxGroups: limit("maxGroupsPerIdentity", options.maxGroupsPerIdentity ?? 64),
    maxPublishing: limit("maxPublishingPerIdentity", options.maxPublishingPerIdentity ?? 1_024),
    mayBlock: options.mayBlock ?? (() => false),
    accounts: new Map(),
    ending: new AbortController(),
    running: new Set(),
  };
  const implementation = implement(BrokerService, {
    properties: (_, context) => {
      callerOf(context);
      const { durable, redelivers, groups, positions, ordering } = broker.properties;
      return { durable, redelivers, groups, positions, ordering };
    },
    publish: async (event, context) => {
      await servePublish(hub, event, context);
      return {};
    },
    subscribe: (messages, context) => opening(hub, messages, context),
  });
  return {
    ...implementation,
    async [Symbol.asyncDispose]() {
      hub.ending.abort();
      await Promise.all(hub.running);
    },
  };
}

/** The subscription is opened when its answers are asked for, by what the first message says. */
function opening(
  hub: Hub,
  messages: AsyncIterable<SubscriberMessage>,
  context: Context,
): AsyncIterable<HubMessage> {
  const caller = callerOf(context);
  return {
    async *[Symbol.asyncIterator]() {
      const input = messages[Symbol.asyncIterator]();
      const { done, value: first } = await input.next();
      if (done || !first.open) throw new RpcError("invalid_argument", "Cannot subscribe: nothing says to what");
      yield* await subscribe(hub, { caller, context, input, first, open: first.open });
    },
  };
}

interface Opening {
  readonly caller: Caller;
  readonly context: Context;
  readonly input: AsyncIterator<SubscriberMessage>;
  readonly first: SubscriberMessage;
  readonly open: NonNullable<SubscriberMessage["open"]>;
}

async function subscribe(hub: Hub, opening: Opening): Promise<AsyncIterable<HubMessage>> {
  const { caller, context, input, first, open } = opening;
  const { pattern, group } = open;
  const refuse = (refusal: Refusal): never => refuseAs(hub, context, refusal, pattern);
  if (!maySubscribe(hub.policy, caller, pattern)) refuse(NOT_SUBSCRIBED);
  if (open.slow === "block" && !hub.mayBlock(caller)) refuse(NOT_TO_BLOCK);
  const account = accountOf(hub, caller.id);
  if (account.subscriptions >= hub.maxSubscriptions) refuse(TOO_MANY_SUBSCRIPTIONS);
  const place = group === undefined ? undefined : `${group} ${pattern}`;
  const isNew = place !== undefined && !account.groups.has(place);
  if (isNew && account.groups.size >= hub.maxGroups) refuse(TOO_MANY_GROUPS);
  if (isNew) account.groups.add(place);
  account.subscriptions++;
  const { promise, resolve } = withResolvers<void>();
  hub.running.add(promise);
  const over = () => {
    account.subscriptions--;
    settle(hub, caller.id, account);
    hub.running.delete(promise);
    resolve();
  };
  try {
    const signal = AbortSignal.any([context.signal, hub.ending.signal]);
    signal.throwIfAborted();
    note(hub, "subscription.open", context, { topic: pattern, ...group === undefined ? {} : { group } });
    const timeMs = Math.max(0, Math.floor(hub.now()));
    const source = await sourceOf(hub, caller, open);
    return servedSubscription({
      messages: input,
      first,
      source,
      maxInFlight: open.maxInFlight ?? 64,
      timeMs,
      signal,
      mayReceive: (topic) => mayReceive(hub.policy, caller, topic),
      withhold(delivery) {
        if (!maySubscribe(hub.policy, caller, pattern)) refuse(NOT_SUBSCRIBED);
        // A member may have other roles than the next one, and a policy may have been wrong for a moment.
        if (group === undefined || isKeyTopic(delivery.topic)) delivery.ack();
        else delivery.nack({ delayMs: WITHHELD_MS });
      },
      refusal: refusalOf,
      over,
    });
  } catch (error) {
    if (isNew) account.groups.delete(place); // the broker has none
    over();
    throw hub.ending.signal.aborted ? ending() : refusalOf(error);
  }
}

/** A group that asks for nothing has publishers wait only where it may. */
async function sourceOf(hub: Hub, caller: Caller, open: Opening["open"]): Promise<Subscription<Delivery>> {
  const { pattern, group, slow } = open;
  const options = optionsOf(hub, caller, open);
  if (group === undefined || slow !== undefined || hub.mayBlock(caller)) return hub.broker.subscribe(pattern, options);
  try {
    return await hub.broker.subscribe(pattern, { ...options, slow: "drop_oldest" });
  } catch (error) {
    if (!(error instanceof BrokerError && error.reason === "unsupported")) throw error;
    return await hub.broker.subscribe(pattern, options); // what it does is up to the broker: a stream of NATS has its own way
  }
}

function optionsOf(
  hub: Hub,
  caller: Caller,
  { pattern: _, group, start, ...terms }: Opening["open"],
): BrokerSubscribeOptions {
  return {
    ...terms,
    ...group === undefined ? {} : { group: groupOf(hub, caller, group) },
    ...start === undefined ? {} : { start: startOf(start) },
  };
}

const startOf = (start: HubStart) =>
  typeof start === "object" && "timeMs" in start ? { time: new Date(start.timeMs) } : start;

/** What a caller's group is to the broker: 43 characters, to which nobody else comes. */
function groupOf({ hash }: Hub, { id }: Caller, group: string): string {
  return toBase64Url(hash.sha256(new TextEncoder().encode(`postern group\n${id}\n${group}`)));
}

const ending = () => new RpcError("unavailable", "The hub is about to end");

function limit(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new RangeError(`Cannot serve the broker: "${name}" is a whole number above 0`);
}

/** When a group has a message again that the member may not have to whom it was given, in milliseconds. */
const WITHHELD_MS = 10_000;
