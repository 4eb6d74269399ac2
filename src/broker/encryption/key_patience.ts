import type { KeyName } from "./key_ring.ts";

/** For how many keys of each publisher one waits, and for how long in all. */
export interface KeyPatience {
  /** Whether a key may be waited for; {@linkcode end} follows then. */
  begin(name: KeyName): boolean;
  /** Ends the waiting for a key. */
  end(name: KeyName, outcome: { readonly missed: boolean }): void;
}

interface Account {
  readonly topics: Map<string, number>;
  /** How many are waited for. */
  count: number;
  /** For how long keys were waited for, in milliseconds, as of a time; it is paid off six times as slowly. */
  spentMs: number;
  atMs: number;
}

/**
 * Makes what bounds the time in which keys are waited for, which is time in which all messages wait: a publisher that names keys
 * that it never gives, or gives them as late as it can, on however many topics, is not to stop the others.
 *
 * @param options How long one key is waited for at most, and the clock.
 */
export function keyPatience(
  { keyWaitMs, now }: { readonly keyWaitMs: number; readonly now: () => number },
): KeyPatience {
  const accounts = new Map<string, Account>();

  /** Waiting side by side is spent once. */
  function settle(account: Account): void {
    const nowMs = now();
    const passedMs = Math.max(0, nowMs - account.atMs);
    account.atMs = nowMs;
    if (account.count > 0) account.spentMs = Math.min(account.spentMs + passedMs, 2 * keyWaitMs);
    else account.spentMs = Math.max(0, account.spentMs - passedMs / PAID_OFF);
  }

  function accountOf(publisher: string): Account {
    const account = accounts.get(publisher) ?? { topics: new Map(), count: 0, spentMs: 0, atMs: now() };
    accounts.delete(publisher);
    accounts.set(publisher, account);
    if (accounts.size > MAX_ACCOUNTS) accounts.delete([...accounts].find(([, { count }]) => count === 0)?.[0] ?? "");
    return account;
  }

  return {
    begin({ publisher, topic }) {
      const account = accountOf(publisher);
      settle(account);
      const ofTopic = account.topics.get(topic) ?? 0;
      if (ofTopic >= MAX_OF_TOPIC || account.count >= MAX_OF_PUBLISHER || account.spentMs >= keyWaitMs) return false;
      account.topics.set(topic, ofTopic + 1);
      account.count++;
      return true;
    },
    end({ publisher, topic }, { missed }) {
      const account = accountOf(publisher);
      settle(account);
      const left = (account.topics.get(topic) ?? 1) - 1;
      if (left > 0) account.topics.set(topic, left);
      else account.topics.delete(topic);
      account.count--;
      if (missed) account.spentMs = Math.max(account.spentMs, keyWaitMs); // also by a clock that was set back
    },
  };
}

/** How many keys of one publisher and topic are waited for at once. */
export const MAX_OF_TOPIC = 4;
/** How many keys of one publisher are. */
export const MAX_OF_PUBLISHER = 64;
const MAX_ACCOUNTS = 2_048;
const PAID_OFF = 6;
