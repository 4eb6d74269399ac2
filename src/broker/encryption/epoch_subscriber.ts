import type { EncryptionKey, Identity } from "../../auth/mod.ts";
import { isTopicName } from "../../internal/topic_name.ts";
import type { Subscription } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { JOSE_TYPE } from "../event.ts";
import { decryptData, readEncrypted } from "./event_encryption.ts";
import { readAnnouncement } from "./key_exchange.ts";
import { type JoinRequests, joinRequests } from "./join_requests.ts";
import { rateLimit } from "./key_rate.ts";
import { type KeyName, type KeyRing, keyRing } from "./key_ring.ts";
import { subscribeFrom } from "./key_subscription.ts";
import { encryptionThumbprint, unwrapKey, type WrappedAs } from "./key_wrap.ts";
import type { SignedEvents } from "../signed_events.ts";
import { keysTopic } from "../topic_rules.ts";
import type { VerifiedEvent } from "../verified_event.ts";

/** The keys that a subscriber decrypts with. Disposing it tells the publishers that it wants none any more. */
export interface TopicReader extends AsyncDisposable {
  /**
   * Decrypts the data of an event.
   *
   * @param event The event, verified, of a topic that was subscribed to.
   * @returns The data.
   * @throws {BrokerError} `not_encrypted`, `malformed_event`, `not_decrypted`, or `no_key`: its publisher did not give this
   *   subscriber the key, in the time that it waits for one.
   */
  decrypt(event: VerifiedEvent): Promise<string>;
}

/** How keys are got. */
export interface KeysForOptions {
  /** Who subscribes. */
  readonly identity: Pick<Identity, "credential" | "encryptionKey">;
  /** How long a message waits for its key, in milliseconds. @default {5_000} */
  readonly keyWaitMs?: number | undefined;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: (() => number) | undefined;
}

/**
 * Asks publishers for the keys of encrypted topics, and keeps those that they give.
 *
 * A topic's keys are asked for at once; of the topics of a pattern, when a publisher or a message shows that there is one.
 *
 * @param signed What publishes and subscribes.
 * @param pattern Which topics.
 * @param options Who subscribes, and what differs from the defaults.
 * @returns The keys, when they were asked for.
 * @throws {BrokerError} As the broker's.
 */
export async function keysFor(signed: SignedEvents, pattern: string, options: KeysForOptions): Promise<TopicReader> {
  const { identity, keyWaitMs = 5_000, now = Date.now } = options;
  const own = await identity.encryptionKey();
  const ring = keyRing({ keyWaitMs, now });
  const expiresAtMs = async () => (await identity.credential()).expiresAtMs;
  const requests = joinRequests(signed, { key: own.jwk, expiresAtMs, isAwaited: ring.isAwaited, now });
  const subscriber = { id: signed.id, thumbprint: await encryptionThumbprint(own.jwk) };
  const announcements = listener(signed, keysTopic(pattern), takerOf({ own, subscriber, ring, requests, now }));
  let ended: Promise<void> | undefined;
  const end = async () => {
    ring[Symbol.dispose]();
    await requests[Symbol.asyncDispose]();
    await announcements[Symbol.asyncDispose]();
  };
  const dispose = () => ended ??= end();

  try {
    await announcements.listen();
    if (isTopicName(pattern)) await requests.join(pattern);
  } catch (error) {
    await dispose();
    throw error;
  }

  const keyOf = async (name: KeyName) => {
    requests.keep(name.topic);
    return ring.get(name) ?? (ended ? undefined : await ring.wait(name, () => {
      announcements.listen().catch(() => {}); // there is another message
      requests.ask(name);
    }));
  };

  return {
    async decrypt({ topic, id, data, contentType, publisher: { id: publisher } }) {
      if (contentType !== JOSE_TYPE) {
        throw new BrokerError("not_encrypted", "Cannot take the event: its topic is encrypted, and it is not");
      }
      const event = { topic, publisher, id };
      const key = await keyOf({ topic, publisher, kid: readEncrypted(data, event) });
      if (!key) throw new BrokerError("no_key", "Cannot decrypt the event: its publisher gave no key for it");
      return await decryptData(key, event, data);
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** What announcements are taken with. */
interface Taking {
  readonly own: EncryptionKey;
  readonly subscriber: WrappedAs["subscriber"];
  readonly ring: KeyRing;
  readonly requests: JoinRequests;
  readonly now: () => number;
}

/** Takes what a publisher announces: keys that are for this subscriber, and the question who is there. */
function takerOf({ own, subscriber, ring, requests, now }: Taking): (event: VerifiedEvent) => Promise<void> {
  // A publisher that asks is answered, but not as often as it likes.
  const patience = rateLimit({ burst: 4, perSecond: 1, now });
  return async ({ topic: name, data, publisher: { id: publisher } }) => {
    const announcement = readAnnouncement(data);
    const topic = name.slice(keysTopic("").length);
    if (!announcement || name !== keysTopic(topic)) return;
    const { kid, wraps } = announcement;
    if (!requests.has(topic) || (kid === undefined && patience(`${publisher} ${topic}`))) {
      requests.ask({ topic, publisher });
    }
    if (kid === undefined || ring.get({ publisher, topic, kid })) return;
    const wrap = wraps.find(({ to, id }) => to === subscriber.thumbprint && id === subscriber.id);
    // One that cannot be unwrapped was made wrong by its publisher, who gave no key then.
    const key = wrap && await unwrapKey(own, wrap, { publisher, topic, kid, subscriber }).catch(() => undefined);
    if (!key) return;
    ring.add(key);
    requests.keep(topic);
  };
}

/** Listens to announcements, and again if that ended before it was to. */
interface Listener extends AsyncDisposable {
  listen(): Promise<void>;
}

function listener(signed: SignedEvents, pattern: string, take: (event: VerifiedEvent) => Promise<void>): Listener {
  let listening: Promise<void> | undefined;
  let subscription: Subscription<VerifiedEvent> | undefined;
  let ended = false;

  async function follow(): Promise<void> {
    const opened = await subscribeFrom(signed, pattern, "earliest");
    if (ended) return await opened[Symbol.asyncDispose]();
    subscription = opened;
    const reading = async () => {
      for await (const event of opened) await take(event);
    };
    reading().catch(() => {}).then(() => listening = undefined);
  }

  return {
    listen: () =>
      listening ??= follow().catch((error) => {
        listening = undefined;
        throw error;
      }),
    async [Symbol.asyncDispose]() {
      ended = true;
      await subscription?.[Symbol.asyncDispose]();
    },
  };
}
