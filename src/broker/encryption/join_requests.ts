import type { EncryptionJwk } from "../../auth/mod.ts";
import { toBase64Url } from "../../internal/base64.ts";
import { within } from "../../internal/within.ts";
import { BrokerError } from "../broker_error.ts";
import { type JoinRequest, MAX_ASKED, writeJoin } from "./key_exchange.ts";
import type { KeyName } from "./key_ring.ts";
import type { SignedEvents } from "../signed_events.ts";
import { joinTopic } from "../topic_rules.ts";

/** What a subscriber says to the publishers of its topics. Disposing it says that it wants no keys any more. */
export interface JoinRequests extends AsyncDisposable {
  /** Whether keys of a topic were asked for. */
  has(topic: string): boolean;
  /** Asks for the keys of a topic at once. */
  join(topic: string): Promise<void>;
  /**
   * Asks for the keys of a topic in a moment, with others.
   *
   * @param topic The topic's name.
   * @param missing A key that was met; it is named only where it is still awaited then.
   */
  ask(topic: string, missing?: KeyName): void;
}

/** Who asks. */
export interface JoinRequestsOptions {
  /** By which key it is to get keys. */
  readonly key: EncryptionJwk;
  /** When its identity token ends. */
  readonly expiresAtMs: () => Promise<number>;
  /** Whether a key is still awaited. */
  readonly isAwaited: (name: KeyName) => boolean;
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Makes what asks for keys, and asks again when half of the time is over for which it has asked.
 *
 * @param signed What publishes.
 * @param options Who asks.
 */
export function joinRequests(signed: SignedEvents, options: JoinRequestsOptions): JoinRequests {
  const { key, expiresAtMs, isAwaited, now } = options;
  const subscription = toBase64Url(crypto.getRandomValues(new Uint8Array(16)));
  const topics = new Set<string>();
  let renewal: ReturnType<typeof setTimeout> | undefined;
  let ended = false;

  async function send(topic: string, more: Pick<JoinRequest, "leave" | "kids"> = {}): Promise<void> {
    // Keys are given for no longer than the token holds by which it is known who asks.
    const until = Math.floor(Math.min(now() + LEASE_MS, await expiresAtMs()));
    if (ended && !more.leave) return;
    await signed.publish(joinTopic(topic), writeJoin({ key, subscription, until, ...more }));
    if (!ended) renewal ??= setTimeout(renew, Math.max(RETRY_MS, (until - now()) / 2));
  }

  async function renew(): Promise<void> {
    renewal = undefined;
    const sent = await Promise.allSettled([...topics].map((topic) => send(topic)));
    if (ended || sent.every(({ status }) => status === "fulfilled")) return;
    clearTimeout(renewal);
    renewal = setTimeout(renew, RETRY_MS);
  }

  async function join(topic: string, names: readonly KeyName[] = []): Promise<void> {
    if (!topics.has(topic) && topics.size >= MAX_TOPICS) {
      throw new BrokerError("full", `Cannot ask for the keys of more than ${MAX_TOPICS} topics`);
    }
    topics.add(topic);
    await send(topic, { kids: names.map(({ kid }) => kid) });
  }

  const has = (topic: string) => topics.has(topic);
  const asked = gathering({ has, join, isAwaited });

  async function end(): Promise<void> {
    ended = true;
    clearTimeout(renewal);
    asked[Symbol.dispose]();
    const leaving = Promise.allSettled([...topics].map((topic) => send(topic, { leave: true })));
    await within<unknown>(leaving, () => LEAVE_MS, () => new Error("Cannot wait any longer")).catch(() => {});
  }

  return { has, join, ask: asked.ask, [Symbol.asyncDispose]: end };
}

interface Gathering extends Disposable {
  readonly ask: JoinRequests["ask"];
}

interface Gathered {
  readonly has: (topic: string) => boolean;
  readonly join: (topic: string, names: readonly KeyName[]) => Promise<void>;
  readonly isAwaited: (name: KeyName) => boolean;
}

/** Asks for what is missing a moment later, all of a topic together, and only for what has not come by itself. */
function gathering({ has, join, isAwaited }: Gathered): Gathering {
  const asked = new Map<string, { readonly names: readonly KeyName[]; readonly isOwed: boolean }>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;

  function ask(topic: string, missing?: KeyName): void {
    if (ended) return;
    const { names, isOwed } = asked.get(topic) ?? { names: [], isOwed: !has(topic) };
    asked.set(topic, { names: missing ? [...names, missing] : names, isOwed: isOwed || !missing });
    timer ??= setTimeout(flush, ASK_MS);
  }

  function flush(): void {
    timer = undefined;
    const all = [...asked];
    asked.clear();
    for (const [topic, { names, isOwed }] of all) {
      const awaited = names.filter(isAwaited);
      for (const name of awaited.slice(MAX_ASKED)) ask(topic, name);
      if (awaited.length === 0 && !isOwed) continue;
      join(topic, awaited.slice(0, MAX_ASKED)).catch(() => {}); // there is another message, or another renewal
    }
  }

  return {
    ask,
    [Symbol.dispose]() {
      ended = true;
      clearTimeout(timer);
    },
  };
}

const MAX_TOPICS = 1_024;
/** For how long keys are asked for, in milliseconds. */
const LEASE_MS = 600_000;
/** How soon one that failed is tried again, in milliseconds. */
const RETRY_MS = 5_000;
/** How long a key that was met may come by itself, in milliseconds: it is published before the message, but comes by another way. */
const ASK_MS = 100;
/** How long who ends waits until it has said so, in milliseconds. */
const LEAVE_MS = 2_000;
