// A publisher and subscribers of encrypted topics over a stand-in for signed events, on a clock and with timers that stand still.
import type { Identity } from "../../src/auth/mod.ts";
import { BrokerError } from "../../src/broker/broker_error.ts";
import type { EncryptionOptions } from "../../src/broker/encryption/encryption_options.ts";
import { type TopicKeys, topicKeys } from "../../src/broker/encryption/epoch_publisher.ts";
import { keysFor, type TopicReader } from "../../src/broker/encryption/epoch_subscriber.ts";
import { type KeyAnnouncement, readAnnouncement } from "../../src/broker/encryption/key_exchange.ts";
import { type World, world } from "../auth/_world.ts";
import { type HeldTimers, heldTimers } from "../registry/_rig.ts";
import { type Bus, messageOf, signedBus, until } from "./_signed_bus.ts";

export const TOPIC = "orders.v1.placed";
/** Of a quarter of a second, all but the last moment. */
export const GATHER_MS = 150;
export const QUIET_MS = 100;
export const ASK_MS = 100;
export const ANSWER_MS = 50;
export const WAIT_MS = 5_000;

export interface Publisher extends AsyncDisposable {
  readonly identity: Identity;
  readonly keys: TopicKeys;
  /** The key for the next message; fires what the first one waits for. */
  current(topic?: string): ReturnType<TopicKeys["current"]>;
  /** A message of it, encrypted. */
  say(text: string, topic?: string): ReturnType<typeof messageOf>;
}

export interface Epochs extends Disposable {
  readonly world: World;
  readonly bus: Bus;
  readonly timers: HeldTimers;
  publisher(name?: string, options?: EncryptionOptions): Promise<Publisher>;
  reader(identity: Identity, pattern?: string): Promise<TopicReader>;
  join(name: string): Promise<Identity>;
  /** The announcements of keys so far. */
  announced(): KeyAnnouncement[];
  /** Lets all timers of a length run, and what follows. */
  fire(ms: number): Promise<void>;
  /** What a reader makes of a message: its text, or the reason why not, without waiting for a key. */
  outcome(reader: TopicReader, message: Awaited<ReturnType<typeof messageOf>>): Promise<string>;
}

export async function epochs(): Promise<Epochs> {
  const own = await world();
  const bus = await signedBus(own);
  const timers = heldTimers();
  const { now } = own;
  const join = (name: string) => own.join(`spiffe://example.org/${name}`);
  const fire = async (ms: number) => {
    await bus.idle();
    while (timers.waits().includes(ms)) timers.fire(ms);
    await bus.idle();
  };
  /** Lets everything happen that a promise waits for, one timer after the other. */
  const settled = async <Value>(promise: Promise<Value>, waits: readonly number[]): Promise<Value> => {
    let done = false;
    const end = () => void (done = true);
    promise.then(end, end);
    while (!done) {
      await until(() => done || waits.some((ms) => timers.waits().includes(ms)));
      for (const ms of waits) {
        if (!done) await fire(ms);
      }
    }
    return await promise;
  };
  return {
    world: own,
    bus,
    timers,
    join,
    fire,
    async publisher(name = "orders", options = {}) {
      const identity = await join(name);
      const keys = topicKeys(await bus.as(identity), { now, ...options });
      const current = (topic = TOPIC) => settled(keys.current(topic), [ASK_MS, GATHER_MS, QUIET_MS]);
      return {
        identity,
        keys,
        current,
        async say(text, topic = TOPIC) {
          const message = await messageOf(bus, { identity, keys: { ...keys, current } }, topic, text);
          await bus.idle();
          return message;
        },
        [Symbol.asyncDispose]: () => keys[Symbol.asyncDispose](),
      };
    },
    reader: async (identity, pattern = TOPIC) => {
      const reader = await keysFor(await bus.as(identity), pattern, { identity, now });
      await bus.idle();
      return reader;
    },
    announced: () =>
      bus.log.flatMap(({ topic, data }) => topic.startsWith("postern.keys.") ? [readAnnouncement(data)!] : []),
    async outcome(reader, message) {
      const reading = reader.decrypt(message).catch((error) => {
        if (error instanceof BrokerError) return error.reason;
        throw error;
      });
      return await settled(reading, [ASK_MS, ANSWER_MS, WAIT_MS]);
    },
    [Symbol.dispose]: () => timers[Symbol.dispose](),
  };
}

/** One that hears all that an identity may hear, with its key, and asks for nothing. */
export async function spyOf(rig: Epochs, identity: Identity): Promise<TopicReader> {
  const signed = await rig.bus.as(identity);
  return await keysFor({ ...signed, publish: () => Promise.resolve() }, TOPIC, { identity, now: rig.world.now });
}
