import { AuthError } from "./auth_error.ts";

/** A nonce that was used, and until when it must not be used again. */
export interface UsedNonce {
  /** Who used it, as a SPIFFE id. */
  readonly signer: string;
  /** The nonce. */
  readonly nonce: string;
  /** Until when a message with it would be in time, in milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/**
 * Remembers which nonces were used, so that a message which was overheard is good for nothing.
 *
 * An implementation for several instances MUST take a nonce atomically, once for all of them, MUST remember it until it
 * expires, and MUST refuse when it cannot: an outage or a full store is no reason to forget.
 */
export interface ReplayStore {
  /**
   * From when on it has seen every nonce, in milliseconds since 1970; requests made earlier are refused.
   *
   * For a store in memory the moment it was made; for one that outlives the process 0.
   */
  readonly sinceMs: number;
  /**
   * Whether all instances behind one endpoint use it. Then calls under a session go through it too where they must not be
   * made twice; of a store in memory an instance knows only what it has seen of a session itself.
   *
   * @default {true}
   */
  readonly shared?: boolean;
  /**
   * Takes a nonce.
   *
   * @param used The nonce; its message was verified.
   * @throws {AuthError} `replayed`, or `replay_full` where no more can be remembered.
   */
  take(used: UsedNonce): void | Promise<void>;
}

/** How much a replay store in memory remembers. */
export interface MemoryReplayOptions {
  /** How many nonces there may be at once; full means that calls are refused. @default {400_000} */
  readonly maxNonces?: number;
  /** How many of them one signer may fill, so that it does not shut out the others. @default {200_000} */
  readonly maxNoncesPerSigner?: number;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Remembers nonces in this process's memory: right for an instance that has an endpoint of its own.
 *
 * Nonces are forgotten when their time is over and never because there are many.
 *
 * @param options Its limits.
 * @returns The store.
 */
export function memoryReplay(options: MemoryReplayOptions = {}): ReplayStore {
  const { maxNonces = 400_000, maxNoncesPerSigner = 200_000, now = Date.now } = options;
  // By the time slot in which they expire, so that forgetting is dropping whole slots.
  const slots = new Map<number, Map<string, Set<string>>>();
  const counts = new Map<string, number>();
  let total = 0;
  let sinceMs = now(); // 0 where a runtime shows no time before the first request

  const forgetExpired = () => {
    for (const [slot, bySigner] of slots) {
      if ((slot + 1) * SLOT_MS > now()) continue;
      for (const [signer, nonces] of bySigner) {
        total -= nonces.size;
        const left = counts.get(signer)! - nonces.size;
        if (left === 0) counts.delete(signer);
        else counts.set(signer, left);
      }
      slots.delete(slot);
    }
  };

  return {
    shared: false,
    get sinceMs() {
      return sinceMs ||= now();
    },
    take({ signer, nonce, expiresAtMs }) {
      forgetExpired();
      for (const bySigner of slots.values()) {
        if (bySigner.get(signer)?.has(nonce)) {
          throw new AuthError("replayed", "Cannot accept the message: it came before");
        }
      }
      const count = counts.get(signer) ?? 0;
      if (total >= maxNonces || count >= maxNoncesPerSigner) {
        throw new AuthError("replay_full", "Cannot accept the message: too many came in a short time");
      }
      const slot = Math.floor(expiresAtMs / SLOT_MS);
      const bySigner = slots.get(slot) ?? new Map<string, Set<string>>();
      const nonces = bySigner.get(signer) ?? new Set<string>();
      slots.set(slot, bySigner.set(signer, nonces.add(nonce)));
      counts.set(signer, count + 1);
      total++;
    },
  };
}

/** In milliseconds; a message lives for at most 14 slots. */
const SLOT_MS = 5_000;
