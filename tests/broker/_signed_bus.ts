// What stands in for signed events over a broker: everybody's events in one place, verified by definition, so that what is tested
// is what publishers and subscribers of encrypted topics do with them.
import type { Identity, Workload } from "../../src/auth/mod.ts";
import type { StartPosition, Subscription } from "../../src/broker/broker.ts";
import { BrokerError } from "../../src/broker/broker_error.ts";
import { JOSE_TYPE } from "../../src/broker/event.ts";
import { encryptData } from "../../src/broker/encryption/event_encryption.ts";
import type { SignedEvents } from "../../src/broker/signed_events.ts";
import type { TopicKeys } from "../../src/broker/encryption/epoch_publisher.ts";
import type { VerifiedEvent } from "../../src/broker/verified_event.ts";
import { coversTopic } from "../../src/internal/topic_name.ts";
import type { World } from "../auth/_world.ts";

export interface Bus {
  /** All that was published, in its order. */
  readonly log: VerifiedEvent[];
  /** Who may not read anything any more. */
  readonly revoked: Set<string>;
  /** Whether it keeps events for who comes later. */
  keeps: boolean;
  /** What was asked for with each subscription. */
  readonly starts: { readonly pattern: string; readonly start: StartPosition | undefined }[];
  /** What ends each publish. */
  readonly signals: (AbortSignal | undefined)[];
  /** How often somebody was revoked, or was not any more. */
  revision: number;
  /** How often it was asked who may read. */
  judged: number;
  /** Stands before each publish; it may wait, and it may throw. */
  gate: (topic: string) => Promise<void> | void;
  as(identity: Identity): Promise<SignedEvents>;
  /** Makes an event, numbered as the next one of its publisher. */
  eventOf(identity: Identity, topic: string, data: string, changes?: Partial<VerifiedEvent>): Promise<VerifiedEvent>;
  /** Gives an event to all who listen. */
  deliver(event: VerifiedEvent): void;
  /** Waits until all that was published has been dealt with. */
  idle(): Promise<void>;
  /** How many subscriptions there are. */
  listening(): number;
  /** Ends all subscriptions, as a broker does that is out of reach. */
  cut(): void;
}

interface Listener {
  readonly pattern: string;
  readonly queue: VerifiedEvent[];
  wake: (() => void) | undefined;
  ended: boolean;
}

const { setTimeout: turn } = globalThis; // not one that a test holds

/** Waits for a condition. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => turn(done, 0));
}

export async function signedBus({ trust, now }: World): Promise<Bus> {
  const { privateKey } = await crypto.subtle.generateKey("Ed25519", false, ["sign"]) as CryptoKeyPair;
  const listeners = new Set<Listener>();
  const numbers = new Map<string, number>();
  const workload = async (identity: Identity): Promise<Workload> =>
    await trust.verify((await identity.credential()).token.reveal());

  const bus: Bus = {
    log: [],
    revoked: countedSet(() => bus.revision++),
    keeps: false,
    starts: [],
    signals: [],
    revision: 0,
    judged: 0,
    gate: () => {},
    async eventOf(identity, topic, data, changes) {
      const publisher = await workload(identity);
      const name = `${identity.id} ${topic}`;
      const sequence = (numbers.get(name) ?? 0) + 1;
      numbers.set(name, sequence);
      const contentType = "application/json";
      const about = { id: `e${sequence}`, producer: "p".repeat(22), sequence, timeMs: now(), orderingKey: undefined };
      return { topic, publisher, contentType, data, ...about, ...changes };
    },
    deliver(event) {
      for (const listener of listeners) {
        if (!coversTopic(listener.pattern, event.topic)) continue;
        listener.queue.push(event);
        listener.wake?.();
      }
    },
    async as(identity) {
      await Promise.resolve();
      return {
        id: identity.id,
        get revision() {
          return bus.revision;
        },
        async publish(topic, data, { signal } = {}) {
          bus.signals.push(signal);
          await bus.gate(topic);
          const event = await bus.eventOf(identity, topic, data);
          bus.log.push(event);
          bus.deliver(event);
        },
        // deno-lint-ignore require-await
        async subscribe(pattern, { start } = {}) {
          if (start !== undefined && !bus.keeps) throw new BrokerError("unsupported", "Cannot begin there");
          const fromMs = start === "earliest"
            ? 0
            : (start as { readonly time?: Date } | undefined)?.time?.getTime() ?? Infinity;
          const before = bus.log.filter(({ topic, timeMs }) => coversTopic(pattern, topic) && timeMs >= fromMs);
          bus.starts.push({ pattern, start });
          const listener: Listener = { pattern, queue: before, wake: undefined, ended: false };
          listeners.add(listener);
          return subscriptionOf(listener, () => listeners.delete(listener));
        },
        mayRead(reader) {
          bus.judged++;
          return !bus.revoked.has(reader.id);
        },
      };
    },
    async idle() {
      // A few times in a row: who was given something may publish only when it has computed something, as this does too.
      for (let quiet = 0; quiet < 4; quiet++) {
        await until(() => [...listeners].every(({ queue, wake }) => queue.length === 0 && wake !== undefined));
        const busy = Array.from({ length: 4 }, () => crypto.subtle.sign("Ed25519", privateKey, new Uint8Array(64)));
        await Promise.all(busy);
        await new Promise((done) => turn(done, 0));
      }
    },
    listening: () => listeners.size,
    cut() {
      for (const listener of listeners) {
        listener.ended = true;
        listener.wake?.();
      }
      listeners.clear();
    },
  };
  return bus;
}

/** A set that tells each change. */
function countedSet(change: () => void): Set<string> {
  const own = new Set<string>();
  const [add, remove] = [own.add.bind(own), own.delete.bind(own)];
  return Object.assign(own, {
    add: (each: string) => (change(), add(each)),
    delete: (each: string) => (change(), remove(each)),
  });
}

function subscriptionOf(listener: Listener, end: () => void): Subscription<VerifiedEvent> {
  const next = async (): Promise<IteratorResult<VerifiedEvent>> => {
    while (listener.queue.length === 0 && !listener.ended) {
      await new Promise<void>((resolve) => listener.wake = resolve);
      listener.wake = undefined;
    }
    const value = listener.queue.shift();
    return value && !listener.ended ? { done: false, value } : { done: true, value: undefined };
  };
  const dispose = () => {
    listener.ended = true;
    listener.wake?.();
    end();
    return Promise.resolve();
  };
  return {
    dropped: 0,
    drain: dispose,
    [Symbol.asyncDispose]: dispose,
    [Symbol.asyncIterator]: () => ({
      next,
      return: async () => {
        await dispose();
        return { done: true, value: undefined };
      },
    }),
  };
}

/** Encrypts a message as a publisher does, and gives the event that its subscribers verify. */
export async function messageOf(bus: Bus, from: { identity: Identity; keys: TopicKeys }, topic: string, text: string) {
  const epoch = await from.keys.current(topic);
  const event = await bus.eventOf(from.identity, topic, "", { contentType: JOSE_TYPE });
  const data = await encryptData(epoch, { topic, publisher: from.identity.id, id: event.id }, text);
  return { ...event, data, kid: epoch.kid };
}
