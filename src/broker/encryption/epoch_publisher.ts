import { type EncryptionKey, generateEncryptionKey } from "../../auth/mod.ts";
import { pause } from "../../internal/pause.ts";
import type { Subscription } from "../broker.ts";
import { BrokerError } from "../broker_error.ts";
import { checkEncryption, type EncryptionOptions } from "./encryption_options.ts";
import { type EpochKey, newEpochKey } from "./epoch_key.ts";
import { MAX_WRAPS, writeAnnouncement } from "./key_exchange.ts";
import { type KeyMembers, keyMembers, type Recipients, type TakenRequest } from "./key_members.ts";
import { type Recipient, wrapKey } from "./key_wrap.ts";
import { subscribeFromStart } from "./key_subscription.ts";
import type { SignedEvents } from "../signed_events.ts";
import { joinTopic, keysTopic } from "../topic_rules.ts";
import type { VerifiedEvent } from "../verified_event.ts";

/** The keys that a publisher encrypts with. */
export interface TopicKeys extends AsyncDisposable {
  /**
   * The key for the next message of a topic, asked for once for each.
   *
   * It is a new one whenever somebody began to read the topic, left, may not read it any more, or did not ask again in time, and
   * when it was used for long enough. Everybody who is there was sent it, and the broker has acknowledged that.
   *
   * The first one of a topic, and the first one after the broker was out of reach, take a quarter of a second, in which those who
   * read it already say so. Who comes later cannot read what was published before, and where nobody has come, nobody can.
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
  readonly recipients: Recipients;
  /** The identities of those, who may have it again. */
  readonly identities: ReadonlySet<string>;
  messages: number;
}

/** One topic. */
interface TopicState {
  readonly topic: string;
  readonly members: KeyMembers;
  /** The present one last. */
  readonly epochs: Epoch[];
  /** Who asked for which older key and was not answered yet. */
  answers: Map<Epoch, Map<string, Recipient>>;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** Settled when it is known who is there; absent where nobody listens. */
  opened: Promise<void> | undefined;
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
    const state = newTopic(topic, keyMembers({ mayRead: (reader) => signed.mayRead(reader, topic), ownKey, now }));
    topics.set(topic, state);
    return state;
  }

  const isSpent = ({ madeAtMs, messages }: Epoch) => messages >= maxMessages || now() - madeAtMs >= rotateMs;

  return {
    async current(topic) {
      assertOpen(ended.signal);
      const state = stateOf(topic);
      await (state.opened ??= open(signed, state, ended.signal).catch((error) => {
        state.opened = undefined;
        throw error;
      }));
      for (let isNew = false;;) {
        assertOpen(ended.signal);
        const epoch = state.epochs.at(-1);
        if (epoch && !isSpent(epoch) && hasAll(epoch, state.members.present(), isNew)) {
          epoch.messages++;
          return epoch.key;
        }
        isNew = state.rotating === undefined; // one that is being made may lack who came before this message
        await (state.rotating ??= rotate(signed, state, now).finally(() => state.rotating = undefined));
      }
    },
    async [Symbol.asyncDispose]() {
      ended.abort();
      await Promise.allSettled([...topics.values()].map(close));
      topics.clear();
    },
  };
}

const newTopic = (topic: string, members: KeyMembers): TopicState => ({
  topic,
  members,
  epochs: [],
  answers: new Map(),
  timer: undefined,
  opened: undefined,
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
 * Whether nobody has a key who is gone, and everybody who is there has it; of a new one, those who came while the others were
 * being sent it have theirs before the next message.
 */
function hasAll({ recipients }: Epoch, present: Recipients, isNew: boolean): boolean {
  if (present === recipients) return true;
  return coversAll(present, recipients) && (isNew || coversAll(recipients, present));
}

/** Listens to who asks for keys, asks who is there, and gives them time to say so. */
async function open(signed: SignedEvents, state: TopicState, signal: AbortSignal): Promise<void> {
  const subscription = await subscribeFromStart(signed, joinTopic(state.topic));
  try {
    assertOpen(signal);
    await signed.publish(keysTopic(state.topic), writeAnnouncement({ wraps: [] }));
    assertOpen(signal);
  } catch (error) {
    await subscription[Symbol.asyncDispose]();
    throw error;
  }
  state.subscription = subscription;
  listen(signed, state, subscription);
  await pause(GATHER_MS, signal);
}

/** Takes requests until the subscription ends; another one is made for the next message. */
async function listen(
  signed: SignedEvents,
  state: TopicState,
  subscription: Subscription<VerifiedEvent>,
): Promise<void> {
  try {
    for await (const event of subscription) {
      const request = await state.members.take(event);
      if (request && state.subscription === subscription) noteAnswers(signed, state, request);
    }
  } catch {
    // Whoever publishes next is told why, if it cannot be made again.
  }
  if (state.subscription === subscription) state.subscription = state.opened = undefined;
}

/** Makes a key and sends it to all who are there, before it is used. */
async function rotate(signed: SignedEvents, state: TopicState, now: () => number): Promise<void> {
  const recipients = state.members.present();
  const key = await newEpochKey({ topic: state.topic, publisher: signed.id });
  await announce(signed, key, [...recipients.values()]);
  const identities = new Set([...recipients.values()].map(({ id }) => id));
  state.epochs.push({ key, madeAtMs: now(), recipients, identities, messages: 0 });
  if (state.epochs.length > MAX_EPOCHS) state.epochs.shift();
}

async function announce(signed: SignedEvents, key: EpochKey, recipients: readonly Recipient[]): Promise<void> {
  for (let first = 0; first < recipients.length; first += MAX_WRAPS) {
    const some = recipients.slice(first, first + MAX_WRAPS);
    const wraps = await Promise.all(some.map(async (recipient) => {
      const { id, thumbprint } = recipient;
      return { to: thumbprint, id, ...await wrapKey(key, recipient) };
    }));
    await signed.publish(keysTopic(key.topic), writeAnnouncement({ kid: key.kid, wraps }));
  }
}

/** Somebody asks for keys again that its identity was sent already: all who do so within a moment are answered together. */
function noteAnswers(signed: SignedEvents, state: TopicState, { recipient, kids }: TakenRequest): void {
  for (const kid of kids) {
    const epoch = state.epochs.find(({ key }) => key.kid === kid);
    if (!epoch?.identities.has(recipient.id)) continue;
    const waiting = state.answers.get(epoch) ?? new Map<string, Recipient>();
    state.answers.set(epoch, waiting.set(`${recipient.id} ${recipient.thumbprint}`, recipient));
  }
  if (state.answers.size > 0) state.timer ??= setTimeout(() => answer(signed, state), ANSWER_MS);
}

async function answer(signed: SignedEvents, state: TopicState): Promise<void> {
  state.timer = undefined;
  const { answers } = state;
  state.answers = new Map();
  for (const [{ key }, waiting] of answers) {
    const present = state.members.present();
    const recipients = [...waiting].flatMap(([name, recipient]) => present.has(name) ? [recipient] : []);
    await announce(signed, key, recipients).catch(() => {}); // who does not get it asks again
  }
}

/** Whether all of some are among others. */
const coversAll = (others: Recipients, some: Recipients) => [...some.keys()].every((name) => others.has(name));

function assertOpen(signal: AbortSignal): void {
  if (signal.aborted) throw new BrokerError("closed", "Cannot encrypt: the publisher is closed");
}

const MAX_TOPICS = 1_024;
/** How many keys of a topic are kept for those who have lost them. */
const MAX_EPOCHS = 8;
/** How long subscribers have to answer who is there, in milliseconds. */
const GATHER_MS = 250;
/** How long requests for older keys are gathered, in milliseconds. */
const ANSWER_MS = 50;
