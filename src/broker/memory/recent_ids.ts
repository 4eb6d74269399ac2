/** Remembers ids for a while, of each topic apart: what was published to one keeps nothing out of another. */
export interface RecentIds {
  /** Remembers an id; tells whether it was known. */
  add(topic: string, id: string, nowMs: number): boolean;
  /** Forgets one that was added. */
  remove(topic: string, id: string): void;
}

/**
 * Remembers ids in two generations: once the younger is full, or as old as ids have to be remembered, it takes the place of
 * the older one. So nothing is ever searched for what has to be forgotten.
 *
 * @param maxIds How many are remembered, at least half of them.
 */
export function recentIds(maxIds: number): RecentIds {
  const perGeneration = Math.ceil(maxIds / 2);
  let older = new Map<string, Set<string>>();
  let younger = new Map<string, Set<string>>();
  let count = 0;
  let sinceMs = -Infinity;
  const turn = (nowMs: number) => {
    // Nothing of the older is needed after a time in which nothing came.
    older = nowMs - sinceMs >= 2 * WINDOW_MS ? new Map() : younger;
    younger = new Map();
    count = 0;
    sinceMs = nowMs;
  };
  return {
    add(topic, id, nowMs) {
      if (count >= perGeneration || nowMs - sinceMs >= WINDOW_MS) turn(nowMs);
      if (older.get(topic)?.has(id)) return true;
      let ids = younger.get(topic);
      if (!ids) younger.set(topic, ids = new Set());
      const { size } = ids;
      ids.add(id);
      if (ids.size === size) return true;
      count++;
      return false;
    },
    remove(topic, id) {
      older.get(topic)?.delete(id);
      younger.get(topic)?.delete(id);
    },
  };
}

/** How long an id is remembered at least, in milliseconds. */
export const WINDOW_MS = 120_000;
