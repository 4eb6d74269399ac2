// A connection to NATS in memory, which fails as a test says; for runtimes that cannot start a server.
import type { NatsBrokerConnectionLike, NatsSubscribeLike } from "../../src/broker/nats/nats_like.ts";
import { coversTopic } from "../../src/internal/topic_name.ts";

/** A connection that a test can break. */
export interface FakeNats extends NatsBrokerConnectionLike {
  info?: { auth_required?: boolean; tls_required?: boolean };
  /** Where it may connect to. */
  urls: string[];
  /** Subjects that may not be published to. */
  readonly forbidden: Set<string>;
  /** Something happens to it. */
  happens(status: { type: string; error?: unknown }): void;
  /** How many listen to it, and how many ask what happens. */
  readonly followers: number;
}

export function fakeNats(): FakeNats {
  const subscriptions = new Map<NatsSubscribeLike, string>();
  const statuses = new Set<(status: { type: string; error?: unknown } | undefined) => void>();
  const sent: (() => void)[] = [];
  let isClosed = false;
  const nats: FakeNats = {
    info: { auth_required: true },
    urls: ["wss://nats.example.org"],
    forbidden: new Set(),
    getServers: () => nats.urls.map((src) => ({ src })),
    isClosed: () => isClosed,
    // As of a server: it looks at messages one after another, tells what is wrong with them, and answers in the same turn.
    flush() {
      const looks = sent.splice(0);
      return new Promise((resolve) =>
        setTimeout(() => {
          for (const look of looks) look();
          resolve();
        }, 0)
      );
    },
    publish(subject, data = new Uint8Array()) {
      sent.push(() => {
        if (nats.forbidden.has(subject)) {
          const violation = { name: "PermissionViolationError", operation: "publish", subject };
          return nats.happens({ type: "error", error: Object.assign(new Error("no"), violation) });
        }
        for (const [{ callback }, pattern] of subscriptions) {
          if (coversTopic(pattern, subject)) callback(null, { subject, data });
        }
      });
    },
    subscribe(subject, options) {
      subscriptions.set(options, subject);
      const unsubscribe = () => void subscriptions.delete(options);
      return { unsubscribe, drain: () => Promise.resolve(unsubscribe()) };
    },
    status() {
      const waiting: { type: string; error?: unknown }[] = [];
      let wake = () => {};
      let isOver = false;
      const tell = (status: { type: string; error?: unknown } | undefined) => {
        if (status) waiting.push(status);
        else isOver = true;
        wake();
      };
      statuses.add(tell);
      return {
        stop() {
          statuses.delete(tell);
          tell(undefined);
        },
        async *[Symbol.asyncIterator]() {
          while (!isOver || waiting.length > 0) {
            const next = waiting.shift();
            if (next) yield next;
            else await new Promise<void>((resolve) => wake = resolve);
          }
        },
      };
    },
    happens(status) {
      if (status.type === "close") isClosed = true;
      for (const tell of statuses) tell(status);
    },
    get followers() {
      return statuses.size + subscriptions.size;
    },
  };
  return nats;
}
