import { AuthError, type Policy, type Trust } from "../../auth/mod.ts";
import { toBase64Url } from "../../internal/base64.ts";
import { type HashProvider, nobleHash } from "../../internal/hash.ts";
import { type Audit, type Caller, type Context, implement, type Implementation, RpcError } from "../../rpc/mod.ts";
import type { Broker, BrokerSubscribeOptions, Delivery, Subscription } from "../broker.ts";
import { type BrokenLines, brokenLines } from "./broken_lines.ts";
import {
  BrokerService,
  type HubMessage,
  type HubStart,
  type PublishedEvent,
  type SubscriberMessage,
} from "./broker_contract.ts";
import { BrokerError } from "../broker_error.ts";
import { brokerId, verifyEvent } from "../event.ts";
import {
  MALFORMED,
  NOT_ITS_OWN,
  NOT_PUBLISHED,
  NOT_SUBSCRIBED,
  NOT_TO_BLOCK,
  OTHER_ID,
  OTHER_KEY,
  type Refusal,
  refusalOf,
  TOO_MANY_EVENTS,
  TOO_MANY_GROUPS,
  TOO_MANY_SUBSCRIPTIONS,
  TOO_OLD,
} from "./hub_refusal.ts";
import { servedSubscription } from "./served_subscription.ts";
import { mayPublish, mayReceive, maySubscribe } from "../topic_rules.ts";

/** How a broker is served. */
export interface BrokerServiceOptions {
  /** Whose identities count: publishers are verified by their signatures, as their subscribers verify them. */
  readonly trust: Trust;
  /** Who may publish and subscribe to which topics; whatever no rule allows is denied. */
  readonly policy: Policy;
  /** Takes what was decided. @default {nothing} */
  readonly audit?: Audit;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
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
      await publish(hub, event, context);
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

interface Hub {
  readonly broker: Broker;
  readonly trust: Trust;
  readonly policy: Policy;
  readonly audit: Audit | undefined;
  readonly now: () => number;
  readonly hash: HashProvider;
  readonly maxSubscriptions: number;
  readonly maxGroups: number;
  readonly maxPublishing: number;
  readonly mayBlock: (caller: Caller) => boolean;
  /** What each identity has. */
  readonly accounts: Map<string, Account>;
  readonly ending: AbortController;
  /** The subscriptions there are; each settles when it is over. */
  readonly running: Set<Promise<void>>;
}

/** What an identity has. */
interface Account {
  subscriptions: number;
  publishing: number;
  /** The groups that it uses, each with its pattern. */
  readonly groups: Set<string>;
  /** Its events of which some have to be tried again before others. */
  readonly broken: BrokenLines;
  /** Settles with the last of its events that is on its way into the broker. */
  last: Promise<void>;
}

function callerOf({ caller }: Context): Caller {
  if (!caller) throw new RpcError("unauthenticated", "Cannot use the broker without an identity");
  return caller;
}

async function publish(hub: Hub, published: PublishedEvent, context: Context): Promise<void> {
  const caller = callerOf(context);
  const { topic, line } = published;
  const refuse = (refusal: Refusal): never => refuseAs(hub, context, refusal, topic);
  const account = accountOf(hub, caller.id);
  if (account.publishing >= hub.maxPublishing) refuse(TOO_MANY_EVENTS);
  account.publishing++;
  try {
    if (!mayPublish(hub.policy, caller, topic)) refuse(NOT_PUBLISHED);
    // Signatures are verified at the same time, and yet nothing overtakes.
    const checking = check(hub, published, caller);
    await inLine(account, checking, async () => {
      const wrong = await checking;
      if (wrong) refuse(wrong);
      context.signal.throwIfAborted(); // it has waited for its turn
      if (line && account.broken.isBroken(line)) throw notYet();
      note(hub, "message.publish", context, { topic });
      const failed = await handOver(hub, published, context);
      if (line && isAway(failed)) account.broken.broke(line, hub.now());
      if (failed !== undefined) throw failed;
    });
  } finally {
    account.publishing--;
    settle(hub, caller.id, account);
  }
}

/** Gives an event to the broker, and tells what its publisher is told if that failed. */
async function handOver(hub: Hub, published: PublishedEvent, { signal }: Context): Promise<unknown> {
  const { topic, id, event, key } = published;
  try {
    await hub.broker.publish({ topic, id, event, orderingKey: key }, { signal });
  } catch (error) {
    return refusalOf(error);
  }
}

/** Whether its publisher will try it again. */
const isAway = (error: unknown) => error instanceof RpcError && error.code === "unavailable";
const notYet = () => new RpcError("unavailable", "Cannot publish yet: an event before this one has to be tried again");

/** What is wrong with an event, in the order in which it is looked for. */
async function check(
  hub: Hub,
  { topic, id, event, key }: PublishedEvent,
  caller: Caller,
): Promise<Refusal | undefined> {
  const nowMs = hub.now();
  try {
    const verified = await verifyEvent(event, { trust: hub.trust, topic, nowMs, hash: hub.hash });
    if (verified.publisher.id !== caller.id) return NOT_ITS_OWN;
    if (brokerId({ publisher: caller.id, topic, id: verified.id }, hub.hash) !== id) return OTHER_ID;
    if (verified.orderingKey !== key) return OTHER_KEY;
    return verified.timeMs < nowMs - WINDOW_MS ? TOO_OLD : undefined;
  } catch (error) {
    if (!(error instanceof BrokerError || error instanceof AuthError)) throw error;
    return { ...MALFORMED, reason: error.reason };
  }
}

/** One after another, however long each is checked. */
async function inLine(
  account: Account,
  checking: Promise<unknown>,
  run: () => Promise<void>,
): Promise<void> {
  checking.catch(() => {}); // looked at when it is its turn
  const turn = account.last.then(run, run);
  account.last = turn;
  await turn;
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
  const { promise, resolve } = withResolvers();
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

function accountOf({ accounts }: Hub, id: string): Account {
  const known = accounts.get(id);
  if (known) return known;
  const account: Account = {
    subscriptions: 0,
    publishing: 0,
    groups: new Set(),
    broken: brokenLines(),
    last: Promise.resolve(),
  };
  accounts.set(id, account);
  return account;
}

/** Who has nothing is forgotten, but for the groups, and for what is to be tried again. */
function settle({ accounts }: Hub, id: string, { subscriptions, publishing, groups, broken }: Account): void {
  if (subscriptions + publishing + groups.size + broken.size === 0) accounts.delete(id);
}

function withResolvers() {
  let resolve!: () => void;
  const promise = new Promise<void>((given) => resolve = given);
  return { promise, resolve };
}

const ending = () => new RpcError("unavailable", "The hub is about to end");

function refuseAs(hub: Hub, context: Context, { code, message, reason }: Refusal, topic: string): never {
  note(hub, "message.refuse", context, { topic }, reason);
  throw new RpcError(code, message);
}

function note(
  { audit }: Hub,
  event: string,
  { caller, correlationId, method }: Context,
  fields: Readonly<Record<string, string>>,
  reason?: string,
): void {
  audit?.record({ event, reason, correlationId, caller: caller?.id, method: method.path.slice(1), fields });
}

function limit(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new RangeError(`Cannot serve the broker: "${name}" is a whole number above 0`);
}

/** How old an event may be, in milliseconds; one of the future does not hold anyway. */
const WINDOW_MS = 120_000;
