import { coversTopic } from "../../internal/topic_name.ts";
import { untilAborted } from "../../internal/until_aborted.ts";
import { pause } from "../../internal/pause.ts";
import type { Broker, BrokerSubscribeOptions, OutgoingEvent } from "../broker.ts";
import { checkOutgoing, checkSubscribe } from "../broker_input.ts";
import { NANOS, startOf, type StreamSubscribing } from "./nats_consumer.ts";
import { assertUnordered, unsupported } from "./nats_core.ts";
import type { Deliveries } from "./nats_deliveries.ts";
import { natsFailure } from "./nats_failure.ts";
import { groupSubscription } from "./nats_group.ts";
import type { NatsJetStreamLike, NatsStreamLike } from "./nats_like.ts";
import { type NatsLink, PATIENCE_MS, patiently } from "./nats_link.ts";
import { encodeEvent } from "./nats_message.ts";
import { subjectOf } from "./nats_names.ts";
import { loneSubscription } from "./nats_lone.ts";

/**
 * Publishes to, and subscribes to, what JetStream keeps in a stream.
 *
 * @throws {BrokerError} `unsupported`: the stream cannot do what a broker must; `refused`, `unreachable`.
 */
export async function streamBroker(
  link: NatsLink,
  jetstream: NatsJetStreamLike,
): Promise<Omit<Broker, keyof AsyncDisposable>> {
  const { config } = await patiently(jetstream.manager.streams.info(jetstream.stream));
  assertKeeps(config);
  return {
    properties: {
      encrypted: true,
      accessControlled: true,
      durable: config.storage === "file" && config.sealed !== true,
      redelivers: true,
      groups: true,
      positions: true,
      ordering: false,
    },
    publish: async (event, { signal, waits } = {}) => {
      checkOutgoing(event);
      assertUnordered(event);
      signal?.throwIfAborted();
      link.check();
      const subject = subjectOf(link.subjectPrefix, event.topic);
      assertCovered(config, subject);
      await publish(link, jetstream, { ...event, subject, signal, waits });
    },
    subscribe: (pattern, options) => subscribe({ link, jetstream, config }, pattern, options),
  };
}

/** A stream that forgets what a broker has to know. */
function assertKeeps({ duplicate_window = 0, retention = "limits", no_ack }: NatsStreamLike): void {
  if (no_ack === true) throw unsupported("its stream does not answer who publishes");
  if (retention !== "limits") throw unsupported(`its stream's retention is "${retention}", and has to be "limits"`);
  if (duplicate_window < 120_000 * NANOS) throw unsupported("its stream's duplicate window is less than two minutes");
}

function assertCovered({ subjects }: NatsStreamLike, subject: string): void {
  if (subjects && !subjects.some((pattern) => coversTopic(pattern, subject))) {
    throw unsupported(`its stream does not keep the subject "${subject}"`);
  }
}

interface Publishing extends OutgoingEvent {
  readonly subject: string;
  readonly signal: AbortSignal | undefined;
  readonly waits: boolean | undefined;
}

/** Publishes until the server says that it has it; it takes an id once for each topic, so trying again does no harm. */
async function publish(link: NatsLink, { client, stream }: NatsJetStreamLike, event: Publishing): Promise<void> {
  const { subject, signal, waits } = event;
  const payload = encodeEvent(event.event);
  const msgID = `${event.id} ${event.topic}`;
  const giveUpAt = Date.now() + link.publishTimeoutMs;
  for (let attempt = 0;; attempt++) {
    const left = giveUpAt - Date.now();
    try {
      // What is sent without a connection is forgotten when there is one.
      if (!link.connection.info) await link.connected(left, signal);
      const timeout = Math.max(1, Math.min(PATIENCE_MS, giveUpAt - Date.now()));
      const asked = client.publish(subject, payload, { msgID, timeout, expect: { streamName: stream } });
      if (await untilAborted(untilLost(link, asked), signal, (reason) => reason)) return;
      link.check();
    } catch (error) {
      signal?.throwIfAborted();
      const failure = natsFailure(error);
      link.check();
      const mayPass = failure.reason === "unreachable" || (failure.reason === "full" && waits !== false);
      if (!mayPass || giveUpAt - Date.now() < RETRY_MS) throw failure;
    }
    await pause(Math.min(RETRY_MS * 2 ** Math.min(attempt, 4), giveUpAt - Date.now()), signal);
    signal?.throwIfAborted();
  }
}

/** Waits for an answer, which does not come any more once the connection is another; false then. The client limits the time. */
function untilLost(link: NatsLink, asked: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const lost = () => settle(() => resolve(false));
    const unlisten = link.listen({ reconnected: lost, ended: lost });
    const settle = (how: () => void) => {
      unlisten();
      how();
    };
    asked.then(() => settle(() => resolve(true)), (error) => settle(() => reject(error)));
  });
}

async function subscribe(
  { link, jetstream, config }: Omit<StreamSubscribing, "subject" | "terms"> & { readonly config: NatsStreamLike },
  pattern: string,
  options: BrokerSubscribeOptions = {},
): Promise<Deliveries["subscription"]> {
  const terms = checkSubscribe(pattern, options);
  if (options.slow !== undefined && !(options.slow === "block" && blocks(config))) {
    throw unsupported(`its stream does not keep the policy "${options.slow}" for slow subscribers`);
  }
  startOf(terms.start);
  link.check();
  const subject = subjectOf(link.subjectPrefix, pattern);
  const subscribing = { link, jetstream, subject, terms };
  return await (terms.group === undefined
    ? loneSubscription(subscribing)
    : groupSubscription(subscribing, terms.group));
}

/** Whether a full stream lets publishers wait; one without limits is full only when the account is. */
function blocks({ discard, max_msgs = -1, max_bytes = -1, max_msgs_per_subject = -1 }: NatsStreamLike): boolean {
  return discard === "new" || [max_msgs, max_bytes, max_msgs_per_subject].every((limit) => limit <= 0);
}

const RETRY_MS = 100;
