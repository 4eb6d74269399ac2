import type { Workload } from "../auth/mod.ts";
import type { BrokerSubscribeOptions, Subscription } from "./broker.ts";
import { JSON_TYPE } from "./event.ts";
import type { Gate } from "./gate.ts";
import type { Publishing } from "./publishing.ts";
import { subscribing } from "./subscribing.ts";
import { mayReceive } from "./topic_rules.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** Signed events over a broker, for what is not a topic of the user's: the exchange of keys. */
export interface SignedEvents {
  /** Who publishes. */
  readonly id: string;
  /** Another number whenever something may have been revoked: until then, who may read goes on to. */
  readonly revision: number;
  /**
   * Signs and publishes.
   *
   * @param topic The topic's name.
   * @param data Canonical JSON.
   * @param options What ends the waiting for the broker.
   */
  publish(topic: string, data: string, options?: { readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Subscribes to verified events whose publishers may publish them; what is not verified is left out and audited.
   *
   * @param pattern Names of topics.
   * @param options As a broker takes them.
   */
  subscribe(pattern: string, options?: BrokerSubscribeOptions): Promise<Subscription<VerifiedEvent>>;
  /** Whether an identity may now read a topic, by the policy and by what was revoked. */
  mayRead(reader: Workload, topic: string): boolean;
}

/**
 * Signs and verifies events under the rules of a gate, each taken once.
 *
 * @param gate What they have to pass.
 * @param publisher What publishes them; another one than that of the messages, which wait for keys.
 */
export function signedEvents(gate: Gate, publisher: Pick<Publishing, "data">): SignedEvents {
  return {
    id: gate.identity.id,
    get revision() {
      return gate.trust.revision;
    },
    async publish(topic, data, options) {
      await publisher.data(topic, { contentType: JSON_TYPE, text: () => data }, options);
    },
    async subscribe(pattern, options = {}) {
      const read = (event: VerifiedEvent) => Promise.resolve(event);
      const receiving = { pattern, maxAgeMs: WEEK_MS, read };
      const setup = { gate, options, receiving, ...ALONE };
      const messages = await subscribing(setup);
      const events = async function* () {
        for await (const { data, ack } of messages) {
          ack();
          yield data as VerifiedEvent;
        }
      };
      return {
        get dropped() {
          return messages.dropped;
        },
        [Symbol.asyncIterator]: events,
        drain: () => messages.drain(),
        [Symbol.asyncDispose]: () => messages[Symbol.asyncDispose](),
      };
    },
    mayRead(reader, topic) {
      if (!mayReceive(gate.policy, reader, topic)) return false;
      const { id, thumbprint, tokenId, trustDomain } = reader;
      try {
        gate.trust.assertNotRevoked(trustDomain, { id, key: thumbprint, tokens: [tokenId] });
        return true;
      } catch {
        return false;
      }
    },
  };
}

const WEEK_MS = 604_800_000;
const ALONE = { maxAttempts: Infinity, bury: undefined, idempotency: undefined, ended() {} };
