import { type EncryptionKey, generateEncryptionKey, type Workload } from "../../auth/mod.ts";
import { pause } from "../../internal/pause.ts";
import { untilAborted } from "../../internal/until_aborted.ts";
import type { Subscription } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { checkEncryption, type EncryptionOptions } from "./encryption_options.ts";
import { type EpochKey, newEpochKey } from "./epoch_key.ts";
import { LEASE_MS, MAX_WRAPS, writeAnnouncement } from "./key_exchange.ts";
import { type KeyMembers, keyMembers, nameOf, type Recipients, type TakenRequest } from "./key_members.ts";
import { costLimit } from "./key_rate.ts";
import { type Recipient, wrapKey } from "./key_wrap.ts";
import { subscribeFrom } from "./key_subscription.ts";
import type { SignedEvents } from "../signed_events.ts";
import { joinTopic, keysTopic } from "../topic_rules.ts";
import type { VerifiedEvent } from "../verified_event.ts";

/** The keys that a publisher encrypts with. */
export interface TopicKeys extends AsyncDisposable {
  /**
   * The key for the next message of a topic, asked for once for each.
   *
   * It is a new one whenever somebody began to read the topic, left, may not read it any more, or did not ask again in time, and
   * when it was used for long enough. Everybody who is there was sent it, and the broker has acknowledged that. Who comes and goes
   * by itself often does not have a new one made each time: of more than 16 changes, there is one each second, or with many
   * members each 5 ms for every member. Until then who came is given the present key when it asks for it.
   *
   * The first one of a topic, and the first one after the broker was out of reach, take a quarter of a second, in which those who
   * read it already say so, and up to 5 s while they still do. Who comes later cannot read what was published under older keys.
   *
   * @param topic The topic's name.
   * @returns The key.
   * @throws {BrokerError} As the broker's; `full` for more than 1,024 topics, `closed`.
   */
  current(topic: string): Promise<EpochKey>;
}

/** A key, and who has it. */
interface Epoch {
  readonly key: EpochKey;
  readonly madeAtMs: number;
  /** The names of those that it was sent. */
  readonly holders: Set<string>;
  /** Who is there, when it was seen last that all of them have it and nobody else. */
  settled: Recipients | undefined;
  /** Their identities, and those of who came while it was the present one: they are given it when they ask for it. */
  readonly identities: Set<string>;
  messages: number;
}

/** One topic. */
interface TopicState {
  readonly topic: string;
  readonly members: KeyMembers;
  /** The present one last. */
  readonly epochs: Epoch[];
  /** Whether there may be a new key for who came or left by itself, of so many milliseconds of work. */
  readonly mayChange: (costMs: number) => boolean;
  /** Who asked for which older key and was not answered yet. */
  answers: Map<Epoch, Map<string, Recipient>>;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** Settled when it is known who is there; absent where nobody listens. */
  opened: Promise<void> | undefined;
  isOpen: boolean;
  /** How many requests came. */
  heard: number;
  rotating: Promise<void> | undefined;
  subscription: Subscription<VerifiedEvent> | undefined;
}

/**
 * Makes the keys for encrypted topics, and sends them to those who read them.
 *
 * @param signed What publishes and subscribes.
 * @param options How long a key is used, and the clock.
 * @returns The keys.
 * @throws {RangeError} An option is out of its range.
 */
export function topicKeys(
  signed: SignedEvents,
  options: EncryptionOptions & { readonly now?: (() => number) | undefined } = {},
): TopicKeys {
  const { rotateMs, maxMessages } = checkEncryption(options);
  const { now = Date.now } = options;
  const topics = new Map<string, TopicState>();
  const ended = new AbortController();
  let trial: Promise<EncryptionKey> | undefined;
  const ownKey = () => trial ??= generateEncryptionKey();

  function stateOf(topic: string): TopicState {
    const known = topics.get(topic);
    if (known) return known;
    if (topics.size >= MAX_TOPICS) throw new BrokerError("full", `Cannot encrypt for more than ${MAX_TOPICS} topics`);
    const mayRead = (reader: Workload) => signed.mayRead(reader, topic);
    const members = keyMembers({ mayRead, revision: () => signed.revision, ownKey, now });
    const state = newTopic(topic, members, costLimit({ mostMs: MAX_CHANGES * CHANGE_MS, now }));
    topics.set(topic, state);
    return state;
  }

  const isSpent = ({ madeAtMs, messages }: Epoch) => messages >= maxMessages || now() - madeAtMs >= rotateMs;
  // A broker that does not answer is not waited for any longer than until it is over.
  const whileOpen = (done: Promise<void>) => untilAborted(done, ended.signal, closed);
  const own: Publisher = { signed, signal: ended.signal, now };

  return {
    async current(topic) {
      assertOpen(ended.signal);
      const state = stateOf(topic);
      if (!state.isOpen) {
        await whileOpen(
          state.opened ??= open(own, state).catch((error) => {
            state.opened = undefined;
            throw error;
          }),
        );
      }
      for (let isNew = false;;) {
        assertOpen(ended.signal);
        const epoch = state.epochs.at(-1);
        if (epoch && !isSpent(epoch) && isUsable(state, epoch, isNew)) {
          epoch.messages++;
          return epoch.key;
        }
        isNew = state.rotating === undefined; // one that is being made may lack who came before this message
        await whileOpen(state.rotating ??= rotate(own, state).finally(() => state.rotating = undefined));
      }
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await Promise.allSettled([...topics.values()].map(close));
      topics.clear();
    },
  };
}

/** Who publishes. */
interface Publisher {
  readonly signed: SignedEvents;
  readonly signal: AbortSignal;
  readonly now: () => number;
}

const newTopic = (topic: string, members: KeyMembers, mayChange: TopicState["mayChange"]): TopicState => ({
  topic,
  members,
  mayChange,
  epochs: [],
  answers: new Map(),
  timer: undefined,
  opened: undefined,
  isOpen: false,
  heard: 0,
  rotating: undefined,
  subscription: undefined,
});

async function close(state: TopicState): Promise<void> {
  const { subscription } = state;
  state.subscription = undefined; // nothing is answered any more
  clearTimeout(state.timer);
  await subscription?.[Symbol.asyncDispose]();
}

/**
 * Whether nobody has a key who may not, and everybody who is there has it; of a new one, those who came while the others were
 * being sent it have theirs before the next message. Who changes something by itself may have to wait for another key.
 */
function isUsable(state: TopicState, epoch: Epoch, isNew: boolean): boolean {
  const present = state.members.present();
  if (present === epoch.settled) return true;
  const gone = [...epoch.holders].filter((name) => !present.has(name));
  if (!gone.every(state.members.hasLeft)) return false;
  if (gone.length === 0 && [...present.keys()].every((name) => epoch.holders.has(name))) {
    epoch.settled = present;
    return true;
  }
  if (isNew && gone.length === 0) return true;
  return !state.rotating && !state.mayChange(Math.max(CHANGE_MS, present.size * WRAP_MS));
}

/** Listens to who asks for keys, asks who is there, and gives them time to say so. */
async function open({ signed, signal, now }: Publisher, state: TopicState): Promise<void> {
  // Who has asked before that has no keys any more, or asks again: a broker may have kept a week of it.
  const start = { time: new Date(Math.max(0, now() - LEASE_MS - SKEW_MS)) };
  const subscription = await subscribeFrom(signed, joinTopic(state.topic), start);
  const askedAtMs = now();
  try {
    assertOpen(signal);
    await signed.publish(keysTopic(state.topic), writeAnnouncement({ wraps: [] }), { signal });
    assertOpen(signal);
  } catch (error) {
    await subscription[Symbol.asyncDispose]();
    throw error;
  }
  state.subscription = subscription;
  listen({ signed, signal, now }, state, subscription);
  // The broker's own answer shows how far it is to it.
  await gather(state, signal, Math.min(Math.max(GATHER_MS, 4 * (now() - askedAtMs)), MAX_GATHER_MS));
  state.isOpen = state.subscription === subscription;
}

/** Waits for a time, and on until nobody has said anything for a moment. */
async function gather(state: TopicState, signal: AbortSignal, leastMs: number): Promise<void> {
  await pause(leastMs - QUIET_MS, signal);
  for (let waitedMs = leastMs; waitedMs <= MAX_GATHER_MS && !signal.aborted; waitedMs += QUIET_MS) {
    const { heard } = state;
    await pause(QUIET_MS, signal);
    if (state.heard === heard) return;
  }
}

/** Takes requests until the subscription ends; another one is made for the next message. */
async function listen(own: Publisher, state: TopicState, subscription: Subscription<VerifiedEvent>): Promise<void> {
  try {
    for await (const event of subscription) {
      state.heard++;
      const request = await state.members.take(event);
      if (request && state.subscription === subscription) noteAnswers(own, state, request);
    }
  } catch {
    // Whoever publishes next is told why, if it cannot be made again.
  }
  if (state.subscription !== subscription) return;
  state.subscription = state.opened = undefined;
  state.isOpen = false;
}

/** Makes a key and sends it to all who are there, before it is used. */
async function rotate(own: Publisher, state: TopicState): Promise<void> {
  const recipients = state.members.present();
  const key = await newEpochKey({ topic: state.topic, publisher: own.signed.id });
  await announce(own, key, [...recipients.values()]);
  const there = [...recipients.values(), ...state.members.present().values()];
  const identities = new Set(there.map(({ id }) => id));
  const holders = new Set(recipients.keys());
  state.epochs.push({ key, madeAtMs: own.now(), holders, settled: undefined, identities, messages: 0 });
  if (state.epochs.length > MAX_EPOCHS) state.epochs.shift();
}

async function announce(
  { signed, signal }: Publisher,
  key: EpochKey,
  recipients: readonly Recipient[],
): Promise<void> {
  for (let first = 0; first < recipients.length; first += MAX_WRAPS) {
    assertOpen(signal);
    const some = recipients.slice(first, first + MAX_WRAPS);
    const wraps = await Promise.all(some.map(async (recipient) => {
      const { id, thumbprint } = recipient;
      return { to: thumbprint, id, ...await wrapKey(key, recipient) };
    }));
    await signed.publish(keysTopic(key.topic), writeAnnouncement({ kid: key.kid, wraps }), { signal });
  }
}

/** Somebody asks for keys that its identity may have: all who do so within a moment are answered together. */
function noteAnswers(own: Publisher, state: TopicState, { recipient, kids }: TakenRequest): void {
  // It may read what is published now, and the present key is in use until there is another one.
  const present = state.epochs.at(-1)?.identities;
  if (present && present.size < MAX_IDENTITIES) present.add(recipient.id);
  for (const kid of kids) {
    const epoch = state.epochs.find(({ key }) => key.kid === kid);
    if (!epoch?.identities.has(recipient.id)) continue;
    const waiting = state.answers.get(epoch) ?? new Map<string, Recipient>();
    state.answers.set(epoch, waiting.set(nameOf(recipient), recipient));
  }
  if (state.answers.size > 0) state.timer ??= setTimeout(() => answer(own, state), ANSWER_MS);
}

async function answer(own: Publisher, state: TopicState): Promise<void> {
  state.timer = undefined;
  const { answers } = state;
  state.answers = new Map();
  for (const [{ key, holders }, waiting] of answers) {
    const present = state.members.present();
    const recipients = [...waiting].flatMap(([name, recipient]) => present.has(name) ? [recipient] : []);
    for (const recipient of recipients) holders.add(nameOf(recipient)); // when they go, it is used no more
    await announce(own, key, recipients).catch(() => {}); // who does not get it asks again
  }
}

const closed = () => new BrokerError("closed", "Cannot encrypt: the publisher is closed");

function assertOpen(signal: AbortSignal): void {
  if (signal.aborted) throw closed();
}

const MAX_TOPICS = 1_024;
/** How many keys of a topic are kept for those who have lost them. */
const MAX_EPOCHS = 8;
/** To how many identities a key is given. */
const MAX_IDENTITIES = 8_192;
/** How long subscribers have to answer who is there, in milliseconds. */
const GATHER_MS = 250;
/** How long they have while one of them said so in the last moment, and how long that is, in milliseconds. */
const MAX_GATHER_MS = 5_000;
const QUIET_MS = 100;
/** How far the clocks of a subscriber, a broker and a publisher may be apart, in milliseconds. */
const SKEW_MS = 60_000;
/** How often members may change by themselves at once, and how often in time each change may be another key, in milliseconds. */
const MAX_CHANGES = 16;
const CHANGE_MS = 1_000;
/** Five times what it takes to wrap a key for one of them, in milliseconds. */
const WRAP_MS = 5;
/** How long requests for older keys are gathered, in milliseconds. */
const ANSWER_MS = 50;
