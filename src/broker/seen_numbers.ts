/** Which numbers of a sequence were done with: all that fit, and none below what was forgotten. */
export interface SeenNumbers {
  /** Whether a number is done with; one below what was forgotten counts as that. */
  has(number: number): boolean;
  /** Notes a number. */
  add(number: number): void;
  /** Forgets all, for others who share the budget. */
  clear(): void;
}

/** How many pieces there still may be, for all who share it. */
export interface PieceBudget {
  /** How many are left; below 0 where each has its last one. */
  pieces: number;
}

/**
 * Notes numbers in pieces of 2,048 bits, which are there only where there is a number: the members of a group see any part of a
 * sequence, and what took a day to come must still be told from what was there before.
 *
 * @param budget How many pieces there may be; beyond it the lowest is forgotten.
 * @param least How many it may have whatever the others have. @default {1}
 */
export function seenNumbers(budget: PieceBudget, least = 1): SeenNumbers {
  const pieces = new Map<number, Uint32Array>();
  let lowest = 0;
  const forgetLowest = () => {
    let first = Infinity;
    for (const index of pieces.keys()) first = Math.min(first, index);
    pieces.delete(first);
    budget.pieces++;
    lowest = Math.max(lowest, (first + 1) * PIECE);
  };
  return {
    has(number) {
      if (number < lowest) return true;
      const piece = pieces.get(Math.floor(number / PIECE));
      return piece !== undefined && (piece[word(number)]! & bit(number)) !== 0;
    },
    add(number) {
      if (number < lowest) return;
      const index = Math.floor(number / PIECE);
      let piece = pieces.get(index);
      if (!piece) {
        pieces.set(index, piece = new Uint32Array(PIECE / 32));
        budget.pieces--;
        if (budget.pieces < 0 && pieces.size > least) forgetLowest();
      }
      piece[word(number)]! |= bit(number);
    },
    clear() {
      budget.pieces += pieces.size;
      pieces.clear();
      lowest = Infinity; // what settles later takes no piece any more
    },
  };
}

const PIECE = 2_048;
const word = (number: number) => (number % PIECE) >>> 5;
const bit = (number: number) => 1 << (number & 31);
