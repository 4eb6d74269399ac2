import { pause } from "../../internal/pause.ts";
import type { StartPosition } from "../broker.ts";
import { arrivalOf, consumerConfig, NANOS, startOf, type StreamSubscribing } from "./nats_consumer.ts";
import { type Deliveries, deliveries } from "./nats_deliveries.ts";
import { jetStreamCode, natsFailure } from "./nats_failure.ts";
import type { NatsMessageLike, NatsSubscriptionLike } from "./nats_like.ts";
import { endIncoming, patiently } from "./nats_link.ts";
import { randomName } from "./nats_names.ts";

/**
 * Subscribes alone: a consumer of its own, which sends what it has to an inbox, no more than there is room for.
 *
 * It needs no right to ask consumers for messages, which as names of consumers have no parts would be one to ask all of them.
 * The server forgets it a while after nobody listens. A connection that is new gets a new one, which begins with what is not
 * settled: nobody has to find out what became of the old one.
 */
export async function loneSubscription(subscribing: StreamSubscribing): Promise<Deliveries["subscription"]> {
  const { link, terms } = subscribing;
  const state: LoneState = {
    serial: 0,
    incoming: undefined,
    heardMs: Date.now(),
    last: undefined,
    done: new Set(),
    timer: undefined,
    isOver: new AbortController(),
    making: undefined,
  };
  const line = deliveries(terms, {
    room() {},
    async stop() {
      state.isOver.abort();
      clearTimeout(state.timer);
      unlisten();
      if (state.incoming) await endIncoming(link, state.incoming);
    },
  });
  const renew = () => {
    state.making ??= remake(subscribing, state, line).finally(() => state.making = undefined);
  };
  const unlisten = link.listen({ ended: (error) => line.fail(error), reconnected: renew });
  const watch = () => {
    if (link.connection.info && Date.now() - state.heardMs > SILENCE_MS) renew();
    state.timer = setTimeout(watch, HEARTBEAT_MS);
  };
  try {
    await make(subscribing, state, { line, start: terms.start });
  } catch (error) {
    await line.subscription[Symbol.asyncDispose]();
    throw error;
  }
  if (!state.isOver.signal.aborted) state.timer = setTimeout(watch, HEARTBEAT_MS);
  return line.subscription;
}

interface LoneState {
  /** Which consumer it is, from 1. */
  serial: number;
  incoming: NatsSubscriptionLike | undefined;
  heardMs: number;
  /** The highest place that came. */
  last: number | undefined;
  /** Places that are done with, the last of them: a new consumer sends them again. */
  readonly done: Set<number>;
  timer: ReturnType<typeof setTimeout> | undefined;
  readonly isOver: AbortController;
  making: Promise<void> | undefined;
}

interface Making {
  readonly line: Deliveries;
  readonly start: StartPosition;
}

/** Makes a consumer in place of the one before, and listens to it. */
async function make(subscribing: StreamSubscribing, state: LoneState, { line, start }: Making): Promise<void> {
  const { link, jetstream: { manager, stream }, terms } = subscribing;
  const inbox = `${link.inboxPrefix}.${randomName()}`;
  const serial = ++state.serial;
  state.incoming?.unsubscribe();
  const incoming = link.connection.subscribe(inbox, {
    callback(error, message) {
      if (error) return line.fail(natsFailure(error));
      if (serial !== state.serial) return;
      state.heardMs = Date.now();
      receive(subscribing, state, { line, message });
    },
  });
  state.incoming = incoming;
  try {
    await patiently(manager.consumers.add(stream, {
      ...consumerConfig(subscribing, randomName()),
      deliver_subject: inbox,
      max_ack_pending: terms.maxInFlight,
      idle_heartbeat: HEARTBEAT_MS * NANOS,
      inactive_threshold: FORGET_MS * NANOS,
      mem_storage: true,
      ...startOf(start),
    }));
    link.check();
  } catch (error) {
    incoming.unsubscribe();
    throw error;
  }
  state.heardMs = Date.now();
}

interface Received {
  readonly line: Deliveries;
  readonly message: NatsMessageLike;
}

function receive(subscribing: StreamSubscribing, state: LoneState, { line, message }: Received): void {
  const arrival = arrivalOf(subscribing, message);
  if (!arrival) return;
  const { key } = arrival;
  if (state.done.has(key)) return arrival.ack();
  state.last = Math.max(state.last ?? 0, key);
  const isFirst = arrival.attempt === 1;
  const settling = {
    ...arrival,
    ack() {
      state.done.add(key);
      if (state.done.size > MAX_DONE) state.done.delete(state.done.values().next().value!);
      arrival.ack();
    },
  };
  // A new consumer counts from 1 again: what is out is still being worked on.
  if (!(isFirst && state.serial > 1 && line.adopt(settling))) line.push(settling);
}

/** Makes another consumer, until there is one. */
async function remake(subscribing: StreamSubscribing, state: LoneState, line: Deliveries): Promise<void> {
  const { signal } = state.isOver;
  const giveUpAt = Date.now() + subscribing.link.publishTimeoutMs;
  while (!signal.aborted) {
    if (!subscribing.link.connection.info) return; // the next reconnect begins again
    const first = line.lowest() ?? (state.last === undefined ? undefined : state.last + 1);
    const start = first === undefined ? subscribing.terms.start : { after: String(first - 1) };
    try {
      return await make(subscribing, state, { line, start });
    } catch (error) {
      const failure = natsFailure(error);
      const mayPass = failure.reason === "unreachable" || jetStreamCode(error) !== undefined;
      if (!mayPass || Date.now() > giveUpAt) return line.fail(failure);
    }
    await pause(RETRY_MS, signal);
  }
}

/** How often the server gives a sign of life where it has nothing else to send. */
const HEARTBEAT_MS = 5_000;
/** After how long without one there is a new consumer. */
const SILENCE_MS = 12_500;
/** How long the server keeps a consumer that nobody listens to. */
const FORGET_MS = 30_000;
const RETRY_MS = 250;
const MAX_DONE = 4_096;
