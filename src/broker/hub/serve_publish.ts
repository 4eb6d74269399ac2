import { AuthError } from "../../auth/mod.ts";
import { type Caller, type Context, RpcError } from "../../rpc/mod.ts";
import { BrokerError } from "../broker_error.ts";
import { brokerId, verifyEvent } from "../event.ts";
import { mayPublish } from "../topic_rules.ts";
import { AGAIN, type EventLine, type PublishedEvent } from "./broker_contract.ts";
import {
  MALFORMED,
  NOT_ITS_OWN,
  NOT_PUBLISHED,
  OTHER_ID,
  OTHER_KEY,
  type Refusal,
  refusalOf,
  TOO_MANY_EVENTS,
  TOO_OLD,
} from "./hub_refusal.ts";
import { type Account, accountOf, callerOf, type Hub, note, refuseAs, settle } from "./hub_state.ts";

/** Publishes an event for its publisher, behind all that the same identity has on its way. */
export async function servePublish(hub: Hub, published: PublishedEvent, context: Context): Promise<void> {
  const caller = callerOf(context);
  const account = accountOf(hub, caller.id);
  if (account.publishing >= hub.maxPublishing) refuseAs(hub, context, TOO_MANY_EVENTS, published.topic);
  account.publishing++;
  try {
    // Signatures are verified at the same time, and yet nothing overtakes.
    const checking = check(hub, published, caller);
    checking.catch(() => {}); // looked at when it is its turn
    const run = () => inTurn(account, published.line, () => handOver(hub, { published, checking, context }));
    const handed = account.last.then(run);
    account.last = handed.then(() => {}, () => {});
    await (await handed).answer;
  } finally {
    account.publishing--;
    settle(hub, caller.id, account);
  }
}

/** What is wrong with an event, in the order in which it is looked for. */
async function check(
  hub: Hub,
  { topic, id, event, key }: PublishedEvent,
  caller: Caller,
): Promise<Refusal | undefined> {
  const nowMs = hub.now();
  if (!mayPublish(hub.policy, caller, topic)) return NOT_PUBLISHED;
  try {
    const verified = await verifyEvent(event, { trust: hub.trust, topic, nowMs, hash: hub.hash });
    if (verified.publisher.id !== caller.id) return NOT_ITS_OWN;
    if (brokerId({ publisher: caller.id, topic, id: verified.id }, hub.hash) !== id) return OTHER_ID;
    if (verified.orderingKey !== key) return OTHER_KEY;
    return verified.timeMs < nowMs - WINDOW_MS ? TOO_OLD : undefined;
  } catch (error) {
    if (!(error instanceof BrokerError || error instanceof AuthError)) throw error;
    return { ...MALFORMED, reason: error.reason };
  }
}

/** What the broker says to an event that it was given; the next one is given to it before that. */
interface Handed {
  readonly answer: Promise<void>;
}

/** Does it if all that its client sent before is handed over: what the client will try again must not be overtaken. */
async function inTurn(
  { lines }: Account,
  line: EventLine | undefined,
  run: () => Promise<Handed>,
): Promise<Handed> {
  if (!line) return await run();
  if (!lines.isNext(line)) {
    throw new RpcError("unavailable", "Cannot publish yet: an event before this one has to be tried again");
  }
  try {
    const handed = await run();
    lines.done(line);
    handed.answer.catch((error) => isTriedAgain(error) && lines.broken(line));
    return handed;
  } catch (error) {
    if (!isTriedAgain(error)) lines.done(line);
    throw error;
  }
}

const isTriedAgain = (error: unknown) => error instanceof RpcError && AGAIN.includes(error.code);

interface Handing {
  readonly published: PublishedEvent;
  readonly checking: Promise<Refusal | undefined>;
  readonly context: Context;
}

/** Gives an event to the broker if nothing is wrong with it. */
async function handOver(hub: Hub, { published, checking, context }: Handing): Promise<Handed> {
  const { topic, id, event, key, waits } = published;
  const { signal } = context;
  const wrong = await checking;
  if (wrong) refuseAs(hub, context, wrong, topic);
  signal.throwIfAborted(); // it has waited for its turn
  note(hub, "message.publish", context, { topic });
  const asked = hub.broker.publish({ topic, id, event, orderingKey: key }, { signal, waits });
  return {
    answer: asked.catch((error) => {
      throw refusalOf(error);
    }),
  };
}

/** How old an event may be, in milliseconds; one of the future does not hold anyway. */
const WINDOW_MS = 120_000;
