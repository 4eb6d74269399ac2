import type { NatsConnectionLike, NatsStatusesLike } from "../../internal/nats.ts";

export type { NatsConnectionLike, NatsStatusesLike };

/** What a broker uses of a connection to NATS; `NatsConnection` of `@nats-io/nats-core` 3 is one. */
export interface NatsBrokerConnectionLike extends NatsConnectionLike {
  /** What it was made with; the client does not document it, and `inboxPrefix` of the broker's options is used without it. */
  readonly options?: { readonly inboxPrefix?: string };
  /** Sends a message. */
  publish(subject: string, payload?: Uint8Array, options?: { reply?: string }): void;
  /** Receives messages; an error ends it. */
  subscribe(subject: string, options: NatsSubscribeLike): NatsSubscriptionLike;
  /** Waits until the server has looked at all that was sent. */
  flush(): Promise<void>;
  /** What happens to it; ends when it is closed. */
  status(): NatsBrokerStatusesLike;
}

/** How messages are received. */
export interface NatsSubscribeLike {
  /** The group whose members share them. */
  queue?: string;
  /** Takes each message, or the error that ends it. */
  callback: (error: Error | null, message: NatsMessageLike) => void;
}

/** A subscription of a connection. */
export interface NatsSubscriptionLike {
  /** Ends it at once. */
  unsubscribe(): void;
  /** Ends it once the server sends nothing more. */
  drain(): Promise<void>;
}

/** A message. */
export interface NatsMessageLike {
  /** Its subject. */
  readonly subject: string;
  /** What is in it. */
  readonly data: Uint8Array;
  /** Where an answer goes. */
  readonly reply?: string;
  /** What the server says of it, with a code where it is no message of anybody's. */
  readonly headers?: {
    /** The code, 0 for messages. */
    readonly code: number;
    /** What the code means. */
    readonly description: string;
    /** A header by its name. */
    get(name: string): string;
  };
}

/** What happens to a connection, with the errors that the server tells of. */
export interface NatsBrokerStatusesLike extends NatsStatusesLike {
  /** One after another. */
  [Symbol.asyncIterator](): AsyncIterator<{ readonly type: string; readonly error?: unknown }>;
}

/** JetStream, which keeps messages: the two clients of `@nats-io/jetstream` 3, and which stream. */
export interface NatsJetStreamLike {
  /** Publishes; `jetstream(connection)` makes it. */
  readonly client: NatsJetStreamClientLike;
  /** Manages consumers; `await jetstreamManager(connection, { checkAPI: false })` makes it. */
  readonly manager: NatsJetStreamManagerLike;
  /** The stream's name. */
  readonly stream: string;
}

/** What is used of `JetStreamClient` of `@nats-io/jetstream` 3. */
export interface NatsJetStreamClientLike {
  /** Where the server's API is, as `$JS.API`. */
  readonly apiPrefix: string;
  /** Publishes, and waits for the stream's answer. */
  publish(
    subject: string,
    payload: Uint8Array,
    options: { msgID: string; timeout: number; expect: { streamName: string } },
  ): Promise<unknown>;
}

/** What is used of `JetStreamManager` of `@nats-io/jetstream` 3. */
export interface NatsJetStreamManagerLike {
  /** The streams. */
  readonly streams: {
    /** What a stream is. */
    info(stream: string): Promise<{ readonly config: NatsStreamLike }>;
  };
  /** The consumers. */
  readonly consumers: {
    /** Makes one. */
    add(stream: string, config: object): Promise<unknown>;
    /** What one is. */
    info(stream: string, name: string): Promise<{ readonly config: NatsConsumerLike }>;
    /** Changes one. */
    update(stream: string, name: string, config: { ack_wait: number }): Promise<unknown>;
  };
}

/** What is read of a stream's configuration; times are in nanoseconds. */
export interface NatsStreamLike {
  /** Which subjects it keeps. */
  readonly subjects?: readonly string[];
  /** Where it keeps them: `file` or `memory`. */
  readonly storage: string;
  /** What it does when it is full: `old` messages go, or `new` ones are refused. */
  readonly discard?: string;
  /** Whether nothing more goes in. */
  readonly sealed?: boolean;
  /** How long it knows an id. */
  readonly duplicate_window?: number;
  /** How long it keeps messages: `limits`, or only until they are read. */
  readonly retention?: string;
  /** How many messages it keeps; -1 or absent without a limit. */
  readonly max_msgs?: number;
  /** How many bytes it keeps; -1 or absent without a limit. */
  readonly max_bytes?: number;
  /** How many messages of one subject it keeps; -1 or absent without a limit. */
  readonly max_msgs_per_subject?: number;
  /** Whether it answers who publishes. */
  readonly no_ack?: boolean;
}

/** What is read of a consumer's configuration. */
export interface NatsConsumerLike {
  /** How long it waits for an acknowledgement, in nanoseconds. */
  readonly ack_wait?: number;
}
