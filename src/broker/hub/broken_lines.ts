import type { EventLine } from "./broker_contract.ts";

/** Which lines of events have a gap: an event that has to be tried again, and that none behind it may overtake. */
export interface BrokenLines {
  /** How many there are. */
  readonly size: number;
  /** An event has to be tried again, and so has all that comes behind it in the same turn. */
  broke(line: EventLine, nowMs: number): void;
  /** Whether an event is behind one that has to be tried again; with a later turn the line is whole again. */
  isBroken(line: EventLine): boolean;
}

/** Makes the memory of one identity, for 1,024 lines; one that broke two minutes ago has nothing on its way any more. */
export function brokenLines(): BrokenLines {
  const lines = new Map<string, { readonly turn: number; readonly atMs: number }>();
  return {
    get size() {
      return lines.size;
    },
    broke({ id, turn }, atMs) {
      lines.delete(id);
      lines.set(id, { turn, atMs });
      for (const [oldest, { atMs: sinceMs }] of lines) {
        if (lines.size <= MAX_LINES && atMs - sinceMs <= MAX_AGE_MS) break;
        lines.delete(oldest);
      }
    },
    isBroken({ id, turn }) {
      const broken = lines.get(id);
      if (!broken) return false;
      if (turn <= broken.turn) return true;
      lines.delete(id);
      return false;
    },
  };
}

const MAX_LINES = 1_024;
/** As long as a client tries an event at most, in milliseconds. */
const MAX_AGE_MS = 120_000;
