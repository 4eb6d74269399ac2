import { toBase64Url } from "../../internal/base64.ts";
import { pause } from "../../internal/pause.ts";
import { type Client, RpcError } from "../../rpc/mod.ts";
import type { BrokerPublishOptions, OutgoingEvent } from "../broker.ts";
import { AGAIN, type BrokerMethods } from "./broker_contract.ts";
import { BrokerError } from "../broker_error.ts";
import { hubError } from "./hub_error.ts";

/** What publishing needs. */
export interface HubPublishingParts {
  readonly client: Client<BrokerMethods>;
  /** How long an event is tried, in milliseconds. */
  readonly timeoutMs: number;
  /** How long to wait after so many attempts that failed, in milliseconds. */
  readonly backoffMs: (failures: number) => number;
  /** Aborts when the broker is disposed. */
  readonly closing: AbortSignal;
}

/** Publishes an event; settles when the hub has it. */
export type HubPublishing = (event: OutgoingEvent, options: BrokerPublishOptions) => Promise<void>;

/**
 * Publishes events in the order in which they were given: what was lost with a connection, or what the hub cannot take for now,
 * is sent again in the same order, and before all that comes after it. The hub takes nothing that is
 * behind it meanwhile.
 */
export function hubPublishing(parts: HubPublishingParts): HubPublishing {
  const id = toBase64Url(crypto.getRandomValues(new Uint8Array(16)));
  const line = { id, turn: 0, next: 0 };
  const own: Own = { parts, line, letters: new Set(), sending: 0, most: MAX_SENDING, failures: 0, lost: undefined };
  parts.closing.addEventListener("abort", () => {
    for (const { leaving } of own.letters) leaving.abort();
  });
  return (event, { signal, waits }) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (parts.closing.aborted) return reject(closed());
      if (own.letters.size >= MAX_WAITING) {
        return reject(new BrokerError("full", "Cannot publish: too many events wait for the hub"));
      }
      const deadlineAt = performance.now() + parts.timeoutMs;
      const letter: Letter = {
        event,
        waits,
        signal,
        deadlineAt,
        isSent: false,
        cause: undefined,
        leaving: new AbortController(),
        abort() {
          letter.leaving.abort();
          leave(own, letter);
        },
        resolve,
        reject,
      };
      signal?.addEventListener("abort", letter.abort);
      own.letters.add(letter);
      go(own);
    });
}

interface Own {
  readonly parts: HubPublishingParts;
  /** What its events have in common at the hub, and the number of the next one. */
  readonly line: { readonly id: string; turn: number; next: number };
  /** The events that are not settled, in their order. */
  readonly letters: Set<Letter>;
  /** How many calls are under way. */
  sending: number;
  /** How many may be: fewer where others of the same identity leave less room, more as long as there is some. */
  most: number;
  /** How often all of them failed since one did not. */
  failures: number;
  /** Why those that were sent have to be sent again, once none is under way any more. */
  lost: unknown;
}

interface Letter {
  readonly event: OutgoingEvent;
  readonly waits: boolean | undefined;
  readonly signal: AbortSignal | undefined;
  readonly deadlineAt: number;
  /** Whether its call is under way. */
  isSent: boolean;
  /** Why it had to be sent again. */
  cause: unknown;
  /** Ends its call. Not a signal of both signals: one that lives long would keep each. */
  readonly leaving: AbortController;
  /** Its publisher leaves. */
  readonly abort: () => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Sends what can be sent. */
function go(own: Own): void {
  if (own.lost !== undefined) return; // nothing may overtake
  const { line } = own;
  for (const letter of own.letters) {
    if (own.sending >= own.most) return;
    if (letter.isSent) continue;
    letter.isSent = true;
    if (own.sending++ === 0) {
      line.turn++;
      line.next = 0;
    }
    void send(own, letter);
  }
}

async function send(own: Own, letter: Letter): Promise<void> {
  const { id: name, turn } = own.line;
  const line = { id: name, turn, n: own.line.next++ };
  const { event: { topic, id, event, orderingKey }, waits, deadlineAt, leaving: { signal } } = letter;
  try {
    const timeoutMs = Math.max(1, Math.ceil(deadlineAt - performance.now()));
    const how = { ...orderingKey === undefined ? {} : { key: orderingKey }, ...waits === false ? { waits } : {} };
    await own.parts.client.publish({ topic, id, event, ...how, line }, { timeoutMs, signal });
    own.failures = 0;
    own.most = Math.min(MAX_SENDING, own.most + 1 / own.most);
    settle(own, letter, letter.resolve);
  } catch (error) {
    failed(own, letter, error);
  }
  own.sending--;
  if (own.lost !== undefined && own.sending === 0) await pauseAndTryAgain(own);
  go(own);
}

function failed(own: Own, letter: Letter, error: unknown): void {
  letter.isSent = false;
  if (own.parts.closing.aborted) settle(own, letter, () => letter.reject(closed()));
  else if (letter.signal?.aborted) leave(own, letter);
  else if (error instanceof RpcError && AGAIN.includes(error.code)) lose(own, letter, error);
  else settle(own, letter, () => letter.reject(hubError(isLate(error) ? letter.cause ?? error : error)));
}

function lose(own: Own, letter: Letter, error: RpcError): void {
  letter.cause = error;
  if (error.code === "resource_exhausted" && own.lost === undefined) own.most = Math.max(1, Math.floor(own.most / 2));
  own.lost ??= error;
}

/** All that was lost may be sent again, after a while; what has no time for that is given up. */
async function pauseAndTryAgain(own: Own): Promise<void> {
  const { closing, backoffMs } = own.parts;
  const { lost } = own;
  const lastAt = Math.max(...[...own.letters].map(({ deadlineAt }) => deadlineAt));
  await pause(Math.min(backoffMs(own.failures++), lastAt - performance.now()), closing);
  for (const letter of own.letters) {
    if (closing.aborted) settle(own, letter, () => letter.reject(closed()));
    else if (performance.now() >= letter.deadlineAt) {
      settle(own, letter, () => letter.reject(hubError(letter.cause ?? lost)));
    }
  }
  own.lost = undefined;
}

/** Its publisher waits no more; a call that is under way tells it by itself. */
function leave(own: Own, letter: Letter): void {
  if (!letter.isSent) settle(own, letter, () => letter.reject(letter.signal!.reason));
}

function settle({ letters }: Own, letter: Letter, tell: () => void): void {
  letter.signal?.removeEventListener("abort", letter.abort);
  letters.delete(letter);
  tell();
}

const isLate = (error: unknown) => error instanceof RpcError && error.code === "deadline_exceeded";
const closed = () => new BrokerError("closed", "Cannot publish: the broker was closed");

/** How many calls are under way at once, at most: more than a connection carries would be on two, where one can overtake. */
const MAX_SENDING = 64;
/** How many events may wait, those that are under way among them. */
const MAX_WAITING = 16_384;
