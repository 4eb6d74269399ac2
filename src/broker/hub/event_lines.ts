import type { EventLine } from "./broker_contract.ts";

/** What the clients of one identity have on their way, each in a line: nothing gets through before what is ahead of it. */
export interface EventLines {
  /** How many there are. */
  readonly size: number;
  /** Whether all that is ahead of an event is done with, and its client did not begin once more since it sent it. */
  isNext(line: EventLine): boolean;
  /** An event is handed over to the broker, or nobody will try it again: the next one may come. */
  done(line: EventLine): void;
  /** An event that was handed over has to be tried again: nothing more comes before that, which its client begins once more. */
  broken(line: EventLine): void;
}

/** Makes the memory of one identity: where 1,024 lines are, those that moved last. */
export function eventLines(): EventLines {
  const lines = new Map<string, { readonly turn: number; readonly next: number }>();
  return {
    get size() {
      return lines.size;
    },
    isNext({ id, turn, n }) {
      const known = lines.get(id);
      if (!known || turn > known.turn) return n === 0;
      return turn === known.turn && n === known.next;
    },
    done({ id, turn, n }) {
      lines.delete(id);
      lines.set(id, { turn, next: n + 1 });
      if (lines.size > MAX_LINES) lines.delete(lines.keys().next().value!);
    },
    broken({ id, turn }) {
      if (lines.get(id)?.turn === turn) lines.set(id, { turn, next: Infinity });
    },
  };
}

const MAX_LINES = 1_024;
