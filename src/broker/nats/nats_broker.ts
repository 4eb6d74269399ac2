import type { Broker } from "../broker.ts";
import { coreBroker } from "./nats_core.ts";
import type { NatsBrokerConnectionLike, NatsJetStreamLike } from "./nats_like.ts";
import { natsLink } from "./nats_link.ts";
import { assertInboxPrefix, assertStream, assertSubjectPrefix } from "./nats_names.ts";
import { streamBroker } from "./nats_stream.ts";

/** How a broker on NATS is set up. */
export interface NatsBrokerOptions {
  /**
   * JetStream, and the stream that keeps the topics; without it, messages go to who is there, once.
   *
   * The stream is made by who runs the server: its subjects cover the topics, its retention is `limits`, and its duplicate
   * window is two minutes or more.
   */
  readonly jetstream?: NatsJetStreamLike;
  /** What stands in front of each topic in NATS, such as `events`; without it, topics are subjects. */
  readonly subjectPrefix?: string;
  /**
   * Where answers come, as the connection was told: `inboxPrefix` of `wsconnect`.
   *
   * @default {the connection's, if the client says it; otherwise "_INBOX"}
   */
  readonly inboxPrefix?: string;
  /**
   * How long `publish` waits for a connection, for a place in a full stream, and for the server, in milliseconds, from 100 to
   * 600,000.
   *
   * @default {30_000}
   */
  readonly publishTimeoutMs?: number;
  /**
   * Without JetStream: how many messages wait for a subscriber who reads too slowly, from 1 to 65,536.
   *
   * @default {1_024}
   */
  readonly maxHeldMessages?: number;
  /**
   * Without JetStream: how many bytes of messages wait for a subscriber who reads too slowly, from 1 to 268,435,456; a single
   * message may be larger.
   *
   * @default {8_388_608}
   */
  readonly maxHeldBytes?: number;
}

/**
 * Moves events over NATS.
 *
 * Without JetStream, `publish` is done when the server has looked at the event, and each subscriber who is connected then gets
 * it once; who is not there misses it, and so does who reads too slowly (the oldest are dropped and counted, or the
 * subscription ends, as it asked for). `ack` and `nack` change nothing. A publish whose connection breaks fails with
 * `unreachable`: nobody can say whether the event went out.
 *
 * With JetStream, `publish` is done when the stream has the event, which takes an id once for each topic; it is tried again
 * until `publishTimeoutMs`. A group is a durable consumer and goes on where it was; who subscribes alone has a consumer for
 * the time being. What is not acknowledged comes again, also after the connection or the server was gone. The way of a slow
 * subscriber is the stream's: only `block` can be asked for, of a stream that refuses what it has no room for (`discard: new`)
 * or has no limits.
 *
 * A server that did not allow something is `refused`. Of a publish without JetStream it tells by the subject only, so while
 * several events of one topic are on their way at once, they are refused together.
 *
 * @example A broker with JetStream
 * ```ts ignore
 * import { jetstream, jetstreamManager } from "@nats-io/jetstream";
 * import { nkeyAuthenticator, wsconnect } from "@nats-io/nats-core";
 * import { natsBroker } from "@postern/rpc/broker";
 *
 * const connection = await wsconnect({
 *   servers: "wss://nats.example.org",
 *   authenticator: nkeyAuthenticator(seed),
 *   inboxPrefix: "_INBOX_orders",
 *   maxReconnectAttempts: -1,
 * });
 * const broker = await natsBroker(connection, {
 *   subjectPrefix: "events",
 *   jetstream: {
 *     client: jetstream(connection),
 *     manager: await jetstreamManager(connection, { checkAPI: false }),
 *     stream: "EVENTS",
 *   },
 * });
 * ```
 *
 * @param connection The connection; the caller closes it. It has to reconnect for ever (`maxReconnectAttempts: -1`), or the
 *   broker ends with it.
 * @param options What differs from the defaults.
 * @returns The broker. It ends with `insecure` where the connection goes on to a server that is.
 * @throws {BrokerError} `insecure`: the server lets in everybody, or is reached without TLS; `unsupported`: the stream's
 *   retention is not `limits`, its duplicate window is less than two minutes, or it acknowledges nothing; `refused`,
 *   `unreachable`: the stream cannot be looked at.
 * @throws {TypeError} An option is malformed or out of its range.
 */
export async function natsBroker(
  connection: NatsBrokerConnectionLike,
  options: NatsBrokerOptions = {},
): Promise<Broker> {
  const { jetstream, subjectPrefix, publishTimeoutMs = 30_000 } = options;
  const { maxHeldMessages = 1_024, maxHeldBytes = 8_388_608 } = options;
  const inboxPrefix = options.inboxPrefix ?? connection.options?.inboxPrefix ?? "_INBOX";
  assertSubjectPrefix(subjectPrefix);
  assertInboxPrefix(inboxPrefix);
  if (jetstream) assertStream(jetstream.stream);
  assertBetween("publishTimeoutMs", publishTimeoutMs, [100, 600_000]);
  assertBetween("maxHeldMessages", maxHeldMessages, [1, 65_536]);
  assertBetween("maxHeldBytes", maxHeldBytes, [1, 268_435_456]);
  const link = natsLink(connection, { inboxPrefix, subjectPrefix, publishTimeoutMs });
  try {
    const moving = jetstream
      ? await streamBroker(link, jetstream)
      : coreBroker(link, { maxHeldMessages, maxHeldBytes });
    return {
      ...moving,
      [Symbol.asyncDispose]: () => link.close(),
    };
  } catch (error) {
    await link.close();
    throw error;
  }
}

function assertBetween(name: string, value: number, [least, most]: readonly [number, number]): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new TypeError(`Cannot use NATS: "${name}" is from ${least} to ${most}`);
}
