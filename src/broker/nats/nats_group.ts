import type { BrokerError } from "../broker_error.ts";
import { arrivalOf, consumerConfig, consumerGone, NANOS, startOf, type StreamSubscribing } from "./nats_consumer.ts";
import { type ArrivalSource, type Deliveries, deliveries } from "./nats_deliveries.ts";
import { jetStreamCode, natsFailure } from "./nats_failure.ts";
import type { NatsMessageLike } from "./nats_like.ts";
import { endIncoming, patiently } from "./nats_link.ts";
import { groupName, randomName } from "./nats_names.ts";

/** Joins a group: a durable consumer, which each member asks for as many messages as it has room for. */
export async function groupSubscription(
  subscribing: StreamSubscribing,
  group: string,
): Promise<Deliveries["subscription"]> {
  const { link, terms } = subscribing;
  const name = groupName(group, subscribing.subject);
  await ensureConsumer(subscribing, name);
  link.check();
  const pulls = pullsOf(subscribing, {
    name,
    came(message) {
      const arrival = arrivalOf(subscribing, message);
      if (arrival) line.push(arrival);
    },
    failed: (error) => line.fail(error),
  });
  const line = deliveries(terms, pulls);
  pulls.room(terms.maxInFlight);
  try {
    await link.round();
  } catch (error) {
    await line.subscription[Symbol.asyncDispose]();
    throw error;
  }
  return line.subscription;
}

/** Finds the consumer, or makes it; who finds it takes its place, and sets how long it waits. */
async function ensureConsumer(subscribing: StreamSubscribing, name: string): Promise<void> {
  const { jetstream: { manager: { consumers }, stream }, terms } = subscribing;
  const ack_wait = terms.ackWaitMs * NANOS;
  for (let attempt = 0;; attempt++) {
    try {
      const { config } = await patiently(consumers.info(stream, name));
      if (config.ack_wait !== ack_wait) await patiently(consumers.update(stream, name, { ack_wait }));
      return;
    } catch (error) {
      if (jetStreamCode(error) !== CONSUMER_NOT_FOUND) throw error;
    }
    try {
      const config = consumerConfig(subscribing, name);
      const added = { ...config, durable_name: name, max_ack_pending: MAX_PENDING, ...startOf(terms.start) };
      return void await patiently(consumers.add(stream, added));
    } catch (error) {
      // Somebody else made it in the meantime, perhaps with another start.
      const isThere = EXISTS.has(jetStreamCode(error) ?? 0);
      if (!isThere || attempt >= 2) throw error;
    }
  }
}

interface PullTerms {
  readonly name: string;
  came(message: NatsMessageLike): void;
  failed(error: BrokerError): unknown;
}

/** Where a member stands with the server. */
interface Asked {
  /** How many messages may still come for what was asked. */
  count: number;
  /** How many there is room for, those that were asked for among them. */
  free: number;
  /** How much each request asked for, until it is certainly over. */
  readonly requests: Map<string, { readonly batch: number; readonly untilMs: number }>;
  serial: number;
  /** When something came last. */
  heardMs: number;
  missing: number;
  isOver: boolean;
  retry: ReturnType<typeof setTimeout> | undefined;
  watch: ReturnType<typeof setTimeout> | undefined;
  /** Told of each answer, while it ends. */
  heard: (() => void) | undefined;
}

/**
 * Asks a consumer for messages, never for more than there is room for.
 *
 * What was asked for ends with the connection, with the server that led the consumer, and with its time; then it is asked again.
 */
function pullsOf(subscribing: StreamSubscribing, terms: PullTerms): ArrivalSource {
  const { link, jetstream: { client, stream } } = subscribing;
  const inbox = `${link.inboxPrefix}.${randomName()}`;
  const next = `${client.apiPrefix}.CONSUMER.MSG.NEXT.${stream}.${terms.name}`;
  const asked: Asked = {
    count: 0,
    free: 0,
    requests: new Map(),
    serial: 0,
    heardMs: Date.now(),
    missing: 0,
    isOver: false,
    retry: undefined,
    watch: undefined,
    heard: undefined,
  };
  const send: Send = (id, text) => link.connection.publish(next, ENCODER.encode(text), { reply: `${inbox}.${id}` });
  const asking = askingOf(subscribing, { asked, send, terms });
  const incoming = link.connection.subscribe(`${inbox}.*`, {
    callback(error, message) {
      if (error) return void terms.failed(natsFailure(error));
      asked.heardMs = Date.now();
      const isMessage = !message.subject.startsWith(`${inbox}.`);
      const answer = isMessage ? counted(asked) : answered(asked, message);
      if (isMessage) terms.came(message);
      asked.heard?.();
      if (asked.isOver) return;
      if (answer === "gone") terms.failed(consumerGone());
      else if (answer === "refused") terms.failed(natsFailure(new TypeError("The request was malformed")));
      else if (answer === "later") asking.later();
      else asking.ask();
    },
  });
  const unlisten = link.listen({ ended: terms.failed, reconnected: asking.again });
  return {
    room(free) {
      asked.free = free;
      asking.ask();
    },
    async stop() {
      asked.isOver = true;
      clearTimeout(asked.retry);
      clearTimeout(asked.watch);
      unlisten();
      if (link.connection.info) await settle(asked, send);
      await endIncoming(link, incoming);
    },
  };
}

interface Asking {
  /** Asks for what there is room for. */
  ask(): void;
  /** What was asked for is over. */
  again(): void;
  /** Asks again in a moment, if the consumer is there. */
  later(): void;
}

interface AskingTerms {
  readonly asked: Asked;
  readonly send: Send;
  readonly terms: PullTerms;
}

function askingOf(
  { link, jetstream: { manager, stream } }: StreamSubscribing,
  { asked, send, terms }: AskingTerms,
): Asking {
  const ask = () => {
    const batch = asked.free - asked.count;
    if (asked.isOver || asked.retry !== undefined || !link.connection.info || batch <= 0) return;
    // Few large requests cost less than many small ones; but what is free must not wait for what is not.
    if (asked.count > 0 && batch < asked.free / 2) return;
    request(asked, { batch, expires: PULL_MS * NANOS }, send);
    asked.watch ??= setTimeout(watch, PULL_MS);
  };
  const again = () => {
    asked.count = 0;
    asked.requests.clear();
    ask();
  };
  const watch = () => {
    asked.watch = undefined;
    if (asked.count > 0 && Date.now() - asked.heardMs > PULL_MS + GRACE_MS) return later();
    if (!asked.isOver) asked.watch = setTimeout(watch, PULL_MS);
  };
  const later = () => {
    asked.retry ??= setTimeout(async () => {
      const isGone = await isMissing(() => manager.consumers.info(stream, terms.name));
      asked.retry = undefined;
      if (asked.isOver) return;
      asked.missing = isGone ? asked.missing + 1 : 0;
      // A server that has just started may not know it yet.
      if (asked.missing >= MAX_MISSING) terms.failed(consumerGone());
      else if (isGone === false) again();
      else later();
    }, RETRY_MS);
  };
  return { ask, again, later };
}

/** One of what was asked for is there, in a place that was free. */
function counted(asked: Asked): "over" {
  asked.count = Math.max(0, asked.count - 1);
  asked.free = Math.max(0, asked.free - 1);
  return "over";
}

interface PullRequest {
  readonly batch: number;
  readonly expires?: number;
  readonly no_wait?: boolean;
}

/** Sends a request under an id. */
type Send = (id: string, text: string) => void;

function request(asked: Asked, wanted: PullRequest, send: Send): string {
  const now = Date.now();
  for (const [id, { untilMs }] of asked.requests) {
    if (untilMs > now) break;
    asked.requests.delete(id);
  }
  const id = String(++asked.serial);
  asked.requests.set(id, { batch: wanted.batch, untilMs: now + PULL_MS + GRACE_MS });
  asked.count += wanted.batch;
  asked.heardMs = now;
  send(id, JSON.stringify(wanted));
  return id;
}

/**
 * Waits until the server has sent what it was asked for, as far as it is there.
 *
 * What it sends to who has just left is lost until its time is over. A request that does not wait is answered in turn: one may
 * be answered together with those before it, a second is behind all that they got.
 */
async function settle(asked: Asked, send: Send): Promise<void> {
  for (let round = 0; round < 2 && asked.count > 0; round++) {
    try {
      const id = request(asked, { batch: 1, no_wait: true }, send);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, SETTLE_MS);
        asked.heard = () => {
          if (asked.count > 0 && asked.requests.has(id)) return;
          clearTimeout(timer);
          resolve();
        };
      });
    } catch {
      return; // there is no connection any more
    }
  }
}

/** Reads what the server says of a request: how much of it will not come. */
function answered(asked: Asked, { subject, headers }: NatsMessageLike): "over" | "later" | "gone" | "refused" {
  const { code = 0, description = "" } = headers ?? {};
  if (code === HEARTBEAT) return "over";
  const id = subject.slice(subject.lastIndexOf(".") + 1);
  const batch = asked.requests.get(id)?.batch ?? 0;
  const left = Number(headers?.get("Nats-Pending-Messages") || batch);
  asked.requests.delete(id);
  asked.count = asked.requests.size === 0 ? 0 : Math.max(0, asked.count - Math.min(left, batch));
  if (code === 400) return "refused";
  if (code === 409 && /consumer deleted/i.test(description)) return "gone";
  return code === 404 || code === 408 ? "over" : "later";
}

/** Whether a consumer is not there; undefined where nobody says. */
async function isMissing(info: () => Promise<unknown>): Promise<boolean | undefined> {
  try {
    await patiently(info());
    return false;
  } catch (error) {
    return jetStreamCode(error) === CONSUMER_NOT_FOUND ? true : undefined;
  }
}

/** How long one request stands. */
const PULL_MS = 15_000;
const GRACE_MS = 5_000;
const RETRY_MS = 250;
/** How long who leaves waits for what is on its way. */
const SETTLE_MS = 1_000;
const MAX_MISSING = 8;
const HEARTBEAT = 100;
/** How many messages of a group may be out at all its members. */
const MAX_PENDING = 16_384;
const CONSUMER_NOT_FOUND = 10_014;
/** "Consumer name already in use", "consumer already exists", and what cannot be changed of one that is there. */
const EXISTS: ReadonlySet<number> = /* @__PURE__ */ new Set([10_012, 10_013, 10_105, 10_148]);
const ENCODER = /* @__PURE__ */ new TextEncoder();
