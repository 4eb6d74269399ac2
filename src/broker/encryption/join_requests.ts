import type { EncryptionJwk } from "../../auth/mod.ts";
import { toBase64Url } from "../../internal/base64.ts";
import { within } from "../../internal/within.ts";
import { type JoinRequest, LEASE_MS, MAX_ASKED, writeJoin } from "./key_exchange.ts";
import type { KeyName } from "./key_ring.ts";
import type { SignedEvents } from "../signed_events.ts";
import { joinTopic } from "../topic_rules.ts";

/**
 * What a subscriber says to the publishers of its topics. Disposing it says that it wants no keys any more.
 *
 * It is for 1,024 topics. Of more, one is given up that was of no use for the longest time, of the publisher that has shown it the
 * most: nobody can push out the topics of others.
 */
export interface JoinRequests extends AsyncDisposable {
  /** Whether keys of a topic were asked for. */
  has(topic: string): boolean;
  /** Asks for the keys of a topic at once. */
  join(topic: string): Promise<void>;
  /**
   * Asks for the keys of a topic: at once, and where that was a moment ago, or a key was met, in a moment.
   *
   * @param shown Which publisher has shown the topic, and a key that was met; it is named only where it is still awaited then.
   */
  ask(shown: Shown): void;
  /** Says that a topic is of use. */
  keep(topic: string): void;
}

/** Why keys are asked for. */
export type Shown = Omit<KeyName, "kid"> & Partial<Pick<KeyName, "kid">>;

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
  const topics = new Map<string, { readonly publisher: string; sentAtMs: number | undefined }>(); // the last used last
  let renewal: ReturnType<typeof setTimeout> | undefined;
  let ended = false;

  async function send(topic: string, more: Pick<JoinRequest, "leave" | "kids"> = {}): Promise<void> {
    // Keys are given for no longer than the token holds by which it is known who asks.
    const until = Math.floor(Math.min(now() + LEASE_MS, await expiresAtMs()));
    const known = topics.get(topic);
    if (known) known.sentAtMs = now();
    if (ended && !more.leave) return;
    await signed.publish(joinTopic(topic), writeJoin({ key, subscription, until, ...more }));
    if (!ended) renewal ??= setTimeout(renew, Math.max(RETRY_MS, (until - now()) / 2));
  }

  async function renew(): Promise<void> {
    renewal = undefined;
    const sent = await Promise.allSettled([...topics.keys()].map((topic) => send(topic)));
    if (ended || sent.every(({ status }) => status === "fulfilled")) return;
    clearTimeout(renewal);
    renewal = setTimeout(renew, RETRY_MS);
  }

  function show(topic: string, publisher: string): void {
    const known = topics.get(topic);
    topics.delete(topic);
    topics.set(topic, known ?? { publisher, sentAtMs: undefined });
    if (topics.size > MAX_TOPICS) topics.delete(leastOf(topics));
  }

  async function join({ topic, publisher }: Shown, kids: readonly string[] = []): Promise<void> {
    show(topic, publisher);
    await send(topic, { kids });
  }

  const has = (topic: string) => topics.has(topic);
  const wasJustSent = (topic: string) => Math.abs(now() - (topics.get(topic)?.sentAtMs ?? -Infinity)) < ASK_MS;
  const asked = gathering({ has, wasJustSent, join, isAwaited });

  async function end(): Promise<void> {
    ended = true;
    clearTimeout(renewal);
    asked[Symbol.dispose]();
    const leaving = Promise.allSettled([...topics.keys()].map((topic) => send(topic, { leave: true })));
    await within<unknown>(leaving, () => LEAVE_MS, () => new Error("Cannot wait any longer")).catch(() => {});
  }

  return {
    has,
    join: (topic) => join({ topic, publisher: signed.id }),
    ask: asked.ask,
    keep: (topic) => topics.has(topic) && show(topic, signed.id),
    [Symbol.asyncDispose]: end,
  };
}

/** Of the publisher that has the most topics the one that was not used for the longest time. */
function leastOf(topics: ReadonlyMap<string, { readonly publisher: string }>): string {
  const counts = new Map<string, number>();
  for (const { publisher } of topics.values()) counts.set(publisher, (counts.get(publisher) ?? 0) + 1);
  const most = Math.max(...counts.values());
  return [...topics].find(([, { publisher }]) => counts.get(publisher) === most)![0];
}

interface Gathering extends Disposable {
  readonly ask: JoinRequests["ask"];
}

interface Gathered {
  readonly has: (topic: string) => boolean;
  readonly wasJustSent: (topic: string) => boolean;
  readonly join: (shown: Shown, kids?: readonly string[]) => Promise<void>;
  readonly isAwaited: (name: KeyName) => boolean;
}

/** Asks for what is missing a moment later, all of a topic together, and only for what has not come by itself. */
function gathering({ has, wasJustSent, join, isAwaited }: Gathered): Gathering {
  const asked = new Map<
    string,
    { readonly shown: Shown; readonly names: readonly KeyName[]; readonly isOwed: boolean }
  >();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;

  function ask(shown: Shown): void {
    if (ended) return;
    const { topic, publisher, kid } = shown;
    // A publisher that asks who is there does not wait for long.
    if (kid === undefined && !asked.has(topic) && !wasJustSent(topic)) return void join(shown).catch(() => {});
    const { names, isOwed } = asked.get(topic) ?? { names: [], isOwed: !has(topic) };
    const more = kid === undefined ? names : [...names, { topic, publisher, kid }];
    asked.set(topic, { shown, names: more, isOwed: isOwed || kid === undefined });
    timer ??= setTimeout(flush, ASK_MS);
  }

  function flush(): void {
    timer = undefined;
    const all = [...asked];
    asked.clear();
    for (const [, { shown, names, isOwed }] of all) {
      const awaited = names.filter(isAwaited);
      for (const name of awaited.slice(MAX_ASKED)) ask(name);
      if (awaited.length === 0 && !isOwed) continue;
      const kids = awaited.slice(0, MAX_ASKED).map(({ kid }) => kid);
      join(shown, kids).catch(() => {}); // there is another message, or another renewal
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
/** How soon one that failed is tried again, in milliseconds. */
const RETRY_MS = 5_000;
/** How long a key that was met may come by itself, in milliseconds: it is published before the message, but comes by another way. */
const ASK_MS = 100;
/** How long who ends waits until it has said so, in milliseconds. */
const LEAVE_MS = 2_000;
